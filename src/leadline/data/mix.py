"""Several data sets mixed by ratio, in an order that is a pure function of (seed, step, rank, world).

Nothing is remembered between steps: what step 1000 holds is computed from its number, so a resumed
training, another number of loader processes or a second machine cannot see other pictures than an
undisturbed run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from leadline.data.augment import Options, augment
from leadline.data.sample import Sample, check
from leadline.errors import DataError

BLOCK = 1000  # steps that are dealt out to the data sets at once, in exact proportion
CHOICE, SIZE, SHUFFLE, CHANGE = range(4)  # what a random stream is for: the last part of its seed


class Set(Protocol):
    """A data set: a length, and a sample by number, always the same one for the same number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class Scalable(Protocol):
    """A data set that can make a sample at any size, so that nothing is rendered only to be thrown away."""

    def at(self, index: int, size: tuple[int, int]) -> Sample:
        """Sample `index` at (height, width)."""
        ...


def fetch(data: Set, index: int, size: tuple[int, int] | None) -> Sample:
    """Sample `index`, checked; made at `size` (height, width) where the set can, else as it comes."""
    made = data.at(index, size) if size and isinstance(data, Scalable) else data[index]
    return check(made)


@dataclass(frozen=True)
class Source:
    """One data set within a mix. sizes: the processed sizes (height, width) drawn from, none: as the
    samples come.
    """

    data: Set
    ratio: float = 1.0
    augment: Options = Options()
    sizes: tuple[tuple[int, int], ...] = ()
    size_weights: tuple[float, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Draw:
    """What one batch consists of: the source's number, the size, and per picture its number and its place
    in line.
    """

    source: int
    size: tuple[int, int] | None
    items: tuple[int, ...]
    places: tuple[int, ...]


class Mix:
    """Batches of `batch` samples by step number. A batch holds one data set and one size.

    Over each 1000 steps the data sets get their ratio exactly (rounded at random); each set is walked
    through in a new order per pass, every picture once. Rank r of w takes every w-th batch of that walk,
    and all ranks agree on set and size, so that their steps take the same time.
    """

    def __init__(
        self, sources: Sequence[Source], batch: int, seed: Sequence[int], rank: int = 0, world: int = 1
    ) -> None:
        if not sources or not all(s.ratio > 0 for s in sources):
            raise DataError(f"found ratios {[s.ratio for s in sources]}, wanted one or more above 0")
        for source in sources:
            if len(source.data) == 0:
                raise DataError(
                    f"data set {source.name or 'without name'} is empty, wanted at least one picture"
                )
        self.sources, self.batch, self.seed, self.rank, self.world = (
            tuple(sources),
            batch,
            tuple(seed),
            rank,
            world,
        )
        self.shares = np.cumsum([s.ratio for s in sources]) / math.fsum(s.ratio for s in sources)
        self._passed = [np.zeros(len(self.sources), np.int64)]  # batches per source before each block

    def rng(self, *key: int) -> np.random.Generator:
        """The generator that belongs to a purpose and its numbers."""
        return np.random.default_rng([*self.seed, *key])

    def draw(self, step: int) -> Draw:
        """What the batch of this step holds, without loading anything."""
        block, offset = divmod(step, BLOCK)
        choices = self._choices(block)
        number = int(choices[offset])
        before = int(self._before(block)[number]) + int(np.count_nonzero(choices[:offset] == number))
        first = (before * self.world + self.rank) * self.batch
        places = tuple(range(first, first + self.batch))
        return Draw(number, self._size(number, step), tuple(self._item(number, p) for p in places), places)

    def __getitem__(self, step: int) -> list[Sample]:
        """The samples of a step, loaded, augmented and checked."""
        draw = self.draw(step)
        return [self._load(draw, item, place) for item, place in zip(draw.items, draw.places, strict=True)]

    def _load(self, draw: Draw, item: int, place: int) -> Sample:
        source = self.sources[draw.source]
        sample = fetch(source.data, item, draw.size)
        return augment(sample, self.rng(draw.source, place, CHANGE), source.augment, draw.size)

    def _choices(self, block: int) -> NDArray[np.int64]:
        rng = self.rng(block, CHOICE)
        points = (
            rng.permutation(BLOCK) + rng.random()
        ) / BLOCK  # one in each thousandth: exact ratios, no clumps
        return np.searchsorted(self.shares[:-1], points, side="right")

    def _before(self, block: int) -> NDArray[np.int64]:
        while len(self._passed) <= block:
            count = np.bincount(self._choices(len(self._passed) - 1), minlength=len(self.sources))
            self._passed.append(self._passed[-1] + count)
        return self._passed[block]

    def _size(self, number: int, step: int) -> tuple[int, int] | None:
        source = self.sources[number]
        if not source.sizes:
            return None
        weights = np.array(source.size_weights or [1.0] * len(source.sizes))
        return source.sizes[int(self.rng(step, SIZE).choice(len(weights), p=weights / weights.sum()))]

    def _item(self, number: int, place: int) -> int:
        length = len(self.sources[number].data)
        turn, offset = divmod(place, length)
        return int(_shuffled((*self.seed, number, turn, SHUFFLE), length)[offset])


@lru_cache(maxsize=8)
def _shuffled(seed: tuple[int, ...], length: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(length)


class Stages:
    """Mixes one after the other, each for a number of steps: one numbering of batches for all of them."""

    def __init__(self, mixes: Sequence[tuple[Mix, int]]) -> None:
        self.mixes = tuple(mix for mix, _ in mixes)
        self.ends = np.cumsum([steps for _, steps in mixes])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def find(self, step: int) -> tuple[Mix, int]:
        """The mix in force at a step, and the step's number within it."""
        stage = int(np.searchsorted(self.ends, step, side="right"))
        return self.mixes[stage], step - (int(self.ends[stage - 1]) if stage else 0)

    def __getitem__(self, step: int) -> list[Sample]:
        mix, local = self.find(step)
        return mix[local]

    def describe(self, step: int) -> str:
        """What a step's batch holds, in words: for the message that it takes long."""
        mix, local = self.find(step)
        draw = mix.draw(local)
        numbers = ", ".join(str(item) for item in draw.items[:4])
        return f"batch {step}: {mix.sources[draw.source].name}, pictures {numbers} ..."
