"""Known depths of single pixels, as text: columns x, y, metres."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.errors import DataError

SEPARATOR = re.compile(r"[ \t]*[,;][ \t]*| *\t *| +")  # between two commas, or tabs, is an empty cell
# What a header may call the columns. u and v number the pixels from 0, x and y measure from the image's edge.
COLUMNS = [("x", "u", "column"), ("y", "v", "row"), ("depth_m", "depth", "z", "metres", "meters")]
NUMBERED = {"u", "v", "column", "row"}


def read_points(path: Path | str) -> NDArray[np.float64]:
    """Points [N,3], x and y in pixels of the photo and metres along the optical axis, from a text file.

    One point a line, separated by commas, semicolons, tabs or spaces; # begins a comment. A header may put
    the columns into another order, and further ones beside them: x or u, y or v, depth_m or depth or z. x and
    y measure from the image's edge, so that the first pixel spans 0 to 1; u and v are numbers of pixels, the
    first being 0. Without a header the columns are x, y, depth_m. Cells that are not asked for may be empty.

    Raises DataError for a file that cannot be read so, naming the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; check the name") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text; lines of x,y,depth_m are needed") from error
    try:
        return parse(text)
    except DataError as error:
        raise DataError(f"{path}, {error}") from error


def parse(text: str) -> NDArray[np.float64]:
    """`read_points` of a file's text.

    >>> parse("u,v,depth\\n0,3,2.5").tolist()
    [[0.5, 3.5, 2.5]]
    """
    lines = [(number, _content(line)) for number, line in enumerate(text.splitlines(), 1)]
    rows = [(number, SEPARATOR.split(line)) for number, line in lines if line]
    places, half = [0, 1, 2], [0.0, 0.0, 0.0]
    if rows and not _is_number(rows[0][1][0]):
        places, half = _header(*rows.pop(0))
    points = [[_number(words, place, number) for place in places] for number, words in rows]
    return np.array(points, float).reshape(-1, 3) + half


def _content(line: str) -> str:
    """Without its comment and its empty cells at the end; one at the front counts as a column."""
    return line.split("#")[0].rstrip().rstrip(",;\t ").lstrip(" ")


def _header(number: int, words: list[str]) -> tuple[list[int], list[float]]:
    """Where the three columns stand, and what to add to each."""
    names = [word.strip('"').lower() for word in words]
    found: list[Any] = [next((name for name in column if name in names), None) for column in COLUMNS]
    if None in found:
        missing = " or ".join(COLUMNS[found.index(None)])
        raise DataError(f"line {number}: the columns are {', '.join(names)}, none is {missing}")
    return [names.index(name) for name in found], [0.5 * (name in NUMBERED) for name in found]


def _number(words: list[str], place: int, line: int) -> float:
    try:
        return float(words[place])
    except (IndexError, ValueError):
        raise DataError(f"line {line}: {' '.join(words)!r}, three numbers x y depth_m are needed") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
