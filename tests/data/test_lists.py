"""List files: columns, hashes, absent ground truth, tables."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys

import pytest

from leadline.data.lists import columns, read_list
from leadline.errors import DataError

TEXT = "a/1.jpg a/1.png 721.5\n\nb/2.jpg None 721.5\nc/3.jpg c/3.png 721.5"


def test_rows_keep_the_numbers_of_their_lines_and_absent_ones_are_counted(tmp_path):
    (tmp_path / "list.txt").write_text(TEXT)
    found = read_list(tmp_path / "list.txt")
    assert found.rows == ((1, "a/1.jpg a/1.png 721.5"), (4, "c/3.jpg c/3.png 721.5"))
    assert (found.name, found.dropped) == ("list.txt", 1)


def test_the_hash_is_the_texts_own_compressed_or_not(tmp_path):
    (tmp_path / "list.txt").write_text(TEXT)
    (tmp_path / "list.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    digests = {read_list(tmp_path / name).sha256 for name in ("list.txt", "list.txt.gz")}
    assert digests == {hashlib.sha256(TEXT.encode()).hexdigest()}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.txt", b"\n \n", "holds no line with ground truth"),
        ("x.txt", b"a None\n", "holds no line with ground truth"),
        ("x.txt", b"\xff\xfe\x00a", "not a text"),
        ("x.txt.gz", b"no gzip at all", "cannot be read"),
        ("x.txt.gz", gzip.compress(TEXT.encode(), mtime=0)[:-9], "cannot be read"),
    ],
)
def test_what_is_no_list_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        read_list(tmp_path / name)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none.txt: cannot be read \(.*No such file"):
        read_list(tmp_path / "none.txt")


def test_a_small_file_that_unfolds_to_a_huge_list_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("leadline.data.lists.LARGEST", 1000)
    (tmp_path / "x.txt.gz").write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        read_list(tmp_path / "x.txt.gz")


def test_rows_with_tabs_may_hold_blanks():
    assert columns("my house.jpg\tmy depth.png", "rgb depth") == ["my house.jpg", "my depth.png"]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl", "pairs.csv.gz"])
def test_a_table_keeps_rows_whose_words_would_say_in_a_list_that_nothing_is_there(tmp_path, name):
    text = b"image,depth,caption\na.jpg,a.npy,there is None of it\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    found = read_list(tmp_path / name)
    assert found.rows[1:] == ((2, "a.jpg,a.npy,there is None of it"),)
    assert found.dropped == 0


def test_a_parquet_table_is_a_list_of_its_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, which is not installed")
    from pyarrow import parquet

    table = pyarrow.table({"image": ["a.jpg", "b.jpg"], "depth": ["a.png", None]})
    parquet.write_table(table, tmp_path / "pairs.parquet")
    rows = [json.loads(row) for _, row in read_list(tmp_path / "pairs.parquet").rows]
    assert rows == [{"image": "a.jpg", "depth": "a.png"}, {"image": "b.jpg", "depth": None}]
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "pairs.parquet").read_bytes()[:100])
    with pytest.raises(DataError, match="cut.parquet: damaged"):
        read_list(tmp_path / "cut.parquet")


def test_without_pyarrow_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"pairs.parquet: reading it needs pyarrow, .* write it as CSV"):
        read_list(tmp_path / "pairs.parquet")
