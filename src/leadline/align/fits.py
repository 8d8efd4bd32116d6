"""Scale and shift from what is predicted and what is known: least squares, and fits by one number.

All take maps (pred, target, valid), [B,1,H,W] each, valid bool, and give (scale, shift), [B,1,1,1] each in
pred's type, that bring pred to target, image by image. Nothing outside `valid` is looked at. An image
without valid pixels gets (0, 0). Fits that survive outliers are in `leadline.align.robust`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Fit = tuple[Tensor, Tensor]
CONTRAST = 1e-12  # share of an image's energy that must vary for a scale to be defined


def fit(
    pred: Tensor, target: Tensor, valid: Tensor, *, weight: Tensor | None = None, compat: bool = False
) -> Fit:
    """Least squares: (scale, shift) that minimise sum weight * (scale * pred + shift - target)^2.

    Differentiable. Sums run in float64, about the mean. Where many fits are equally good (no contrast, one
    pixel), the one of least norm is returned. weight: [B,1,H,W], 0 or more; 1 without. `compat`: E2E-FT's
    float32 normal equations, (0, 0) where their determinant is not positive.

    >>> x = torch.rand(1, 1, 4, 4)
    >>> [round(v.item(), 4) for v in fit(x, 2 * x + 1, torch.ones_like(x, dtype=torch.bool))]
    [2.0, 1.0]
    """
    p, g = torch.where(valid, pred, 0), torch.where(valid, target, 0)
    if compat:
        return _normal_equations(p.float(), g.float(), valid)
    p, g = p.double(), g.double()
    w = None if weight is None else torch.where(valid, weight, 0).double()

    def weighted(x: Tensor) -> Tensor:
        return x if w is None else w * x

    total = _sum(valid if w is None else w)
    total = torch.where(total > 0, total, 1)
    p_mean, g_mean = _sum(weighted(p)) / total, _sum(weighted(g)) / total
    p_centred = torch.where(valid, p - p_mean, 0)
    variance = _sum(weighted(p_centred) * p_centred)
    defined = variance > CONTRAST * _sum(weighted(p) * p)
    slope = _sum(weighted(p_centred) * g) / torch.where(defined, variance, 1)
    norm = p_mean * p_mean + 1
    scale = torch.where(defined, slope, g_mean * p_mean / norm)
    shift = torch.where(defined, g_mean - slope * p_mean, g_mean / norm)
    return scale.to(pred.dtype), shift.to(pred.dtype)


def scale_only(pred: Tensor, target: Tensor, valid: Tensor) -> Fit:
    """Least squares without a shift: sum(p g) / sum(p^2).

    >>> x = torch.rand(1, 1, 4, 4)
    >>> [round(v.item(), 4) for v in scale_only(x, 2 * x, torch.ones_like(x, dtype=torch.bool))]
    [2.0, 0.0]
    """
    return per_image(pred, target, valid, lambda p, g: ((p * g).sum() / (p * p).sum(), 0))


def median(pred: Tensor, target: Tensor, valid: Tensor) -> Fit:
    """Ratio of the medians: usual for models trained without depths."""
    return per_image(pred, target, valid, lambda p, g: (middle(g) / middle(p), 0))


def median_ratio(pred: Tensor, target: Tensor, valid: Tensor) -> Fit:
    """Median of the ratios g / p."""
    return per_image(pred, target, valid, lambda p, g: (middle(g / p), 0))


def log_median(pred: Tensor, target: Tensor, valid: Tensor) -> Fit:
    """exp of the median of ln g - ln p: for predictions that are metric, or nearly so. Both must be > 0."""
    return per_image(pred, target, valid, lambda p, g: (middle(g.log() - p.log()).exp(), 0))


def midas(pred: Tensor, target: Tensor, valid: Tensor) -> Fit:
    """Equal medians and equal mean deviations from them (MiDaS, Sec. 5). It does not survive outliers."""

    def solve(p: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        scale = (g - middle(g)).abs().mean() / (p - middle(p)).abs().mean()
        return scale, middle(g) - scale * middle(p)

    return per_image(pred, target, valid, solve)


def identity(pred: Tensor, target: Tensor, valid: Tensor) -> Fit:
    """No fit: (1, 0)."""
    return per_image(pred, target, valid, lambda p, g: (1, 0))


def per_image(
    pred: Tensor,
    target: Tensor,
    valid: Tensor,
    solve: Callable[[Tensor, Tensor], tuple[Tensor | float, Tensor | float]],
) -> Fit:
    """A rule for the valid pixels of one image, p and g [N] float64 -> (scale, shift), applied to each."""
    found = pred.new_zeros(2, len(pred), dtype=torch.float64)
    for i, ok in enumerate(valid):
        p, g = (x.flatten().double() for x in select(ok, pred[i], target[i]))
        if len(p):
            found[0, i], found[1, i] = solve(p, g)
    scale, shift = found.to(pred.dtype).view(2, -1, 1, 1, 1)
    return scale, shift


def select(valid: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
    """The valid pixels of one image's maps [...,H,W], as maps of one row [1,1,1,N].

    What fits and metrics say of these they say of the image: to select once is quicker than to mask often.

    >>> select(torch.tensor([[True, False, True]]), torch.tensor([[1.0, 2.0, 3.0]]))
    (tensor([[[[1., 3.]]]]),)
    """
    places = np.flatnonzero(valid.cpu().numpy())  # in a third of torch's time
    chosen = torch.from_numpy(places).to(valid.device)
    return tuple(x.flatten()[chosen].view(1, 1, 1, -1) for x in maps)


def middle(x: Tensor) -> Tensor:
    """The median [] of a vector [N]: of an even number, the mean of the middle two.

    >>> middle(torch.tensor([4.0, 1.0, 3.0, 2.0])).item()
    2.5
    """
    ranked = x.sort().values
    return (ranked[(len(x) - 1) // 2] + ranked[len(x) // 2]) / 2


def _normal_equations(p: Tensor, g: Tensor, valid: Tensor) -> Fit:
    a00, a01, a11 = _sum(p * p), _sum(p), _sum(valid)
    b0, b1 = _sum(p * g), _sum(g)
    determinant = a00 * a11 - a01 * a01
    defined = determinant > 0
    inverse = torch.where(defined, 1 / torch.where(defined, determinant, 1), 0)
    return (a11 * b0 - a01 * b1) * inverse, (a00 * b1 - a01 * b0) * inverse


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=(1, 2, 3), keepdim=True)
