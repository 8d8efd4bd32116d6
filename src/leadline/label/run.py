"""Photographs -> a folder of shards: what is there is left alone, what is missing is made, by an engine.

A process that dies loses the shard at work and nothing else; the next run makes it anew, byte for byte as
it would have been. The folder holds plans (`plan-000.jsonl`), settings (`labels.json`), shards with their
records, a log of runs (`runs.jsonl`), and, once all is done, `index.jsonl` and a contact sheet.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from leadline import cluster
from leadline.errors import UsageError
from leadline.evaluate.shards import Shard as Part
from leadline.label import plan, sheet
from leadline.label.order import Networks, Order, load
from leadline.label.plan import Shard
from leadline.label.settings import SETTINGS, agree
from leadline.label.shard import Failure, Made, done, make, read_record
from leadline.save.files import remove_leftovers, write_bytes
from leadline.save.journal import Journal

Progress = Callable[[int, int, str], None]
INDEX, SHEET, RUNS = "index.jsonl", "sheet.jpg", "runs.jsonl"


@dataclass
class Summary:
    """What a run did. Numbers of photographs, of this run's part of the shards."""

    total: int = 0
    done: int = 0  # labelled now
    skipped: int = 0  # labelled by earlier runs
    failed: list[Failure] = field(default_factory=list)
    shards: int = 0  # made now
    whole: bool = False  # whether the folder is finished, other runs' parts included

    def __str__(self) -> str:
        """One line.

        >>> str(Summary(5, done=3, skipped=1, failed=[Failure("x", "x.jpg", "read", "empty")], shards=2))
        '3 labelled in 2 shards, 1 labelled before, 1 without labels'
        """
        parts = [f"{self.done} labelled in {self.shards} shards"]
        parts += [f"{self.skipped} labelled before"] if self.skipped else []
        parts += [f"{len(self.failed)} without labels"] if self.failed else []
        return ", ".join(parts)


def label(
    inputs: Iterable[str | Path],
    out: str | Path,
    order: Order | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    per_shard: int = 256,
    part: Part | None = None,
    engine: Literal["plain", "ray"] = "plain",
    workers: int | None = None,
    recursive: bool = False,
    retry: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Label photographs: files, folders, globs, lists (as `leadline.jobs.collect`), and tar archives of them.

    data: inputs are places of a data set, by its options, such as {"set": "hypersim", "part": "train"}; its
    pictures are found again by their names (a recipe's `labels`). per_shard: photographs in a new shard, at
    most. part: the share of the shards that this process makes; shares may change between runs. engine: "ray"
    spreads shards over `workers` processes of a cluster, by default one per GPU or processor; out must be a
    folder that all of them share. retry: shards in which photographs have failed are made anew.
    progress(finished, total, name) is called as photographs are done.

    Raises UsageError if nothing is found or `out` holds labels of other settings, and then leaves it as it
    was; SaveError if the disk is full or `out` cannot be written.
    """
    out, order, part = Path(out), order or Order(), part or Part()
    _check(per_shard, engine, workers)
    items = plan.collect(inputs, recursive, out, data)
    networks = _ready(out, order, engine) if plan.grows(out, items) else None
    with Journal(out / RUNS, when_alone=lambda: remove_leftovers([out])) as journal:
        if networks is not None:
            agree(out, networks)  # before the plan: photographs of a run that is refused stay out of it
        shards = plan.settle(out, items, per_shard)
        run = _Run(out, shards[part.number :: part.of], retry, progress)
        note = {"host": platform.node(), "engine": engine, "part": f"{part.number + 1}/{part.of}"}
        journal.append({"begun": round(time.time()), **note, "shards": len(run.due)})
        if run.due and engine == "ray":
            run.take(_on_ray(out, order, run, workers), journal)
        elif run.due:
            run.take(_plain(out, run, networks or load(order)), journal)
    Journal(out / RUNS, when_alone=lambda: remove_leftovers([out])).close()  # of workers that were killed
    run.summary.whole = _finish(out, shards)
    return run.summary


def _check(per_shard: int, engine: str, workers: int | None) -> None:
    """UsageError for what can be seen of the command alone."""
    if per_shard < 1:
        raise UsageError(f"{per_shard} photographs in a shard: 1 or more are needed")
    if engine not in ("plain", "ray"):
        raise UsageError(f"engine is {engine!r}: plain or ray is needed")
    if engine == "plain" and workers not in (None, 1):
        raise UsageError(
            f"{workers} workers are asked for: engine ray has several, or start parts (1/{workers})"
        )


def _ready(out: Path, order: Order, engine: str) -> Networks | None:
    """Before photographs are added to a folder: the networks, or none for Ray, whose actors load their own;
    this process then only asks whether the folder agrees with them.
    """
    if engine == "plain":
        return load(order)
    if (out / SETTINGS).exists():
        agree(out, load(replace(order, device="cpu")))
    cluster.check()
    return None


class _Run:
    """What one run has to do and has done."""

    def __init__(self, out: Path, mine: Sequence[Shard], retry: bool, progress: Progress | None) -> None:
        self.progress, self.finished = progress, 0
        self.summary = Summary(sum(len(shard.items) for shard in mine))
        self.due: list[Shard] = []
        for shard in mine:
            made = done(out, shard.number)
            if made is None or (retry and made.failed):
                self.due.append(shard)
            else:
                self.summary.skipped += made.count
                self.summary.failed += made.failed
                self.finished += len(shard.items)

    def take(self, made: Iterator[Made], journal: Journal) -> None:
        """Count what an engine makes, and note it."""
        before = time.monotonic()
        for one in made:
            now = time.monotonic()
            line = {"shard": one.number, "count": one.count, "failed": len(one.failed)}
            journal.append({**line, "seconds": round(now - before, 2)})
            before = now
            self.summary.done += one.count
            self.summary.failed += one.failed
            self.summary.shards += 1

    def seen(self, name: str, count: int = 1) -> None:
        """Photographs are done with."""
        self.finished += count
        if self.progress:
            self.progress(self.finished, self.summary.total, name)


def _plain(out: Path, run: _Run, networks: Networks) -> Iterator[Made]:
    agree(out, networks)
    for shard in run.due:
        yield make(out, shard, networks, seen=run.seen)


def _on_ray(out: Path, order: Order, run: _Run, workers: int | None) -> Iterator[Made]:
    from leadline.label import on_cluster

    sizes = {shard.number: len(shard.items) for shard in run.due}
    for made in on_cluster.make_all(out, order, run.due, workers):
        run.seen(f"shard {made.number}", sizes[made.number])
        yield made


def _finish(out: Path, shards: Sequence[Shard]) -> bool:
    """Where all shards are there, write what is said of all of them; whether that is so."""
    lines = []
    for shard in shards:
        record = read_record(out, shard.number)
        if record is None:
            return False
        line = {key: record[key] for key in ("file", "bytes", "sha256", "count")}
        lines.append(json.dumps(line | {"failed": len(record["failed"])}))
    write_bytes(out / INDEX, "\n".join([*lines, ""]).encode())
    sheet.write(out, out / SHEET)
    return True
