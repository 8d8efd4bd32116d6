"""Which photographs go into which shard: decided once, kept in the folder, never decided otherwise.

`plan-000.jsonl` has one line per shard. A later run with more photographs adds `plan-001.jsonl` with those
that are in no shard yet. Several processes may begin at once: whose file comes first counts for all.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from PIL import Image

from leadline import image
from leadline.data import open_set
from leadline.data.mix import Set
from leadline.data.store import Store
from leadline.errors import SaveError, UsageError
from leadline.jobs import inputs
from leadline.save.files import create

TAR = ".tar"
LARGEST = 2**29  # bytes of photographs in a shard: on a cluster they travel together
PICTURE = 2**21  # bytes that a data set's picture counts for


class Item(NamedTuple):
    """A photograph: a file, a member of a tar archive, or a picture of a data set."""

    source: str  # absolute path; of a data set, its name and options as a JSON object
    member: str  # "": the file itself
    name: str  # of the photograph, in words: "a/x"; a data set's picture has the set's own name for it

    def __str__(self) -> str:
        return f"{self.source}: {self.member}" if self.member else self.source

    def read(self) -> bytes:
        """Its bytes as they are stored; of a data set, those of a PPM. Raises DataError or ImageError."""
        if _is_set(self.source):
            return _decoded(self.source, self.member)
        return _archive(self.source).read(self.member) if self.member else image.stored_bytes(self.source)


class Shard(NamedTuple):
    """Photographs that are labelled together, into one tar file."""

    number: int
    first: int  # number of its first photograph among all
    items: tuple[Item, ...]

    def key(self, place: int) -> str:
        """The name in the shard of its photograph at this place.

        >>> Shard(1, 256, ()).key(2)
        '000000258'
        """
        return f"{self.first + place:09d}"


def collect(
    words: Iterable[str | Path], recursive: bool, out: Path, data: Mapping[str, Any] | None = None
) -> list[Item]:
    """Files, folders, globs and lists of photographs, and tar archives of them -> photographs, in order.

    data: the words are places of a data set, `set` its name, the rest its options (`data.open_set`).
    Raises UsageError if nothing is found, DataError for an archive or data set that cannot be read.
    """
    if data is not None:
        return [item for word in words for item in _pictures({**data, "path": os.path.abspath(word)})]
    jobs = inputs.collect(words, recursive, out=out, suffixes=image.SUFFIXES | {TAR})
    found = [item for job in jobs for item in _items(job)]
    if not found:
        raise UsageError("no photograph in these archives: name tar files that hold some")
    return found


def _items(job: inputs.Job) -> Iterator[Item]:
    if not job.source.lower().endswith(TAR):
        yield Item(job.source, "", job.name)
        return
    for member in _archive(job.source).names():
        path = PurePosixPath(member)
        if path.suffix.lower() in image.SUFFIXES and not path.name.startswith("."):
            yield Item(job.source, member, f"{job.name}/{path.with_suffix('')}")


def _pictures(options: Mapping[str, Any]) -> Iterator[Item]:
    source = json.dumps(options, sort_keys=True, default=str)
    return (Item(source, name, name) for name in _set(source)[1])


def _is_set(source: str) -> bool:
    return source.startswith("{")


@lru_cache(maxsize=64)
def _set(source: str) -> tuple[Set, dict[str, int]]:
    """A data set, and the numbers of its pictures by their names."""
    options = json.loads(source)
    name = options.pop("set")
    data = open_set(name, options)
    name_of = getattr(data, "name_of", None)
    if name_of is None:
        raise UsageError(f"data set {name} has no names by which labels could be found again: name its files")
    return data, {name_of(index): index for index in range(len(data))}


def _decoded(source: str, name: str) -> bytes:
    data, places = _set(source)
    file = io.BytesIO()
    Image.fromarray(data[places[name]].rgb).save(file, "PPM")
    return file.getvalue()


@lru_cache(maxsize=64)
def _archive(source: str) -> Store:
    return Store(source)


def grows(out: Path, items: Sequence[Item]) -> bool:
    """Whether `settle` would add to the folder's shards. Raises SaveError for damaged plans."""
    return bool(_fresh(load(out)[0], items))


def settle(out: Path, items: Sequence[Item], count: int) -> list[Shard]:
    """The shards of a folder, those that these photographs add included; at most `count` in each.

    Raises SaveError if the folder cannot be written.
    """
    while True:
        shards, files = load(out)
        fresh = _fresh(shards, items)
        if not fresh:
            return shards
        first = sum(len(shard.items) for shard in shards)
        added = list(_cut(fresh, count, len(shards), first))
        if _write_first(out / f"plan-{files:03d}.jsonl", added):
            return shards + added


def _fresh(shards: Iterable[Shard], items: Iterable[Item]) -> list[Item]:
    """Those that are in no shard."""
    known = {item[:2] for shard in shards for item in shard.items}
    return [item for item in dict.fromkeys(items) if item[:2] not in known]


def load(out: Path) -> tuple[list[Shard], int]:
    """The shards planned so far, and the number of files that say so. Raises SaveError for damaged ones."""
    shards: list[Shard] = []
    paths = sorted(out.glob("plan-*.jsonl"))
    for path in paths:
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            shards += [_shard(line) for line in lines]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SaveError(
                f"{path}: damaged ({type(error).__name__}): choose another output folder"
            ) from error
    if [shard.number for shard in shards] != list(range(len(shards))):
        raise SaveError(f"{out}: its plans do not follow each other: choose another output folder")
    return shards, len(paths)


def _cut(items: Sequence[Item], count: int, number: int, first: int) -> Iterator[Shard]:
    """Shards of at most `count` photographs and LARGEST bytes; archives begin a new one."""
    some: list[Item] = []
    size = 0
    for item in items:
        weight = _size(item)
        other = some and (item.member or some[-1].member) and item.source != some[-1].source
        if some and (len(some) == count or size + weight > LARGEST or other):
            yield Shard(number, first, tuple(some))
            number, first, some, size = number + 1, first + len(some), [], 0
        some.append(item)
        size += weight
    yield Shard(number, first, tuple(some))


def _size(item: Item) -> int:
    """Bytes of a file; of a member of an archive, its mean share. 0 for what is not there."""
    if _is_set(item.source):
        return PICTURE
    return _share(item.source) if item.member else _bytes(item.source)


@lru_cache(maxsize=64)
def _share(source: str) -> int:
    return _bytes(source) // max(1, len(_archive(source).names()))


def _bytes(source: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return os.stat(source).st_size
    return 0


def _shard(line: Mapping[str, Any]) -> Shard:
    return Shard(line["shard"], line["first"], tuple(Item(*item) for item in line["items"]))


def _write_first(path: Path, shards: Iterable[Shard]) -> bool:
    """Write a plan, unless another process has written one under this name meanwhile: then False."""
    lines = [json.dumps({"shard": s.number, "first": s.first, "items": s.items}) for s in shards]
    return create(path, "\n".join([*lines, ""]).encode())
