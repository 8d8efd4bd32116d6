"""`leadline bench`: every cell in a process of its own, tables, JSON at the end."""

import json
import subprocess

import pytest


def test_a_cell_is_measured_apart_and_the_last_line_is_json(run, tiny_model, tmp_path):
    out = tmp_path / "bench.md"
    words = ("--size", "32x24", "--device", "cpu", "--repeats", 2, "--warm-up", 0, "-o", out)
    done = run("bench", tiny_model, *words)
    assert done.code == 0, done.err
    document = json.loads(done.out.splitlines()[-1])
    (cell,) = document["cells"]
    assert cell["seconds"]["network"]["median"] > 0
    assert (cell["width"], cell["height"]) == (32, 24)
    assert document["machine"]["versions"]["torch"]
    assert "Time (s)" in out.read_text()


@pytest.mark.parametrize(
    ("place", "code", "expected"),
    [("file/bench.md", 1, "cannot write"), ("folder.md", 2, "is a folder: name a file")],
)
def test_a_file_that_cannot_be_written_is_told_before_the_measuring(
    run, tmp_path, monkeypatch, place, code, expected
):
    (tmp_path / "file").touch()
    (tmp_path / "folder.md").mkdir()
    monkeypatch.setattr("leadline.bench.plan.subprocess.run", lambda *_, **__: pytest.fail("measured"))
    done = run("bench", "small", "--size", "32", "-o", tmp_path / place)
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert expected in line


@pytest.mark.parametrize(
    ("code", "out", "err", "expected"),
    [
        (0, '{"error": "no such device"}', "", "no such device"),
        (-9, "", "", "not enough memory"),
        (1, "", "Traceback\nValueError: of all things", "of all things"),
        (3, "", "", "code 3"),
    ],
)
def test_a_cell_that_fails_is_named_and_leaves_the_others(run, monkeypatch, code, out, err, expected):
    ended = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr("leadline.bench.plan.subprocess.run", lambda *args, **options: ended)
    done = run("bench", "small", "--size", "32", "--size", "64")
    assert done.code == 1
    failed = [line for line in done.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert expected in failed[0]
    assert len(json.loads(done.out.splitlines()[-1])["cells"]) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bench", "smal"], "did you mean 'small'"),
        (["bench", "--size", "12y3"], "12y3"),
        (["bench", "--dtype", "float61"], "did you mean 'float16'"),
        (["bench", "-o", "bench.html"], ".json"),
        (["bench", "--repeats", "0"], "--repeats"),
    ],
)
def test_mistakes_end_in_one_line_before_any_work(run, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert expected in line
    assert not list(tmp_path.iterdir())
