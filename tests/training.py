"""A network and a data set so small that a training step takes a millisecond.

    python tests/training.py RUN [KEY=VALUE ...]

trains in a process of its own, which tests may kill.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from leadline import recipe
from leadline.camera import Camera
from leadline.cards import Card
from leadline.data import DATASETS
from leadline.data.sample import Batch, Sample
from leadline.losses import Loss
from leadline.prediction import Kind
from leadline.sizes import SizeRule
from leadline.train import train
from leadline.train.display import Silent

RECIPE = """
method: straight
data:
  many: {set: ramps, ratio: 2, options: {count: 7}, sizes: [[8, 12], [6, 10]], augment: {crop: 0.8}}
  few: {set: ramps, options: {count: 3}}
augment: {flip: 0.5, exposure: 0.5, noise: 0.05, jpeg: 0.5}
optimiser: {lr: 1.0e-2, groups: {bias: {weight_decay: 0, lr_factor: 0.5}}}
schedule: {decay: exponential, warmup: 3}
ema: {decay: 0.9}
stages:
  first: {steps: 8, batch: {size: 2, accumulate: 2}}
  second: {steps: 12, batch: {size: 3}, sizes: [[8, 8]], lr: 5.0e-3, schedule: {decay: cosine}}
validation: {held: {set: ramps, options: {count: 4}, count: 4}}
every: {log: 4, checkpoint: 5, validate: 5, sample: 10}
device: cpu
threads: 1
workers: 0
"""
DATASETS["ramps"] = "training:Ramps"
DATASETS["uneven"] = "training:Uneven"


@dataclass
class Ramps:
    """Pictures whose red is their depth, over a little noise: learnable by one convolution."""

    count: int = 8
    size: tuple[int, int] = (8, 12)
    unit: float = 1.0
    valid: bool = True
    holes: bool = False  # the lower part is unknown, of each picture another share; of every fourth, all

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        height, width = self.size
        red = rng.random((height, width), np.float32)
        rgb = np.stack([red, *rng.random((2, height, width), np.float32)], axis=-1)
        valid = np.full((height, width), self.valid)
        if self.holes:
            valid[height * (3 - index % 4) // 4 :] = False
        normals = np.zeros((height, width, 3), np.float32)
        normals[..., 2] = -1
        return Sample(
            rgb=(rgb * 255).astype(np.uint8),
            depth_m=(1 + red) * np.float32(self.unit),
            valid=valid,
            normals=normals,
            camera=Camera.from_fov(width, height, horizontal=60),
            name=f"ramp {index}",
        )


class Uneven(Ramps):
    """The last one is wider."""

    def __getitem__(self, index: int) -> Sample:
        size = (8, 14) if index == self.count - 1 else self.size
        return Ramps(self.count, size)[index]


class Straight(nn.Module):
    """Depth by two convolutions with dropout between them; noise from the generator is added."""

    kind = Kind.affine_depth
    size_rule = SizeRule(multiple=2)
    card = Card(name="untitled", method="straight", kind=Kind.affine_depth)

    def __init__(
        self, dropout: float = 0.1, noise: float = 0.01, poison: int = 0, poisoned: int | None = None
    ) -> None:
        """poison: the call whose loss is not finite, of all ranks or of that which is poisoned."""
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(8, 1, 1)
        )
        self.calls, self.noise = 0, noise
        self.poison = poison if poisoned in (None, int(os.environ.get("RANK", "0"))) else 0

    def forward(self, rgb: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        return {"depth": self.layers(rgb)}

    def loss(self, batch: Batch, generator: torch.Generator) -> Loss:
        self.calls += self.training
        noise = self.noise * torch.randn(batch.rgb.shape, generator=generator)
        error = (self(batch.rgb + noise)["depth"] - batch.depth_m).abs()
        count = batch.valid.sum()
        error = torch.where(batch.valid, error, 0).sum() / count.clamp(min=1)
        if self.training and self.calls == self.poison:
            error = error * torch.nan
        return Loss(error, {"l1": error.detach()}, count)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(self.state_dict(), folder / "weights.pt")


class KillAt(Silent):
    """A display that sends this process a signal when a step is done."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.at, self.number = step, number

    def step(self, step: int, facts: Mapping[str, float]) -> None:
        if step == self.at:
            os.kill(os.getpid(), self.number)


def small_recipe(*overrides: str) -> recipe.Recipe:
    return recipe.load(RECIPE, overrides)


if __name__ == "__main__":
    run, *overrides = sys.argv[1:]
    chosen = small_recipe(*overrides)
    print(train(chosen, run, method=Straight(**chosen.model)).message)
