"""Measures of depth, one function per formula: per image, over its valid pixels.

Shapes: pred and target [B,1,H,W] in metres, valid [B,1,H,W] bool -> [B] float64. `pred` is aligned and
clipped already (`leadline.align`), both are > 0 where valid. An image without valid pixels gets NaN: leave
it out, and say so. The figure of a data set is the mean over its images.
"""

from __future__ import annotations

import torch
from torch import Tensor


def absrel(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of |p - g| / g.

    >>> one = torch.ones(1, 1, 2, 2)
    >>> absrel(1.5 * one, one, one > 0).item()
    0.5
    """
    p, g = _pair(pred, target, valid)
    return _mean((p - g).abs() / g, valid)


def sqrel(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of (p - g)^2 / g, in metres."""
    p, g = _pair(pred, target, valid)
    return _mean((p - g) ** 2 / g, valid)


def rmse(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Root of the mean of (p - g)^2, in metres."""
    p, g = _pair(pred, target, valid)
    return _mean((p - g) ** 2, valid).sqrt()


def rmse_log(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Root of the mean of (ln p - ln g)^2."""
    return _mean(_log_ratio(pred, target, valid) ** 2, valid).sqrt()


def log10(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of |log10 p - log10 g|."""
    p, g = _pair(pred, target, valid)
    return _mean((p.log10() - g.log10()).abs(), valid)


def irmse(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Root of the mean of (1/p - 1/g)^2, in 1/metre (KITTI's server: 1/km)."""
    p, g = _pair(pred, target, valid)
    return _mean((1 / p - 1 / g) ** 2, valid).sqrt()


def silog(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """100 times the standard deviation of ln p - ln g."""
    e = _log_ratio(pred, target, valid)
    centred = e - _mean(e, valid).view(-1, 1, 1, 1)
    return 100 * _mean(centred**2, valid).sqrt()


def delta1(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Share of pixels with max(p/g, g/p) < 1.25."""
    return _delta(pred, target, valid, 1.25)


def delta2(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Share of pixels with max(p/g, g/p) < 1.25^2."""
    return _delta(pred, target, valid, 1.25**2)


def delta3(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Share of pixels with max(p/g, g/p) < 1.25^3."""
    return _delta(pred, target, valid, 1.25**3)


def _delta(pred: Tensor, target: Tensor, valid: Tensor, limit: float) -> Tensor:
    p, g = _pair(pred, target, valid)
    return _mean((torch.maximum(p / g, g / p) < limit).double(), valid)


def _log_ratio(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    p, g = _pair(pred, target, valid)
    return p.log() - g.log()


def _pair(pred: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64; 1 where they must not be looked at, which is an error of 0."""
    return torch.where(valid, pred, 1).double(), torch.where(valid, target, 1).double()


def _mean(x: Tensor, valid: Tensor) -> Tensor:
    """[B,1,H,W] -> mean over each image's valid pixels [B]; NaN for none."""
    return torch.where(valid, x, 0).sum(dim=(1, 2, 3)) / valid.sum(dim=(1, 2, 3))
