"""NYU Depth v2 (Silberman et al. 2012): rooms seen by a Kinect, 795 labelled pairs to train, 654 to test.

Depth is the sensor's own: what the toolbox filled in is no measurement. The pictures have a white border, so
protocols look at rows 45:471 and columns 41:601 only.
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np

from leadline.camera import Camera
from leadline.data import decode
from leadline.data.layouts import Array, Layout, camera_for, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

LABELLED_FILE, SPLITS_FILE = "nyu_depth_v2_labeled.mat", "splits.mat"


def read_png(store: Store, row: str) -> Sample:
    """'rgb depth ...' -> Sample. Depth: 16-bit PNG in millimetres, 0 is missing."""
    rgb, depth = columns(row, "rgb depth")
    picture = store.load(rgb, decode.rgb)
    return from_depth(rgb, picture, store.load(depth, decode.uint16) / 1000, camera=_camera(picture))


def labelled_rows(store: Store, part: str = "test") -> list[str]:
    """The 654 of splits.mat, or 795 to train on, named as the prepared archives do: by number from 1."""
    splits = store.load(SPLITS_FILE, decode.mat)
    return [f"rgb_{int(number):04d}.png" for number in np.ravel(splits[f"{part}Ndxs"])]


def read_labelled(store: Store, row: str) -> Sample:
    """A row whose picture's name holds its number from 1. MATLAB's arrays are columns first: [N,3,W,H]."""
    (name,) = columns(row, "rgb")
    number = re.search(r"rgb_(\d+)\.\w+$", name)
    if number is None:
        raise DataError(f"the picture {name!r} has no number, a name such as rgb_0001.png is wanted")
    with (
        store.naming(LABELLED_FILE),
        store.open(LABELLED_FILE) as file,
        decode.library("h5py").File(file) as mat,
    ):
        count = len(mat["images"])
        index = int(number[1]) - 1
        if not 0 <= index < count:
            raise DataError(f"picture {number[1]} was asked for, 1 to {count} are there")
        picture = np.ascontiguousarray(mat["images"][index].transpose(2, 1, 0))
        depth = mat["rawDepths"][index].T
    return from_depth(name, picture, depth, camera=_camera(picture))


def _camera(picture: Array) -> Camera | None:
    return camera_for(picture, (480, 640), 518.8579, 519.4696, 325.5824, 253.7362)


_DEPTH, _BTS = renamed(("/rgb_", "/depth_")), renamed(("/rgb_", "/sync_depth_"), (".jpg", ".png"))
PREPARED = Layout(
    "*/*/rgb_*.png",
    found("test/*/rgb_*.png", _DEPTH),
    read_png,
    parts={part: found(f"{part}/*/rgb_*.png", _DEPTH) for part in ("train", "test")},
)
BTS = Layout(
    "*/sync_depth_*.png",
    found("*/rgb_*.jpg", _BTS),
    read_png,
    bases=("official_splits/test", "test", ""),
)
LABELLED = Layout(
    LABELLED_FILE,
    labelled_rows,
    read_labelled,
    parts={part: partial(labelled_rows, part=part) for part in ("train", "test")},
)
