"""A contact sheet: samples of a data set as a person can judge them, a row each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from leadline import colour
from leadline.data.mix import fetch
from leadline.data.sample import Array, Sample
from leadline.data.scan import Source
from leadline.prediction import Kind
from leadline.save import atomic

WIDTH, TITLE = 256, 14  # of a picture; of the line above a row


def sheet(source: Source, out: str | Path, count: int = 8) -> Path:
    """Samples spread over the set as one PNG: picture, depth, normals, what is valid; names and ranges above.

    What a sample lacks is grey, and what is not valid too. DataError if a sample cannot be read.
    """
    data = source.open()
    numbers = np.linspace(0, len(data) - 1, min(count, len(data))).astype(int)
    rows = [row(fetch(data, int(number), None)) for number in numbers]
    with atomic(out) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, "PNG")
    return Path(out)


def row(sample: Sample) -> Array:
    """One sample, uint8 [h,4 * 256,3]."""
    grey = np.full(sample.rgb.shape, 128, np.uint8)
    depth = normals = grey
    words = f"{sample.name}  {sample.size[1]}x{sample.size[0]}  valid {sample.valid.mean():.0%}"
    if sample.depth_m is not None:
        known = sample.depth_m[sample.valid & np.isfinite(sample.depth_m)]
        depth = colour.picture(sample.depth_m, Kind.metric_depth, valid=sample.valid)
        words += f"  {known.min():.3g} to {known.max():.3g} m" if known.size else "  no depth"
    if sample.normals is not None:
        normals = colour.picture(sample.normals, Kind.normals, valid=sample.valid)
    mask = np.repeat(sample.valid[..., None] * np.uint8(255), 3, axis=2)
    height = max(1, round(WIDTH * sample.size[0] / sample.size[1]))
    pictures = [Image.fromarray(x).resize((WIDTH, height)) for x in (sample.rgb, depth, normals, mask)]
    made = Image.new("RGB", (4 * WIDTH, TITLE + height), "white")
    ImageDraw.Draw(made).text((4, 1), words, "black")
    for number, picture in enumerate(pictures):
        made.paste(picture, (number * WIDTH, TITLE))
    return np.asarray(made)
