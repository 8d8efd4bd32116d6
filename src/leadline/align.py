"""Scale and shift that bring an affine prediction to known depths."""

from __future__ import annotations

import torch
from torch import Tensor

CONTRAST = 1e-12  # share of an image's energy that must vary for a scale to be defined


def fit(pred: Tensor, target: Tensor, valid: Tensor, *, compat: bool = False) -> tuple[Tensor, Tensor]:
    """Least squares per image: (scale, shift) that minimise sum of (scale * pred + shift - target)^2 over
    the valid pixels.

    Shapes: all [B,1,H,W], valid bool -> two of [B,1,1,1], in pred's type; differentiable. The sums run in
    float64, about the mean. A prediction without contrast gets scale 0 and the target's mean as shift; an
    image without valid pixels 0 and 0. `compat`: E2E-FT's float32 normal equations, (0, 0) where their
    determinant is not positive.

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
    scale = torch.where(defined, _sum(p_centred * g) / torch.where(defined, variance, 1), 0)
    return scale.to(pred.dtype), (g_mean - scale * p_mean).to(pred.dtype)


def _normal_equations(p: Tensor, g: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    a00, a01, a11 = _sum(p * p), _sum(p), _sum(valid)
    b0, b1 = _sum(p * g), _sum(g)
    determinant = a00 * a11 - a01 * a01
    defined = determinant > 0
    inverse = torch.where(defined, 1 / torch.where(defined, determinant, 1), 0)
    return (a11 * b0 - a01 * b1) * inverse, (a00 * b1 - a01 * b0) * inverse


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=(1, 2, 3), keepdim=True)
