"""Photographs -> their labels, in batches; a photograph that fails spoils none of the others."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leadline import colour, devices, image
from leadline.camera import Camera
from leadline.errors import LeadlineError
from leadline.image import Picture
from leadline.label.order import Networks, Order, sampling
from leadline.prediction import Kind, Prediction

T = TypeVar("T")
R = TypeVar("R")
Array = NDArray[Any]
KEPT = {"JPEG": "jpg", "PNG": "png", "WebP": "webp"}  # stored as they came; what any reader knows
QUALITY = 95  # of the JPEGs that other pictures become
RANGE = (2, 98)  # percentiles of a map, between which its range lies


class Photograph(NamedTuple):
    """A picture as it is stored and labelled."""

    picture: Picture  # uint8
    data: bytes
    suffix: str
    sha256: str  # of the bytes that it came as


@dataclass
class Labels:
    """What is said of a photograph."""

    depth: Prediction | None = None
    confidence: Array | None = None  # [H,W] in [0,1]
    classes: Any = None  # labellers.Classes
    caption: str | None = None


@dataclass
class Failed:
    """A photograph without labels."""

    stage: str  # read, depth, classes, captions, write
    reason: str


@dataclass
class _Row:
    """A photograph of a batch on its way."""

    photograph: Photograph
    labels: Labels = field(default_factory=Labels)
    failed: Failed | None = None


def prepare(data: bytes, name: str, order: Order) -> Photograph:
    """Stored bytes -> the photograph: upright, not larger than asked for. Raises ImageError.

    Files that any reader shows as they are labelled are kept byte by byte, others become JPEGs.
    """
    picture = image.read(data, max_pixels=order.max_pixels)
    kind = image.sniff(data[:32]) or ""
    rgb, camera = colour.as_bytes(picture.rgb), picture.camera
    scale = order.size / max(rgb.shape[:2]) if order.size else 1.0
    kept = scale >= 1 and kind in KEPT and not picture.notes
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in rgb.shape[:2])
        rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS))
        camera = camera and camera.resized(width, height)
    stored = data if kept else _jpeg(rgb)
    digest = hashlib.sha256(data).hexdigest()
    picture = replace(picture, rgb=rgb, camera=camera, name=name)
    return Photograph(picture, stored, KEPT[kind] if kept else "jpg", digest)


def _jpeg(rgb: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def label(
    photographs: Iterable[Photograph | Failed], networks: Networks
) -> Iterator[tuple[Photograph, Labels] | Failed]:
    """Each photograph with its labels, in order; what has failed already passes through."""
    photographs, size = iter(photographs), networks.order.batch_size
    while some := list(islice(photographs, size)):
        rows = [_Row(one) for one in some if isinstance(one, Photograph)]
        _depth(rows, networks)
        _classes(rows, networks)
        _captions(rows, networks)
        done = iter(rows)
        for one in some:
            if isinstance(one, Failed):
                yield one
            else:
                row = next(done)
                yield row.failed or (row.photograph, row.labels)


def _depth(rows: list[_Row], networks: Networks) -> None:
    model, order = networks.depth, networks.order
    if model is None:
        return

    def predict(pictures: Sequence[Picture]) -> list[Prediction | LeadlineError]:
        return list(model.stream(pictures, **sampling(order)))

    for row, found in _each("depth", rows, predict):
        row.labels.depth = found
        if found.uncertainty is not None:
            row.labels.confidence = _confidence(found.uncertainty, found)
    if order.confidence == "mirror":
        straight = [row for row in rows if row.failed is None]
        for row, found in _each("depth", straight, lambda some: predict([_mirrored(one) for one in some])):
            depth = row.labels.depth
            if depth is not None:
                apart = np.abs(_fitted(found.values[:, ::-1], depth) - depth.values)
                row.labels.confidence = _confidence(apart, depth)


def _classes(rows: list[_Row], networks: Networks) -> None:
    if networks.classes is not None:
        work = networks.classes
        for row, found in _each("classes", rows, lambda some: work([one.rgb for one in some])):
            row.labels.classes = found


def _captions(rows: list[_Row], networks: Networks) -> None:
    if networks.captions is not None:
        work = networks.captions
        for row, found in _each("captions", rows, lambda some: work([one.rgb for one in some])):
            row.labels.caption = " ".join(found.split())


def _each(
    stage: str, rows: list[_Row], work: Callable[[list[Picture]], Sequence[R | LeadlineError]]
) -> Iterator[tuple[_Row, R]]:
    """What `work` says of each row's picture. Where it breaks down, it is asked again for one at a time."""
    rows = [row for row in rows if row.failed is None]
    if not rows:
        return
    answers: Sequence[R | Exception]
    try:
        answers = work([row.photograph.picture for row in rows])
    except Exception as error:
        devices.release(error)
        answers = [_alone(work, row.photograph.picture) for row in rows]
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, Exception):
            row.failed = Failed(stage, reason(answer))
        else:
            yield row, answer


def _alone(work: Callable[[list[Picture]], Sequence[R | LeadlineError]], picture: Picture) -> R | Exception:
    try:
        (answer,) = work([picture])
    except Exception as error:
        devices.release(error)
        return error
    return answer


def reason(error: Exception) -> str:
    """Why, in one line."""
    words = str(error) if isinstance(error, LeadlineError) else f"{type(error).__name__}: {error}"
    return " ".join(words.split())[:300].removeprefix("image bytes: ")


def _mirrored(picture: Picture) -> Picture:
    camera: Camera | None = picture.camera and picture.camera.flipped()
    return replace(picture, rgb=np.ascontiguousarray(picture.rgb[:, ::-1]), camera=camera)


def _fitted(values: Array, depth: Prediction) -> Array:
    """Values [H,W] by the scale and shift that bring them nearest to a prediction; metres as they are."""
    if depth.kind is Kind.metric_depth:
        return values
    x, y = values.astype(np.float64), depth.values.astype(np.float64)
    spread = x - x.mean()
    scale = (spread * y).sum() / max((spread**2).sum(), 1e-12)
    return np.asarray(scale * spread + y.mean(), np.float32)


def _confidence(apart: Array, depth: Prediction) -> Array:
    """1 - disagreement in shares of the map's range, at least 0. [H,W] -> [H,W]."""
    low, high = np.percentile(depth.values, RANGE)
    return np.clip(1 - apart / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
