"""A run's inputs on many processes of one machine or a cluster, by Ray Data.

Inputs go in chunks: their bytes travel, each actor loads the model once, and writes results itself into a
folder that all machines share. What it does is noted in a part of the manifest, one per chunk: an actor that
takes over a dead one's chunk knows by it what is done, and which files are the chunk's own.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from leadline import cluster, image
from leadline.errors import ImageError, LeadlineError, UsageError
from leadline.jobs.due import Task
from leadline.jobs.flow import Stop
from leadline.jobs.manifest import PART, Manifest, Past, load_part
from leadline.jobs.run import Crew, Failure, Order, Progress, Run, Summary
from leadline.jobs.settings import Predictor

CHUNK = 16  # inputs


def crew(load: Callable[[], Any], *, workers: int | None = None, device: str = "auto") -> Crew:
    """Who works on a run's inputs in place of `jobs.files`: that many actors, with models as `load` gives.

    load: is called once in each actor. workers: None: one per GPU, or processor but one. Raises UsageError
    where Ray is not installed or has no place for so many.
    """

    def work(
        order: Order,
        tasks: Sequence[Task],
        asked: Mapping[str, Any],
        summary: Summary,
        progress: Progress | None,
    ) -> None:
        if order.known is not None:
            raise UsageError("alignment to known depths is not spread over a cluster: use engine plain")
        run = f"{time.time_ns():x}"
        chunks = [tasks[first : first + CHUNK] for first in range(0, len(tasks), CHUNK)]
        rows = [
            {"part": f"{PART}{run}-{number:06d}.jsonl", "tasks": pickle.dumps(chunk)}
            for number, chunk in enumerate(chunks)
        ]
        options = {"load": load, "order": order, "asked": dict(asked)}
        made = cluster.each(rows, Worker, options, read=_read, workers=workers, device=device)
        try:
            with closing(made):
                for row in made:
                    _count(row, summary, progress)
                    if order.stop_on_error and summary.failed:
                        break
        except KeyboardInterrupt:
            summary.interrupted = True
        finally:
            with Manifest(order.out, Past({}, {})) as manifest:
                manifest.take_parts()

    return work


def _count(row: cluster.Row, summary: Summary, progress: Progress | None) -> None:
    def tell(name: str) -> None:
        if progress:
            progress(summary.finished, summary.total, name)

    for name in json.loads(row["done"]):
        summary.done += 1
        tell(name)
    for failure in json.loads(row["failed"]):
        summary.failed.append(Failure(*failure))
        tell(failure[0])


def _read(row: cluster.Row) -> cluster.Row:
    """A chunk's inputs, undecoded; where one cannot be read, why."""
    data, faults = [], []
    for task in pickle.loads(row["tasks"]):
        try:
            data.append(image.stored_bytes(task.job.source))
            faults.append("")
        except LeadlineError as error:
            data.append(b"")
            faults.append(str(error))
    return row | {"data": data, "faults": faults}


@dataclass
class Worker:
    """What an actor does."""

    load: Callable[[], Any]
    order: Order
    asked: dict[str, Any]
    model: Predictor | None = None

    def __call__(self, row: cluster.Row) -> cluster.Row:
        """A chunk's inputs -> names of those that are done, and failures."""
        if self.model is None:
            self.model = self.load()
        tasks: list[Task] = pickle.loads(row["tasks"])
        stored = {
            task.job.name: (data, fault)
            for task, data, fault in zip(tasks, row["data"], row["faults"], strict=True)
        }

        def fetch(task: Task) -> bytes:
            data, fault = stored[task.job.name]
            if fault:
                raise ImageError(fault)
            return bytes(data)

        summary = Summary(len(tasks))
        part = self.order.out / row["part"]
        before = load_part(part)
        left = [
            task._replace(before=before.get(task.job.name, task.before))
            for task in tasks
            if task.job.name not in before or before[task.job.name].state != "done"
        ]
        with Manifest(self.order.out, Past({}, {}), row["part"]) as manifest:
            run = Run(self.order, manifest, summary, Stop(), fetch=fetch)
            run.go(left, partial(self.model.stream, **self.asked))
        entries = load_part(part)  # not all that did not fail: a run that stops leaves inputs untried
        done = [name for name in stored if name in entries and entries[name].state == "done"]
        return {"part": row["part"], "done": json.dumps(done), "failed": json.dumps(summary.failed)}
