"""A contact sheet to look at: one row per frame with photograph, truth and each prediction in metres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from frames import Frame
from PIL import Image
from scipy import ndimage

from leadline import colour, save
from leadline.prediction import Kind

WIDTH = 320  # of each picture


def write(file: Path, rows: Sequence[Frame], predicted: Sequence[Sequence[np.ndarray]]) -> None:
    """Write the sheet; `predicted[i]` are the aligned predictions of row i, float32 [H,W] in metres.

    All pictures of a row share the colours: those of the 2nd to 98th percentile of its true inverse depth.
    """
    lines = [_row(frame, maps) for frame, maps in zip(rows, predicted, strict=True)]
    page = Image.new("RGB", (max(line.width for line in lines), sum(line.height for line in lines)), "white")
    top = 0
    for line in lines:
        page.paste(line, (0, top))
        top += line.height
    with save.atomic(file) as temporary:
        page.save(temporary, format="png")


def _row(frame: Frame, maps: Sequence[np.ndarray]) -> Image.Image:
    near, far = np.percentile(1 / frame.depth_m[frame.valid], [98, 2])
    truth = np.where(frame.valid, frame.depth_m, np.inf)
    if frame.valid.mean() < 0.2:  # a laser's points are single pixels: grow them so that the eye finds them
        truth = ndimage.minimum_filter(truth, 5)
    pictures = [frame.rgb, _coloured(truth, near, far), *(_coloured(m, near, far) for m in maps)]
    height = round(WIDTH * frame.rgb.shape[0] / frame.rgb.shape[1])
    line = Image.new("RGB", (WIDTH * len(pictures), height))
    for i, picture in enumerate(pictures):
        line.paste(Image.fromarray(picture).resize((WIDTH, height)), (i * WIDTH, 0))
    return line


def _coloured(depth_m: np.ndarray, near: float, far: float) -> np.ndarray:
    """Metres -> colours of inverse depth between `far` and `near` (1/metres)."""
    known = np.isfinite(depth_m)
    nearness = 1 / np.where(known, depth_m, 1)
    return colour.picture(nearness, Kind.affine_disparity, valid=known, limits=(far, near))
