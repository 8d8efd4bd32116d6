"""Procedural scenes as a data set: as many as wanted, any size, exact depth, normals, classes and camera."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from leadline import ade20k, image
from leadline.data.sample import Array, Sample
from leadline.errors import DataError, did_you_mean
from leadline.scenes import CLASSES, LAYOUTS, Scene, Textures, render

SEEDS_PER_SET = 10_000_000  # scene numbers of different seeds never meet


class Scenes:
    """`count` scenes of one seed, rendered when asked for. Two seeds share no scene, so one may train and
    another test.

    size: (height, width) where none is asked for. kind: one layout only. textures: a folder of photographs to
    use on surfaces, beside the drawn patterns. The sky is infinitely far and valid: disparity 0.

    >>> sample = Scenes(seed=1, count=5, size=(24, 32))[4]
    >>> sample.rgb.shape, sample.depth_m.shape, sample.camera.width
    ((24, 32, 3), (24, 32), 32)
    """

    def __init__(
        self,
        seed: int = 0,
        count: int = 100_000,
        size: tuple[int, int] = (192, 256),
        kind: str | None = None,
        textures: str | Path | None = None,
    ) -> None:
        if kind is not None and kind not in LAYOUTS:
            raise DataError(f"scenes of kind {kind!r} are unknown: {did_you_mean(kind, LAYOUTS)}")
        if not 0 < count <= SEEDS_PER_SET:
            raise DataError(
                f"count is {count}, wanted 1 to {SEEDS_PER_SET}: use another seed for more scenes"
            )
        self.seed, self.count, self.size, self.kind = seed, count, (int(size[0]), int(size[1])), kind
        self.textures = None if textures is None else str(textures)
        _bank(self.textures)  # a folder that is missing is a mistake to hear of now

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return self.at(index, self.size)

    def at(self, index: int, size: tuple[int, int]) -> Sample:
        """Scene `index` at (height, width)."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return sample(self.scene(index, size), name=f"scene {self.seed}:{index}")

    def scene(self, index: int, size: tuple[int, int]) -> Scene:
        number = self.seed * SEEDS_PER_SET + index
        return render(number, size, kind=self.kind, textures=_bank(self.textures))


def sample(scene: Scene, name: str) -> Sample:
    """A rendered scene as a training sample; where the sky is, depth is inf and valid."""
    return Sample(
        rgb=eight_bit(scene.rgb),
        valid=np.ones(scene.depth.shape[1:], bool),
        depth_m=scene.depth[0].numpy(),
        normals=scene.normals.permute(1, 2, 0).contiguous().numpy(),
        camera=scene.camera,
        name=name,
        classes=ade20k_classes(scene.classes.numpy()),
    )


def ade20k_classes(numbers: Array) -> Array:
    """A scene's classes [H,W] by ADE20K's numbers, -1 where it has none."""
    known: Array = np.array([ade20k.number(name) for name in CLASSES], np.int64)
    classes: Array = known[numbers]
    return classes


def eight_bit(rgb: torch.Tensor) -> Array:
    """Colours [3,H,W] in [0,1] -> uint8 [H,W,3]."""
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


@lru_cache(maxsize=2)
def _bank(folder: str | None) -> Textures:
    if folder is None:
        return Textures()
    files = (p for p in Path(folder).glob("*") if p.suffix.lower() in image.SUFFIXES)
    paths = sorted(p for p in files if not p.name.startswith("."))
    if not paths:
        wanted = ", ".join(sorted(image.SUFFIXES))
        raise DataError(
            f"{folder} holds no photographs ({wanted}): leave `textures` out to use patterns alone"
        )
    return Textures([image.read(p).rgb for p in paths])
