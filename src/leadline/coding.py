"""Depth in metres <-> the numbers a network is trained on and returns.

Shapes: maps [B,1,H,W] float, `valid` [B,1,H,W] bool. Percentiles and ranges are taken per image, over its
valid pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clip_to_percentiles(
    depth: Tensor, valid: Tensor, low: float = 0.02, high: float = 0.98
) -> tuple[Tensor, Tensor]:
    """Depth with outliers moved to the given quantiles, and the mask that goes with it (E2E-FT, supp. B,
    and its code).

    Invalid pixels get the upper quantile. An image whose quantiles are equal has nothing to learn from: its
    mask comes back empty.
    """
    clipped, kept = torch.empty_like(depth), valid.clone()
    for i, ok in enumerate(valid):
        lo, hi = quantiles(depth[i][ok], low, high)
        clipped[i] = torch.where(ok, depth[i].clamp(lo, hi), hi)
        kept[i] &= hi > lo
    return clipped, kept


def quantiles(values: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Two quantiles of a vector, linear between neighbours; (0, 0) of nothing. No limit on its length,
    unlike torch.quantile.

    >>> [q.item() for q in quantiles(torch.tensor([4.0, 1.0, 3.0, 2.0]), 0.5, 1.0)]
    [2.5, 4.0]
    """
    if values.numel() == 0:
        return values.new_zeros(()), values.new_zeros(())
    ranked = values.sort().values
    return _at(ranked, low), _at(ranked, high)


def _at(ranked: Tensor, share: float) -> Tensor:
    place = share * (len(ranked) - 1)
    below = int(place)
    return torch.lerp(ranked[below], ranked[min(below + 1, len(ranked) - 1)], place - below)


def disparity(depth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """1 / depth, and where it is defined: valid and depth > 0. Infinite depth (sky) has disparity 0; the
    rest is 0 too.

    >>> depth = torch.tensor([[[[2.0, 0.0, torch.inf]]]])
    >>> disparity(depth, torch.ones_like(depth, dtype=torch.bool))[0].flatten().tolist()
    [0.5, 0.0, 0.0]
    """
    valid = valid & (depth > 0)
    return torch.where(valid, 1 / torch.where(valid, depth, 1), 0), valid
