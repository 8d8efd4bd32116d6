"""Which inputs are to be done, by what the manifest and the disk say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from leadline.errors import UsageError
from leadline.jobs.inputs import Job
from leadline.jobs.manifest import Entry, Past, Stamp, digest


class Task(NamedTuple):
    """A job that is to be done."""

    job: Job
    stamp: Stamp
    before: Entry | None = None  # what an earlier run did for this name


def due(
    jobs: Iterable[Job],
    past: Past,
    folder: Path,
    settings: Mapping[str, Any],
    formats: Iterable[str],
    overwrite: bool = False,
) -> list[Task]:
    """The jobs without complete results: never done, failed, interrupted, edited since, or lacking a format.

    Raises UsageError if results of other inputs, or of other settings, are in the way, unless `overwrite`,
    which makes every job due.
    """
    tasks, strangers, outdated, wanted = [], [], [], digest(settings)
    for job in jobs:
        task = Task(job, stamp_of(job.source), past.entries.get(job.name))
        before = task.before
        if before is None or overwrite or not before.outputs:
            tasks.append(task)
        elif _is_stranger(task):
            strangers.append(task)
        elif before.state == "done" and before.settings != wanted:
            outdated.append(task)
        elif not (_is_done(task, formats) and all(os.path.lexists(folder / name) for name in before.outputs)):
            tasks.append(task)
    _refuse_strangers(strangers, folder)
    _refuse_outdated(outdated, folder, past, settings)
    return tasks


def stamp_of(source: str) -> Stamp:
    """Size and time of an input; (-1, -1) if it is not there."""
    try:
        status = os.stat(source)
    except (OSError, ValueError):  # ValueError: a NUL in a list's line
        return Stamp(-1, -1)
    return Stamp(status.st_size, status.st_mtime_ns)


def _is_done(task: Task, formats: Iterable[str]) -> bool:
    before = task.before
    return (
        before is not None
        and before.state == "done"
        and before.stamp == task.stamp
        and set(formats) <= set(before.formats)
    )


def _is_stranger(task: Task) -> bool:
    """Whether the name belongs to another file. One that has only been moved here is none."""
    before = task.before
    if before is None or before.input == task.job.source:
        return False
    return before.stamp != task.stamp or os.path.lexists(before.input)


def _refuse_strangers(tasks: list[Task], folder: Path) -> None:
    for job, _, before in tasks[:1]:
        raise UsageError(
            f"{folder} holds results of other inputs under {len(tasks)} of the names needed ({job.name} is "
            f"of {before.input if before else ''}, not of {job.source}): "
            "choose another output folder, or overwrite (--overwrite)"
        )


def _refuse_outdated(tasks: list[Task], folder: Path, past: Past, settings: Mapping[str, Any]) -> None:
    for _, _, before in tasks[:1]:
        old = past.settings.get(before.settings if before else "", {})
        changes = [_change(key, old.get(key), now) for key, now in settings.items() if old.get(key) != now]
        raise UsageError(
            f"{folder} holds {len(tasks)} results of other settings ({', '.join(changes) or 'unknown'}): "
            "choose the same settings, another output folder, or overwrite (--overwrite)"
        )


def _change(key: str, old: Any, now: Any) -> str:
    words = f"{key} {old} -> {now}"
    return words if len(words) < 80 else f"another {key}"  # a camera is many numbers
