"""Training objectives, one function per formula, and `Loss`, what a method returns.

Shapes: maps [B,1,H,W], normals [B,3,H,W], `valid` [B,1,H,W] bool; results are scalars. What lies outside
`valid` is never looked at, not even as 0 * nan; a batch without one valid pixel costs 0 and has zero
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from leadline import align


@dataclass
class Loss:
    """`total` is what backward() is called on; `parts` are its named terms, detached, for the log."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


def scale_shift_l1(pred: Tensor, target: Tensor, valid: Tensor, *, compat: bool = False) -> Tensor:
    """Mean absolute error after the best scale and shift per image (E2E-FT eq. 1).

    The mean is over all valid pixels of the batch together. The gradient also flows through the fit. The
    prediction is moved to the target, so the loss has the target's unit. `compat` fits with the authors'
    float32 sums and scale = shift = 0 where an image has no contrast (see `align.fit`).

    >>> t = torch.rand(2, 1, 4, 4); ok = torch.ones_like(t, dtype=torch.bool)
    >>> round(scale_shift_l1(3 * t - 1, t, ok).item(), 5)
    0.0
    """
    pred, target = torch.where(valid, pred, 0), torch.where(valid, target, 0)
    scale, shift = align.fit(pred, target, valid, compat=compat)  # [B,1,1,1] each
    error = torch.where(valid, scale * pred + shift - target, 0)
    return error.abs().sum() / valid.sum().clamp(min=1)


def angular(pred: Tensor, target: Tensor, valid: Tensor, *, compat: bool = False) -> Tensor:
    """Mean angle in radians between two fields of directions (E2E-FT eq. 2).

    The mean is over all valid pixels of the batch together. atan2(|p x g|, p . g): equal to the paper's
    arccos, and its gradient stays finite at 0 and pi. `compat` is the authors' arccos(clamp(p . g)) of unit
    vectors, whose gradient is infinite where p equals g exactly.

    >>> x, y = torch.eye(3)[0].view(1, 3, 1, 1), torch.eye(3)[1].view(1, 3, 1, 1)
    >>> round(angular(x, y, torch.ones(1, 1, 1, 1, dtype=torch.bool)).item(), 4)
    1.5708
    """
    anything = pred.new_tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)  # in place of what must not be looked at
    pred, target = torch.where(valid, pred, anything), torch.where(valid, target, anything)
    cosine = (pred * target).sum(1, keepdim=True)
    if compat:
        angle = cosine.clamp(-1, 1).acos()
    else:
        angle = torch.atan2(torch.linalg.cross(pred, target, dim=1).norm(dim=1, keepdim=True), cosine)
    return torch.where(valid, angle, 0).sum() / valid.sum().clamp(min=1)


def by_median_and_deviation(x: Tensor, valid: Tensor, smallest: float = 1e-6) -> Tensor:
    """(x - median) / mean absolute deviation from it, per image, zero outside `valid` (MiDaS, Sec. 5).

    Of an even number of values the median is the lower middle one. Deviations under `smallest` count as that.

    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0, 99.0]).view(1, 1, 1, 5)
    >>> by_median_and_deviation(x, x < 50).flatten().tolist()
    [-1.0, 0.0, 1.0, 2.0, 0.0]
    """
    count = valid.sum(dim=(1, 2, 3), keepdim=True)
    median = torch.where(valid, x, torch.nan).flatten(1).nanmedian(dim=1).values.view(-1, 1, 1, 1)
    centred = torch.where(valid, x - torch.where(count > 0, median, 0), 0)
    deviation = centred.abs().sum(dim=(1, 2, 3), keepdim=True) / count.clamp(min=1)
    return centred / deviation.clamp(min=smallest)


def median_mad_l1(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error of two maps, each brought to median 0 and mean deviation 1 (MiDaS, Sec. 5).

    Made for disparity. Mean over each image's pixels, then over the images that have any. Blind to scale
    (> 0) and shift of both maps. MiDaS takes half of it.
    """
    return _mean_per_image(_residual(pred, target, valid).abs(), valid)


def gradient_matching(pred: Tensor, target: Tensor, valid: Tensor, scales: int = 4) -> Tensor:
    """Differences of the residual between neighbours, at `scales` halved resolutions (MiDaS, Sec. 5).

    It makes edges sharp and puts them in place. The residual is taken between the maps normalised as in
    `median_mad_l1`. Per image the sum over pairs of valid neighbours, in x and in y, is divided by the
    number of valid pixels; scales are added, images averaged.
    """
    return _edges(_residual(pred, target, valid), valid, scales)


def midas(
    pred: Tensor,
    target: Tensor,
    valid: Tensor,
    gradient_weight: float = 0.5,
    log_weight: float = 0.0,
    scales: int = 4,
) -> Loss:
    """`median_mad_l1` + gradient_weight * `gradient_matching` (MiDaS, Sec. 5), normalising once for both.

    log_weight adds `aligned_log_l1`, for disparities: the same relative error counts the same near and far.
    """
    residual = _residual(pred, target, valid)
    error, edges = _mean_per_image(residual.abs(), valid), _edges(residual, valid, scales)
    parts = {"l1": error.detach(), "edges": edges.detach()}
    total = error + gradient_weight * edges
    if log_weight:
        log = aligned_log_l1(pred, target, valid)
        total, parts["log"] = total + log_weight * log, log.detach()
    return Loss(total, parts)


def aligned_log_l1(pred: Tensor, target: Tensor, valid: Tensor, farthest: float = 100.0) -> Tensor:
    """Mean |log(s p + t) - log target| over the disparities nearer than `farthest` metres, with s and t
    fitted by least squares on them: the relative error of the depths that an aligned prediction gives.

    Fitted disparities under half of 1 / farthest count as that and get no gradient; elsewhere it also flows
    through the fit. Mean over each image's pixels, then over the images that have any.

    >>> t = torch.rand(1, 1, 4, 4) + 0.1; ok = torch.ones_like(t, dtype=torch.bool)
    >>> round(aligned_log_l1(3 * t - 1, t, ok).item(), 5)
    0.0
    """
    valid = valid & (target > 1 / farthest)
    pred, target = torch.where(valid, pred, 0), torch.where(valid, target, 1)
    scale, shift = align.fit(pred, target, valid)  # [B,1,1,1] each
    fitted = (scale * pred + shift).clamp(min=0.5 / farthest)
    return _mean_per_image(torch.where(valid, fitted.log() - target.log(), 0).abs(), valid)


def _residual(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Difference of the two normalised maps, zero outside valid."""
    pred, target = torch.where(valid, pred, 0), torch.where(valid, target, 0)
    return by_median_and_deviation(pred, valid) - by_median_and_deviation(target, valid)


def _edges(residual: Tensor, valid: Tensor, scales: int) -> Tensor:
    total = residual.new_zeros(())
    for step in (2**k for k in range(scales)):
        r, v = residual[..., ::step, ::step], valid[..., ::step, ::step]
        across = (r[..., :, 1:] - r[..., :, :-1]).abs() * (v[..., :, 1:] & v[..., :, :-1])
        along = (r[..., 1:, :] - r[..., :-1, :]).abs() * (v[..., 1:, :] & v[..., :-1, :])
        total = total + _mean_of_sums(across.sum(dim=(1, 2, 3)) + along.sum(dim=(1, 2, 3)), v)
    return total


def _mean_per_image(error: Tensor, valid: Tensor) -> Tensor:
    return _mean_of_sums(error.sum(dim=(1, 2, 3)), valid)


def _mean_of_sums(sums: Tensor, valid: Tensor) -> Tensor:
    """Sums [B] over pixels -> mean over the images that have valid pixels of (sum / number of them)."""
    count = valid.sum(dim=(1, 2, 3))
    return (sums / count.clamp(min=1)).sum() / (count > 0).sum().clamp(min=1)
