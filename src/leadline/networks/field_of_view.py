"""A network that is told the field of view: what it says of it is added to the embedding of the timestep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from leadline.camera import Camera
from leadline.errors import WeightsError


class FieldOfView(nn.Module):
    """ln tan(half the vertical angle) -> a vector, by two layers; at the start it is zero, to no effect.

    >>> FieldOfView(8)([Camera.from_fov(4, 3, vertical=90)]).shape
    torch.Size([1, 8])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # no one's random numbers are drawn from
            torch.default_generator.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        for parameter in self.layers[2].parameters():
            nn.init.zeros_(parameter)

    def forward(self, cameras: Sequence[Camera]) -> Tensor:
        """Cameras of B pictures -> [B,width]."""
        slope = torch.tensor([camera.height / (2 * camera.fy) for camera in cameras], dtype=torch.float64)
        first: Any = self.layers[0]
        out: Tensor = self.layers(slope.log()[:, None].to(first.weight))
        return out


def width(unet: nn.Module) -> int:
    """Of the embedding of its timesteps. Raises WeightsError for a network without one."""
    model: Any = unet
    if not hasattr(model, "time_embedding"):
        raise WeightsError(
            f"{type(unet).__name__} has no time embedding, to which the field of view is added"
        )
    return int(model.time_embedding.linear_2.out_features)


@contextmanager
def told(unet: nn.Module, what: Tensor | None) -> Iterator[None]:
    """Within it, `what` [B,width] is added to the embeddings of the network's timesteps."""
    if what is None:
        yield
        return
    model: Any = unet
    hook = model.time_embedding.register_forward_hook(lambda module, given, out: out + what.to(out))
    try:
        yield
    finally:
        hook.remove()
