"""Training objectives, one function per formula, and `Loss`, what a method returns.

Shapes: maps [B,1,H,W], normals [B,3,H,W], `valid` [B,1,H,W] bool; results are scalars. What lies outside
`valid` is never looked at, not even as 0 * nan; a batch without one valid pixel costs 0 and has zero
gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from leadline import align

FARTHEST_M = 100.0  # what is farther has no relative error that counts
SCALES = 4  # MiDaS: resolutions at which edges are compared
Pair = tuple[Tensor, Tensor]


@dataclass
class Loss:
    """`total` is what backward() is called on; `parts` are its named terms, detached, for the log.

    weight: how many things `total` is the mean over (valid pixels, latent cells, pictures). Where several
    processes share a batch, it weighs their totals, so that together they give the mean over all of it.
    terms, factors: of a sum (`summed`) whose terms are means over different things.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    weight: Tensor | float = 1.0
    terms: tuple[Loss, ...] = ()
    factors: Factors | None = None


Factors = Callable[[Tensor], Tensor]  # the terms' means over the whole batch, detached [n] -> factors [n]


def summed(*terms: Loss, factors: Factors | None = None) -> Loss:
    """The sum of losses that are means over different things; each keeps its own weight.

    factors: what each is multiplied by, where that depends on the means of all; no gradient passes there.

    >>> one, other = Loss(torch.tensor(2.0), weight=5), Loss(torch.tensor(3.0))
    >>> summed(one, other).total.item()
    5.0
    """
    totals = torch.stack([term.total for term in terms])
    weighed = totals if factors is None else factors(totals.detach()) * totals
    parts = {name: part for term in terms for name, part in term.parts.items()}
    return Loss(weighed.sum(), parts, terms[0].weight, terms, factors)


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


def aligned_mse(
    pred: Tensor, target: Tensor, valid: Tensor, fewest: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error of a map, fitted by least squares to its target of median 0 and mean deviation 1
    (PrimeDepth eq. 3).

    Mean over each image's pixels, then over the images that count: with `fewest` valid pixels and a target
    that is not flat. Returns the loss, the slopes [B] of the fits (0 where an image does not count, or its
    prediction is flat), and how many images count. It is blind to scale, shift and sign of both maps; the
    fit minimises the loss itself, so no gradient passes through it.
    """
    pred, target = (torch.where(valid, x, 0).flatten(1) for x in (pred, target))
    inside = valid.flatten(1)
    n = inside.sum(dim=1, keepdim=True)
    median = torch.where(inside, target, torch.nan).nanmedian(dim=1, keepdim=True).values
    centred = torch.where(inside, target - torch.where(n > 0, median, 0), 0)
    deviation = centred.abs().sum(dim=1, keepdim=True) / n.clamp(min=1)
    counts = (n >= fewest) & (deviation >= 1e-6)
    wanted = torch.where(counts, centred / torch.where(counts, deviation, 1), 0)
    slope, shift = _line(pred, wanted, inside, n.clamp(min=1))
    error = torch.where(inside & counts, slope * pred + shift - wanted, 0)
    each = error.square().sum(dim=1, keepdim=True) / n.clamp(min=1)
    some = counts.sum()
    return each.sum() / some.clamp(min=1), torch.where(counts, slope, 0)[:, 0], some


@torch.no_grad()
def _line(p: Tensor, y: Tensor, inside: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and shift [B,1] of the least squares fit of p to y [B,N], slope 0 where p is flat."""
    own, exact = p.double(), y.double()
    mean_p, mean_y = (x.sum(dim=1, keepdim=True) / n for x in (own, exact))
    own = torch.where(inside, own - mean_p, 0)
    variance = own.square().sum(dim=1, keepdim=True) / n
    slope = (own * exact).sum(dim=1, keepdim=True) / n / torch.where(variance > 1e-8, variance, 1)
    slope = torch.where(variance > 1e-8, slope, 0)
    return slope.to(p.dtype), (mean_y - slope * mean_p).to(p.dtype)


def dice(probability: Tensor, classes: Tensor) -> Tensor:
    """1 - the mean over all classes of 2 |agreement| / |both| (PrimeDepth eq. 4, left).

    probability [B,C,H,W]; classes [B,H,W], negative or C and above: not looked at. Sums are over an image's
    pixels, the result is the mean of the images. A class that an image lacks counts as 0 agreement, so that
    the loss cannot reach 0; an image without any known pixel is left out.
    """
    count = probability.shape[1]
    known = ((classes >= 0) & (classes < count)).flatten(1)  # [B,N]
    numbers = torch.where(known, classes.flatten(1), 0)
    q = torch.where(known[:, None], probability.flatten(2), 0)  # [B,C,N]
    of_true = q.gather(1, numbers[:, None])  # [B,1,N], 0 where not known
    agreement = q.new_zeros(q.shape[:2]).scatter_add(1, numbers, of_true[:, 0])
    size = q.new_zeros(q.shape[:2]).scatter_add(1, numbers, known.to(q.dtype))
    both = size + q.sum(dim=2)
    share = 2 * agreement / torch.where(both > 0, both, 1)
    some = known.any(dim=1)
    return torch.where(some, 1 - share.mean(dim=1), 0).sum() / some.sum().clamp(min=1)


def focal(
    log_probability: Tensor, classes: Tensor, reduction: Literal["mean", "sum"] = "mean", gamma: float = 2
) -> Tensor:
    """- (1 - p)^gamma log p, p of the true class (PrimeDepth eq. 4, right).

    log_probability [B,C,H,W]; classes [B,H,W], negative or C and above: not looked at. The paper has the sum
    over an image's pixels, which outweighs dice by their number; "mean" divides by it. Mean of the images.
    """
    count = log_probability.shape[1]
    known = (classes >= 0) & (classes < count)
    log_p = log_probability.gather(1, torch.where(known, classes, 0)[:, None])[:, 0]
    each = torch.where(known, -((1 - log_p.exp()) ** gamma) * log_p, 0).flatten(1).sum(dim=1)
    pixels = known.flatten(1).sum(dim=1)
    each = each / pixels.clamp(min=1) if reduction == "mean" else each
    return each.sum() / (pixels > 0).sum().clamp(min=1)


def midas(
    pred: Tensor,
    target: Tensor,
    valid: Tensor,
    gradient_weight: float = 0.5,
    log_weight: float = 0.0,
) -> Loss:
    """Two maps, each brought to median 0 and mean deviation 1: their absolute error and, with
    gradient_weight, that of their edges (MiDaS, Sec. 5, which takes half of the first).

    Made for disparity, and blind to scale (> 0) and shift of both maps. The error is the mean over each
    image's pixels. Edges are differences of the residual between valid neighbours, in x and in y, summed and
    divided by the number of valid pixels, at four resolutions, each half of the last, added up. Both are
    means over the images that have any pixel.

    log_weight adds `aligned_log_l1`, for disparities: the same relative error counts the same near and far.
    """
    pred_0, target_0 = torch.where(valid, pred, 0), torch.where(valid, target, 0)
    residual = by_median_and_deviation(pred_0, valid) - by_median_and_deviation(target_0, valid)
    error, edges = _mean_per_image(residual.abs(), valid), _edges(residual, valid)
    parts = {"l1": error.detach(), "edges": edges.detach()}
    found = Loss(error + gradient_weight * edges, parts, valid.any(dim=(1, 2, 3)).sum())
    if not log_weight:
        return found
    log = aligned_log_l1(pred, target, valid)
    near = (valid & (target > 1 / FARTHEST_M)).any(dim=(1, 2, 3)).sum()
    return summed(found, Loss(log_weight * log, {"log": log.detach()}, near))


def aligned_log_l1(pred: Tensor, target: Tensor, valid: Tensor, farthest: float = FARTHEST_M) -> Tensor:
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


def l1(pred: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean absolute error over all elements of maps or latents [B,C,h,w] whose place is valid [B,1,h,w].

    >>> x = torch.zeros(1, 4, 2, 3)
    >>> l1(x, x + 0.5).item()
    0.5
    """
    residual, valid = _valid_residual(pred, target, valid)
    return residual.abs().sum() / valid.sum().clamp(min=1)


def slopes(
    pred: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    per: Literal["element", "difference", "cell"] = "element",
    scales: int = 1,
) -> Tensor:
    """Forward differences of the residual in x and in y, absolute and summed, of maps or latents [B,C,h,w];
    one counts if both its places are valid [B,1,h,w].

    per: what the sum is divided by: the number of valid elements (FiffDepth eq. 6), that of differences, each
    direction by its own, or of valid places [B,1,h,w], with channels summed. scales: added up over so
    many grids, each twice as coarse as the last (FiffDepth has 1).

    >>> ramp = torch.arange(3.0).expand(1, 4, 2, 3)
    >>> [round(slopes(ramp, 0 * ramp, per=per).item(), 4) for per in ("element", "difference", "cell")]
    [0.6667, 1.0, 2.6667]
    """
    residual, valid = _valid_residual(pred, target, valid)
    total = residual.new_zeros(())
    for differences, pairs, places in _neighbours(residual, valid, scales):
        whole = places.sum() / (places.shape[1] if per == "cell" else 1)
        counts = [known.sum() for known in pairs] if per == "difference" else [whole, whole]
        sums = [difference.sum() for difference in differences]
        total = total + sum(part / count.clamp(min=1) for part, count in zip(sums, counts, strict=True))
    return total


def diffusion(out: Tensor, wanted: Tensor, cells: Tensor | None = None) -> Loss:
    """The squared error of what a network says of noisy latents [B,C,h,w], in float32: the mean over all
    elements whose place is one of `cells` [B,1,h,w] (DDPM; of v, E2E-FT Sec. 3.2).

    >>> diffusion(torch.ones(1, 4, 2, 3), torch.zeros(1, 4, 2, 3)).total.item()
    1.0
    """
    error, counts = _valid_residual(out, wanted, cells)
    total = error.float().square().sum() / counts.sum().clamp(min=1)
    return Loss(total, {"diffusion": total.detach()}, counts.sum())


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Distance of Gaussian codes [B,C,h,w] from the standard normal, summed over each code: [B].

    >>> kl(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)).item()
    0.0
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3))


def _valid_residual(pred: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """pred - target, 0 outside valid; and valid, both [B,C,h,w]."""
    residual = pred - target
    if valid is None:
        return residual, torch.ones_like(residual, dtype=torch.bool)
    valid = valid.expand_as(residual)
    return torch.where(valid, residual, 0), valid


def _neighbours(residual: Tensor, valid: Tensor, scales: int) -> Iterator[tuple[Pair, Pair, Tensor]]:
    """On grids that are each twice as coarse as the last: absolute differences of neighbours in x and in y, 0
    unless both are valid; where both are; and valid.
    """
    for step in (2**k for k in range(scales)):
        r, v = residual[..., ::step, ::step], valid[..., ::step, ::step]
        both = v[..., :, 1:] & v[..., :, :-1], v[..., 1:, :] & v[..., :-1, :]
        ways = r[..., :, 1:] - r[..., :, :-1], r[..., 1:, :] - r[..., :-1, :]
        yield (ways[0].abs() * both[0], ways[1].abs() * both[1]), both, v


def _edges(residual: Tensor, valid: Tensor, scales: int = SCALES) -> Tensor:
    total = residual.new_zeros(())
    for (across, along), _, places in _neighbours(residual, valid, scales):
        sums = across.sum(dim=(1, 2, 3)) + along.sum(dim=(1, 2, 3))
        total = total + _mean_of_sums(sums, places)
    return total


def _mean_per_image(error: Tensor, valid: Tensor) -> Tensor:
    return _mean_of_sums(error.sum(dim=(1, 2, 3)), valid)


def _mean_of_sums(sums: Tensor, valid: Tensor) -> Tensor:
    """Sums [B] over pixels -> mean over the images that have valid pixels of (sum / number of them)."""
    count = valid.sum(dim=(1, 2, 3))
    return (sums / count.clamp(min=1)).sum() / (count > 0).sum().clamp(min=1)
