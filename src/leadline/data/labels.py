"""Shards of pseudo-labels, as `leadline label` writes them, as training data, or beside a data set.

A folder holds `labels.json` (what made them), and tar files with a record each. Shards that are not finished
yet are passed over, so that training may begin while labelling goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np

from leadline import ade20k, colour, image
from leadline.camera import Camera
from leadline.data import decode, open_set
from leadline.data.mix import Set
from leadline.data.sample import Array, Sample
from leadline.data.store import Store
from leadline.errors import DataError
from leadline.prediction import Kind
from leadline.save import counts


class Row(NamedTuple):
    """Where a sample lies."""

    file: str
    key: str
    name: str
    endings: tuple[str, ...]


class LabelShards:
    """Photographs with the labels that other models have given them.

    Depth is the sample's `pseudo`, and `depth_m` beside it where it is in metres; classes and caption are
    there if they were made. min_confidence: depth is valid where its confidence is so high (shards without
    any: everywhere); min_certainty: classes are -1, to be ignored, where theirs is lower. fields: which of
    depth, classes and caption to read. classes: "ade20k" finds the segmenter's classes among ADE20K's by
    their names, "own" takes its numbers as they are. empty: a folder without samples is no error.

    Raises DataError for a folder that holds no finished shard, or classes that ADE20K mostly does not have.
    """

    def __init__(
        self,
        path: str | Path,
        min_confidence: float = 0.9,
        min_certainty: float = 0.0,
        fields: tuple[str, ...] | list[str] = ("depth", "classes", "caption"),
        empty: bool = False,
        classes: Literal["ade20k", "own"] = "ade20k",
    ) -> None:
        self.folder, self.fields = Path(path), frozenset(fields)
        self.min_confidence, self.min_certainty = min_confidence, min_certainty
        if unknown := self.fields - {"depth", "classes", "caption"}:
            raise DataError(
                f"label shards have no {', '.join(sorted(unknown))}: depth, classes, caption they have"
            )
        if not (0 <= min_confidence <= 1 and 0 <= min_certainty <= 1):
            raise DataError(
                f"min_confidence {min_confidence}, min_certainty {min_certainty}: 0 to 1 is needed"
            )
        self.made = _read_json(self.folder / "labels.json")
        if classes not in ("ade20k", "own"):
            raise DataError(f"classes are {classes!r}: ade20k or own is needed")
        wanted = "classes" in self.fields and classes == "ade20k"
        names = self.made.get("classes", {}).get("names", []) if wanted else []
        self.numbers = as_ade20k(names, self.folder) if names else None
        self.has_classes = "classes" in self.fields and "classes" in self.made
        self.rows = [row for path in sorted(self.folder.glob("shard-*.json")) for row in _rows(path)]
        if not (self.rows or empty):
            raise DataError(f"{path} holds no finished shard: run `leadline label` to its end")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """The sample of a number. DataError names archive and file."""
        row = self.rows[index]
        store = _opened(self.folder / row.file)
        picture = next(e for e in row.endings if e in ("jpg", "png", "webp"))
        rgb = store.load(f"{row.key}.{picture}", _picture)
        words = store.load(f"{row.key}.json", json.loads)
        valid = np.ones(rgb.shape[:2], bool)
        sample = Sample(rgb, valid, camera=_camera(words), name=row.name)
        if "depth" in self.fields and "depth.png" in row.endings:
            sample = self._depth(sample, store, row, words["depth"])
        return replace(sample, classes=self.classes(index), caption=self.caption(index))

    def classes(self, index: int) -> Array | None:
        """A sample's class numbers int64 [H,W] without its picture; None if there are none."""
        row = self.rows[index]
        if "classes" not in self.fields or "classes.png" not in row.endings:
            return None
        return self._classes(_opened(self.folder / row.file), row)

    def caption(self, index: int) -> str | None:
        """A sample's caption without its picture; None if there is none."""
        row = self.rows[index]
        if "caption" not in self.fields or "txt" not in row.endings:
            return None
        return _opened(self.folder / row.file).load(f"{row.key}.txt", bytes.decode)

    def _depth(self, sample: Sample, store: Store, row: Row, words: dict[str, Any]) -> Sample:
        encoding = counts.Encoding(words["scale"], words["offset"], words["invalid"])
        counted = store.load(f"{row.key}.depth.png", decode.uint16)
        values, usable = counts.from_counts(counted, encoding)
        valid = np.ones(values.shape, bool) if usable is None else usable
        if "confidence.png" in row.endings:
            confidence = store.load(f"{row.key}.confidence.png", decode.uint8)
            valid = valid & (confidence >= round(255 * self.min_confidence))
        kind = Kind(words["kind"])
        metres = values if kind is Kind.metric_depth else None
        return replace(sample, pseudo=values, pseudo_kind=kind, depth_m=metres, valid=valid)

    def _classes(self, store: Store, row: Row) -> Array:
        numbers: Array = store.load(f"{row.key}.classes.png", _numbers)
        if self.numbers is not None:
            count = len(self.numbers) - 1  # the last is for what has no name
            numbers = self.numbers[np.where((numbers >= 0) & (numbers < count), numbers, count)]
        if not self.min_certainty:
            return numbers
        certainty = store.load(f"{row.key}.certainty.png", decode.uint8)
        return np.where(certainty >= round(255 * self.min_certainty), numbers, -1)


class Labelled:
    """A data set's samples with the classes and captions that label shards have for its pictures, by name.

    A picture without labels stays as it is, its classes unknown everywhere. Names are those that the set has
    for its pictures (`name_of`), or the same without their endings, as files have them when they are
    labelled.
    """

    def __init__(self, data: Set, labels: LabelShards) -> None:
        """DataError if the labels do not have half of the pictures: they belong to others, or are named
        otherwise.
        """
        self.data, self.labels, name_of = data, labels, getattr(data, "name_of", None)
        if name_of is None:
            raise DataError("labels are found by the names of pictures, this set has none: leave them out")
        places = {row.name: place for place, row in enumerate(labels.rows)}
        names = [name_of(index) for index in range(len(data))]
        self.places = [places.get(own, places.get(stem(own))) for own in names]
        found = sum(place is not None for place in self.places)
        if 2 * found < len(names):
            missing = next(own for own, place in zip(names, self.places, strict=True) if place is None)
            raise DataError(
                f"{labels.folder} has labels of {found} of the {len(names)} pictures, and none of {missing} "
                f"(it has {labels.rows[0].name}): label the data set itself (leadline label --set)"
            )

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        sample, place = self.data[index], self.places[index]
        classes = caption = None
        if place is not None:
            classes, caption = self.labels.classes(place), self.labels.caption(place)
        if classes is None and self.labels.has_classes:
            classes = np.full(sample.size, ade20k.UNKNOWN)
        if classes is not None:
            sample = replace(sample, classes=_at_size(classes, sample))
        return sample if caption is None else replace(sample, caption=caption)

    def name_of(self, index: int) -> str:
        """As the set knows the picture before it is read."""
        name: str = getattr(self.data, "name_of", str)(index)
        return name


def labelled(data: Set, options: Mapping[str, Any]) -> Labelled:
    """The data set with what the label shards of these options (`path`, `min_certainty`, `fields`) say of
    classes and captions. Raises DataError.
    """
    labels = open_set("label-shards", {"fields": ("classes", "caption"), **options})
    assert isinstance(labels, LabelShards)
    if "depth" in labels.fields:
        raise DataError("labels give a data set classes and captions, not depth: leave it out of fields")
    return Labelled(data, labels)


def stem(name: str) -> str:
    """A picture's name without its ending.

    >>> stem("Scene01/rgb_00000.jpg")
    'Scene01/rgb_00000'
    """
    return PurePosixPath(name).with_suffix("").as_posix()


def _at_size(classes: Array, sample: Sample) -> Array:
    """Classes [h,w] of a picture that may have been labelled smaller -> [H,W], at the nearest pixel."""
    (h, w), (height, width) = classes.shape, sample.size
    if abs(h * width - w * height) > height + width:
        raise DataError(f"{sample.name} has {width}x{height} pixels, its classes {w}x{h}: label it again")
    rows = ((np.arange(height) + 0.5) * h / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * w / width).astype(np.int64)
    nearest: Array = classes[rows[:, None], columns]
    return nearest


def as_ade20k(names: Sequence[str], where: Path | str) -> Array:
    """A segmenter's class names -> ADE20K's numbers [N+1] in their order, -1 for what ADE20K does not have;
    the last is -1. 150 names of which most stand where ADE20K has them are ADE20K's own, whatever words the
    others are in. DataError if fewer than half have a number.

    >>> as_ade20k(["Road", "building, edifice", "traffic sign"], "labels").tolist()
    [6, 1, -1, -1]
    """
    numbers = [ade20k.number(re.split("[,;]", name)[0].strip().lower()) for name in names]
    known = sum(number >= 0 for number in numbers)
    in_place = sum(place == number for place, number in enumerate(numbers))
    if len(names) == len(ade20k.NAMES) < 2 * in_place:  # some of its own list, in other words
        numbers = list(range(len(names)))
    elif 2 * known < len(numbers):
        raise DataError(
            f"{where}: its classes ({', '.join(names[:3])} ...) are not ADE20K's, which has {known} of "
            f"{len(numbers)}: label with a segmenter of ADE20K, leave them out of fields, or say classes=own"
        )
    return np.array([*numbers, ade20k.UNKNOWN])


def _picture(data: bytes) -> Array:
    return colour.as_bytes(image.read(data).rgb)


def _numbers(data: bytes) -> Array:
    """Class numbers int64 [H,W], stored in 8 or 16 bits."""
    try:
        return decode.uint8(data).astype(np.int64)
    except DataError:
        return decode.uint16(data).astype(np.int64)


def _rows(path: Path) -> list[Row]:
    """The samples of a finished shard; none of one that is not whole."""
    record = _read_json(path)
    try:
        whole = (path.parent / record["file"]).stat().st_size == record["bytes"]
        return [
            Row(record["file"], sample["key"], sample["name"], tuple(sample["files"]))
            for sample in record["samples"]
            if whole
        ]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: no record of a shard ({error} is missing): run `leadline label` again"
        ) from error


def _camera(words: dict[str, Any]) -> Camera | None:
    camera = words.get("camera")
    return Camera(**camera, width=words["width"], height=words["height"]) if camera else None


def _opened(path: Path) -> Store:
    """The archive; read anew where a shard has been made again."""
    try:
        return _store(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: run `leadline label` again") from error


@lru_cache(maxsize=256)
def _store(path: Path, mtime_ns: int) -> Store:
    return Store(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DataError(
            f"{path.parent} has no {path.name}: give a folder that `leadline label` has made"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error}): run `leadline label` again") from error
