"""A network and a data set so small that a training step takes a millisecond."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from leadline.camera import Camera
from leadline.data.sample import Batch, Sample
from leadline.losses import Loss
from leadline.prediction import Kind


@dataclass
class Ramps:
    """Pictures whose red is their depth, over a little noise: learnable by one convolution."""

    count: int = 8
    size: tuple[int, int] = (8, 12)
    unit: float = 1.0
    valid: bool = True

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        height, width = self.size
        red = rng.random((height, width), np.float32)
        rgb = np.stack([red, *rng.random((2, height, width), np.float32)], axis=-1)
        normals = np.zeros((height, width, 3), np.float32)
        normals[..., 2] = -1
        return Sample(
            rgb=(rgb * 255).astype(np.uint8),
            depth_m=(1 + red) * np.float32(self.unit),
            valid=np.full((height, width), self.valid),
            normals=normals,
            camera=Camera.from_fov(width, height, horizontal=60),
            name=f"ramp {index}",
        )


class Straight(nn.Module):
    """Depth by two convolutions with dropout between them; noise from the generator is added."""

    kind = Kind.affine_depth

    def __init__(self, dropout: float = 0.1, poison: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(8, 1, 1)
        )
        self.calls, self.poison = 0, poison

    def forward(self, rgb: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        return {"depth": self.layers(rgb)}

    def loss(self, batch: Batch, generator: torch.Generator) -> Loss:
        self.calls += self.training
        noise = 0.01 * torch.randn(batch.rgb.shape, generator=generator)
        error = (self(batch.rgb + noise)["depth"] - batch.depth_m).abs().mean()
        if self.training and self.calls == self.poison:
            error = error * torch.nan
        return Loss(error, {"l1": error.detach()})

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(self.state_dict(), folder / "weights.pt")
