"""Small scenes with all that is measured, as samples and as folders of pairs; models that are functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from leadline.data.sample import Sample
from leadline.predict import Model, external
from leadline.prediction import Kind, Prediction

SIZE = (24, 32)
Array = np.ndarray


def scene(seed: int = 0) -> Sample:
    """A square that stands in front of a slope, with depth, normals, a matte and pairs of points."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    square = (rows > 6) & (rows < 17) & (columns > 8) & (columns < 21)
    depth = np.where(square, 1.5, 4 + rows / 12 + random.uniform(0, 0.01, SIZE)).astype(np.float32)
    normals = random.normal(size=(*SIZE, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    valid = np.ones(SIZE, bool)
    valid[0, :5] = False
    return Sample(
        random.integers(0, 256, (*SIZE, 3), np.uint8),
        valid,
        depth,
        normals,
        name=f"images/{seed}.png",
        matte=square,
        pairs=np.array([[[10, 10], [2, 3]], [[12, 15], [20, 30]]]),
        group="odd" if seed % 2 else "even",
    )


def perfect(sample: Sample, kind: Kind) -> Array:
    """What a model of this kind should say: affine ones with a scale and shift of their own."""
    return sample.normals if kind is Kind.normals else as_kind(sample.depth_m, kind)


def as_kind(depth: Array, kind: Kind) -> Array:
    if kind is Kind.affine_depth:
        depth = (depth - depth.min()) / np.ptp(depth)
    elif kind is Kind.affine_disparity:
        depth = (1 / depth - 1 / depth.max()) * 1.2 + 0.1
    return depth.astype(np.float32)


def predicted(values: Array, kind: Kind) -> Prediction:
    return Prediction(np.ascontiguousarray(values, np.float32), kind)


def pairs(folder: Path, count: int = 6, *, normals: bool = False) -> Path:
    """A folder of pairs, as the data set `folder` reads it: scenes 0 to count - 1; number 2 has no depth."""
    for seed in range(count):
        one = scene(seed)
        depth = one.depth_m * (seed != 2)
        _save(folder / "images" / f"{seed}.png", one.rgb)
        if normals:
            _save(folder / "normals" / f"{seed}.npy", one.normals)
        else:
            _save(folder / "depth" / f"{seed}.npy", depth)
    if normals:
        (folder / "pairs.yaml").write_text("frame: opencv\n")
    return folder


def model(function: Callable[[Array], Array], kind: Kind, name: str) -> Model:
    """A function of a picture, uint8 [H,W,3], as a model to be measured."""
    return external(function, kind, name=name)


def guess(rgb: Array, seed: int = 0) -> Array:
    """Some depth that depends on the picture: never right, never constant."""
    random = np.random.default_rng([seed, int(rgb[0, 0, 0])])
    rows, _ = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return (rows / rgb.shape[0] + random.uniform(0, 0.4, rgb.shape[:2]) + 0.1).astype(np.float32)


def guess_normals(rgb: Array) -> Array:
    return np.dstack([guess(rgb, 1), guess(rgb, 2) - 0.7, guess(rgb, 3) - 1.5])


def _save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)
