"""Depth in metres -> what a network is trained on; what a network returns -> the numbers users get.

Shapes: maps [B,1,H,W] float, `valid` [B,1,H,W] bool. Percentiles and ranges are taken per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from leadline.camera import normal_signs
from leadline.prediction import Kind
from leadline.presets import Preset

END = 1e-3  # of [-1,1]: so near its end, a code says "there or beyond"


@dataclass(frozen=True)
class Codec:
    """Metres <-> [-1,1] by one law for all pictures, so that metres come back (MetricGold, eq. 1 to 3).

    "log" gives the same code to the same relative error, near and far; "linear" is what it is compared with.

    >>> y = Codec().encode(torch.tensor([0.01, 0.1, 2.8284271, 80.0, torch.inf]))
    >>> y.tolist(), [round(metres, 4) for metres in Codec().decode(y)[1:4].tolist()]
    ([-1.0, -1.0, 0.0, 1.0, 1.0], [0.1, 2.8284, 80.0])
    """

    near_m: float = 0.1
    far_m: float = 80.0
    law: Literal["log", "linear"] = "log"

    def encode(self, depth: Tensor) -> Tensor:
        """Metres, any shape -> [-1,1]; what lies beyond the range becomes its end, what is no depth (0 and
        less, NaN) its far one.
        """
        known = depth > 0  # false for nan
        metres = torch.where(known, depth, self.far_m).clamp(self.near_m, self.far_m)
        if self.law == "linear":
            u = (metres - self.near_m) / (self.far_m - self.near_m)
        else:
            u = (metres / self.near_m).log() / self._length
        return (2 * u - 1).clamp(-1, 1)

    def decode(self, y: Tensor) -> Tensor:
        """[-1,1] -> metres within the range; what lies beyond is cut first."""
        return self.metres(y.clamp(-1, 1))

    def metres(self, y: Tensor) -> Tensor:
        """As `decode`, of a code that may leave [-1,1]."""
        u = (y + 1) / 2
        if self.law == "linear":
            return self.near_m + u * (self.far_m - self.near_m)
        return self.near_m * (u * self._length).exp()

    def beyond(self, depth: Tensor) -> Tensor:
        """Which metres say no more than that they are there or beyond: at an end of the range; bool."""
        y = self.encode(depth)
        return (y.abs() >= 1 - END) | ~(depth > 0)

    def relative_error(self, step: float) -> float:
        """Of depth, for an error of the logarithmic code.

        >>> round(Codec().relative_error(0.01), 3)
        0.034
        """
        return math.exp(step * self._length / 2) - 1

    @property
    def _length(self) -> float:
        return math.log(self.far_m / self.near_m)


def clip_to_percentiles(
    depth: Tensor, valid: Tensor, low: float = 0.02, high: float = 0.98
) -> tuple[Tensor, Tensor]:
    """Depth with outliers moved to the given quantiles, and the mask that goes with it (E2E-FT's code; its
    Supp. B removes them).

    Quantiles are of the valid pixels; invalid ones get the upper quantile, as in the authors' code. An image
    whose quantiles are equal has nothing to learn from: its mask comes back empty.
    """
    clipped, kept = torch.empty_like(depth), valid.clone()
    for i, ok in enumerate(valid):
        lo, hi = quantiles(depth[i][ok], low, high)
        clipped[i] = torch.where(ok, depth[i].clamp(lo, hi), hi)
        kept[i] &= hi > lo
    return clipped, kept


def picture(x: Tensor, valid: Tensor, low: float = 0.02, high: float = 0.98) -> tuple[Tensor, Tensor]:
    """A map [B,1,H,W] as an autoencoder of photographs takes it (Marigold, Sec. 3.2 and 3.3): the given
    quantiles of its valid pixels become -1 and 1, three channels are alike; and the mask that goes with it.

    >>> picture(torch.tensor([[[[2.0, 3.0, 4.0]]]]), torch.ones(1, 1, 1, 3, dtype=torch.bool), 0, 1)[0][0, 2]
    tensor([[-1.,  0.,  1.]])
    """
    clipped, valid = clip_to_percentiles(x, valid, low, high)
    return (stretch(clipped) * 2 - 1).expand(-1, 3, -1, -1), valid


def by_quantiles(
    x: Tensor, counts: Tensor, low: float = 0.02, high: float = 0.98, smallest: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Values whose quantiles become -1 and 1, cut there (Marigold Sec. 3.3); and which images are not flat.

    Quantiles are of the pixels that `counts` marks; all are changed, so that infinite ones become 1. Of flat
    images, [B] False, where the quantiles are no `smallest` apart, 0 is made.

    >>> x = torch.tensor([2.0, 3.0, 4.0, torch.inf]).view(1, 1, 1, 4)
    >>> by_quantiles(x, x.isfinite(), 0, 1)[0].flatten().tolist()
    [-1.0, 0.0, 1.0, 1.0]
    """
    scaled = torch.zeros_like(x)
    flat = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for i, counted in enumerate(counts):
        lo, hi = quantiles(x[i][counted], low, high)
        flat[i] = ~(hi - lo >= smallest)
        if not flat[i]:
            scaled[i] = ((x[i] - lo) / (hi - lo) * 2 - 1).clamp(-1, 1)
    return scaled, ~flat


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


def publish(value: Tensor, kind: Kind, preset: Preset, restore: Callable[..., Tensor]) -> Tensor:
    """One image's network output -> the numbers users get, at the picture's size.

    value: affine depth or disparity [1,1,h,w] in [-1,1] -> [1,1,H,W] in [0,1]; normals [1,3,h,w] ->
    [1,3,H,W], unit vectors; metric depth in metres, class numbers and pictures stay as they are; metres are
    resized as their logarithm where the preset says so. `restore` brings a map to the picture's size
    (`leadline.sizes.restore`).
    """
    if kind is Kind.segmentation:
        return restore(value, nearest=True)
    if kind is Kind.picture:
        return restore(value).clamp(-1, 1)
    if kind is Kind.metric_depth and preset.log_metres:
        return restore(value.log()).exp()
    if kind is Kind.metric_depth:
        return restore(value).clamp(min=0)  # bicubic undershoots
    if kind is Kind.normals:
        way = {"by": preset.normals_out} if preset.normals_out else {}
        n = restore(value if preset.unit_once else unit(value, preset), **way).clamp(-1, 1)
        return unit(n, preset) if preset.renormalise else n
    value = stretch(value) if preset.stretch else (value + 1) / 2
    return restore(value).clamp(0, 1)


def turned(n: Tensor, from_frame: str, to_frame: str) -> Tensor:
    """Vectors [B,3,H,W] from one frame of `leadline.camera.NORMAL_FRAMES` to another.

    >>> turned(torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1), "opengl", "opencv").flatten().tolist()
    [0.0, -1.0, -1.0]
    """
    return n * n.new_tensor(normal_signs(from_frame, to_frame)).view(1, 3, 1, 1)


def unit(n: Tensor, preset: Preset) -> Tensor:
    """Vectors [B,3,H,W] divided by their length, guarded against zero as the preset says."""
    length: Tensor = torch.linalg.vector_norm(n, dim=1, keepdim=True)
    return n / (length.clamp(min=preset.norm_floor) + preset.norm_extra)
