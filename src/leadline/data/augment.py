"""Augmentation: what a camera could also have seen. Picture, depth, normals and camera always change
together.

Geometry (flip, crop, resize) keeps every depth and normal true for the changed camera. Colour and sensor
changes touch the picture alone. Every draw comes from the generator passed in, always the same number of
them in the same order, so switching one change off does not alter the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from leadline import ade20k
from leadline.data.recolour import recolour
from leadline.data.sample import Array, Sample

Rng = np.random.Generator
FRAME = 0.04  # of a side: the widest frame


class Options(BaseModel):
    """How strong each change is; 0 (and crop 1) switches it off. The defaults change nothing but left and
    right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: float = Field(0.5, ge=0, le=1, description="probability of a mirror image")
    crop: float = Field(
        1.0, gt=0, le=1, description="smallest side of the crop, as a fraction of the largest possible"
    )
    stretch: float = Field(0.0, ge=0, lt=1, description="the crop's aspect ratio changes by up to 1 + this")
    exposure: float = Field(0.0, ge=0, description="stops up or down, in linear light")
    gamma: float = Field(0.0, ge=0, description="exponent exp(+-this)")
    contrast: float = Field(0.0, ge=0, lt=1, description="factor 1 +- this about the mean")
    saturation: float = Field(0.0, ge=0, le=1, description="factor 1 +- this")
    hue: float = Field(0.0, ge=0, le=0.5, description="turns of the colour circle, +- this")
    cast: float = Field(0.0, ge=0, description="gain of each channel exp(+-this)")
    grey: float = Field(0.0, ge=0, le=1, description="probability of no colour at all")
    blur: float = Field(0.0, ge=0, description="largest standard deviation in pixels; half of the pictures")
    coarse: float = Field(
        1.0, ge=1, description="largest factor of a shrink and enlarge; a quarter of the pictures"
    )
    noise: float = Field(
        0.0, ge=0, description="largest standard deviation of sensor noise; half of the pictures"
    )
    jpeg: float = Field(0.0, ge=0, le=1, description="probability of JPEG artefacts, quality 25-95")
    frame: float = Field(
        0.0, ge=0, le=1, description="probability of a plain frame, up to 4 % of each side, not valid"
    )
    widen: float = Field(
        1.0, ge=1, description="largest factor by which noise around widens the view; half of the pictures"
    )
    defocus: float = Field(0.0, ge=0, le=1, description="probability of a Gaussian blur, deviation up to 4")
    motion: float = Field(0.0, ge=0, le=1, description="probability of a straight streak of 3 to 11 pixels")
    jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="probability of another brightness, contrast, saturation (+-0.5), hue (0.2)",
    )
    resize: Literal["smooth", "nearest"] = Field("smooth", description="how colours come to the size")
    resize_normals: Literal["smooth", "nearest"] = Field("nearest", description="how normals do")


def augment(
    sample: Sample, rng: Rng, options: Options | None = None, size: tuple[int, int] | None = None
) -> Sample:
    """A changed copy of `sample`, at `size` (height, width) if given.

    The crop has the aspect ratio of `size`, and is drawn anywhere in the picture; without `size` it keeps
    the picture's own. Depth and validity are taken at the nearest pixel, never mixed across an edge, and so
    are normals unless the options say otherwise; the colours are averaged (antialiased). The normals'
    vectors stay as they are under crop and resize, even with a stretch: these change the camera, not the
    world.
    """
    options = options or Options()
    height, width = size or sample.size
    draws = rng.random(4)
    box = crop_box(sample.size, (height, width), options, draws[:3])
    smooth, smooth_normals = options.resize == "smooth", options.resize_normals == "smooth"
    sample = cut(sample, box, (height, width), smooth=smooth, smooth_normals=smooth_normals)
    if draws[3] < options.flip:
        sample = flip(sample)
    sample = replace(sample, rgb=recolour(sample.rgb, rng, options))
    seed = int(rng.integers(0, 2**63))
    framed = frame(sample, np.random.default_rng(seed), options.frame)
    return widen(framed, np.random.default_rng([seed, 1]), options.widen)


def crop_box(
    size: tuple[int, int], target: tuple[int, int], options: Options, draws: Array
) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a crop with about the target's aspect ratio; three draws in [0,1)
    choose it.
    """
    height, width = size
    aspect = target[1] / target[0] * (1 + options.stretch) ** (2 * float(draws[0]) - 1)
    scale = 1 - (1 - options.crop) * float(draws[1])
    crop_h = scale * min(height, width / aspect)
    h, w = min(height, max(1, round(crop_h))), min(width, max(1, round(crop_h * aspect)))
    place = float(draws[2]) * (height - h + 1) * (width - w + 1)  # one draw, every position equally likely
    top, left = divmod(int(place), width - w + 1)
    return left, top, w, h


def cut(
    sample: Sample,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    *,
    smooth: bool = True,
    smooth_normals: bool = False,
) -> Sample:
    """The part (left, top, width, height) of a sample, resized to (height, width): colours smoothly, the rest
    at the nearest pixel, unless said otherwise. Pairs of points are left behind: some would lie outside.
    """
    left, top, w, h = box
    height, width = size
    rows = top + ((np.arange(height) + 0.5) * h / height).astype(np.int64)
    columns = left + ((np.arange(width) + 0.5) * w / width).astype(np.int64)

    def nearest(x: Array | None) -> Array | None:
        return None if x is None else np.ascontiguousarray(x[rows[:, None], columns])

    rgb, normals = sample.rgb[top : top + h, left : left + w], nearest(sample.normals)
    if not smooth:
        rgb = sample.rgb[rows[:, None], columns]
    elif (h, w) != (height, width):
        filter_ = Image.Resampling.BILINEAR if h >= height else Image.Resampling.BICUBIC
        rgb = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize((width, height), filter_))
    if smooth_normals and sample.normals is not None and (h, w) != (height, width):
        normals = _blended(sample.normals[top : top + h, left : left + w], (height, width))
    camera = sample.camera
    return replace(
        sample,
        rgb=np.ascontiguousarray(rgb),
        valid=sample.valid[rows[:, None], columns],
        depth_m=nearest(sample.depth_m),
        normals=normals,
        classes=nearest(sample.classes),
        pseudo=nearest(sample.pseudo),
        matte=nearest(sample.matte),
        pairs=None,
        camera=None if camera is None else camera.cropped(left, top, w, h).resized(width, height),
    )


def _blended(normals: Array, size: tuple[int, int]) -> Array:
    """Normals [H,W,3] at another size, means of neighbours, of unit length again; 0: none."""
    height, width = size
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.BILINEAR)
        for plane in np.moveaxis(normals, -1, 0)
    ]
    mean = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.where(length > 0, mean / np.where(length > 0, length, 1), 0).astype(np.float32)


def flip(sample: Sample) -> Sample:
    """The mirror image: columns reversed, the normals' x negated, the camera's cx to W - cx."""

    def mirror(x: Array | None) -> Array | None:
        return None if x is None else np.ascontiguousarray(x[:, ::-1])

    normals = mirror(sample.normals)
    return replace(
        sample,
        rgb=np.ascontiguousarray(sample.rgb[:, ::-1]),
        valid=np.ascontiguousarray(sample.valid[:, ::-1]),
        depth_m=mirror(sample.depth_m),
        normals=None if normals is None else normals * np.array([-1, 1, 1], np.float32),
        classes=mirror(sample.classes),
        pseudo=mirror(sample.pseudo),
        matte=mirror(sample.matte),
        pairs=None,
        camera=None if sample.camera is None else sample.camera.flipped(),
    )


def frame(sample: Sample, rng: Rng, probability: float) -> Sample:
    """Perhaps a white, black or grey frame, as undistorted and scanned pictures have; it is not valid."""
    if rng.random() >= probability:
        return sample
    height, width = sample.size
    shade = np.uint8(rng.choice([255, 0, int(rng.integers(0, 256))], p=[0.5, 0.3, 0.2]))
    top, bottom = np.rint(FRAME * height * rng.random(2)).astype(int)
    left, right = np.rint(FRAME * width * rng.random(2)).astype(int)
    inside = np.zeros((height, width), bool)
    inside[top : height - bottom, left : width - right] = True
    classes = None if sample.classes is None else np.where(inside, sample.classes, ade20k.UNKNOWN)
    rgb = np.where(inside[..., None], sample.rgb, shade)
    return replace(sample, rgb=rgb, valid=sample.valid & inside, classes=classes)


def widen(sample: Sample, rng: Rng, most: float) -> Sample:
    """Perhaps the whole picture, smaller, amid noise that is not valid: what a wider lens would have seen
    less of (DMD). The size stays, the camera's field of view grows.
    """
    if most == 1 or rng.random() < 0.5:
        return sample
    height, width = sample.size
    shrink = most ** -rng.random()
    h, w = max(1, round(height * shrink)), max(1, round(width * shrink))
    top, left = (height - h) // 2, (width - w) // 2
    small = cut(sample, (0, 0, width, height), (h, w))
    edges = ((top, height - h - top), (left, width - w - left))

    def amid(x: Array | None, around: int = 0) -> Array | None:
        return None if x is None else np.pad(x, [*edges, *[(0, 0)] * (x.ndim - 2)], constant_values=around)

    inside = np.pad(np.ones((h, w), bool), edges)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    around = (left, top, edges[1][1], edges[0][1])
    return replace(
        small,
        rgb=np.where(inside[..., None], np.pad(small.rgb, [*edges, (0, 0)]), noise),
        valid=np.pad(small.valid, edges),
        depth_m=amid(small.depth_m),
        normals=amid(small.normals),
        classes=amid(small.classes, ade20k.UNKNOWN),
        pseudo=amid(small.pseudo),
        matte=amid(small.matte),
        camera=small.camera and small.camera.padded(*around),
    )
