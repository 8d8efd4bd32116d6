"""Lists of files: one sample per line, columns between blanks, as papers publish them; `.gz` too."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from leadline.errors import DataError, extra, printable

LARGEST = 2**28  # bytes of a list's text; the longest published one has 10 MB
Row = tuple[int, str]  # number of its line, from 1 (0 where there is no list), and the line
ABSENT = "None"  # stands for ground truth that does not exist: 45 of KITTI's 697 lines
TABLES = (".csv", ".jsonl", ".parquet")  # their cells hold any words, an empty one is what is absent


@dataclass(frozen=True)
class FileList:
    """A list as it was found.

    dropped: lines without ground truth, which are not in rows.
    sha256: of the text itself, compressed or not: it tells a published list from any other.
    """

    name: str
    sha256: str
    rows: tuple[Row, ...]
    dropped: int = 0


def is_table(path: str | Path) -> bool:
    """Whether a list's name says that it is a table of the user's own."""
    return str(path).removesuffix(".gz").endswith(TABLES)


def read_list(path: str | Path) -> FileList:
    """A list file, plain or `.gz`. Empty lines are left out, and those without ground truth are counted.

    A table (`TABLES`) keeps all of its rows; a `.parquet` one counts as a list of them as JSON. Raises
    DataError for a file that cannot be read, or holds no line.
    """
    data = _bytes(path)
    lines = [(number, line.strip()) for number, line in enumerate(_lines(path, data), 1) if line.strip()]
    rows = tuple((number, line) for number, line in lines if is_table(path) or ABSENT not in line.split()[1:])
    if not rows:
        raise DataError(f"{path}: holds no line with ground truth: give a list of files")
    return FileList(Path(path).name, hashlib.sha256(data).hexdigest(), rows, len(lines) - len(rows))


def _bytes(path: str | Path) -> bytes:
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            data: bytes = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}): check the name, or copy it again") from error
    if len(data) > LARGEST:
        raise DataError(f"{path}: more than {LARGEST:,} bytes, this is no list of files")
    return data


def _lines(path: str | Path, data: bytes) -> list[str]:
    if str(path).endswith(".parquet"):
        return _parquet(path, data)
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text ({error.reason}): give a list of files") from error


def _parquet(path: str | Path, data: bytes) -> list[str]:
    try:
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        hint = f"{extra('parquet')}, or write it as CSV"
        raise DataError(f"{path}: reading it needs pyarrow, which is not installed: {hint}") from error
    try:
        return [json.dumps(row) for row in parquet.read_table(io.BytesIO(data)).to_pylist()]
    except Exception as error:  # pyarrow's own kinds, and what json cannot write
        raise DataError(f"{path}: damaged, or not of its format ({error}): copy it again") from error


def columns(row: str, names: str) -> list[str]:
    """The first columns of a row, as many as there are names. Rows with a tab are split at tabs alone.

    >>> columns("a.jpg b.png 721.5377", "rgb depth")
    ['a.jpg', 'b.png']
    >>> columns("a.jpg", "rgb depth")
    Traceback (most recent call last):
    leadline.errors.DataError: the line has 1 column ('a.jpg'), wanted rgb depth
    """
    found = row.split("\t") if "\t" in row else row.split()
    wanted = len(names.split())
    if len(found) < wanted:
        count = f"{len(found)} column{'s' * (len(found) != 1)}"
        raise DataError(f"the line has {count} ({printable(row)[:80]!r}), wanted {names}")
    return found[:wanted]
