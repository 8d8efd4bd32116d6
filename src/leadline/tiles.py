"""A large picture in tiles: where they lie, how they are brought to one scale, how they become one map.

A network that sees a part of a picture alone gives it a scale and a layout of its own. So it also sees the
whole, at the size that it was made for. Scales are found for all tiles together: tiles agree with their
neighbours where they overlap, and, less strictly, with the whole. The layout is the whole's: what is wide is
taken from it, what is fine from the tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from leadline.align.fits import CONTRAST

WHOLE = 0.1  # weight of a pixel's agreement with the whole, where that with a neighbour has 1
AGREEMENT = 0.5  # correlation with the whole below which a tile shows something else: mostly noise of the sky


class Window(NamedTuple):
    """A tile's place in the map."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, x: Tensor) -> Tensor:
        """[...,H,W] -> [...,height,width], a view."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def shared(self, other: Window) -> Window:
        """What lies in both; they must overlap."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Window(top, left, bottom - top, right - left)

    def within(self, outer: Window) -> Window:
        """The same place, counted from the first pixel of `outer`."""
        return self._replace(top=self.top - outer.top, left=self.left - outer.left)


def layout(height: int, width: int, tile: int, overlap: int, multiple: int = 1) -> list[Window]:
    """Tiles of one size that cover a map, evenly spread, as few as overlap by `overlap` pixels or more.

    Their sides are `tile` to the nearest multiple, two multiples at least, and never more than the map's.
    They begin at multiples too, so that a network's blocks lie alike in neighbours.

    >>> [window.left for window in layout(64, 160, tile=64, overlap=16, multiple=8)]
    [0, 48, 96]
    >>> layout(64, 64, tile=64, overlap=16)
    [Window(top=0, left=0, height=64, width=64)]
    """
    size = max(2, round(tile / multiple)) * multiple
    h, w = min(size, height), min(size, width)
    tops, lefts = _starts(height, h, overlap, multiple), _starts(width, w, overlap, multiple)
    return [Window(top, left, h, w) for top in tops for left in lefts]


def _starts(side: int, tile: int, overlap: int, multiple: int) -> list[int]:
    room = math.ceil((side - tile) / multiple)
    step = max(1, tile // multiple - math.ceil(overlap / multiple))
    gaps = math.ceil(room / step)
    return [room * i // gaps * multiple for i in range(gaps)] + [side - tile]


def align(windows: Sequence[Window], maps: Sequence[Tensor], whole: Tensor) -> Tensor:
    """Scales, float64 [N], with which the contrast of N tiles is that of their neighbours, and the whole's.

    maps: [1,1,h,w] each; whole: [1,1,H,W]. A tile that contradicts the whole, or has no contrast, gets 0: the
    whole is to stand in its place, as its neighbours assume.

    They are found in logarithms, by linear least squares over all tiles at once, from standard deviations
    where two maps overlap. Weights are those that squared differences of values have, less where the two are
    little alike. Least squares of the values themselves would make scales too small: what differs between
    maps costs least where all are flat.

    >>> whole = torch.rand(1, 1, 8, 12)
    >>> windows = layout(8, 12, tile=8, overlap=4)
    >>> align(windows, [window.cut(whole) * 2 - 3 for window in windows], whole).numpy().round(6).tolist()
    [0.5, 0.5]
    """
    seen = torch.stack([_compared(x, window.cut(whole)) for window, x in zip(windows, maps, strict=True)])
    agrees = _correlation(seen) >= AGREEMENT  # [N]
    maps = [x if ok else window.cut(whole) for window, x, ok in zip(windows, maps, agrees, strict=True)]
    pairs, overlaps = _overlaps(windows, maps)
    compared = torch.cat([overlaps, seen])  # [M,4]
    a, b = torch.cat([pairs, _with_whole(len(windows))]).T  # [M] each: which maps; N is the whole
    one = torch.ones(1, dtype=torch.float64)
    rough = torch.cat([torch.where(agrees, _contrast_ratio(seen), 1), one])  # [N+1], to the whole's units
    energy = compared[:, 0] * rough[a] * rough[b] * compared[:, 3].clamp(min=0)
    weight = torch.where(b == len(windows), WHOLE, 1.0) * energy * _correlation(compared).square()
    free = torch.cat([agrees, torch.tensor([False])])  # the others keep their scale
    scale = _solve(a, b, _contrast_ratio(compared).log(), weight, free).exp()
    return torch.where(agrees, scale[:-1], 0)


def level(x: Tensor, whole: Tensor, cell: float) -> Tensor:
    """A tile [1,C,h,w] with the layout of `whole` [1,C,h,w]: what is wider than `cell` pixels in their
    difference is added to it.

    >>> y, x = torch.meshgrid(torch.linspace(0, 1, 30), torch.linspace(0, 1, 40), indexing="ij")
    >>> tilted, fine = (3 * x - y + 2)[None, None], torch.rand(1, 1, 30, 40)
    >>> bool((level(fine + tilted, fine, cell=10) - fine).abs().max() < 1e-5)
    True
    """
    down, across = (_smoothing(side, cell) for side in x.shape[2:])
    for _ in range(2):  # the first round leaves some of what bends within a cell
        x = x + down @ (whole - x) @ across.mT
    return x


def _smoothing(length: int, cell: float) -> Tensor:
    """What makes a line of pixels smooth, [length,length]: means of cells, joined by quadratic splines.

    Means go on beyond the ends with their slope, so straight lines stay as they are. Where the line jumps,
    next to nothing rings; least squares would, far across the tile.
    """
    cells = max(1, round(length / cell))
    means = F.interpolate(torch.eye(length, dtype=torch.float64)[None], cells, mode="area")[0].mT
    before, after = 2 * means[0] - means[min(1, cells - 1)], 2 * means[-1] - means[max(cells - 2, 0)]
    place = (torch.arange(length, dtype=torch.float64) + 0.5) * cells / length
    away = (place[:, None] - torch.arange(-1, cells + 1) - 0.5).abs()  # of each pixel from each cell's centre
    spline = torch.where(away < 0.5, 0.75 - away**2, (1.5 - away).clamp(min=0) ** 2 / 2)
    return (spline @ torch.cat([before[None], means, after[None]])).float()


def placed(
    windows: Sequence[Window], maps: Iterable[Tensor], whole: Tensor, scales: Tensor
) -> Iterator[Tensor]:
    """Tiles in the whole's units; where the scale is 0, the whole itself."""
    for window, x, scale in zip(windows, maps, scales.tolist(), strict=True):
        yield scale * x if scale > 0 else window.cut(whole)


def blend(windows: Sequence[Window], maps: Iterable[Tensor], shape: Sequence[int]) -> Tensor:
    """Tiles [1,C,h,w] -> their weighted mean, of the shape [1,C,H,W], in float32.

    A tile's weight falls to its edges like the square of the distance, so that neither the map nor its slope
    jumps where a tile begins.
    """
    total, weights = torch.zeros(*shape), torch.zeros(*shape[2:])
    for window, x in zip(windows, maps, strict=True):
        weight = _bell(window.height)[:, None] * _bell(window.width)  # [h,w]
        window.cut(total).add_(weight * x)
        window.cut(weights).add_(weight)
    return total.div_(weights)


def _bell(length: int) -> Tensor:
    """Weights [length] across a tile, above 0 everywhere."""
    return torch.sin(torch.pi * (torch.arange(length) + 0.5) / length).square()


def _overlaps(windows: Sequence[Window], maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pairs of tiles that overlap [P,2], and their maps compared there [P,4]."""
    place = torch.tensor(windows)  # [N,4]
    first, end = place[:, :2], place[:, :2] + place[:, 2:]
    common = torch.minimum(end[:, None], end) > torch.maximum(first[:, None], first)  # [N,N,2]
    pairs = common.all(dim=2).triu(1).nonzero()  # [P,2]
    found = [_compared(*_shared(windows, maps, i, j)) for i, j in pairs.tolist()]
    return pairs, torch.stack(found) if found else torch.zeros(0, 4, dtype=torch.float64)


def _shared(windows: Sequence[Window], maps: Sequence[Tensor], i: int, j: int) -> list[Tensor]:
    common = windows[i].shared(windows[j])
    return [common.within(windows[k]).cut(maps[k]) for k in (i, j)]


def _with_whole(count: int) -> Tensor:
    """Pairs of every tile and the whole, whose number is the one after the last tile's, [N,2]."""
    return torch.stack([torch.arange(count), torch.full((count,), count)], dim=1)


def _compared(a: Tensor, b: Tensor) -> Tensor:
    """Count, standard deviations and covariance of two maps of the same pixels, float64 [4]."""
    pair = torch.stack([a, b]).flatten(1).double()  # [2,P]
    mean = pair.mean(dim=1, keepdim=True)
    covariance = (pair - mean) @ (pair - mean).mT / pair.shape[1]  # [2,2]
    variance = covariance.diagonal()
    deviation = torch.where(variance > CONTRAST * mean[:, 0].square(), variance, 0).sqrt()
    return torch.cat([mean.new_tensor([pair.shape[1]]), deviation, covariance[0, 1:]])


def _correlation(compared: Tensor) -> Tensor:
    """[M]; 0 where there is no contrast."""
    _, deviation_a, deviation_b, covariance = compared.T
    product = deviation_a * deviation_b
    return torch.where(product > 0, covariance / product, 0)


def _contrast_ratio(compared: Tensor) -> Tensor:
    """The second map's standard deviation in shares of the first's, [M]; 1 where there is no contrast."""
    _, deviation_a, deviation_b, _ = compared.T
    return torch.where(deviation_a * deviation_b > 0, deviation_b / deviation_a, 1)


def _solve(a: Tensor, b: Tensor, difference: Tensor, weight: Tensor, free: Tensor) -> Tensor:
    """x [N+1] that minimises the sum of weight * (x[a] - x[b] - difference)^2; 0 where not free."""
    matrix = torch.zeros(len(free), len(free), dtype=torch.float64)
    for i, j, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
        matrix.index_put_((i, j), sign * weight, accumulate=True)
    right = torch.zeros(len(free), dtype=torch.float64)
    right.index_add_(0, a, weight * difference).index_add_(0, b, -weight * difference)
    x = torch.zeros_like(right)
    x[free] = torch.linalg.solve(matrix[free][:, free], right[free])
    return x
