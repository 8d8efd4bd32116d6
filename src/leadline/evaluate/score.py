"""One picture's prediction, or several to be averaged, with its truth and a protocol -> its figures.

Align, clip, measure, in this order. Everything here is a pure function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from leadline import align, crops
from leadline.align import Aligned
from leadline.data.sample import Array, Sample
from leadline.errors import DataError, KindError, LeadlineError, ShapeError
from leadline.metrics import boundary, depth, normals, ordinal
from leadline.metrics.summary import Pool
from leadline.prediction import Kind, Prediction
from leadline.protocols import Protocol, Rule, Space

# what the names of protocols mean to leadline.align: a space and a method
FITS: dict[Space, dict[str, Any]] = {
    "none": {"method": "none"},
    "depth": {},
    "disparity": {"space": "disparity", "positive_only": True},
    "log": {"space": "log"},
    "loglog": {"space": "loglog"},
    "median": {"method": "median"},
    "scale": {"method": "scale"},
}
PLACE = (None, None, ...)  # [H,W] -> [1,1,H,W]


class UnmeasurableError(LeadlineError):
    """A picture has no figures, and no one made a mistake: it is left out and counted."""


class Score(NamedTuple):
    """A picture's figures by name; what it weighs in the data set's; its errors, where all are pooled.

    reversed: whether a fit has a negative scale: the prediction runs against the truth.
    """

    values: dict[str, float]
    weight: float = 1.0
    errors: Pool | None = None
    reversed: bool = False


class Truth(NamedTuple):
    """Depths in metres and where they count, [1,1,H,W] each."""

    depth_m: Tensor
    counts: Tensor


def score(predictions: Sequence[Prediction], sample: Sample, protocol: Protocol, rule: Rule) -> Score:
    """The figures of one prediction, or of the mean of several, of a sample that `views.cut` has made.

    Several are aligned each, and their disparities averaged. Raises UnmeasurableError where nothing counts,
    or predictions are not finite where they count; KindError for kinds that the protocol does not score;
    DataError for a sample without what it measures; ShapeError for predictions of another size.
    """
    for prediction in predictions:
        height, width = sample.size
        if (prediction.height, prediction.width) != (height, width):
            size = f"{height}x{width}{f' (crop {rule.crop})' if rule.crop else ''}"
            raise ShapeError(
                f"the prediction has {prediction.height}x{prediction.width} pixels, the picture {size}: "
                "predict at the picture's own size"
            )
    found = MEASURES[protocol.measure](predictions, sample, protocol, rule)
    for name, value in found.values.items():
        if not np.isfinite(value):
            raise UnmeasurableError(f"{name} is {value}")
    return found


def _depth(predictions: Sequence[Prediction], sample: Sample, protocol: Protocol, rule: Rule) -> Score:
    truth = known_depths(sample, rule)
    values: dict[str, float] = {}
    against = False
    ways = zip(*(protocol.spaces(prediction.kind) for prediction in predictions), strict=False)
    for place, (space, *_) in enumerate(ways):  # of several: those that all have, the first at least
        fits = [_fit(prediction, truth, protocol, rule, place) for prediction in predictions]
        found = depth.every(_joined(fits), *truth, protocol.metrics)
        values |= {name if place == 0 else f"{name}@{space}": x.item() for name, x in found.items()}
        against |= any(fit.scale.item() < 0 for fit in fits)
    return Score(_rounded(values, protocol), reversed=against)


def _boundary_f1(predictions: Sequence[Prediction], sample: Sample, protocol: Protocol, rule: Rule) -> Score:
    truth = known_depths(sample, rule)
    metres = in_metres(predictions, truth, protocol, rule)
    return Score({"boundary_f1": boundary.boundary_f1(metres, *truth).item()})


def _boundary_recall(
    predictions: Sequence[Prediction], sample: Sample, protocol: Protocol, rule: Rule
) -> Score:
    prediction, matte = _one(predictions, protocol), _field(sample, "matte")
    if not matte.any():
        raise UnmeasurableError("its matte is empty")
    values = _values(prediction, protocol)
    if protocol.spaces(prediction.kind)[0] == "zero":
        values = boundary.with_zero(values, prediction.kind)
    return Score({"boundary_recall": boundary.boundary_recall(values, torch.from_numpy(matte)[PLACE]).item()})


def _normals(predictions: Sequence[Prediction], sample: Sample, protocol: Protocol, rule: Rule) -> Score:
    prediction, target = _one(predictions, protocol), _field(sample, "normals")
    counts = sample.valid & np.isfinite(target).all(-1) & (target != 0).any(-1)
    if not counts.any():
        raise UnmeasurableError("no pixel counts: nothing is valid")
    _check_finite(prediction, counts)
    pair = [
        torch.from_numpy(np.ascontiguousarray(x)).movedim(-1, 0)[None] for x in (prediction.normals, target)
    ]
    errors = normals.pool(normals.angular_error(*pair), torch.from_numpy(counts)[PLACE])
    found = normals.summary(errors, protocol.decimals)
    pooled = errors if protocol.reduction == "pixels" else None
    return Score({name: found[name] for name in protocol.metrics}, errors=pooled)


def _order(predictions: Sequence[Prediction], sample: Sample, protocol: Protocol, rule: Rule) -> Score:
    prediction, pairs = _one(predictions, protocol), _field(sample, "pairs")
    if not len(pairs):
        raise UnmeasurableError("it has no pairs of points")
    right = ordinal.nearer(prediction.depth, prediction.kind, pairs)
    return Score({"accuracy": right.mean().item()}, weight=len(pairs))


MEASURES: dict[str, Callable[[Sequence[Prediction], Sample, Protocol, Rule], Score]] = {
    "depth": _depth,
    "normals": _normals,
    "boundary-f1": _boundary_f1,
    "boundary-recall": _boundary_recall,
    "order": _order,
}


def known_depths(sample: Sample, rule: Rule) -> Truth:
    """Where a rule counts them. Raises UnmeasurableError if none does."""
    depth_m = _field(sample, "depth_m")
    counts = sample.valid & np.isfinite(depth_m) & (depth_m > 0)
    if rule.range is not None:
        near, far = rule.range
        counts &= (depth_m > near) & (depth_m < (np.inf if far is None else far))
    if rule.box is not None:
        counts &= crops.box(rule.box, *sample.size).mask(*sample.size)
    if not counts.any():
        raise UnmeasurableError("no pixel counts: none is valid, in range and in the box")
    return Truth(torch.from_numpy(np.where(counts, depth_m, 0))[PLACE], torch.from_numpy(counts)[PLACE])


def in_metres(
    predictions: Sequence[Prediction], truth: Truth, protocol: Protocol, rule: Rule, place: int = 0
) -> Tensor:
    """[1,1,H,W]: aligned as the protocol says (of several ways by the one at `place`), clipped; of several
    predictions the mean.
    """
    return _joined([_fit(prediction, truth, protocol, rule, place) for prediction in predictions])


def _joined(fits: Sequence[Aligned]) -> Tensor:
    """The depth of one fit; of several, the one whose disparity is their mean."""
    maps = [fit.depth_m for fit in fits]
    return maps[0] if len(maps) == 1 else 1 / torch.stack([1 / x for x in maps]).mean(0)


def _fit(prediction: Prediction, truth: Truth, protocol: Protocol, rule: Rule, place: int) -> Aligned:
    """Aligned and clipped."""
    space = protocol.spaces(prediction.kind)[place]
    if protocol.not_finite == "refuse":
        _check_finite(prediction, truth.counts[0, 0].numpy())
    raw = prediction.disparity() if space == "disparity" else prediction.depth
    values = torch.from_numpy(np.ascontiguousarray(raw))[PLACE]
    fit = align.depths(values, *truth, **FITS[space], max_res=rule.max_res, max_res_mode=rule.max_res_mode)
    near, far = _range(truth, rule)
    if protocol.measure == "boundary-f1" and space == "none":
        near, far = 0.0, np.inf  # any scale is as good: the truth's range says nothing about it
    missing: Literal["near", "keep"] = "near" if protocol.not_finite == "clip" else "keep"
    return fit._replace(depth_m=align.clip(fit.depth_m, near, far, missing=missing))


def _range(truth: Truth, rule: Rule) -> tuple[float, float]:
    """Nearest and farthest depth that a prediction may have."""
    if rule.clip == "truth":
        known = truth.depth_m[truth.counts]
        return known.min().item(), known.max().item()
    near, far = rule.clip or rule.range or (0.0, None)
    return near, np.inf if far is None else far


def _values(prediction: Prediction, protocol: Protocol) -> Tensor:
    if protocol.not_finite == "refuse":
        _check_finite(prediction, np.ones(prediction.values.shape[:2], bool))
    return torch.from_numpy(np.ascontiguousarray(prediction.depth))[PLACE]


def _check_finite(prediction: Prediction, counts: Array) -> None:
    finite = np.isfinite(prediction.values)
    finite = finite.all(-1) if prediction.kind is Kind.normals else finite
    missing = counts & ~finite if prediction.valid is None else counts & ~(finite & prediction.valid)
    if missing.any():
        raise UnmeasurableError(
            f"the prediction is not finite at {missing.sum()} of {counts.sum()} pixels that count"
        )


def _one(predictions: Sequence[Prediction], protocol: Protocol) -> Prediction:
    if len(predictions) > 1:
        raise KindError(f"protocol {protocol.name} has no known depths to align to: no average is defined")
    protocol.spaces(predictions[0].kind)
    return predictions[0]


def _field(sample: Sample, name: str) -> Array:
    found: Array | None = getattr(sample, name)
    if found is None:
        what = {"depth_m": "depth", "pairs": "pairs of points"}.get(name, name)
        raise DataError(f"{sample.name} has no {what}, which the protocol measures: choose another")
    return found


def _rounded(values: dict[str, float], protocol: Protocol) -> dict[str, float]:
    if protocol.decimals is None:
        return values
    return {name: round(value, protocol.decimals) for name, value in values.items()}
