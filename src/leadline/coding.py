"""Depth in metres -> what a network is trained on; what a network returns -> the numbers users get.

Shapes: maps [B,1,H,W] float, `valid` [B,1,H,W] bool. Percentiles and ranges are taken per image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from leadline.prediction import Kind
from leadline.presets import Preset


def clip_to_percentiles(
    depth: Tensor, valid: Tensor, low: float = 0.02, high: float = 0.98
) -> tuple[Tensor, Tensor]:
    """Depth with outliers moved to the given quantiles, and the mask that goes with it (E2E-FT, supp. B).

    Quantiles are of the valid pixels; invalid ones get the upper quantile, as in the authors' code. An image
    whose quantiles are equal has nothing to learn from: its mask comes back empty.
    """
    clipped, kept = torch.empty_like(depth), valid.clone()
    for i, ok in enumerate(valid):
        lo, hi = quantiles(depth[i][ok], low, high)
        clipped[i] = torch.where(ok, depth[i].clamp(lo, hi), hi)
        kept[i] &= hi > lo
    return clipped, kept


def quantiles(values: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Two quantiles of a vector, linear between neighbours; zeros for an empty one.

    Unlike torch.quantile it has no limit on the length.

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
    """1 / depth, and where it is defined: valid and depth > 0. Infinite depth (sky) has disparity 0.

    >>> depth = torch.tensor([[[[2.0, 0.0, torch.inf]]]])
    >>> disparity(depth, torch.ones_like(depth, dtype=torch.bool))[0].flatten().tolist()
    [0.5, 0.0, 0.0]
    """
    valid = valid & (depth > 0)
    return torch.where(valid, 1 / torch.where(valid, depth, 1), 0), valid


def stretch(x: Tensor) -> Tensor:
    """Each image's minimum and maximum become 0 and 1; a constant image becomes 0.

    >>> stretch(torch.tensor([[[[3.0, 4.0, 5.0]]]])).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    lo, hi = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(hi > lo, (x - lo) / torch.where(hi > lo, hi - lo, 1), 0)


def publish(value: Tensor, kind: Kind, preset: Preset, restore: Callable[[Tensor], Tensor]) -> Tensor:
    """One image's network output -> the numbers users get, at the picture's size.

    value: affine depth or disparity [1,1,h,w] in [-1,1] -> [1,1,H,W] in [0,1]; normals [1,3,h,w] ->
    [1,3,H,W], unit vectors. `restore` brings a map to the picture's size (`leadline.sizes.restore`).
    """
    if kind is Kind.normals:
        n = restore(unit(value, preset)).clamp(-1, 1)
        return unit(n, preset) if preset.renormalise else n
    value = stretch(value) if preset.stretch else (value + 1) / 2
    return restore(value).clamp(0, 1)


def unit(n: Tensor, preset: Preset) -> Tensor:
    """Vectors [B,3,H,W] divided by their length, guarded against zero as the preset says."""
    length: Tensor = torch.linalg.vector_norm(n, dim=1, keepdim=True)
    return n / (length.clamp(min=preset.norm_floor) + preset.norm_extra)
