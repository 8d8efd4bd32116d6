"""Augmentation: what a camera could also have seen. Picture, depth, normals and camera always change
together.

Geometry (flip, crop, resize) keeps every depth and normal true for the changed camera. Colour and sensor
changes touch the picture alone. Every draw comes from the generator passed in, always the same number of
them in the same order, so switching one change off does not alter the others.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import BaseModel, ConfigDict, Field

from leadline.data.sample import Array, Sample

Rng = np.random.Generator
Picture = NDArray[Any]  # float32 [H,W,3] in [0,1]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


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


def augment(
    sample: Sample, rng: Rng, options: Options | None = None, size: tuple[int, int] | None = None
) -> Sample:
    """A changed copy of `sample`, at `size` (height, width) if given.

    The crop has the aspect ratio of `size`, and is drawn anywhere in the picture; without `size` it keeps
    the picture's own. Depth, normals and validity are taken at the nearest pixel, never mixed across an
    edge; the colours are averaged (antialiased). The normals' vectors stay as they are under crop and
    resize, even with a stretch: these change the camera, not the world.
    """
    options = options or Options()
    height, width = size or sample.size
    draws = rng.random(4)
    box = crop_box(sample.size, (height, width), options, draws[:3])
    sample = cut(sample, box, (height, width))
    if draws[3] < options.flip:
        sample = flip(sample)
    return replace(sample, rgb=recolour(sample.rgb, rng, options))


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


def cut(sample: Sample, box: tuple[int, int, int, int], size: tuple[int, int]) -> Sample:
    """The part (left, top, width, height) of a sample, resized to (height, width)."""
    left, top, w, h = box
    height, width = size
    rows = top + ((np.arange(height) + 0.5) * h / height).astype(np.int64)
    columns = left + ((np.arange(width) + 0.5) * w / width).astype(np.int64)

    def nearest(x: Array | None) -> Array | None:
        return None if x is None else np.ascontiguousarray(x[rows[:, None], columns])

    rgb = sample.rgb[top : top + h, left : left + w]
    if (h, w) != (height, width):
        filter_ = Image.Resampling.BILINEAR if h >= height else Image.Resampling.BICUBIC
        rgb = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize((width, height), filter_))
    camera = sample.camera
    return replace(
        sample,
        rgb=np.ascontiguousarray(rgb),
        valid=sample.valid[rows[:, None], columns],
        depth_m=nearest(sample.depth_m),
        normals=nearest(sample.normals),
        classes=nearest(sample.classes),
        camera=None if camera is None else camera.cropped(left, top, w, h).resized(width, height),
    )


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
        camera=None if sample.camera is None else sample.camera.flipped(),
    )


def recolour(rgb: Array, rng: Rng, options: Options) -> Array:
    """uint8 [H,W,3] -> uint8 [H,W,3]: light, then lens, then sensor, then file, in the order of a real
    camera.
    """
    seeds = rng.integers(0, 2**63, size=len(CHANGES))
    picture: Picture | None = None
    for (name, change), seed in zip(CHANGES.items(), seeds, strict=True):
        amount = float(getattr(options, name))
        if amount != Options.model_fields[name].default:
            picture = rgb.astype(np.float32) / 255 if picture is None else picture
            picture = np.clip(change(picture, np.random.default_rng(int(seed)), amount), 0, 1)
    return rgb if picture is None else np.rint(picture * 255).astype(np.uint8)


def _signed(rng: Rng, amount: float) -> float:
    return amount * (2 * float(rng.random()) - 1)


def _exposure(x: Picture, rng: Rng, stops: float) -> Any:
    return x * 2 ** (_signed(rng, stops) / 2.2)  # a gain in linear light is a gain of its 2.2th root in sRGB


def _gamma(x: Picture, rng: Rng, amount: float) -> Any:
    return x ** np.float32(np.exp(_signed(rng, amount)))


def _contrast(x: Picture, rng: Rng, amount: float) -> Any:
    mean = (x @ LUMA).mean()
    return mean + (x - mean) * np.float32(1 + _signed(rng, amount))


def _saturation(x: Picture, rng: Rng, amount: float) -> Any:
    grey = (x @ LUMA)[..., None]
    return grey + (x - grey) * np.float32(1 + _signed(rng, amount))


def _hue(x: Picture, rng: Rng, turns: float) -> Any:
    """A rotation about the grey axis (Rodrigues): keeps r + g + b and costs one matrix product."""
    angle = 2 * np.pi * _signed(rng, turns)
    cos, third, sin = np.cos(angle), (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(3)
    row = np.array([cos + third, third - sin, third + sin])
    return x @ np.stack([row, np.roll(row, 1), np.roll(row, 2)]).T.astype(np.float32)


def _cast(x: Picture, rng: Rng, amount: float) -> Any:
    return x * np.exp(rng.uniform(-amount, amount, 3)).astype(np.float32)


def _grey(x: Picture, rng: Rng, probability: float) -> Any:
    return np.repeat((x @ LUMA)[..., None], 3, axis=2) if rng.random() < probability else x


def _blur(x: Picture, rng: Rng, sigma: float) -> Any:
    radius = sigma * float(rng.random())
    return _with_pillow(x, lambda p: p.filter(ImageFilter.GaussianBlur(radius))) if rng.random() < 0.5 else x


def _coarse(x: Picture, rng: Rng, factor: float) -> Any:
    height, width = x.shape[:2]
    shrink = float(np.exp(rng.random() * np.log(factor)))
    small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    bilinear = Image.Resampling.BILINEAR
    if rng.random() >= 0.25:
        return x
    return _with_pillow(x, lambda p: p.resize(small, bilinear).resize((width, height), bilinear))


def _noise(x: Picture, rng: Rng, amount: float) -> Any:
    """Photon noise grows with the root of the light; half of the amount is independent of it."""
    if rng.random() >= 0.5:
        return x
    sigma = np.float32(amount * rng.random())
    return x + sigma * (0.5 + 0.5 * np.sqrt(x)) * rng.standard_normal(x.shape, np.float32)


def _jpeg(x: Picture, rng: Rng, probability: float) -> Any:
    quality = int(rng.integers(25, 96))
    return _with_pillow(x, lambda p: _through_jpeg(p, quality)) if rng.random() < probability else x


def _through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _with_pillow(x: Picture, change: Callable[[Image.Image], Image.Image]) -> Picture:
    changed = change(Image.fromarray(np.rint(x * 255).astype(np.uint8)))
    return np.asarray(changed, np.float32) / 255


CHANGES: dict[str, Callable[[Picture, Rng, float], Any]] = {
    "exposure": _exposure,
    "gamma": _gamma,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
    "cast": _cast,
    "grey": _grey,
    "blur": _blur,
    "coarse": _coarse,
    "noise": _noise,
    "jpeg": _jpeg,
}
