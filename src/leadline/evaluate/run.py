"""The loop: pictures are read ahead, predicted by all models that are needed together, scored, recorded.

A picture's record is on disk before the next one is scored: a kill loses one picture at most, and the same
command goes on behind it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from leadline.data.sample import Sample
from leadline.errors import LeadlineError
from leadline.evaluate import results, stored, views
from leadline.evaluate.ledger import Ledger, Record
from leadline.evaluate.models import Result
from leadline.evaluate.plan import Combination, Job, Part, groups
from leadline.evaluate.score import Score, UnmeasurableError, score
from leadline.evaluate.shards import Shard
from leadline.evaluate.sources import Data
from leadline.evaluate.stored import Meaning
from leadline.image import Picture
from leadline.jobs.flow import Stop, interruptible, overlapped
from leadline.machine import Memory, environment
from leadline.prediction import Prediction
from leadline.protocols import Rule

Say = Callable[[str], None]
Progress = Callable[[int, int | None, str], None]
Measured = list[tuple[Job, Ledger]]
T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What is asked of a run, beside what is measured. out: its folder."""

    out: Path
    shard: Shard = Shard()
    batch_size: int = 1
    save_predictions: bool = False
    overwrite: bool = False
    say: Say = lambda line: None
    progress: Progress = lambda done, total, name: None


@dataclass
class Outcome:
    """How a run ended. document: what `results.json` holds, if all is done. failed: pictures, and why."""

    document: dict[str, Any] | None = None
    failed: list[str] = field(default_factory=list)
    interrupted: bool = False


@dataclass
class Count:
    """Pictures of the whole run, every one once for each group of models."""

    total: int
    done: int = 0


class Shot(NamedTuple):
    """A picture on its way."""

    place: int
    name: str
    sample: Sample | LeadlineError  # as the protocol cuts it


class Made(NamedTuple):
    """What a model has made of a picture, and in which time, where it was made just now."""

    result: Result
    seconds: float | None = None


def run(jobs: Sequence[Job], order: Order, combinations: Sequence[Combination] = ()) -> Outcome:
    """Measure what `plan.choose` has planned.

    What earlier runs into the folder have done with the same settings is kept, unless it is to be
    overwritten. `results.json` is written when all pictures have records, by whichever process finishes last.
    Ctrl-C finishes the pictures at work and returns.

    Raises WeightsError or DeviceError for a model that cannot be loaded, UsageError for a folder that holds
    figures of other settings, SaveError where files cannot be written.
    """
    for job in jobs if order.overwrite else ():
        shutil.rmtree(job.folder(order.out), ignore_errors=True)
    measured: Measured = []
    grouped = groups(jobs)
    passes = [data for group in grouped for data in {job.data for job in group}]
    count = Count(sum(len(order.shard.places(data.pictures)) for data in passes))
    with interruptible() as stop:
        for group in grouped:
            if not stop.is_set():
                measured += _group(group, order, count, stop)
    return _finished(jobs, measured, order, combinations, stop.interrupted)


def _finished(
    jobs: Sequence[Job],
    measured: Measured,
    order: Order,
    combinations: Sequence[Combination],
    interrupted: bool,
) -> Outcome:
    """Write the results, if other processes have done their part too."""
    outcome = Outcome(interrupted=interrupted)
    for job, ledger in measured:
        ledger.refresh()
        mistakes = (record for record in ledger.records.values() if record.failed)
        outcome.failed += [f"{job.label} on {job.data.name}, {one.name}: {one.failed}" for one in mistakes]
    whole = all(len(ledger.records) == job.data.pictures for job, ledger in measured)
    if whole and len(measured) == len(jobs):
        measured.sort(key=lambda pair: jobs.index(pair[0]))
        outcome.document = results.write(order.out, measured, combinations)
    return outcome


def _group(group: Sequence[Job], order: Order, count: Count, stop: Stop) -> Measured:
    """Jobs of the same models, one data set after the other."""
    contenders = {part.contender.label: part.contender for job in group for part in job.parts}
    for contender in contenders.values():
        contender.start()
    measured: Measured = []
    for data in dict.fromkeys(job.data for job in group):
        with ExitStack() as ledgers:
            here = []
            for job in (job for job in group if job.data is data):
                order.say(str(job))
                ledger = Ledger(job.folder(order.out), job.facts(), order.shard, pooled=job.pooled)
                here.append((job, ledgers.enter_context(ledger)))
            _measure(data, here, order, count, stop)
        measured += here
    for contender in contenders.values():
        contender.stop()
    return measured


def _measure(data: Data, jobs: Measured, order: Order, count: Count, stop: Stop) -> None:
    """Jobs on one data set, a few pictures at a time."""
    rule, memory = jobs[0][0].rule, Memory()
    parts = {part.contender.label: part for job, _ in jobs for part in job.parts}
    for part in parts.values() if order.save_predictions else ():
        stored.describe(_folder(part, data, order), Meaning(part.contender.kind, model=part.contender.label))
    places = order.shard.places(data.pictures)
    due = [place for place in places if not all(ledger.has(place) for _, ledger in jobs)]
    count.done += len(places) - len(due)
    chunks = [due[i : i + order.batch_size] for i in range(0, len(due), order.batch_size)]
    for chunk, reading in overlapped(chunks, lambda chunk: [_read(data, place, rule) for place in chunk], 1):
        shots = reading.result()
        made = {label: _predicted(part, data, shots, order) for label, part in parts.items()}
        for job, ledger in jobs:
            for i, shot in enumerate(shots):
                if not ledger.has(shot.place):
                    ledger.put(*_scored(job, shot, [made[part.contender.label][i] for part in job.parts]))
        count.done += len(chunk)
        order.progress(count.done, count.total, data.name)
        if stop.is_set():
            break
    if due:
        for _, ledger in jobs:
            ledger.note(
                {"shard": f"{order.shard.number + 1}/{order.shard.of}", **environment(), **memory.peak()}
            )


def _read(data: Data, place: int, rule: Rule) -> Shot:
    try:
        sample = data.listed[place]
        return Shot(place, sample.name, views.cut(sample, rule))
    except LeadlineError as error:
        return Shot(place, data.listed.where(place), error)


def _predicted(part: Part, data: Data, shots: Sequence[Shot], order: Order) -> list[Made]:
    """One result per shot; those that a run has saved are read."""
    folder, rule = _folder(part, data, order), part.rules.rule(data.name)
    made: dict[int, Made] = {}
    pictures: dict[int, Picture] = {}
    for shot in shots:
        if isinstance(shot.sample, LeadlineError):
            made[shot.place] = Made(shot.sample)
        elif kept := _kept(folder, shot, part, rule) if order.save_predictions else None:
            made[shot.place] = Made(kept)
        else:
            pictures[shot.place] = views.picture(shot.sample, part.rules)
    start = time.perf_counter()
    found = part.contender.predict(list(pictures.values()), part.rules, data.name) if pictures else []
    seconds = (time.perf_counter() - start) / max(len(found), 1) if part.contender.live else None
    for (place, picture), result in zip(pictures.items(), found, strict=True):
        made[place] = Made(result, seconds)
        if order.save_predictions and isinstance(result, Prediction):
            stored.write(folder, stored.name_of(picture.name, result.kind, rule), result)
    return [made[shot.place] for shot in shots]


def _folder(part: Part, data: Data, order: Order) -> Path:
    """Of a model's predictions on a data set."""
    return Job(part.contender.label, (part,), data).folder(order.out) / "predictions"


def _kept(folder: Path, shot: Shot, part: Part, rule: Rule) -> Prediction | None:
    kind = part.contender.kind
    if not (folder / stored.name_of(shot.name, kind, rule)).is_file():
        return None
    try:
        return stored.read(folder, shot.name, rule, Meaning(kind))
    except LeadlineError:  # damaged: it is predicted and written anew
        return None


def _scored(job: Job, shot: Shot, made: Sequence[Made]) -> tuple[Record, Any]:
    """The record of a picture, and its errors where they are pooled."""
    kind = job.parts[0].contender.kind
    file = stored.name_of(shot.name, kind, job.rule)
    times = [one.seconds for one in made if one.seconds is not None]
    common: dict[str, Any] = {"place": shot.place, "name": shot.name, "file": file}
    common["seconds"] = sum(times) if len(times) == len(made) else None
    try:
        found = _score(job, shot, [one.result for one in made])
    except UnmeasurableError as error:
        return Record(**common, skipped=str(error)), None
    except LeadlineError as error:
        return Record(**common, failed=str(error)), None
    group = shot.sample.group if isinstance(shot.sample, Sample) else ""
    common |= {"values": found.values, "weight": found.weight, "reversed": found.reversed}
    return Record(**common, group=group), found.errors


def _score(job: Job, shot: Shot, made: Sequence[Result]) -> Score:
    """Raises what has gone wrong before."""
    predictions = [_raised(result) for result in made]
    return score(predictions, _raised(shot.sample), job.joint, job.rule)


def _raised(result: T | LeadlineError) -> T:
    if isinstance(result, LeadlineError):
        raise result
    return result
