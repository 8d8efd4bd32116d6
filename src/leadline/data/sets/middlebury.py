"""Middlebury 2014 (Scharstein et al. 2014): 23 still lifes, stereo disparity from structured light."""

from __future__ import annotations

import re

import numpy as np

from leadline.data import decode
from leadline.data.layouts import Array, Layout, camera_from, found, from_depth
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError


def read(store: Store, row: str) -> Sample:
    """A left picture '<scene>/im0.png' -> Sample. Disparity: PFM in pixels, inf is missing."""
    (rgb,) = columns(row, "rgb")
    picture = store.load(rgb, decode.rgb)
    disparity = store.load(rgb.replace("im0.png", "disp0.pfm"), decode.pfm)
    K, doffs, baseline_mm = store.load(rgb.replace("im0.png", "calib.txt"), calibration)
    return from_depth(
        rgb, picture, depth_mm(disparity, K[0, 0], doffs, baseline_mm) / 1000, camera=camera_from(K, picture)
    )


def depth_mm(disparity: Array, f: float, doffs: float, baseline_mm: float) -> Array:
    """baseline f / (disparity + doffs); 0 where the disparity is not finite."""
    known = np.isfinite(disparity) & (disparity + doffs > 0)
    return np.divide(baseline_mm * f, disparity + doffs, out=np.zeros_like(disparity), where=known)


def calibration(data: bytes) -> tuple[Array, float, float]:
    """calib.txt -> the left camera's matrix [3,3], doffs in pixels, baseline in millimetres."""
    words = dict(re.findall(r"^(\w+)=(.*?)\s*$", data.decode(), re.MULTILINE))
    missing = {"cam0", "doffs", "baseline"} - words.keys()
    if missing:
        raise DataError(f"holds no {', '.join(sorted(missing))}")
    K = np.array(words["cam0"].strip("[]").replace(";", " ").split(), float).reshape(3, 3)
    return K, float(words["doffs"]), float(words["baseline"])


NATIVE = Layout("*/disp0.pfm", found("*/im0.png"), read)
