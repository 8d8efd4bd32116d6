"""Mistakes that are cheap to find before the first step and expensive to find after a night."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.data import scan
from leadline.data.augment import Options
from leadline.data.mix import Set, Stages, fetch
from leadline.data.sample import Sample
from leadline.errors import DataError, TrainError
from leadline.networks import latent
from leadline.recipe import Recipe
from leadline.train import geometry, sharding

LOOKED_AT = 8  # samples of each data set
SAME = {"flip", "resize", "resize_normals"}  # augmentation that makes no more than two pictures of one
FIRST_STEPS = 1000  # in which every data set has had its turn


def multiple(method: nn.Module) -> int:
    """What the sides of pictures must be multiples of in training, where nothing is padded."""
    rule: Any = method.size_rule
    autoencoder = getattr(method, "autoencoder", None)
    return math.lcm(rule.multiple, latent.factor(autoencoder) if autoencoder is not None else 1)


def check_sizes(recipe: Recipe, multiple: int) -> None:
    """DataError if a size (height, width) anywhere in the recipe does not suit the network."""
    trained = {
        size for stage in recipe.plan for entry in recipe.data.values() for size in stage.sizes or entry.sizes
    }
    for height, width in sorted(trained | {e.size for e in recipe.validation.values() if e.size}):
        if height % multiple or width % multiple:
            nearby = [max(multiple, round(side / multiple) * multiple) for side in (height, width)]
            raise DataError(
                f"size [{height}, {width}]: this network needs multiples of {multiple}: for example {nearby}"
            )


def own_size(data: Set) -> tuple[int, int]:
    """(height, width) of the largest of a few pictures, for sets that are trained at the size they have."""
    numbers = np.linspace(0, len(data) - 1, min(LOOKED_AT, len(data))).astype(int)
    return max((fetch(data, int(number), None).size for number in numbers), key=math.prod)


def check_latents(recipe: Recipe, method: nn.Module) -> None:
    """Whether pictures' latents can be kept: TrainError without an encoder that stays as it is, DataError if
    augmentation gives a picture other colours or another crop each time.
    """
    autoencoder = getattr(method, "autoencoder", None)
    own = [] if autoencoder is None else list(autoencoder.named_parameters())
    before = [p for name, p in own if name.partition(".")[0] not in latent.DECODERS]
    if autoencoder is None or any(p.requires_grad for p in before):
        raise TrainError("latents: this model has no frozen encoder: leave them out")
    plain = Options().model_dump(exclude=SAME)
    for stage in recipe.plan:
        for name, entry in recipe.data.items():
            chosen = (stage.augment or entry.augment or recipe.augment).model_dump(exclude=SAME)
            changed = [key for key, value in chosen.items() if value != plain[key]]
            if changed:
                raise DataError(
                    f"latents: augment.{changed[0]} makes a new picture of each one of {name} every time, so "
                    "that none would be met again: leave it out (flip may stay), or leave latents out"
                )


def check_sets(batches: Stages, strict: bool = True) -> list[str]:
    """Look closely at a few samples of every data set. DataError names the sample whose values cannot be
    right. What only looks wrong (leadline.train.geometry) is a DataError too, or if not strict, a line each.
    """
    mix, _ = batches.find(0)
    doubts = []
    for source in mix.sources:
        size = source.sizes[0] if source.sizes else None
        numbers = np.linspace(0, len(source.data) - 1, min(LOOKED_AT, len(source.data))).astype(int)
        samples = [fetch(source.data, int(number), size) for number in numbers]
        if size is None and mix.batch > 1:
            check_one_size(samples, source.name)
        known = [sample for sample in samples if sample.valid.any()]
        for sample in known or samples[:1]:
            check_sample(sample, source.name)
        doubts += [f"data set {source.name}: {doubt}" for doubt in geometry.doubts(known)]
    if doubts and strict:
        raise DataError(f"{doubts[0]}; if they are right as they are, go on with preflight=warn")
    return doubts


def check_data(batches: Stages, multiple: int = 1) -> list[Sample]:
    """The first batch. DataError if its size does not suit the network, or if nothing can be learnt of it."""
    samples = batches[0]
    height, width = samples[0].size
    if height % multiple or width % multiple:
        raise DataError(
            f"sample {samples[0].name} has {width}x{height} pixels, this network needs multiples of "
            f"{multiple}: give its data set `sizes`"
        )
    if not any(sample.valid.any() for sample in samples):
        names = ", ".join(sample.name for sample in samples[:3])
        raise DataError(
            f"the first batch ({names} ...) has no valid pixel: is the depth's unit or mask right?"
        )
    return samples


def one_of_each(batches: Stages) -> Iterator[list[Sample]]:
    """Of every data set its first batch, as far as it comes within a thousand."""
    mix, _ = batches.find(0)
    first: dict[int, int] = {}
    for step in range(FIRST_STEPS):
        first.setdefault(mix.draw(step).source, step)
        if len(first) == len(mix.sources):
            break
    return (mix[step] for step in first.values())


def check_one_size(samples: Sequence[Sample], source: str) -> None:
    """DataError for samples that cannot be in one batch."""
    sizes = sorted({sample.size for sample in samples})
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height}" for height, width in sizes)
        raise DataError(
            f"data set {source} has pictures of {found}, wanted one size in a batch: give it `sizes`"
        )


def check_sample(sample: Sample, source: str) -> None:
    """DataError for values that a correct reader never gives: wrong units, an empty mask, normals that are no
    unit vectors.
    """
    for fault in scan.faults(sample):
        raise DataError(f"data set {source}, sample {sample.name}: {fault}")


def check_gradient(module: nn.Module) -> list[str]:
    """After one backward pass: TrainError if a part of the network has trainable weights and none of them has
    a gradient; lines about weights without one.
    """
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    reached = {
        n for n, p in trainable.items() if p.grad is not None and bool(torch.any(sharding.whole(p.grad) != 0))
    }
    if not reached:
        raise TrainError("no trainable weight receives a gradient: is a part detached or everything frozen?")
    for part in sorted({name.partition(".")[0] for name in trainable}):
        if not any(name.partition(".")[0] == part for name in reached):
            raise TrainError(f"no gradient reaches {part}: is what follows it detached, or under no_grad?")
    unused = [name for name, p in trainable.items() if p.grad is None]
    return [f"{len(unused)} trainable weights are not used by the loss, first {unused[0]}"] if unused else []


def check_same_network(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], run: Path) -> None:
    """TrainError if a checkpoint's weights belong to another network than the recipe's."""
    shapes = {name: list(x.shape) for name, x in wanted.items()}
    others = {name: list(x.shape) for name, x in found.items()}
    if shapes != others:
        name = min(n for n in shapes.keys() | others.keys() if shapes.get(n) != others.get(n))
        raise TrainError(
            f"{run}: its checkpoint has {name} {others.get(name, 'not at all')}, the recipe's network "
            f"{shapes.get(name, 'not at all')}: use the run's own recipe.yaml or another folder"
        )
