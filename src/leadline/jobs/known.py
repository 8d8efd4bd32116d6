"""What is known of the depths in a run's pictures, and predictions aligned to it.

Known depths come from a file of points, a depth map of any size with the photo's shape, a folder with one of
these for each picture, or another model that predicts metres.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leadline import save
from leadline.align import METHODS, read_points
from leadline.errors import DataError, LeadlineError, SaveError, UsageError, did_you_mean, printable
from leadline.image import Picture
from leadline.jobs.inputs import Job
from leadline.prediction import Kind, Prediction

Array = NDArray[Any]
POINTS = (".csv", ".txt", ".tsv")
MAPS = (".npy", ".npz", ".exr", ".pfm", ".tiff", ".tif", ".png")
ENDINGS = ("", "_depth", "_depth_16bit")  # of a stem, in the folder of known depths
SAME_SHAPE = 0.02  # how far apart the shapes of photo and map may be


class Source(Protocol):
    """What is needed of a model whose metres others are aligned to; `leadline.load` gives one."""

    @property
    def kind(self) -> Kind: ...
    @property
    def card(self) -> Any: ...

    def stream(self, images: Iterable[Any]) -> Iterator[Prediction | LeadlineError]:
        """One result per picture, in order."""


@dataclass
class Known:
    """Known depths of pictures: from `source`, a file or a folder, or from a model of metric depth.

    method: of `leadline.align`; None is least squares, and no refit of metric models. scale: metres of one
    count, for 16-bit PNGs that do not say it. Raises UsageError for what cannot be.
    """

    source: Path | Source
    method: str | None = None
    scale: float | None = None
    residuals: list[float] = field(default_factory=list)  # median of each picture aligned so far

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"alignment method is {self.method!r}: {did_you_mean(self.method, METHODS)}")
        if isinstance(self.source, Path):
            if not self.source.exists():
                raise UsageError(f"{self.source}: no such file or folder of known depths; check the name")
            if self.source.is_file() and self.source.suffix.lower() not in POINTS + MAPS:
                raise UsageError(f"{self.source}: known depths are {', '.join(POINTS + MAPS)}, or a folder")
        elif self.source.kind is not Kind.metric_depth:
            raise UsageError(
                f"model {self.source.card.name} gives {self.source.kind}, metres are needed to align to: "
                "choose a metric model"
            )

    def check(self, predicted: Kind, jobs: Sequence[Job] = ()) -> Kind:
        """What predictions of a kind become; jobs: of the run, if it is one.

        Raises UsageError for what cannot be aligned, and where two pictures would take one file of a folder.
        """
        if len(jobs) > 1 and isinstance(self.source, Path) and self.source.is_file():
            raise UsageError(
                f"{self.source} holds the known depths of one picture, {len(jobs)} are given: "
                "give a folder with a file of the same stem for each"
            )
        if not predicted.is_depth:
            raise UsageError(f"{predicted} cannot be aligned to known depths: choose a model of depth")
        if predicted is Kind.metric_depth and self.method is None:
            raise UsageError(
                "the model gives metres already: to refit them all the same, choose an alignment method, "
                "such as log_median for a scale alone"
            )
        if isinstance(self.source, Path) and self.source.is_dir():
            _refuse_shared(self.source, jobs)
        return Kind.metric_depth

    @property
    def settings(self) -> dict[str, Any]:
        """What results depend on, as JSON types."""
        words: dict[str, Any] = {"method": self.method, "scale": self.scale}
        if not isinstance(self.source, Path):
            return words | {"model": self.source.card.name}
        content = {}
        if self.source.is_file():
            content = {"content": hashlib.blake2b(self.source.read_bytes(), digest_size=6).hexdigest()}
        return words | {"file": self.source.name} | content

    def align(self, prediction: Prediction, picture: Picture, job: Job | None = None) -> Prediction:
        """A picture's prediction in metres; job: of the run, if it is one.

        Raises LeadlineError with one line that says why not.
        """
        known = self._of(picture, job or Job(picture.name, ""))
        aligned = prediction.align_to(known, method=self.method, allow_negative_scale=False)
        self.residuals.append(aligned.settings["align"]["residual_median"])
        return aligned

    def __str__(self) -> str:
        """How well it went, in one line; nothing before the first picture."""
        if not self.residuals:
            return ""
        worst = f", of the worst picture {max(self.residuals):.2%}" if len(self.residuals) > 1 else ""
        return f"aligned to known depths: median residual {np.median(self.residuals):.2%}{worst}"

    def _of(self, picture: Picture, job: Job) -> Array:
        """Known depths: a map of the picture's size, or points [N,3]."""
        if not isinstance(self.source, Path):
            return _predicted(self.source, picture)
        file = self.source if self.source.is_file() else _beside(self.source, job)
        if file.suffix.lower() in POINTS:
            return read_points(file)
        try:
            stored = save.read(file, kind=Kind.metric_depth, scale=self.scale)
        except SaveError as error:
            raise DataError(str(error).replace("pass kind= and scale=", "give --align-scale")) from error
        return _as_points(stored, picture, file)


def _predicted(model: Source, picture: Picture) -> Array:
    (result,) = model.stream([picture])
    if isinstance(result, LeadlineError):
        raise result
    return _masked(result)


def _beside(folder: Path, job: Job) -> Path:
    """A picture's file of known depths."""
    found = _found(folder, job)
    if found is None:
        stem = printable(PurePath(job.source).stem)
        raise DataError(
            f"{folder} holds no known depths of it: no {stem}.csv, {stem}.png, {stem}_depth.npy ..."
        )
    return found


def _found(folder: Path, job: Job) -> Path | None:
    """The first of a picture's files: by the name of its results, in a tree like that of the pictures, or in
    the folder itself.
    """
    stem = PurePath(job.source).stem
    places = dict.fromkeys([job.name or stem, str(PurePath(job.name).parent / stem), stem])
    words = (place + ending + suffix for place in places for ending in ENDINGS for suffix in POINTS + MAPS)
    return next((folder / word for word in words if os.path.isfile(folder / word)), None)


def _refuse_shared(folder: Path, jobs: Sequence[Job]) -> None:
    """Two pictures of one file: one of them would be brought to the other's metres."""
    count = Counter(PurePath(job.source).stem for job in jobs)
    taken: dict[Path | None, Job] = {}
    for job in (job for job in jobs if count[PurePath(job.source).stem] > 1):
        file = _found(folder, job)
        other = taken.setdefault(file, job)
        if file is not None and other is not job:
            raise UsageError(
                f"{printable(str(file))} has the stem of {printable(other.source)} and of "
                f"{printable(job.source)}: lay known depths in folders like those of the pictures"
            )


def _masked(prediction: Prediction) -> Array:
    """Metres [H,W], NaN where not valid."""
    valid = prediction.valid
    return prediction.metres() if valid is None else np.where(valid, prediction.metres(), np.nan)


def _as_points(stored: Prediction, picture: Picture, file: Path) -> Array:
    """A stored map for a picture: as it is if the sizes agree, else its pixels' centres as points."""
    depth_m = _masked(stored)
    height, width = depth_m.shape
    if (height, width) == (picture.height, picture.width):
        return depth_m
    across, down = picture.width / width, picture.height / height
    if abs(across / down - 1) > SAME_SHAPE:
        raise DataError(
            f"{file} has {width}x{height} pixels, another shape than the photo's {picture.width}x"
            f"{picture.height}: crop one like the other"
        )
    rows, columns = np.nonzero(np.isfinite(depth_m))
    return np.stack([(columns + 0.5) * across, (rows + 0.5) * down, depth_m[rows, columns]], axis=1)
