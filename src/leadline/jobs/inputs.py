"""What the user named -> image files, each with the one name that its results will have.

Names come from the whole list, never from what was done before: the same list gives the same names.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple, NoReturn

from leadline import image
from leadline.errors import UsageError, printable

LISTS = frozenset({".txt", ".lst", ".list"})
LONGEST = 200  # bytes of a name; endings such as "_depth_controlnet.png" must fit into 255 with it
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")  # a slash to some, or nothing that one could type


class Job(NamedTuple):
    """One input."""

    source: str  # absolute path
    name: str  # of its results below the output folder: "a/x" for `a/x_depth.npy`


class Found(NamedTuple):
    """An input before it has a name."""

    source: str
    root: str  # the folder that was named, or that holds the file or list that was named
    below: str  # path from there


def collect(
    inputs: Iterable[str | Path],
    recursive: bool = False,
    *,
    out: Path | None = None,
    written: Container[str] = frozenset(),
    suffixes: Container[str] = image.SUFFIXES,
) -> list[Job]:
    """Files, folders, globs and text lists -> jobs, in the order given and then by name, each file once.

    Folders give their image files by suffix, in any case; hidden files are left out, subfolders are entered
    if `recursive` (linked ones never). A file named by itself is taken whatever its suffix. Text lists (.txt,
    .lst, .list) hold one path per line, relative to the list; `#` begins a comment. Nothing in the folder
    `out` is an input unless `out` itself was named, and never the files `written` there by earlier runs
    ("a/x_side.png"). suffixes: of files that folders and globs give.

    Names keep the tree below a named folder: `a/x.jpg` is `a/x`. Where two would be equal in any spelling of
    their letters, both keep their suffix (`x.jpg`, `x.png`), then their folder's name, then get a short hash.

    Raises UsageError if something named does not exist, a folder cannot be listed, or nothing is found.
    """
    words = [os.fspath(word) for word in inputs]
    results = None if out is None else os.path.realpath(out)
    real = cache(os.path.realpath)
    found: dict[str, Found] = {}
    for item in chain.from_iterable(_expand(word, recursive, results, suffixes) for word in words):
        folder, name = os.path.split(item.source)
        below = _below(os.path.join(real(folder), name), results)  # a link is where it stands
        if below is None or below not in written:
            found.setdefault(item.source, item)
    if not found:
        hint = "name files, folders or globs" if recursive else "subfolders are entered by --recursive"
        raise UsageError(f"no image in {', '.join(words) or 'an empty list'}: {hint}")
    items = list(found.values())
    return [Job(item.source, name) for item, name in zip(items, _names(items), strict=True)]


def _expand(word: str, recursive: bool, results: str | None, suffixes: Container[str]) -> Iterator[Found]:
    if not word:  # a shell's unset variable, not the folder where we are
        raise UsageError("an input has no name: is a variable empty? '.' is this folder")
    path = os.path.abspath(word)
    if os.path.isdir(path):
        yield from _folder(path, recursive, results, suffixes)
    elif os.path.lexists(path):
        yield from (
            _list(path) if _is_list(path) else [Found(path, os.path.dirname(path), os.path.basename(path))]
        )
    elif glob.has_magic(word):
        yield from _glob(word, results, suffixes)
    else:
        raise UsageError(f"{word}: no such file or folder, and not a glob; check the name")


def _folder(root: str, recursive: bool, results: str | None, suffixes: Container[str]) -> Iterator[Found]:
    for folder, subfolders, files in os.walk(root, onerror=_refuse_unlisted):
        inside = [name for name in subfolders if not name.startswith(".")] if recursive else []
        subfolders[:] = sorted(n for n in inside if os.path.realpath(os.path.join(folder, n)) != results)
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                source = os.path.join(folder, name)
                yield Found(source, root, source[len(root) :].lstrip(os.sep))


def _refuse_unlisted(error: OSError) -> NoReturn:
    """Of a folder: what it holds would be missing from the results, and nobody would know."""
    raise UsageError(
        f"{printable(os.fsdecode(error.filename))}: the folder cannot be listed ({error.strerror}): "
        "change its permissions, or name the folders beside it one by one"
    ) from error


def _glob(pattern: str, results: str | None, suffixes: Container[str]) -> Iterator[Found]:
    """Matches of a pattern; one that ends in a suffix of its own ("*.dat") brings whatever it matches."""
    suffix = os.path.splitext(pattern)[1]
    any_suffix = bool(suffix) and not glob.has_magic(suffix)
    fixed = pattern[: min(pattern.index(letter) for letter in "*?[" if letter in pattern)]
    root = os.path.abspath(os.path.dirname(fixed))
    for match in sorted(glob.glob(pattern, recursive=True)):
        source = os.path.abspath(match)
        fits = any_suffix or os.path.splitext(source)[1].lower() in suffixes
        if fits and not os.path.isdir(source) and not _written(source, root, results):
            yield Found(source, root, os.path.relpath(source, root))


def _written(source: str, root: str, results: str | None) -> bool:
    """Whether a match lies in the results folder, though the pattern does not begin there."""
    if _below(os.path.realpath(root), results) is not None:
        return False
    return _below(os.path.realpath(os.path.dirname(source)), results) is not None


def _below(path: str, folder: str | None) -> str | None:
    """A real path as seen from a real folder, with slashes; None if it is not below."""
    if folder is None or not (path + os.sep).startswith(folder.rstrip(os.sep) + os.sep):
        return None
    return path[len(folder.rstrip(os.sep)) + 1 :].replace(os.sep, "/")


def _is_list(path: str) -> bool:
    if os.path.splitext(path)[1].lower() not in LISTS or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return image.sniff(file.read(32)) is None  # a JPEG by the name of photo.txt is a JPEG


def _list(path: str) -> Iterator[Found]:
    root = os.path.dirname(path)
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: cannot be read as a list of paths in UTF-8; give one path per line"
        ) from error
    for line in lines:
        entry = line.strip()
        if entry and not entry.startswith("#"):
            source = os.path.abspath(os.path.join(root, entry))
            below = os.path.relpath(source, root)
            yield Found(source, root, os.path.basename(source) if below.startswith(os.pardir) else below)


def _names(items: list[Found]) -> list[str]:
    """The shortest name of each that nobody else has. Of those that meet, the shortest ones grow."""
    levels = [0] * len(items)
    while True:
        names = [_name(item, level) for item, level in zip(items, levels, strict=True)]
        same = defaultdict(list)
        for number, name in enumerate(names):
            same[unicodedata.normalize("NFC", name).casefold()].append(number)
        meeting = [numbers for numbers in same.values() if len(numbers) > 1]
        if not meeting:
            return names
        for numbers in meeting:
            shortest = min(levels[number] for number in numbers)
            for number in numbers:
                levels[number] += levels[number] == shortest


def _name(item: Found, level: int) -> str:
    """Level 0: "a/x"; 1: "a/x.jpg"; 2: "photos/a/x.jpg"; 3 and up: "a/x.jpg~1f3a..." (a hash of the path)."""
    *folders, last = item.below.split(os.sep)
    if level == 0:
        last = os.path.splitext(last)[0]
    elif level == 2:
        folders.insert(0, os.path.basename(item.root))
    elif level > 2:
        last += f"~{_hash(item.source)[: 8 * (level - 2)]}"
    safe = (_UNSAFE.sub("_", part) for part in (*folders, last))
    return "/".join(_shorter(part) for part in safe if part)


def _shorter(part: str) -> str:
    raw = os.fsencode(part)
    return part if len(raw) <= LONGEST else f"{raw[: LONGEST - 9].decode(errors='ignore')}~{_hash(part)[:8]}"


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()
