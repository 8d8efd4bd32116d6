"""A shard: photographs with their labels as one webdataset tar file, and the record of what is in it.

Of the photograph 000000258: `000000258.jpg` (or png, webp), and of its labels `.depth.png` (16 bits),
`.confidence.png` (8 bits, 255 is 1), `.classes.png` (8 bits, 16 for more than 256 classes),
`.certainty.png` (8 bits, of the classes), `.txt` (the caption) and `.json` (what the numbers mean).

The tar file is renamed into place, then its record is. A shard is there when both are, and the record's
size is the file's. The bytes of both depend on the photographs and the order alone: whoever does a shard
again, writes the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from leadline.errors import printable
from leadline.jobs.flow import overlapped
from leadline.label.order import Networks
from leadline.label.plan import Item, Shard
from leadline.label.work import Array, Failed, Labels, Photograph, label, prepare, reason
from leadline.prediction import Kind, Prediction
from leadline.save import containers, counts
from leadline.save.files import atomic, write_bytes

WRITE_BEHIND = 4  # labelled photographs that wait to be encoded
FAR_M = 60.0  # metric depth beyond it is counted by 1/256 m, which reach 256 m, and not by millimetres
Members = list[tuple[str, bytes]]  # ending and content


class Failure(NamedTuple):
    """A photograph without labels."""

    name: str
    source: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Made:
    """What a shard came to."""

    number: int
    count: int  # of photographs with labels
    failed: tuple[Failure, ...]


def tar_name(number: int) -> str:
    """`shard-000012.tar`."""
    return f"shard-{number:06d}.tar"


def record_path(out: Path, number: int) -> Path:
    """Where a shard's record is."""
    return out / tar_name(number).replace(".tar", ".json")


def make(
    out: Path,
    shard: Shard,
    networks: Networks,
    fetch: Callable[[Item], bytes] = Item.read,
    seen: Callable[[str], None] = lambda name: None,
) -> Made:
    """Label a shard's photographs and write it: reading, networks and writing overlap.

    fetch: the bytes of a photograph. seen: called with the name of each that is done with. Photographs that
    fail are recorded. Raises SaveError if the shard cannot be written.
    """

    def read(item: Item) -> Photograph | Failed:
        try:
            return prepare(fetch(item), item.name, networks.order)
        except Exception as error:
            return Failed("read", reason(error))

    with atomic(out / tar_name(shard.number)) as temporary, open(temporary, "wb") as raw:
        file = _Hashed(raw)
        with tarfile.open(fileobj=cast(BinaryIO, file), mode="w|", format=tarfile.PAX_FORMAT) as tar:
            content = _Content(tar, shard)
            with closing(overlapped(shard.items, read, 2 * networks.order.batch_size)) as reads:
                answers = enumerate(label((reading.result() for _, reading in reads), networks))
                with closing(overlapped(answers, content.add, WRITE_BEHIND)) as writes:
                    for (place, _), writing in writes:
                        writing.result()
                        seen(shard.items[place].name)
    record = {
        "shard": shard.number,
        "file": tar_name(shard.number),
        "bytes": file.size,
        "sha256": file.digest.hexdigest(),
        "count": len(content.listed),
        "failed": [failure._asdict() for failure in content.failed],
        "samples": content.listed,
    }
    write_bytes(record_path(out, shard.number), json.dumps(record, indent=0).encode() + b"\n")
    return Made(shard.number, len(content.listed), tuple(content.failed))


class _Content:
    """What is in a shard's tar file as it grows, and which photographs have failed."""

    def __init__(self, tar: tarfile.TarFile, shard: Shard) -> None:
        self.tar, self.shard = tar, shard
        self.listed: list[dict[str, Any]] = []
        self.failed: list[Failure] = []

    def add(self, answer: tuple[int, tuple[Photograph, Labels] | Failed]) -> None:
        """The labels of the photograph at a place of the shard."""
        place, found = answer
        item, key = self.shard.items[place], self.shard.key(place)
        made = found if isinstance(found, Failed) else _encoded(*found, item)
        if isinstance(made, Failed):
            self.failed.append(_failure(item, made))
            return
        for ending, data in made:
            _add(self.tar, f"{key}.{ending}", data)
        self.listed.append({"key": key, "name": item.name, "files": [ending for ending, _ in made]})


def done(out: Path, number: int) -> Made | None:
    """What a finished shard came to; None if it is not there, or not whole."""
    record = read_record(out, number)
    if record is None:
        return None
    failed = tuple(Failure(**failure) for failure in record["failed"])
    return Made(number, record["count"], failed)


def read_record(out: Path, number: int) -> dict[str, Any] | None:
    """A finished shard's record; None if it is not there, or of another file."""
    try:
        record = json.loads(record_path(out, number).read_text(encoding="utf-8"))
        size = (out / record["file"]).stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if size == record["bytes"] else None


def verify(out: str | Path) -> list[str]:
    """Read every finished shard of a folder against its hash; one line for each that is damaged."""
    faults = []
    for path in sorted(Path(out).glob("shard-*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            with open(path.with_name(record["file"]), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != record["sha256"]:
                faults.append(f"{record['file']}: not what its record says: delete both, and run again")
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append(f"{path.name}: {type(error).__name__}: delete it, and run again")
    return faults


def _failure(item: Item, failed: Failed) -> Failure:
    why = failed.reason.removeprefix(f"{printable(item.source)}: ").removeprefix(f"{item.name}: ")
    return Failure(printable(item.name), printable(str(item)), failed.stage, why)


def _encoded(photograph: Photograph, labels: Labels, item: Item) -> Members | Failed:
    try:
        return encode(photograph, labels, item)
    except Exception as error:
        return Failed("write", reason(error))


def encode(photograph: Photograph, labels: Labels, item: Item) -> Members:
    """A sample's files."""
    picture = photograph.picture
    words: dict[str, Any] = {
        "name": item.name,
        "source": printable(str(item)),
        "sha256": photograph.sha256,
        "height": picture.height,
        "width": picture.width,
    }
    if picture.camera is not None:
        camera = picture.camera
        words["camera"] = {key: getattr(camera, key) for key in ("fx", "fy", "cx", "cy")}
    members: Members = [(photograph.suffix, photograph.data)]
    if labels.depth is not None:
        encoding, counted = _counted(labels.depth)
        words["depth"] = {"kind": str(labels.depth.kind), **encoding._asdict()}
        members.append(("depth.png", containers.png_bytes(counted, {})))
    if labels.confidence is not None:
        members.append(("confidence.png", _shares(labels.confidence)))
    if labels.classes is not None:
        numbers = labels.classes.numbers
        dtype = np.uint8 if numbers.max() < 256 else np.uint16
        members.append(("classes.png", containers.png_bytes(numbers.astype(dtype), {})))
        members.append(("certainty.png", _shares(labels.classes.confidence)))
    if labels.caption is not None:
        members.append(("txt", labels.caption.encode()))
    return [*members, ("json", json.dumps(words).encode())]


def _counted(depth: Prediction) -> tuple[counts.Encoding, Array]:
    far = depth.kind is Kind.metric_depth and float(np.nanmax(depth.values)) > FAR_M
    encoding = counts.encoding(depth, "1/256 metre" if far else "millimetre")
    return encoding, counts.to_counts(depth, encoding)


def _shares(values: Array) -> bytes:
    return containers.png_bytes(np.rint(values * 255).astype(np.uint8), {})


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member that says nothing of when, where and by whom it was made."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), 0o644, 0
    tar.addfile(member, io.BytesIO(data))


class _Hashed:
    """A file that knows the hash of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)
