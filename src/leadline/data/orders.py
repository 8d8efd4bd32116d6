"""In which order a training meets its data sets and their pictures: ours, and those of two released programs.

Each order is a pure function of (seed, step): whoever computes it, sees the same. Ranks share a batch out:
each takes its own stretch of what one process with all of it would see.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from leadline.errors import DataError

Array = NDArray[Any]
BLOCK = 1000  # steps that are dealt out to the data sets at once, in exact proportion
CHOICE, SIZE, SHUFFLE, CHANGE = range(4)  # what a random stream is for: the last part of its seed


class Turn(NamedTuple):
    """One batch: the data set's number, and its pictures' numbers with a place for each that never recurs."""

    source: int
    items: tuple[int, ...]
    places: tuple[int, ...]


class Order(Protocol):
    """What `Mix` asks: the batch of a step, of all ranks together."""

    def turn(self, step: int) -> Turn: ...


class Exact:
    """Over each 1000 steps the data sets get their ratio exactly (rounded at random), those of one turn of
    its steps; turns alternate. Each set is walked through in a new order per pass, every picture once. Any
    step is found without those before it.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        ratios: Sequence[float],
        batch: int,
        seed: Sequence[int],
        turns: Sequence[str] = (),
    ) -> None:
        self.lengths, self.ratios, self.batch, self.seed = tuple(lengths), tuple(ratios), batch, tuple(seed)
        turns = turns or [""] * len(lengths)
        self.turns = [np.flatnonzero([turn == one for turn in turns]) for one in dict.fromkeys(turns)]
        self._passed = [np.zeros(len(self.lengths), np.int64)]  # batches per source before each block

    def turn(self, step: int) -> Turn:
        block, offset = divmod(step, BLOCK)
        choices = self._choices(block)
        number = int(choices[offset])
        before = int(self._before(block)[number]) + int(np.count_nonzero(choices[:offset] == number))
        places = tuple(range(before * self.batch, (before + 1) * self.batch))
        return Turn(number, tuple(self._item(number, place) for place in places), places)

    def _choices(self, block: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([*self.seed, block, CHOICE])
        turn = (block * BLOCK + np.arange(BLOCK)) % len(self.turns)
        choices = np.empty(BLOCK, np.int64)
        for number, members in enumerate(self.turns):
            own = turn == number
            count = np.count_nonzero(own)
            points = (rng.permutation(count) + rng.random()) / count  # evenly spread: exact ratios, no clumps
            ratios = [self.ratios[member] for member in members]
            shares = np.cumsum(ratios) / math.fsum(ratios)
            choices[own] = members[np.searchsorted(shares[:-1], points, side="right")]
        return choices

    def _before(self, block: int) -> NDArray[np.int64]:
        while len(self._passed) <= block:
            count = np.bincount(self._choices(len(self._passed) - 1), minlength=len(self.lengths))
            self._passed.append(self._passed[-1] + count)
        return self._passed[block]

    def _item(self, number: int, place: int) -> int:
        turn, offset = divmod(place, self.lengths[number])
        return int(_shuffled((*self.seed, number, turn, SHUFFLE), self.lengths[number])[offset])


@lru_cache(maxsize=8)
def _shuffled(seed: tuple[int, ...], length: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(length)


class _Epochs(ABC):
    """An order that follows from its beginning: whole epochs are computed in turn, and kept as numbers."""

    def __init__(self, lengths: Sequence[int], ratios: Sequence[float], batch: int, seed: int) -> None:
        self.lengths, self.ratios, self.batch, self.seed = tuple(lengths), tuple(ratios), batch, seed
        self._ahead = self.epochs()
        self._sources: list[Array] = []  # per epoch [steps]
        self._items: list[Array] = []  # per epoch [steps, batch]; -1 fills a short batch
        self._ends = [0]

    @abstractmethod
    def epochs(self) -> Iterator[list[tuple[int, list[int]]]]:
        """Epoch by epoch: the batches, each a data set's number and its pictures' numbers."""

    def turn(self, step: int) -> Turn:
        while self._ends[-1] <= step:
            self._keep(next(self._ahead))
        epoch = int(np.searchsorted(self._ends, step, side="right")) - 1
        place = step - self._ends[epoch]
        items = tuple(int(x) for x in self._items[epoch][place] if x >= 0)
        return Turn(
            int(self._sources[epoch][place]), items, tuple(step * self.batch + i for i in range(len(items)))
        )

    def _keep(self, batches: list[tuple[int, list[int]]]) -> None:
        self._sources.append(np.array([source for source, _ in batches], np.int8))
        filled = [items + [-1] * (self.batch - len(items)) for _, items in batches]
        self._items.append(np.array(filled, np.int32))
        self._ends.append(self._ends[-1] + len(batches))


class Marigold(_Epochs):
    """Marigold's sampler: each step draws the data set, whose own list of shuffled full batches then gives
    its last one; an empty list is filled anew. All of it from one generator.
    """

    def epochs(self) -> Iterator[list[tuple[int, list[int]]]]:
        generator = Generator().manual_seed(self.seed)
        chances = torch.tensor(self.ratios)
        lists = [self._batches(length, generator) for length in self.lengths]
        length = sum(map(len, lists))
        while True:
            epoch = []
            for _ in range(length):
                source = int(torch.multinomial(chances, 1, replacement=True, generator=generator))
                lists[source] = lists[source] or self._batches(self.lengths[source], generator)
                epoch.append((source, lists[source].pop()))
            yield epoch

    def _batches(self, length: int, generator: Generator) -> list[list[int]]:
        """The set's pictures shuffled, in full batches; a set with fewer than one batch fills one."""
        order = _permuted(length, generator)
        _permuted(length, generator)  # torch's sampler draws once more before it ends
        order = order if length >= self.batch else list(np.resize(order, self.batch))
        return [
            order[start : start + self.batch] for start in range(0, len(order) - self.batch + 1, self.batch)
        ]


class E2EFT(_Epochs):
    """E2E-FT's loader: of each data set such a part of its shuffled batches that the parts have the ratio and
    one set is used up; their order is shuffled; the last, short batch of a set counts like any other.
    """

    def epochs(self) -> Iterator[list[tuple[int, list[int]]]]:
        choices = np.random.RandomState(self.seed)  # theirs is numpy's old generator
        generator = Generator().manual_seed(self.seed)
        counts = [-(-length // self.batch) for length in self.lengths]
        sets = [*zip(counts, self.ratios, strict=True)]
        parts = [int(own[0] * min(self._fraction(own, other) for other in sets)) for own in sets]
        parts = parts if any(parts) else [1] * len(parts)  # sets of a few pictures
        while True:
            order = [source for source, part in enumerate(parts) for _ in range(part)]
            choices.shuffle(order)
            for _ in self.lengths:
                _drawn(generator)  # each loader's seed for its workers, which they do not use
            lists: dict[int, Iterator[list[int]]] = {}
            for source in order:
                if source not in lists:  # a loader shuffles when it is first asked
                    lists[source] = self._batches(
                        self.lengths[source], Generator().manual_seed(_drawn(generator))
                    )
            # what follows was drawn in the order of the first batches, as above
            yield [(source, next(lists[source])) for source in order]

    @staticmethod
    def _fraction(own: tuple[int, float], other: tuple[int, float]) -> float:
        """The share of a set's batches that suits all of another's, each (batches, ratio), rounded as theirs:
        for 9:1 they multiply by 9 or divide by it, and a batch can hang on that.
        """
        (n, ratio), (m, against) = own, other
        return m / n * (ratio / against) if ratio >= against else m / n / (against / ratio)

    def _batches(self, length: int, generator: Generator) -> Iterator[list[int]]:
        order = _permuted(length, generator)
        return iter([order[start : start + self.batch] for start in range(0, length, self.batch)])


def _permuted(length: int, generator: Generator) -> list[int]:
    order: list[int] = torch.randperm(length, generator=generator).tolist()
    return order


def _drawn(generator: Generator) -> int:
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


EPOCHS = {"marigold": Marigold, "e2e-ft": E2EFT}
ORDERS = ("exact", *EPOCHS)


def make(
    name: str,
    lengths: Sequence[int],
    ratios: Sequence[float],
    batch: int,
    seed: Sequence[int],
    turns: Sequence[str] = (),
) -> Order:
    """The order of that name over sets of these lengths, `batch` pictures at once. The released programs'
    take one number, the sum of the seed's, and know no turns (DataError).
    """
    if name == "exact":
        return Exact(lengths, ratios, batch, seed, turns)
    if any(turns):
        raise DataError(f"order {name} knows no turns: leave `turn` out, or take order exact")
    return EPOCHS[name](lengths, ratios, batch, sum(seed))
