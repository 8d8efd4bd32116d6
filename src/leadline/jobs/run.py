"""Inputs -> results in a folder: resumable, in constant memory; one bad file never spoils the rest.

Three things go on at once: a thread reads the next pictures, this thread predicts, a thread encodes and
writes the last results. What happens to an input is in the manifest before it is reported.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from leadline import image, save
from leadline.camera import Camera
from leadline.captions import Captions
from leadline.errors import LeadlineError, SaveError, UsageError, printable
from leadline.image import Picture
from leadline.jobs.due import Task, due
from leadline.jobs.flow import Stop, interruptible, overlapped
from leadline.jobs.inputs import collect
from leadline.jobs.known import Known
from leadline.jobs.manifest import Entry, Manifest, State, digest, load
from leadline.jobs.settings import CameraOf, Predictor, of_run
from leadline.prediction import Prediction
from leadline.save.files import inside, write_bytes

logger = logging.getLogger(__name__)
Stage = Literal["read", "predict", "align", "write"]
Progress = Callable[[int, int, str], None]
Stream = Callable[[Iterable[Picture]], Iterator[Prediction | LeadlineError]]

READ_AHEAD, WRITE_BEHIND = 2, 1  # pictures and results held beside those at work
HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO}  # the next file fares no better


class Failure(NamedTuple):
    """An input without result."""

    name: str
    stage: Stage
    reason: str


@dataclass
class Summary:
    """What a run did."""

    total: int = 0  # inputs
    done: int = 0
    skipped: int = 0  # done by earlier runs, with the same settings
    failed: list[Failure] = field(default_factory=list)
    interrupted: bool = False  # by Ctrl-C

    @property
    def finished(self) -> int:
        """Inputs that need no more of this run."""
        return self.done + self.skipped + len(self.failed)

    def __str__(self) -> str:
        """One line.

        >>> str(Summary(5, done=2, skipped=1, failed=[Failure("x", "read", "empty")]))
        '2 done, 1 done before, 1 failed; stopped with 1 left: run the same command again to go on'
        """
        parts = [f"{self.done} done"]
        parts += [f"{self.skipped} done before"] if self.skipped else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        left = self.total - self.finished
        rest = f"; stopped with {left} left: run the same command again to go on" if left else ""
        return ", ".join(parts) + rest


@dataclass(frozen=True)
class Order:
    """What is asked of a run."""

    out: Path
    settings: str  # hash
    formats: tuple[str, ...]
    style: save.Style
    overwrite: bool
    stop_on_error: bool
    camera: Camera | CameraOf | None
    max_pixels: int
    known: Known | None


Crew = Callable[[Order, Sequence[Task], Mapping[str, Any], Summary, Progress | None], None]


class Shot(NamedTuple):
    """What is to be written for one input."""

    task: Task
    outputs: list[save.Output]
    names: tuple[str, ...]  # of all files that are the input's then, older ones too


def files(
    inputs: Iterable[str | Path],
    out: str | Path,
    *,
    model: Predictor,
    formats: Iterable[str] | None = None,
    style: save.Style | None = None,
    seed: int = 0,
    batch_size: int = 1,
    processing_res: int | None = None,
    steps: int | None = None,
    ensemble_size: int | None = None,
    uncertainty: bool = False,
    tile: int | None = None,
    also: Sequence[str] = (),
    captions: Captions | None = None,
    camera: Camera | CameraOf | None = None,
    known: Known | None = None,
    max_pixels: int = image.MAX_PIXELS,
    recursive: bool = False,
    overwrite: bool = False,
    on_error: Literal["continue", "stop"] = "continue",
    progress: Progress | None = None,
    crew: Crew | None = None,
) -> Summary:
    """Predict every input (see `collect`) and write the results below `out` (see `save.write`).

    `steps`, `ensemble_size`, `uncertainty`, `tile`, `also` and `captions` are those of
    `leadline.predict.Model.stream`.
    `camera` is of every upright image, or a call (width, height) -> Camera; without one, EXIF is asked.
    `known` are depths that predictions are aligned to; a picture for which that fails has no result.
    What an earlier run did with the same settings is skipped; an input that was edited since, or whose
    results are gone or lack a format, is done again. Inputs that fail are recorded, with stage and reason,
    and the run goes on, unless `on_error` is "stop"; the next run tries them again. Files that no run wrote
    are never replaced, except by `overwrite`, which also does everything again.

    Ctrl-C (in the main thread) finishes what is at work and returns; a second one interrupts at once. A
    killed run leaves no half file, and the next one goes on. `progress(finished, total, name)` is called
    after each input. crew: who works on the inputs in this process's place (`jobs.on_cluster.crew`); `model`
    then only says what it is.

    Raises UsageError if nothing is found, a format cannot hold the model's kind, or `out` holds results of
    other settings or inputs; SaveError if the disk is full or `out` cannot be written.
    """
    if on_error not in ("continue", "stop"):
        raise UsageError(f"on_error is {on_error!r}, 'continue' or 'stop' is needed")
    out, style = Path(out), style or save.Style()
    past = load(out)
    written = {name for entry in past.entries.values() for name in entry.outputs}
    jobs = collect(inputs, recursive, out=out, written=written)
    kind = known.check(model.kind, jobs) if known else model.kind
    chosen = save.choose(formats, kind, style)
    asked: dict[str, Any] = {"processing_res": processing_res, "seed": seed} | _given(
        steps=steps,
        ensemble_size=ensemble_size,
        tile=tile or None,
        uncertainty=uncertainty or "uncertainty" in chosen or None,
        also=list(also) or None,
        captions=captions,
    )
    settings = of_run(model, style, asked, camera=camera, known=known)
    tasks = due(jobs, past, out, settings, chosen, overwrite)
    summary = Summary(len(jobs), skipped=len(jobs) - len(tasks))
    if not tasks:
        return summary
    stop_on_error = on_error == "stop"
    order = Order(out, digest(settings), chosen, style, overwrite, stop_on_error, camera, max_pixels, known)
    asked["batch_size"] = batch_size  # no setting: it changes results by rounding only
    with Manifest(out, past) as manifest:
        if order.settings not in past.settings:
            manifest.begin(settings)
        if crew is not None:
            crew(order, tasks, asked, summary, progress)
            return summary
        with interruptible() as stop:
            Run(order, manifest, summary, stop, progress).go(tasks, partial(model.stream, **asked))
            summary.interrupted = stop.interrupted
    return summary


def _given(**options: Any) -> dict[str, Any]:
    """Those that are not None: an option that came later leaves older runs' settings as they were."""
    return {name: value for name, value in options.items() if value is not None}


class Run:
    """One pass over the tasks. fetch: what a task's picture is read from, in place of its file."""

    def __init__(
        self,
        order: Order,
        manifest: Manifest,
        summary: Summary,
        stop: Stop,
        progress: Progress | None = None,
        fetch: Callable[[Task], Any] = lambda task: task.job.source,
    ) -> None:
        self.order, self.manifest, self.summary = order, manifest, summary
        self.stop, self.progress, self.fetch = stop, progress, fetch
        self.broken: SaveError | None = None  # the manifest itself could not be written

    def go(self, tasks: Iterable[Task], stream: Stream) -> None:
        with (
            closing(overlapped(tasks, self._read, READ_AHEAD)) as reads,
            closing(overlapped(self._shots(reads, stream), self._write, WRITE_BEHIND)) as writes,
        ):
            for shot, writing in writes:
                self._finish(shot, writing)
        if self.broken:
            raise self.broken

    def _read(self, task: Task) -> Picture:
        picture = image.read(self.fetch(task), max_pixels=self.order.max_pixels)
        camera = self.order.camera
        if camera is not None and not isinstance(camera, Camera):
            camera = camera(picture.width, picture.height)
        return replace(image.read(picture, camera=camera), name=task.job.source)  # of bytes too

    def _shots(self, reads: Iterator[tuple[Task, Future[Picture]]], stream: Stream) -> Iterator[Shot]:
        """Predict the readable pictures. If the model breaks down, find out alone which picture it was."""
        handed: deque[tuple[Task, Picture]] = deque()  # given to the model, not yet come back

        def pictures() -> Iterator[Picture]:
            for task, reading in reads:
                if self.stop.is_set():
                    return
                try:
                    handed.append((task, reading.result()))
                except Exception as error:
                    self._fail(task, "read", error)
                else:
                    yield handed[-1][1]

        while True:
            try:
                for result in stream(pictures()):
                    yield from self._shot(*handed.popleft(), result)
                return
            except Exception:
                if not handed:
                    raise
                logger.debug("the model broke down; its pictures go one by one", exc_info=True)
            while handed:
                task, picture = handed.popleft()
                try:
                    (result,) = stream([picture])
                except Exception as error:
                    self._fail(task, "predict", error)
                else:
                    yield from self._shot(task, picture, result)

    def _shot(self, task: Task, picture: Picture, result: Prediction | LeadlineError) -> Iterator[Shot]:
        """The files to write for a prediction; none if it failed, or if others' files are in their place."""
        if isinstance(result, LeadlineError):
            self._fail(task, "predict", result)
            return
        if self.order.known:
            try:
                result = self.order.known.align(result, picture, task.job)
            except LeadlineError as error:
                self._fail(task, "align", error)
                return
        rgb = None if save.COLOURED.isdisjoint(self.order.formats) else picture.rgb
        before = task.before.outputs if task.before else ()
        try:
            outputs = save.plan(result, task.job.name, self.order.formats, rgb=rgb, style=self.order.style)
            names = [output.name for output in outputs]
            self._refuse_strangers(name for name in names if name not in before)
        except LeadlineError as error:
            self._fail(task, "write", error)
        else:
            older = (name for name in before if os.path.lexists(self.order.out / name))
            yield Shot(task, outputs, tuple(dict.fromkeys([*names, *older])))

    def _refuse_strangers(self, names: Iterable[str]) -> None:
        for path in (self.order.out / name for name in names):
            if os.path.lexists(path) and not self.order.overwrite:
                raise SaveError(
                    f"{path} exists, and no run wrote it: move it, choose another output folder, or "
                    "overwrite (--overwrite)"
                )

    def _write(self, shot: Shot) -> None:
        """In the writer's thread. The claim comes first, so that a killed run knows its own files again."""
        self.manifest.put(shot.task.job.name, self._entry(shot.task, "writing", outputs=shot.names))
        for output in shot.outputs:
            write_bytes(inside(self.order.out, output.name), output.encode())

    def _finish(self, shot: Shot, writing: Future[None]) -> None:
        try:
            writing.result()
        except Exception as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in HOPELESS:
                raise
            self._fail(shot.task, "write", error, shot.names)
        else:
            self.manifest.put(shot.task.job.name, self._entry(shot.task, "done", outputs=shot.names))
            self.summary.done += 1
            self._report(shot.task)

    def _fail(self, task: Task, stage: Stage, error: Exception, outputs: tuple[str, ...] = ()) -> None:
        """Record a failure. Never raises: the model's own loop may be the caller."""
        reason = str(error) if isinstance(error, LeadlineError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split()).removeprefix(f"{printable(task.job.source)}: ")
        reason = reason.removeprefix("image bytes: ")
        logger.debug("%s: %s", task.job.source, reason, exc_info=error)
        self.summary.failed.append(Failure(task.job.name, stage, reason))
        outputs = outputs or (task.before.outputs if task.before else ())
        entry = self._entry(task, "failed", outputs=outputs, stage=stage, reason=reason)
        try:
            self.manifest.put(task.job.name, entry)
        except SaveError as full:
            self.broken = full
        if self.broken or self.order.stop_on_error:
            self.stop.set()
        self._report(task)

    def _entry(self, task: Task, state: State, **more: Any) -> Entry:
        formats, before = self.order.formats, task.before
        if before and (before.settings, before.stamp) == (self.order.settings, task.stamp):
            formats += tuple(name for name in before.formats if name not in formats)  # they stand there still
        return Entry(task.job.source, task.stamp, state, self.order.settings, formats, **more)

    def _report(self, task: Task) -> None:
        if self.progress:
            self.progress(self.summary.finished, self.summary.total, task.job.name)
