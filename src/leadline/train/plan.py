"""`leadline train --dry-run`: what a recipe will read, train, hold in memory and take, before it does."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from leadline import documents, methods
from leadline import recipe as recipes
from leadline.data.mix import Set
from leadline.errors import UsageError
from leadline.recipe import Recipe
from leadline.train import build, feed, preflight, teach
from leadline.train.display import clock
from leadline.train.memory import GIB, Need, Sizes, need

CARDS_GB = (12, 16, 24, 48, 80)
KEPT_FREE = 1.5 * GIB  # of a card: for its context, work space of its kernels, gaps between arrays
PIECES = ("weights", "gradients", "optimiser", "average", "activations")


@dataclass(frozen=True)
class Data:
    """A data set of the mix: pictures, sizes as (height, width), share of the batches, passes over it. A set
    without `sizes` in the recipe has the largest size of a few pictures.
    """

    name: str
    pictures: int
    sizes: tuple[tuple[int, int], ...]
    share: float
    passes: float


@dataclass(frozen=True)
class Rung:
    """A way to train by the recipe: `changes` to it, as the command line takes them, and what it needs."""

    changes: tuple[str, ...]
    need: Need

    def fits(self, card_gb: int) -> bool:
        """Whether one process finds room on a card of so many GB."""
        return self.need.total <= card_gb * GIB - KEPT_FREE


@dataclass(frozen=True)
class Plan:
    """For one process. rungs: the recipe itself, then ways that take less and less. rate: this device's, in
    FLOP/s of matrix products; no training is faster.
    """

    data: tuple[Data, ...]
    steps: int
    pictures: int
    rungs: tuple[Rung, ...]
    rate: float

    @property
    def seconds(self) -> float:
        """What the recipe takes on this device, at least."""
        return self.steps * self.rungs[0].need.flop / self.rate


def plan(recipe: Recipe, make: Callable[[Recipe], Any] = build.method) -> Plan:
    """Data sets are opened, and one sample of each is looked at; weights that the recipe starts from need not
    be on this machine if they are of Stable Diffusion 2's size. Raises what a training would raise before its
    first step.

    make: another way to a recipe's network.
    """
    if recipe.self_training and not teach.labelled(recipe.self_training):
        raise UsageError("self_training: there are no labels yet, a training makes them first: start it once")
    recipe = teach.with_labels(recipe)
    sets = feed.open_all(recipe)
    preflight.check_sets(feed.stages(recipe, sets), recipe.preflight == "stop")
    own = {n: preflight.own_size(sets[n]) for n, entry in recipe.data.items() if not entry.sizes}
    rungs = tuple(_ladder(recipe, make, own))
    preflight.check_sizes(recipe, rungs[0].need.multiple)
    batches = [(stage.batch or recipe.batch, stage.steps) for stage in recipe.plan]
    pictures = sum(batch.size * batch.accumulate * steps for batch, steps in batches)
    return Plan(_data(recipe, sets, own, pictures), recipe.total_steps, pictures, rungs, matrix_rate(recipe))


def _data(recipe: Recipe, sets: dict[str, Set], own: Sizes, pictures: int) -> tuple[Data, ...]:
    turns = {entry.turn for entry in recipe.data.values()}
    whole = {turn: sum(e.ratio for e in recipe.data.values() if e.turn == turn) for turn in turns}
    found = []
    for name, entry in recipe.data.items():
        share, count = entry.ratio / whole[entry.turn] / len(turns), len(sets[name])  # turns alternate
        found.append(Data(name, count, entry.sizes or (own[name],), share, share * pictures / count))
    return tuple(found)


def _ladder(recipe: Recipe, make: Callable[[Recipe], Any], own: Sizes) -> Iterator[Rung]:
    """The recipe, then with one change after the other that saves memory, those that cost least first."""
    yield Rung((), need(recipe, make, own))
    changes: tuple[str, ...] = ()
    for word in _savings(recipe):
        key = word.partition("=")[0]
        wanted = (*(other for other in changes if not other.startswith(f"{key}=")), word)
        with suppress(UsageError):  # a network that cannot
            yield Rung(wanted, need(recipes.load(documents.dump(recipe), wanted), make, own))
            changes = wanted


def _savings(recipe: Recipe) -> Iterator[str]:
    _, config = methods.get(recipe.method)
    for key in (name for name in config.model_fields if name.startswith("checkpoint_")):
        if not recipe.model.get(key):
            yield f"model.{key}=true"
    batch = recipe.batch
    if batch.size > 1 and not any(stage.batch for stage in recipe.plan):
        yield f"batch={{size: 1, accumulate: {batch.size * batch.accumulate}}}"
    if recipe.optimiser.name == "adamw":
        yield "optimiser.name=adamw8bit"
        yield "optimiser.name=adafactor"


def matrix_rate(recipe: Recipe) -> float:
    """FLOP/s of square matrix products in the recipe's precision, on its device."""
    cuda = recipe.device != "cpu" and torch.cuda.is_available()
    side, device = (8192, "cuda") if cuda else (1024, "cpu")
    a = torch.ones(side, side, device=device, dtype=getattr(torch, recipe.precision))
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def lines(plan: Plan) -> Iterator[str]:
    """The plan for people."""
    if plan.rungs[0].need.of_stable_diffusion:
        yield "its start is not on this machine: memory is counted for networks of Stable Diffusion 2's size"
    for data in plan.data:
        sizes = ", ".join(f"{width}x{height}" for height, width in data.sizes)
        yield (
            f"data {data.name}: {data.pictures} pictures at {sizes}, {data.share:.0%} of the batches, "
            f"{data.passes:.2g} passes"
        )
    for name, (trained, frozen) in plan.rungs[0].need.parameters.items():
        yield f"{name}: {trained / 1e6:.2f} M parameters trained, {frozen / 1e6:.2f} M frozen"
    yield f"{plan.steps} steps, {plan.pictures} pictures"
    yield (
        f"time: {plan.rungs[0].need.flop / 1e12:.3g} TFLOP per step; at this device's rate of matrix "
        f"products, {plan.rate / 1e12:.3g} TFLOP/s, at least {clock(plan.seconds)}"
    )
    yield "memory of one process in GiB, and which cards (GB) it fits:"
    yield f"{'total':>8}" + "".join(f"{name:>13}" for name in PIECES) + "   cards"
    for rung in plan.rungs:
        cards = " ".join(str(size) for size in CARDS_GB if rung.fits(size)) or "none"
        pieces = "".join(f"{getattr(rung.need, name) / GIB:13.2f}" for name in PIECES)
        change = f"and {shlex.quote(rung.changes[-1])}" if rung.changes else "the recipe"
        yield f"{rung.need.total / GIB:8.2f}{pieces}   {cards:16} {change}"


def facts(plan: Plan) -> dict[str, Any]:
    """The plan for scripts."""
    return {
        "data": [vars(data) for data in plan.data],
        "parameters": {name: list(counts) for name, counts in plan.rungs[0].need.parameters.items()},
        "steps": plan.steps,
        "pictures": plan.pictures,
        "seconds_at_least": plan.seconds,
        "memory": [
            {"changes": list(rung.changes), "bytes": rung.need.total}
            | {name: getattr(rung.need, name) for name in PIECES}
            | {"cards_gb": [size for size in CARDS_GB if rung.fits(size)]}
            for rung in plan.rungs
        ],
    }
