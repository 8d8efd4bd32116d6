"""What a protocol makes of a sample before the model sees it: crop, size, colours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from leadline import crops
from leadline.data.sample import Array, Sample
from leadline.data.sets.dsine import minmax_input
from leadline.errors import DataError
from leadline.image import Picture
from leadline.protocols import Protocol, Rule

MAPS = ("rgb", "valid", "depth_m", "normals", "classes", "matte")


def cut(sample: Sample, rule: Rule) -> Sample:
    """The part and size of a sample that a protocol measures; its maps and camera go with it."""
    if rule.crop is not None:
        sample = _cropped(sample, crops.box(rule.crop, *sample.size))
    if rule.resize is not None and rule.resize != sample.size:
        sample = _resized(sample, *rule.resize)
    return sample


def picture(sample: Sample, protocol: Protocol) -> Picture:
    """What the model gets: the colours, and the camera where the data set knows it."""
    rgb = minmax_input(sample.rgb) if protocol.input == "dsine-minmax" else sample.rgb
    return Picture(rgb, sample.camera, "given" if sample.camera else None, sample.name)


def mirrored(picture: Picture) -> Picture:
    """Left and right change places."""
    rgb = np.ascontiguousarray(picture.rgb[:, ::-1])
    return replace(picture, rgb=rgb, camera=picture.camera and picture.camera.flipped())


def _cropped(sample: Sample, box: crops.Box) -> Sample:
    parts: dict[str, Any] = {name: np.ascontiguousarray(x[box.slices]) for name, x in _maps(sample).items()}
    camera = sample.camera and sample.camera.cropped(
        box.left, box.top, box.right - box.left, box.bottom - box.top
    )
    pairs = None if sample.pairs is None else sample.pairs - (box.top, box.left)
    return replace(sample, camera=camera, pairs=pairs, **parts)


def _resized(sample: Sample, height: int, width: int) -> Sample:
    """To the nearest pixel, centres on centres (torch's "nearest-exact")."""
    if sample.pairs is not None:
        raise DataError("points are read at their picture's own size: leave out resize")
    parts: dict[str, Any] = {name: _nearest(x, height, width) for name, x in _maps(sample).items()}
    return replace(sample, camera=sample.camera and sample.camera.resized(width, height), **parts)


def _nearest(x: Array, height: int, width: int) -> Array:
    rows, columns = (_sources(old, new) for old, new in zip(x.shape[:2], (height, width), strict=True))
    return np.ascontiguousarray(x[rows][:, columns])


def _sources(old: int, new: int) -> Array:
    """Which of `old` pixels each of `new` takes: by torch itself, whose rounding decides at halves."""
    line = torch.arange(old, dtype=torch.float32)[None, None]
    return F.interpolate(line, new, mode="nearest-exact")[0, 0].long().numpy()


def _maps(sample: Sample) -> dict[str, Any]:
    return {name: x for name in MAPS if (x := getattr(sample, name)) is not None}
