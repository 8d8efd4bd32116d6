"""Several data sets mixed by ratio, in an order that is a pure function of (seed, step, rank, world).

Nothing that was seen decides what comes: what step 1000 holds is computed from its number, so a resumed
training, another number of loader processes or a second machine cannot see other pictures than an
undisturbed run. The order itself is one of `leadline.data.orders`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from leadline.data import orders
from leadline.data.augment import Options, augment
from leadline.data.orders import CHANGE, SIZE
from leadline.data.sample import Sample, check
from leadline.errors import DataError


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
    samples come. turn: sets of one turn share its batches by their ratios, and turns alternate.
    """

    data: Set
    ratio: float = 1.0
    augment: Options = Options()
    sizes: tuple[tuple[int, int], ...] = ()
    size_weights: tuple[float, ...] = ()
    name: str = ""
    turn: str = ""


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

    order: a name of `orders.ORDERS`. Rank r of w takes its stretch of what one process with w times the batch
    would see, so that all ranks agree on set and size and their steps take the same time. A batch that is
    short, as E2E-FT's last ones, is filled up from its beginning where several ranks share it.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        batch: int,
        seed: Sequence[int],
        rank: int = 0,
        world: int = 1,
        order: str = "exact",
    ) -> None:
        if not sources or not all(s.ratio > 0 for s in sources):
            raise DataError(f"found ratios {[s.ratio for s in sources]}, wanted one or more above 0")
        for source in sources:
            if len(source.data) == 0:
                raise DataError(
                    f"data set {source.name or 'without name'} is empty, wanted at least one picture"
                )
        self.sources, self.batch, self.seed = tuple(sources), batch, tuple(seed)
        self.rank, self.world = rank, world
        lengths, ratios = [len(s.data) for s in sources], [s.ratio for s in sources]
        turns = [s.turn for s in sources]
        self.order = orders.make(order, lengths, ratios, batch * world, seed, turns)

    def rng(self, *key: int) -> np.random.Generator:
        """The generator that belongs to a purpose and its numbers."""
        return np.random.default_rng([*self.seed, *key])

    def draw(self, step: int) -> Draw:
        """What the batch of this step holds, without loading anything."""
        number, items, places = self.order.turn(step)
        if self.world > 1:
            whole, own = self.batch * self.world, slice(self.rank * self.batch, (self.rank + 1) * self.batch)
            items, places = (tuple(np.resize(x, whole).tolist()[own]) for x in (items, places))
        return Draw(number, self._size(number, step), items, places)

    def __getitem__(self, step: int) -> list[Sample]:
        """The samples of a step, loaded, augmented and checked."""
        draw = self.draw(step)
        return [self._load(draw, item, place) for item, place in zip(draw.items, draw.places, strict=True)]

    def _load(self, draw: Draw, item: int, place: int) -> Sample:
        source = self.sources[draw.source]
        sample = fetch(source.data, item, draw.size)
        return augment(sample, self.rng(draw.source, place, CHANGE), source.augment, draw.size)

    def _size(self, number: int, step: int) -> tuple[int, int] | None:
        source = self.sources[number]
        if not source.sizes:
            return None
        weights = np.array(source.size_weights or [1.0] * len(source.sizes))
        return source.sizes[int(self.rng(step, SIZE).choice(len(weights), p=weights / weights.sum()))]


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
        """What a step's batch holds, in words: for the message that it takes long. Pictures have the names by
        which their set knows them before they are read, else their numbers.
        """
        mix, local = self.find(step)
        draw = mix.draw(local)
        source = mix.sources[draw.source]
        name_of = getattr(source.data, "name_of", str)
        return f"batch {step}: {source.name}, pictures {', '.join(map(name_of, draw.items))}"
