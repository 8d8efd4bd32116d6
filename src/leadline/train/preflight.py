"""Mistakes that are cheap to find before the first step and expensive to find after a night."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from leadline.data.mix import Stages, fetch
from leadline.data.sample import Array, Sample
from leadline.errors import DataError, TrainError
from leadline.recipe import Recipe

PLAUSIBLE_M = (0.02, 500.0)  # median depth of a picture; millimetres read as metres give thousands


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


def check_data(batches: Stages) -> list[Sample]:
    """The first batch, after one sample of every data set was looked at closely. DataError names the
    sample.
    """
    mix, _ = batches.find(0)
    for source in mix.sources:
        check_sample(fetch(source.data, 0, source.sizes[0] if source.sizes else None), source.name)
    samples = batches[0]
    if not any(sample.valid.any() for sample in samples):
        names = ", ".join(sample.name for sample in samples[:3])
        raise DataError(
            f"the first batch ({names} ...) has no valid pixel: is the depth's unit or mask right?"
        )
    return samples


def check_sample(sample: Sample, source: str) -> None:
    """Values that a correct reader never gives: wrong units, an empty mask, normals that are no unit
    vectors.
    """
    where = f"data set {source}, sample {sample.name}"
    if not sample.valid.any():
        raise DataError(f"{where}: no pixel is valid: is the depth's unit or mask right?")
    if sample.depth_m is not None:
        _check_depth(sample.depth_m[sample.valid], where)
    if sample.normals is not None:
        length = np.linalg.norm(sample.normals[sample.valid], axis=-1)
        if not ((np.abs(length - 1) < 0.02) | (length == 0)).all():
            found = f"{length.min():.3f} to {length.max():.3f}"
            raise DataError(
                f"{where}: normals have lengths {found}, wanted 1, or 0 where there is none (sky)"
            )


def _check_depth(depth: Array, where: str) -> None:
    if not (depth > 0).all():  # false for nan too
        raise DataError(f"{where}: valid depths must be above 0 (inf: sky): correct `valid`")
    solid = depth[np.isfinite(depth)]
    median, (low, high) = float(np.median(solid)) if solid.size else PLAUSIBLE_M[1], PLAUSIBLE_M
    if not low <= median <= high:
        raise DataError(
            f"{where}: median depth is {median:.4g} m, wanted {low} to {high:.0f}: "
            "are these millimetres or centimetres?"
        )


def check_gradient(module: nn.Module) -> list[str]:
    """After one backward pass: TrainError if no trainable weight has a gradient; lines about parts without
    one.
    """
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    reached = [n for n, p in trainable.items() if p.grad is not None and bool(torch.any(p.grad != 0))]
    if not reached:
        raise TrainError("no trainable weight receives a gradient: is a part detached or everything frozen?")
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
