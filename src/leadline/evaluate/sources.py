"""The data sets of a run: where they lie, which list says what belongs to them, and what was found."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from leadline import save
from leadline.data.lists import read_list
from leadline.data.sets import Listed, open_set
from leadline.errors import DataError, UsageError
from leadline.protocols import Listing, Rule

LISTS = ("*.txt", "*.csv", "*.txt.gz", "*.csv.gz", "*.jsonl")


class Source(NamedTuple):
    """A data set as it is asked for. path: where it lies; list: its list, or a folder of lists."""

    name: str
    path: Path | None = None
    list: Path | None = None


class Data(NamedTuple):
    """A data set that was opened. pictures: how many count, from its beginning; published: is its list?"""

    name: str
    listed: Listed
    pictures: int
    published: bool | None  # None: the protocol knows no list

    def facts(self) -> dict[str, Any]:
        """What figures depend on, as JSON types."""
        rows = "\n".join(row for _, row in self.listed.rows[: self.pictures])
        return {
            "data": self.name,
            "layout": self.listed.layout,
            "list": self.listed.list and self.listed.list.name,
            "list_sha256": self.listed.list and self.listed.list.sha256,
            "published_list": self.published,
            "pictures": self.pictures,
            "rows_sha256": hashlib.sha256(rows.encode()).hexdigest(),
        }

    def __str__(self) -> str:
        listed = self.listed
        which = f"of the list {listed.list.name}" if listed.list else "that lie there, without a list"
        known = {None: "", True: ", the published one", False: ", not the published one"}[self.published]
        part = f"the first {self.pictures} of " if self.pictures < len(listed) else ""
        return f"{self.name}: {part}{len(listed)} pictures {which}{known}; layout {listed.layout}"


class Opener:
    """Opens data sets as protocols want them, each once. limit: pictures that count, from the beginning."""

    def __init__(self, out: Path, limit: int | None = None) -> None:
        self.out, self.limit = out, limit
        self.opened: dict[tuple[Source, str | None, str | None, Path | None], Data] = {}

    def __call__(self, source: Source, rule: Rule) -> Data:
        """Raises DataError if it is not there, UsageError for its list."""
        file = _list_file(source, rule, self.out)
        key = (source, rule.data, rule.layout, file)
        if key not in self.opened:
            listed = open_set(rule.data or source.name, source.path, list_file=file, layout=rule.layout)
            found = listed.list.sha256 if listed.list else None
            published = None if rule.list is None else found == rule.list.sha256
            pictures = min(len(listed), self.limit or len(listed))
            self.opened[key] = Data(source.name, listed, pictures, published)
        return self.opened[key]


def safe(label: str) -> str:
    """A label as the name of a file or folder.

    >>> safe("average:small+a/b")
    'average-small+a-b'
    """
    return re.sub(r"[^\w.+@=-]", "-", label).strip(".") or "model"


def _list_file(source: Source, rule: Rule, out: Path) -> Path | None:
    if source.list is not None and not source.list.exists():
        raise UsageError(f"{source.list}: no such list, and no folder of lists")
    if source.list is not None and source.list.is_file():
        return source.list
    if rule.list is None:
        return None
    if rule.list.groups:
        file = out / "lists" / f"{safe(source.name)}.csv"
        save.write_bytes(file, rule.list.text().encode())
        return file
    return _found(rule.list, source.list, source.name) if source.list else None


def _found(listing: Listing, folder: Path, data: str) -> Path:
    """By its content, whatever its name; else by its name."""
    files = sorted({file for pattern in LISTS for file in folder.rglob(pattern)})
    same = [file for file in files if _sha256(file) == listing.sha256]
    base = Path(listing.file).name
    named = [file for file in files if file.name in (base, f"{base}.gz")]
    if same or named:
        return (same or named)[0]
    raise UsageError(
        f"{folder}: no file is the list of {data}, {listing.file} of {listing.source}: put it there, or "
        "leave out --lists to take all that lies there"
    )


def _sha256(file: Path) -> str | None:
    """Of a list's text; None for a file that is none."""
    try:
        return read_list(file).sha256
    except DataError:
        return None
