"""16-bit numbers of a PNG <-> values. The way is written into the file: value = count * scale + offset."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leadline.prediction import Kind, Prediction

MOST = 65535
METRIC_SCALES = {"millimetre": 0.001, "1/256 metre": 1 / 256}  # metres per count: most sensors; KITTI
OVERSHOOT = 1e-3  # affine depth so little outside [0,1] is clipped, not stretched: it is meant to be inside


class Encoding(NamedTuple):
    """value = count * scale + offset, in the unit of the kind; `invalid` is the count of invalid pixels."""

    scale: float
    offset: float = 0.0
    invalid: int | None = None


def encoding(prediction: Prediction, metric: str = "millimetre") -> Encoding:
    """The encoding of one prediction of a depth-like kind.

    Metric depth: millimetres, or 1/256 m; 0 is invalid. Values in [0,1] (affine depth): round(value * 65535).
    Unbounded values: stretched from their least to their largest. Where some pixels are invalid, 0 is kept
    for them.
    """
    if prediction.kind is Kind.metric_depth:
        return Encoding(METRIC_SCALES[metric], invalid=0)
    usable = _usable(prediction)
    invalid = None if usable.all() else 0
    low, high = _ends(prediction.values[usable])
    slack = OVERSHOOT if prediction.kind is Kind.affine_depth else 0
    if -slack <= low and high <= 1 + slack:
        return Encoding(1 / MOST, invalid=invalid)
    first = 0 if invalid is None else 1
    scale = (high - low) / (MOST - first) or 1.0
    return Encoding(scale, low - first * scale, invalid)


def to_counts(prediction: Prediction, encoding: Encoding) -> NDArray[np.uint16]:
    """Values [H,W] -> counts [H,W]. Metric depth too far to be counted becomes invalid: no false number.

    >>> depth = Prediction(np.array([[0.0, 1.2344, 70.0]], np.float32), Kind.metric_depth)
    >>> to_counts(depth, encoding(depth)).tolist()
    [[0, 1234, 0]]
    """
    usable = _usable(prediction)
    values = np.where(usable, prediction.values, encoding.offset).astype(np.float64)
    counts = np.rint((values - encoding.offset) / encoding.scale)
    if prediction.kind is Kind.metric_depth:
        usable = usable & (counts <= MOST)
    counts = np.clip(counts, 0 if encoding.invalid is None else 1, MOST)
    return np.where(usable, counts, encoding.invalid or 0).astype(np.uint16)


def from_counts(
    counts: NDArray[np.uint16], encoding: Encoding
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Counts [H,W] -> values float32 [H,W] (0 where invalid), and where they are valid (None: everywhere)."""
    values = (counts * encoding.scale + encoding.offset).astype(np.float32)
    if encoding.invalid is None:
        return values, None
    valid = counts != encoding.invalid
    return np.where(valid, values, np.float32(0)), None if valid.all() else valid


def _usable(prediction: Prediction) -> NDArray[np.bool_]:
    usable: NDArray[np.bool_] = np.isfinite(prediction.values)
    if prediction.kind is Kind.metric_depth:
        usable = usable & (prediction.values > 0)
    return usable if prediction.valid is None else usable & prediction.valid


def _ends(values: NDArray[Any]) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
