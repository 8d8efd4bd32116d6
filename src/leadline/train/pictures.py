"""What a training looks like: its curves, and what the network sees, should say and says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from leadline import colour
from leadline.data.sample import Array, Sample
from leadline.prediction import Kind
from leadline.save import atomic

Series = Mapping[str, Sequence[tuple[float, float]]]  # name -> points
PANEL, MARGIN = (800, 260), (70, 34, 20, 30)  # width, height; left, top, right, bottom
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


def curves(log: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Losses (training and validation), learning rate and gradient norm over the steps, as one PNG."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {
        "loss": {},
        "learning rate": {},
        "gradient norm": {},
    }
    for line in log:
        step = line["step"]
        if line["event"] == "train":
            _add(panels["loss"], "training", step, line["loss"])
            _add(panels["learning rate"], "", step, line["lr"])
            _add(panels["gradient norm"], "", step, line.get("gradient_norm"))
        elif line["event"] == "validation":
            _add(panels["loss"], f"validation {line['set']}", step, line["loss"])
    _save(np.concatenate([panel(title, series) for title, series in panels.items()]), path)


def _add(panel: dict[str, list[tuple[float, float]]], name: str, step: float, value: float | None) -> None:
    if value is not None and value > 0:  # the axis is logarithmic
        panel.setdefault(name, []).append((step, value))


def panel(title: str, series: Series) -> Array:
    """Lines over a logarithmic axis -> uint8 [H,W,3]."""
    picture = Image.new("RGB", PANEL, "white")
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = MARGIN[0], MARGIN[1], PANEL[0] - MARGIN[2], PANEL[1] - MARGIN[3]
    points = [point for line in series.values() for point in line]
    draw.text((left, 8), title, "black")
    draw.rectangle((left, top, right, bottom), outline="#888888")
    if points:
        last = max(1.0, max(x for x, _ in points))
        low, high = _decade(min(y for _, y in points)), _decade(max(y for _, y in points), up=True)
        high = max(high, low * 1.0001)

        def place(x: float, y: float) -> tuple[float, float]:
            up = math.log(y / low) / math.log(high / low)
            return left + (right - left) * x / last, bottom - (bottom - top) * up

        for tick in _ticks(low, high):
            y = place(0, tick)[1]
            draw.line((left, y, right, y), "#dddddd")
            draw.text((8, y - 6), f"{tick:.3g}", "black")
        draw.text((right - 60, bottom + 8), f"step {last:.0f}", "black")
        for number, (name, line) in enumerate(series.items()):
            shade = COLOURS[number % len(COLOURS)]
            placed = [place(x, y) for x, y in line]
            draw.line([*placed, placed[-1]], shade, width=2)
            draw.text((left + 120 + 150 * number, 8), name, shade)
    return np.asarray(picture)


def _decade(value: float, up: bool = False) -> float:
    """The next 1, 2 or 5 times a power of ten, downwards or up.

    >>> _decade(0.37), _decade(0.37, up=True)
    (0.2, 0.5)
    """
    power = 10.0 ** math.floor(math.log10(value))
    steps = [power * m for m in (1, 2, 5, 10)]
    return round(min(s for s in steps if s >= value) if up else max(s for s in steps if s <= value), 12)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within; powers alone where that would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) < 4 else (1,)
    return [
        t for p in powers for t in (m * 10.0**p for m in factors) if low <= t * 1.0001 and t <= high * 1.0001
    ]


def sheet(samples: Sequence[Sample], outputs: Mapping[str, Tensor], kind: Kind, path: Path) -> None:
    """One row per sample: photograph, target, prediction (the method's main output, [B,C,h,w])."""
    predictions = next(iter(outputs.values())).detach().float().cpu().permute(0, 2, 3, 1).numpy()  # [B,h,w,C]
    rows = [
        np.concatenate([s.rgb, target(s, kind), colour.picture(_squeezed(p), kind)], axis=1)
        for s, p in zip(samples, predictions, strict=True)
    ]
    _save(np.concatenate(rows), path)


def target(sample: Sample, kind: Kind) -> Array:
    """The picture of what a prediction of this kind should look like; grey where the sample does not say."""
    if kind == Kind.picture:
        return sample.rgb
    values = sample.normals if kind == Kind.normals else sample.depth_m
    if values is None:
        return np.full(sample.rgb.shape, 128, np.uint8)
    if kind == Kind.affine_disparity:
        with np.errstate(divide="ignore"):
            values = 1 / values
    shown: Array = colour.picture(values, kind, valid=sample.valid)
    return shown


def _squeezed(values: Array) -> Array:
    return values[..., 0] if values.shape[-1] == 1 else values


def _save(picture: Array, path: Path) -> None:
    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, "PNG")
