"""In which quantity a fit is made: depth, disparity or a logarithm. A map of it becomes depth in metres.

A model's output is an affine function of the truth in one of them only: fitted in another, its numbers mean
little. Shapes: maps [B,1,H,W].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from leadline.align import fits, robust
from leadline.errors import UsageError, check_shape, did_you_mean

METHODS: dict[str, Callable[..., fits.Fit]] = {
    "least_squares": fits.fit,
    "scale": fits.scale_only,
    "median": fits.median,
    "median_ratio": fits.median_ratio,
    "log_median": fits.log_median,
    "midas": fits.midas,
    "huber": robust.huber,
    "trimmed": robust.trimmed,
    "ransac": robust.ransac,
    "none": fits.identity,
}
ONE_NUMBER = ("scale", "median", "median_ratio", "log_median")  # fit a scale alone
FARTHEST_M = 1e3  # what a fitted disparity of 0 or less becomes
SMALLEST = 1e-6  # in metres, and wherever a logarithm or an inverse is taken


class Space(NamedTuple):
    """A quantity that a prediction may be an affine function of."""

    of_depth: Callable[[Tensor], Tensor]
    to_depth: Callable[[Tensor], Tensor]
    of_pred: Callable[[Tensor], Tensor] = lambda x: x
    needs_positive_pred: bool = False


SPACES: dict[str, Space] = {
    "depth": Space(lambda z: z, lambda y: y),
    "disparity": Space(lambda z: 1 / z, lambda y: 1 / y),
    "log": Space(torch.log, torch.exp),
    "loglog": Space(torch.log, torch.exp, lambda x: x.clamp(min=SMALLEST).log(), needs_positive_pred=True),
}


class Aligned(NamedTuple):
    """Depth in metres [B,1,H,W], and the fit [B,1,1,1] that led there."""

    depth_m: Tensor
    scale: Tensor
    shift: Tensor


def depths(
    pred: Tensor,
    depth_m: Tensor,
    valid: Tensor,
    *,
    space: str = "depth",
    method: str = "least_squares",
    farthest_m: Tensor | float = FARTHEST_M,
    positive_only: bool = False,
    max_res: int | None = None,
    max_res_mode: Literal["columns", "both"] = "columns",
    **options: Any,
) -> Aligned:
    """Predicted maps, fitted to known depths in a space by a method, as depth.

    The fit sees the pixels of `valid`; apart from space "depth", those with depth_m > 0 among them; in
    "loglog", and anywhere with `positive_only` (Marigold in disparity), those with pred > 0 among these.
    farthest_m: in disparity, what is behind it is moved here, a number or [B,1,1,1] (MiDaS: the data set's
    cap; MoGe: the largest known depth).
    max_res: the fit sees maps of this longer edge at most, by the nearest pixels. "columns" leaves out
    columns only, as Marigold's code does; "both" rows too.
    options: of the method (`leadline.align.robust`). Results are not clipped: see `clip`.

    Raises UsageError for a space or method that does not exist, or two that do not go together.
    """
    _known("space", space, SPACES)
    _known("method", method, METHODS)
    if method in ONE_NUMBER and space in ("log", "loglog"):
        raise UsageError(f"method {method!r} fits a scale alone: take it in depth or disparity, not {space}")
    size = check_shape(pred, "B 1 H W", "pred")
    check_shape(depth_m, "B 1 H W", "depth_m", **size)
    check_shape(valid, "B 1 H W", "valid", **size)
    seen = [subsample(x, max_res, max_res_mode) for x in (pred, depth_m, valid)]
    lines = []
    for p, g, ok in zip(*seen, strict=True):
        p, g = fits.select(ok, p, g)
        x, y, usable = _in_space(space, p, g, positive_only)
        lines.append(METHODS[method](x, y, usable, **options))
    scale, shift = (torch.cat(numbers) for numbers in zip(*lines, strict=True))
    return Aligned(moved(pred, scale, shift, space, farthest_m), scale, shift)


def _in_space(space: str, p: Tensor, g: Tensor, positive_only: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions and depths as what is fitted in a space, and which of them may be."""
    kind = SPACES[space]
    usable = torch.ones_like(g, dtype=torch.bool) if space == "depth" else g > 0
    if positive_only or kind.needs_positive_pred:
        usable &= p > 0
    return kind.of_pred(torch.where(usable, p, 1)), kind.of_depth(torch.where(usable, g, 1)), usable


def moved(
    pred: Tensor, scale: Tensor, shift: Tensor, space: str, farthest_m: Tensor | float = FARTHEST_M
) -> Tensor:
    """A predicted map as depth, by a fit that was made in `space`."""
    kind = SPACES[space]
    value = scale * kind.of_pred(pred) + shift
    if space == "disparity":
        value = value.maximum(1 / torch.as_tensor(farthest_m, dtype=value.dtype, device=value.device))
    return kind.to_depth(value)


def clip(
    depth_m: Tensor, near_m: float, far_m: float, *, missing: Literal["near", "keep"] = "keep"
) -> Tensor:
    """Depth moved into near_m..far_m, and never to 0. NaN stays, or counts as near (ZoeDepth).

    >>> clip(torch.tensor([-1.0, 5.0, torch.inf, torch.nan]), 0, 10, missing="near").tolist()
    [9.999999974752427e-07, 5.0, 10.0, 9.999999974752427e-07]
    """
    if missing == "near":
        depth_m = depth_m.nan_to_num(nan=near_m, posinf=math.inf, neginf=-math.inf)
    return depth_m.clamp(near_m, far_m).clamp(min=SMALLEST)


def subsample(x: Tensor, max_res: int | None, mode: Literal["columns", "both"] = "columns") -> Tensor:
    """Every so many columns of maps [B,1,H,W], and rows for "both", that the longer edge is `max_res`.

    >>> subsample(torch.arange(6.0).view(1, 1, 1, 6), 3).flatten().tolist()
    [0.0, 2.0, 4.0]
    """
    if mode not in ("columns", "both"):
        raise UsageError(f"max_res_mode is {mode!r}, 'columns' or 'both' is needed")
    height, width = x.shape[-2:]
    factor = 1.0 if max_res is None else max_res / max(height, width)
    if factor >= 1:
        return x
    x = x[..., _nearest(width, factor)]
    return x if mode == "columns" else x[..., _nearest(height, factor), :]


def _nearest(size: int, factor: float) -> Tensor:
    """Which pixels of a line remain: as torch's nearest resize picks them."""
    places = torch.arange(max(int(size * factor), 1), dtype=torch.float64) / factor
    return places.floor().long()


def _known(what: str, name: str, names: dict[str, Any]) -> None:
    if name not in names:
        raise UsageError(f"{what} of the alignment is {name!r}: {did_you_mean(name, names)}")
