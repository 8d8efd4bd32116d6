"""Measures of depth, one formula each: per image, over its valid pixels.

Shapes: pred and target [B,1,H,W] in metres, valid [B,1,H,W] bool -> [B] float64. `pred` is aligned and
clipped already (`leadline.align`). An image without valid pixels gets NaN, and so does one with a valid pixel
that is no positive, finite number in both maps: leave it out, and say so. The figure of a data set is the
mean over its images (`leadline.metrics.summary`).

A formula is a term per pixel, whose mean is finished by a function. `metric` makes of it a function of maps,
and `every` evaluates many of them on one selection of pixels, so that both cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from leadline.align.fits import select
from leadline.errors import UsageError, check_shape, did_you_mean

BLOCK = 1 << 15  # pixels looked at together, on a processor: so many stay in its cache


class Pixels:
    """Some of the pixels that count, predicted and true; what formulas share is computed once."""

    def __init__(self, p: Tensor, g: Tensor) -> None:
        self.p, self.g = p, g  # [N] float64 each

    @cached_property
    def error(self) -> Tensor:
        """p - g."""
        return self.p - self.g

    @cached_property
    def relative(self) -> Tensor:
        """|p - g| / g."""
        return self.error.abs() / self.g

    @cached_property
    def quotient(self) -> Tensor:
        """p / g."""
        return self.p / self.g

    @cached_property
    def log_ratio(self) -> Tensor:
        """ln p - ln g."""
        return self.quotient.log()

    @cached_property
    def ratio(self) -> Tensor:
        """max(p/g, g/p)."""
        return torch.maximum(self.quotient, self.g / self.p)


class Formula(NamedTuple):
    """A term per pixel [N], or several [K,N], and what is made of its mean [] or [K]."""

    term: Callable[[Pixels], Tensor]
    finish: Callable[[Tensor], Tensor]


Metric = Callable[[Tensor, Tensor, Tensor], Tensor]
FORMULAS: dict[str, Formula] = {}  # of the functions below, by their names


def metric(
    finish: Callable[[Tensor], Tensor] = lambda mean: mean,
) -> Callable[[Callable[[Pixels], Tensor]], Metric]:
    """Makes a term per pixel a function of maps: each image's mean, finished."""

    def made(term: Callable[[Pixels], Tensor]) -> Metric:
        def of_maps(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
            return every(pred, target, valid, [term.__name__])[term.__name__]

        of_maps.__name__ = of_maps.__qualname__ = term.__name__
        of_maps.__doc__ = term.__doc__
        FORMULAS[term.__name__] = Formula(term, finish)
        return of_maps

    return made


@metric()
def absrel(x: Pixels) -> Tensor:
    """Mean of |p - g| / g.

    >>> one = torch.ones(1, 1, 2, 2)
    >>> absrel(1.5 * one, one, one > 0).item()
    0.5
    """
    return x.relative


@metric()
def sqrel(x: Pixels) -> Tensor:
    """Mean of (p - g)^2 / g, in metres."""
    return x.error.abs() * x.relative


@metric(torch.sqrt)
def rmse(x: Pixels) -> Tensor:
    """Root of the mean of (p - g)^2, in metres."""
    return x.error * x.error


@metric(torch.sqrt)
def rmse_log(x: Pixels) -> Tensor:
    """Root of the mean of (ln p - ln g)^2."""
    return x.log_ratio * x.log_ratio


@metric()
def log10(x: Pixels) -> Tensor:
    """Mean of |log10 p - log10 g|."""
    return x.log_ratio.abs() / math.log(10)


@metric()
def delta1(x: Pixels) -> Tensor:
    """Share of pixels with max(p/g, g/p) < 1.25."""
    return x.ratio < 1.25


@metric()
def delta2(x: Pixels) -> Tensor:
    """Share of pixels with max(p/g, g/p) < 1.25^2."""
    return x.ratio < 1.25**2


@metric()
def delta3(x: Pixels) -> Tensor:
    """Share of pixels with max(p/g, g/p) < 1.25^3."""
    return x.ratio < 1.25**3


@metric(torch.sqrt)
def irmse(x: Pixels) -> Tensor:
    """Root of the mean of (1/p - 1/g)^2, in 1/metre (KITTI's server: 1/km)."""
    return (1 / x.p - 1 / x.g).square()


@metric(lambda mean: 100 * (mean[1] - mean[0] ** 2).clamp(min=0).sqrt())
def silog(x: Pixels) -> Tensor:
    """100 times the standard deviation of ln p - ln g."""
    return torch.stack([x.log_ratio, x.log_ratio * x.log_ratio])


@metric(lambda mean: (mean[1] - mean[0] ** 2 / 2).clamp(min=0).sqrt())
def silog_half(x: Pixels) -> Tensor:
    """Root of mean(e^2) - mean(e)^2 / 2 with e = ln p - ln g: what Depth Anything V2 calls silog."""
    return torch.stack([x.log_ratio, x.log_ratio * x.log_ratio])


@metric(lambda mean: 100 * mean)
def outside1(x: Pixels) -> Tensor:
    """Percentage of pixels whose ratio is 1.25 or more: MiDaS's and DPT's "delta > 1.25"."""
    return x.ratio >= 1.25


# The usual ten under the names of Marigold's result files, in the order of their columns
MARIGOLD_NAMES = {
    "absrel": "abs_relative_difference",
    "sqrel": "squared_relative_difference",
    "rmse": "rmse_linear",
    "rmse_log": "rmse_log",
    "log10": "log10",
    "delta1": "delta1_acc",
    "delta2": "delta2_acc",
    "delta3": "delta3_acc",
    "irmse": "i_rmse",
    "silog": "silog_rmse",
}


def every(
    pred: Tensor, target: Tensor, valid: Tensor, names: Iterable[str] = MARIGOLD_NAMES
) -> dict[str, Tensor]:
    """Many metrics in one pass: the same numbers as the functions of these names give, each [B].

    Raises UsageError for a name that does not exist.

    >>> one = torch.ones(1, 1, 2, 2)
    >>> {name: x.item() for name, x in every(2 * one, one, one > 0, ["absrel", "rmse"]).items()}
    {'absrel': 1.0, 'rmse': 1.0}
    """
    names = list(names)
    for name in names:
        if name not in FORMULAS:
            raise UsageError(f"metric of depth is {name!r}: {did_you_mean(name, FORMULAS)}")
    rows = [_of_image(p, g, names) for p, g in images(pred, target, valid)]
    return {name: torch.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def images(pred: Tensor, target: Tensor, valid: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The pixels that count, p and g [N] float64, image by image; none if one of them cannot be scored."""
    size = check_shape(target, "B 1 H W", "target")
    check_shape(pred, "B 1 H W", "pred", **size)
    check_shape(valid, "B 1 H W", "valid", **size)
    for i, ok in enumerate(valid):
        p, g = (x.flatten().double() for x in select(ok, pred[i], target[i]))
        usable = _positive(p) and _positive(g)
        yield (p, g) if usable else (p[:0], g[:0])


def _of_image(p: Tensor, g: Tensor, names: list[str]) -> list[Tensor]:
    """The metrics of these names for the pixels of one image; NaN for none."""
    size = BLOCK if p.device.type == "cpu" else max(len(p), 1)
    sums = [torch.zeros((), dtype=torch.float64, device=p.device)] * len(names)
    for start in range(0, max(len(p), 1), size):
        block = Pixels(p[start : start + size], g[start : start + size])
        terms = (FORMULAS[name].term(block) for name in names)
        sums = [total + _sum(term) for total, term in zip(sums, terms, strict=True)]
    count = len(p) or math.nan
    return [FORMULAS[name].finish(total / count) for name, total in zip(names, sums, strict=True)]


def _sum(term: Tensor) -> Tensor:
    """Over the pixels."""
    return torch.count_nonzero(term, -1).double() if term.dtype == torch.bool else term.sum(-1)


def _positive(x: Tensor) -> bool:
    """Whether all numbers are finite and above 0; NaN is neither."""
    return x.numel() > 0 and bool((x.amin() > 0) & (x.amax() < math.inf))
