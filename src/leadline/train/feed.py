"""From a recipe's data sets to the loop: opened, mixed, numbered; and the pictures for validation."""

from __future__ import annotations

import numpy as np

from leadline.data import open_set
from leadline.data.augment import Options, augment
from leadline.data.mix import Mix, Set, Source, Stages, fetch
from leadline.data.sample import Sample
from leadline.recipe import Recipe, Validation


def open_all(recipe: Recipe) -> dict[str, Set]:
    """The recipe's data sets by entry name, as it looks at them."""
    return {
        name: entry.over(open_set(entry.set or name, entry.options)) for name, entry in recipe.data.items()
    }


def stages(recipe: Recipe, sets: dict[str, Set], rank: int = 0, world: int = 1) -> Stages:
    """The whole training as batches by number: `accumulate` of them per optimiser step."""
    mixes = []
    for number, stage in enumerate(recipe.plan):
        sources = [
            Source(
                data=sets[name],
                ratio=entry.ratio,
                augment=stage.augment or entry.augment or recipe.augment,
                sizes=stage.sizes or entry.sizes,
                size_weights=stage.size_weights if stage.sizes else entry.size_weights,
                name=name,
                turn=entry.turn,
            )
            for name, entry in recipe.data.items()
        ]
        batch = stage.batch or recipe.batch
        mix = Mix(sources, batch.size, (recipe.seed, number), rank, world, recipe.order)
        mixes.append((mix, stage.steps * batch.accumulate))
    return Stages(mixes)


def accumulation(recipe: Recipe, step: int) -> tuple[int, int]:
    """(number of the first batch, how many batches) of an optimiser step."""
    first = start = 0
    for stage in recipe.plan:
        count = (stage.batch or recipe.batch).accumulate
        if step < start + stage.steps:
            break
        first, start = first + stage.steps * count, start + stage.steps
    return first + (step - start) * count, count


def validation(name: str, entry: Validation) -> list[list[Sample]]:
    """The pictures of one validation set in batches of one size: brought to `size`, otherwise as they are."""
    data = entry.over(open_set(entry.set or name, entry.options))
    groups: dict[tuple[int, int], list[Sample]] = {}
    for index in range(min(entry.count, len(data))):
        sample = augment(
            fetch(data, index, entry.size), np.random.default_rng(0), Options(flip=0), entry.size
        )
        groups.setdefault(sample.size, []).append(sample)
    return [
        group[start : start + entry.batch]
        for group in groups.values()
        for start in range(0, len(group), entry.batch)
    ]
