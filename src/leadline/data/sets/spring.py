"""Spring (Mehl et al. 2023): an animated film's stereo frames, 1920x1080; disparity at twice the size."""

from __future__ import annotations

import re
from functools import partial

import numpy as np

from leadline.data import decode
from leadline.data.layouts import Layout, camera_from, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

BASELINE_M = 0.065
PICTURES = "*/frame_left/frame_left_*.png"


def read(store: Store, row: str) -> Sample:
    """'rgb disparity' -> Sample. Disparity: HDF5, [2H,2W] in pixels of the picture: every second counts.

    depth = fx * 0.065 / disparity; where there is none (the sky), it is invalid.
    """
    rgb, disparity = columns(row, "rgb disparity")
    picture = store.load(rgb, decode.rgb)
    pixels = store.load(disparity, partial(decode.hdf5, name="disparity"))[::2, ::2].astype(np.float32)
    sequence, number = rgb.split("/")[0], re.findall(r"\d+", rgb)[-1]
    lines = store.load(
        f"{sequence}/cam_data/intrinsics.txt", lambda data: np.loadtxt(data.decode().splitlines(), ndmin=2)
    )
    if not 0 < int(number) <= len(lines):
        raise DataError(f"cam_data/intrinsics.txt has {len(lines)} lines, frame {number} needs its own")
    fx, fy, cx, cy = lines[int(number) - 1]
    camera = camera_from(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), picture)
    depth = np.divide(fx * BASELINE_M, pixels, out=np.zeros_like(pixels), where=pixels > 0)
    return from_depth(rgb, picture, depth, camera=camera)


TRAIN = Layout(
    PICTURES,
    found(PICTURES, renamed(("frame_left", "disp1_left"), (".png", ".dsp5"))),
    read,
    bases=("spring/train", "train", ""),
)
