"""What a camera could have made of the same light: changes of the colours alone, each a function of its own.

Every change has its own stream of random numbers, so that switching one off does not alter the others.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import BaseModel

Array = NDArray[Any]
Rng = np.random.Generator
Picture = NDArray[Any]  # float32 [H,W,3] in [0,1]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def recolour(rgb: Array, rng: Rng, options: BaseModel) -> Array:
    """uint8 [H,W,3] -> uint8 [H,W,3]: light, then lens, then sensor, then file, in the order of a real
    camera. options: `augment.Options`; what has its default there does nothing.
    """
    seeds = rng.integers(0, 2**63, size=len(CHANGES))
    picture: Picture | None = None
    for (name, change), seed in zip(CHANGES.items(), seeds, strict=True):
        amount = float(getattr(options, name))
        if amount != type(options).model_fields[name].default:
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


def _defocus(x: Picture, rng: Rng, probability: float) -> Any:
    """As Marigold's training on normals, so are the next two."""
    radius = 4 * float(rng.random())
    blurred = ImageFilter.GaussianBlur(radius)
    return _with_pillow(x, lambda p: p.filter(blurred)) if rng.random() < probability else x


def _motion(x: Picture, rng: Rng, probability: float) -> Any:
    """The mean of the picture along a straight line through each pixel."""
    length, angle = int(rng.choice([3, 5, 7, 9, 11])), 2 * np.pi * float(rng.random())
    if rng.random() >= probability:
        return x
    steps = np.arange(length) - length // 2
    shifts = np.rint(np.outer(steps, [np.sin(angle), np.cos(angle)])).astype(int)
    far = length // 2
    padded = np.pad(x, ((far, far), (far, far), (0, 0)), mode="edge")
    height, width = x.shape[:2]
    moved = [padded[far + dy : far + dy + height, far + dx : far + dx + width] for dy, dx in shifts]
    return np.mean(moved, axis=0, dtype=np.float32)


def _jitter(x: Picture, rng: Rng, probability: float) -> Any:
    """Brightness, contrast, saturation and hue in a random order."""
    changes: list[Callable[[Picture], Any]] = [
        lambda x: x * np.float32(1 + _signed(rng, 0.5)),
        lambda x: _contrast(x, rng, 0.5),
        lambda x: _saturation(x, rng, 0.5),
        lambda x: _hue(x, rng, 0.2),
    ]
    chosen = rng.random() < probability
    for number in rng.permutation(len(changes)) if chosen else ():
        x = np.clip(changes[number](x), 0, 1)
    return x


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
    "defocus": _defocus,
    "motion": _motion,
    "jitter": _jitter,
}
