"""What is known of one job, a model on a data set by a protocol: a record per picture, on disk at once.

A job has a folder. Every process that works on it appends to a journal of its own, so that none waits for
another; whoever reads takes all journals together. A killed process loses the picture it was at, no more.

{"settings": {"protocols": ..., "models": ...}}                       what the figures depend on
{"place": 3, "name": "test/a.png", "values": {"absrel": 0.1}, ...}   a picture's figures
{"place": 4, "name": "test/b.png", "skipped": "no pixel counts"}     it has none
{"process": {"device": "cuda", "peak_memory_mib": 812}}              how a process has worked
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from leadline.errors import UsageError
from leadline.evaluate.heap import Heap
from leadline.evaluate.shards import Shard
from leadline.metrics.summary import Pool, Scores
from leadline.save import journal
from leadline.save.journal import Journal


@dataclass(frozen=True)
class Record:
    """One picture of a job. It has values, or the reason why not."""

    place: int  # in the data set
    name: str
    values: Mapping[str, float] = field(default_factory=dict)
    weight: float = 1.0
    group: str = ""
    file: str = ""  # of its prediction, as Marigold's scripts name it
    skipped: str = ""  # nothing to measure
    failed: str = ""  # a mistake: the next run tries again
    seconds: float | None = None  # of predicting it
    reversed: bool = False  # its fit has a negative scale: it runs against the known depths

    def line(self) -> dict[str, Any]:
        """As JSON, without what says nothing."""
        words = asdict(self)
        return {
            key: value for key, value in words.items() if value is not False and value not in ("", None, {})
        }


class Ledger:
    """The records of one job, of all processes; this one adds to them. Use it in a `with` block.

    Raises UsageError if the folder holds records of other settings.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], shard: Shard = Shard(), *, pooled: bool = False
    ) -> None:
        self.folder, self.settings, self.pooled = folder, json.loads(json.dumps(settings)), pooled
        self.records: dict[int, Record] = {}
        self.processes: list[dict[str, Any]] = []
        self._own = f"{shard.number + 1}-of-{shard.of}"
        self.refresh()
        self._journal = Journal(folder / f"records-{self._own}.jsonl")
        self._heap: Heap | None = Heap.read(folder / f"errors-{self._own}.npz") if pooled else None
        self._journal.append({"settings": self.settings})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._heap is not None:
            self._heap.write()
            self._heap = None  # up to 100 MB; what is on disk remains
        self._journal.close()

    def has(self, place: int) -> bool:
        """Whether nothing is left to do there."""
        record = self.records.get(place)
        if record is None or record.failed:
            return False
        return bool(record.skipped) or self._heap is None or place in self._heap.places | self._elsewhere

    def put(self, record: Record, errors: Pool | None = None) -> None:
        """Add a picture; it is on disk when this returns. Raises SaveError."""
        if errors is not None and self._heap is not None:
            self._heap.add(record.place, errors)
        self._journal.append(record.line())
        self.records[record.place] = record

    def note(self, process: Mapping[str, Any]) -> None:
        """Add how this process has worked."""
        self._journal.append({"process": process})
        self.processes.append(dict(process))

    def refresh(self) -> None:
        """Take in what other processes have done."""
        elsewhere = (path for path in self._heaps() if path.stem != f"errors-{self._own}")
        self._elsewhere = {place for path in elsewhere for place in Heap.places_of(path)}
        self.processes.clear()
        for path in sorted(self.folder.glob("records-*.jsonl")):
            for line in journal.read(path):
                self._take(line)

    def scores(self, group: str | None = None) -> Scores:
        """The figures of all pictures, or of those of one group."""
        scores = Scores()
        for place, record in self.records.items():
            if group not in (None, record.group):
                continue
            if record.values:
                scores.add(place, record.name, record.values, record.weight)
            else:
                scores.skip(place, record.name, record.skipped or record.failed)
        return scores

    def errors(self) -> Pool:
        """All pictures' errors as one heap, once the `with` block has ended.

        Raises UsageError if two processes did the same picture, or one undid what the other had done.
        """
        pool, places = Pool(), list[int]()
        for heap in map(Heap.read, self._heaps()):
            pool.merge(heap.pool)
            places += heap.places
        if sorted(places) != sorted(place for place, record in self.records.items() if record.values):
            raise UsageError(f"{self.folder}: two processes did the same pictures at a time: overwrite them")
        return pool

    def _heaps(self) -> list[Path]:
        return sorted(self.folder.glob("errors-*.npz"))

    def _take(self, line: dict[str, Any]) -> None:
        if "settings" in line:
            _check_equal(line["settings"], self.settings, self.folder)
        elif "process" in line:
            self.processes.append(line["process"])
        elif "place" in line:
            known = self.records.get(line["place"])
            if known is None or known.failed:
                self.records[line["place"]] = Record(**line)


def _check_equal(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    before, now = _flat(old), _flat(new)
    changes = [
        f"{key} {before.get(key)} -> {value}" for key, value in now.items() if before.get(key) != value
    ]
    if changes or before.keys() != now.keys():
        raise UsageError(
            f"{folder} holds figures of other settings ({'; '.join(changes)[:400]}): choose another run "
            "folder, or overwrite (--overwrite)"
        )


def _flat(settings: Any, name: str = "") -> dict[str, Any]:
    """Settings by the path of their key: 'models.0.seed'."""
    if not isinstance(settings, Mapping | list):
        return {name: settings}
    items = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
    inner = [_flat(value, f"{name}.{key}".removeprefix(".")) for key, value in items]
    return {key: value for one in inner for key, value in one.items()}
