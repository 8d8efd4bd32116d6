"""Scale and shift that bring an affine prediction to known depths."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leadline.errors import DataError, KindError, check_shape
from leadline.prediction import Kind, Prediction

log = logging.getLogger(__name__)
CONTRAST = 1e-12  # share of an image's energy that must vary for a scale to be defined
Space = Literal["depth", "disparity"]
# In which spaces each kind is an affine function of the truth, its own first
SPACES: dict[Kind, tuple[Space, ...]] = {
    Kind.affine_depth: ("depth",),
    Kind.affine_disparity: ("disparity",),
    Kind.metric_depth: ("depth", "disparity"),
}


def to(
    prediction: Prediction,
    depth_m: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    space: Space | None = None,
    near_m: float = 1e-3,
    far_m: float = 1e3,
) -> Prediction:
    """A depth-like prediction -> metric depth, fitted to known depths by least squares in its own space.

    depth_m: metres [H,W], as few as two pixels of it; valid: which, bool [H,W], by default the finite ones
    above 0. `space` matters for metric depth only, which may be fitted in either. Results are limited to
    near_m..far_m. Scale and shift are kept in `settings["align"]`. Raises KindError for kinds or spaces
    that make no sense, DataError without two valid pixels.

    >>> truth = np.array([[1, 2], [3, 4]], np.float32)
    >>> to(Prediction(truth / 10 - 3, Kind.affine_depth), truth).metres().round(3).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    space = _space_of(prediction, space)
    check_shape(depth_m, "H W", "depth_m", H=prediction.height, W=prediction.width)
    known = np.isfinite(depth_m) & (depth_m > 0) & (True if valid is None else valid)
    if known.sum() < 2:
        raise DataError(f"{known.sum()} known depths, a fit needs two: check depth_m and valid")
    raw = prediction.depth if space == "depth" or prediction.unit == "none" else prediction.disparity()
    target = np.where(known, depth_m, 1)
    pair = [torch.from_numpy(np.ascontiguousarray(x, np.float64))[None, None] for x in (raw, target)]
    mask = torch.from_numpy(known)[None, None]
    scale, shift = fit(pair[0], pair[1] if space == "depth" else 1 / pair[1], mask)
    if scale.item() < 0:
        log.warning("negative scale: %s runs against the known depths", prediction.model or "the prediction")
    moved = scale * pair[0] + shift
    metres = moved if space == "depth" else 1 / moved.clamp(min=1 / far_m)
    record = {"space": space, "scale": scale.item(), "shift": shift.item(), "pixels": int(known.sum())}
    return replace(
        prediction,
        values=metres.clamp(near_m, far_m)[0, 0].float().numpy(),
        kind=Kind.metric_depth,
        uncertainty=None,
        settings={**prediction.settings, "align": record},
    )


def fit(pred: Tensor, target: Tensor, valid: Tensor, *, compat: bool = False) -> tuple[Tensor, Tensor]:
    """Least squares per image: (scale, shift) that minimise sum (scale * pred + shift - target)^2 over
    `valid`.

    Shapes: all [B,1,H,W], valid bool -> two of [B,1,1,1], in pred's type; differentiable. Sums run in
    float64, about the mean. Where many fits are equally good (no contrast, one pixel), the one of least
    norm is returned; (0, 0) for an image without valid pixels. `compat`: E2E-FT's float32 normal equations,
    (0, 0) where their determinant is not positive.

    >>> x = torch.rand(1, 1, 4, 4)
    >>> [round(v.item(), 4) for v in fit(x, 2 * x + 1, torch.ones_like(x, dtype=torch.bool))]
    [2.0, 1.0]
    """
    p, g = torch.where(valid, pred, 0), torch.where(valid, target, 0)
    if compat:
        return _normal_equations(p.float(), g.float(), valid)
    p, g = p.double(), g.double()
    count = _sum(valid).clamp(min=1)
    p_mean, g_mean = _sum(p) / count, _sum(g) / count
    p_centred = torch.where(valid, p - p_mean, 0)
    variance = _sum(p_centred * p_centred)
    defined = variance > CONTRAST * _sum(p * p)
    slope = _sum(p_centred * g) / torch.where(defined, variance, 1)
    norm = p_mean * p_mean + 1
    scale = torch.where(defined, slope, g_mean * p_mean / norm)
    shift = torch.where(defined, g_mean - slope * p_mean, g_mean / norm)
    return scale.to(pred.dtype), shift.to(pred.dtype)


def _normal_equations(p: Tensor, g: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    a00, a01, a11 = _sum(p * p), _sum(p), _sum(valid)
    b0, b1 = _sum(p * g), _sum(g)
    determinant = a00 * a11 - a01 * a01
    defined = determinant > 0
    inverse = torch.where(defined, 1 / torch.where(defined, determinant, 1), 0)
    return (a11 * b0 - a01 * b1) * inverse, (a00 * b1 - a01 * b0) * inverse


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=(1, 2, 3), keepdim=True)


def _space_of(prediction: Prediction, wanted: Space | None) -> Space:
    spaces = SPACES.get(prediction.kind)
    if spaces is None:
        raise KindError(f"{prediction.kind} cannot be fitted to depths: use a depth model")
    if wanted is not None and wanted not in spaces:
        raise KindError(f"{prediction.kind} cannot be fitted in {wanted}: fit it in {spaces[0]}")
    return wanted or spaces[0]
