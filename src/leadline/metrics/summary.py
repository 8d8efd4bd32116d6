"""From images to a data set: what one process adds up, what many put together, and how sure the sum is.

Values stay apart, image by image, until the end. They are added in the order of the list, exactly
(`math.fsum`), so that any number of processes gives the digits of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leadline.errors import DataError, ShapeError

CHUNK = 256  # resamples drawn at a time


class Row(NamedTuple):
    """One image's values, and what they weigh in the mean: 1, or a count to pool by."""

    name: str
    values: Mapping[str, float]
    weight: float = 1.0


@dataclass
class Scores:
    """Values per image by their place in the list, and the images left out, with the reason.

    >>> first, second = Scores(), Scores()
    >>> first.add(0, "a.png", {"absrel": 0.1})
    >>> second.add(2, "c.png", {"absrel": 0.3})
    >>> second.add(1, "b.png", {"absrel": math.nan})
    >>> first.merge(second)
    >>> first.means(), list(first.skipped.values())
    ({'absrel': 0.2}, [('b.png', 'absrel is nan')])
    """

    rows: dict[int, Row] = field(default_factory=dict)
    skipped: dict[int, tuple[str, str]] = field(default_factory=dict)  # name, reason

    def add(self, place: int, name: str, values: Mapping[str, float], weight: float = 1.0) -> None:
        """An image's values. If one of them is not finite, the image is left out, and counted as such."""
        bad = [f"{key} is {value:g}" for key, value in values.items() if not math.isfinite(value)]
        if bad or weight <= 0:
            self.skip(place, name, bad[0] if bad else f"weight is {weight:g}")
            return
        self._claim(place, name)
        self.rows[place] = Row(name, dict(values), weight)

    def skip(self, place: int, name: str, reason: str) -> None:
        """An image that has no values."""
        self._claim(place, name)
        self.skipped[place] = name, reason

    def merge(self, other: Scores) -> None:
        """Take in what another process has done. Raises DataError if both did the same image."""
        for place, row in other.rows.items():
            self._claim(place, row.name)
            self.rows[place] = row
        for place, (name, reason) in other.skipped.items():
            self.skip(place, name, reason)

    def _claim(self, place: int, name: str) -> None:
        if place in self.rows or place in self.skipped:
            raise DataError(f"{name}: number {place} of the list is scored twice: the shards overlap")

    @property
    def in_order(self) -> list[Row]:
        """The images that count, in the order of the list. Raises DataError if their metrics differ."""
        rows = [self.rows[place] for place in sorted(self.rows)]
        for row in rows:
            if row.values.keys() != rows[0].values.keys():
                found, wanted = ", ".join(row.values), ", ".join(rows[0].values)
                raise DataError(f"{row.name} has {found}, {rows[0].name} has {wanted}: score them alike")
        return rows

    def means(self) -> dict[str, float]:
        """Mean over images of each value, by weight. Nothing if no image counts."""
        rows = self.in_order
        total = math.fsum(row.weight for row in rows)
        return {
            name: math.fsum(row.weight * row.values[name] for row in rows) / total
            for name in (rows[0].values if rows else ())
        }

    def intervals(
        self, level: float = 0.95, resamples: int = 2000, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Where the mean lies if other images of this kind had been drawn: bootstrap over images.

        Percentile intervals (Efron): as many images are drawn with replacement as there are, `resamples`
        times; the interval holds the middle `level` of the means. Nothing for fewer than two images.
        """
        rows = self.in_order
        if len(rows) < 2:
            return {}
        weights = np.array([row.weight for row in rows])  # [N]
        names = list(rows[0].values)
        values = np.array([[row.values[name] for name in names] for row in rows])  # [N,M]
        means = _resampled_means(values, weights, resamples, np.random.default_rng(seed))
        tail = (1 - level) / 2
        low, high = np.quantile(means, [tail, 1 - tail], axis=0)  # [M] each
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}


def _resampled_means(
    values: NDArray[np.float64], weights: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Weighted means [R,M] of images [N,M] drawn with replacement."""
    images = len(weights)
    parts = []
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        drawn = random.multinomial(images, np.full(images, 1 / images), size=size)  # [R,N] times each
        parts.append((drawn @ (weights[:, None] * values)) / (drawn @ weights)[:, None])
    return np.concatenate(parts)


class Pool:
    """All values of a data set as one heap, kept as the distinct float32 numbers and how often each came.

    Nothing is lost: the median is exact, and pools put together in any way give the same digits. The memory
    follows the number of distinct values, not of pixels: angles that float32 cosines give below 60 degrees
    are at most 2^23, 100 MB, however many images there are.

    >>> pool = Pool()
    >>> pool.add([1.0, 2.0, 2.0]); pool.add([3.0])
    >>> len(pool), pool.mean(), pool.median(), pool.share_below(2.0)
    (4, 2.0, 2.0, 0.25)
    """

    WAITING = 1 << 22  # values that may wait before they are counted

    def __init__(self) -> None:
        self._values = np.zeros(0, np.float32)  # distinct, ascending
        self._counts = np.zeros(0, np.int64)
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []

    def add(self, values: ArrayLike) -> None:
        """Values of any shape. Raises DataError if one is not finite, ShapeError if they are not float32."""
        array = np.asarray(values)
        if array.dtype not in (np.float32, np.float64):
            raise ShapeError(f"values to pool are {array.dtype}, float32 is needed")
        flat = array.astype(np.float32).ravel()
        if not np.isfinite(flat).all():
            raise DataError("a value that is not finite cannot be pooled: leave the image out")
        self._take(*np.unique(flat, return_counts=True))

    def merge(self, other: Pool) -> None:
        """Take in what another process has pooled."""
        self._take(*other.distinct())

    def distinct(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The distinct values, ascending, and how often each came: what `of` makes an equal heap from."""
        self._count()
        return self._values, self._counts

    @classmethod
    def of(cls, values: NDArray[np.float32], counts: NDArray[np.int64]) -> Self:
        """The heap that `distinct` was asked of."""
        heap = cls()
        heap._values, heap._counts = values, counts
        return heap

    def __len__(self) -> int:
        self._count()
        return int(self._counts.sum())

    def mean(self) -> float:
        """Of all values; NaN for none, as below."""
        return self._mean_of(1)

    def rms(self) -> float:
        """Root of the mean square."""
        return math.sqrt(self._mean_of(2))

    def median(self) -> float:
        """The middle value, or the mean of the middle two."""
        total = len(self)
        if not total:
            return math.nan
        up_to = np.cumsum(self._counts)
        low, high = np.searchsorted(up_to, [(total - 1) // 2, total // 2], side="right")
        return float(self._values[low] + self._values[high]) / 2

    def share_below(self, limit: float) -> float:
        """Share of the values that are smaller than `limit`."""
        total = len(self)
        below = np.searchsorted(self._values.astype(np.float64), limit, side="left")
        return int(self._counts[:below].sum()) / total if total else math.nan

    def _mean_of(self, power: int) -> float:
        total = len(self)
        return float((self._counts * self._values.astype(np.float64) ** power).sum() / (total or math.nan))

    def _take(self, values: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        """Ascending values wait until they are as many as those counted, so that few are moved often."""
        if len(values):
            self._waiting.append((values, counts))
        if sum(len(waiting) for waiting, _ in self._waiting) > max(self.WAITING, len(self._values)):
            self._count()

    def _count(self) -> None:
        """Bring in what waits."""
        if not self._waiting:
            return
        parts = [(self._values, self._counts), *self._waiting]
        values = np.concatenate([part for part, _ in parts])
        counts = np.concatenate([part for _, part in parts])
        order = np.argsort(values, kind="stable")  # merges runs that are sorted already
        values, counts = values[order], counts[order]
        starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
        self._values, self._counts = values[starts], np.add.reduceat(counts, starts)
        self._waiting = []
