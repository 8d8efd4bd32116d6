"""TUM RGB-D (Sturm et al. 2012): rooms seen by a moving Kinect, depth registered to the colours."""

from __future__ import annotations

import numpy as np

from leadline.camera import Camera
from leadline.data import decode
from leadline.data.layouts import Array, Layout, camera_for, from_depth
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store

APART = 0.02  # seconds that a colour and a depth picture may lie apart
INTRINSICS = {  # by the data set's documentation, without the lens's distortion
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}


def rows(store: Store) -> list[str]:
    """Per sequence, each colour picture and the depth nearest in time, in the order of rgb.txt."""
    sequences = [name.removesuffix("rgb.txt") for name in store.glob("*rgb.txt") + store.glob("*/rgb.txt")]
    return [row for sequence in sequences for row in _paired(store, sequence)]


def _paired(store: Store, sequence: str) -> list[str]:
    pictures, depths = (store.load(f"{sequence}{kind}.txt", _stamped) for kind in ("rgb", "depth"))
    times = np.array([time for time, _ in depths])
    made = []
    for time, picture in pictures:
        nearest = int(np.abs(times - time).argmin())
        if abs(times[nearest] - time) < APART:
            made.append(f"{sequence}{picture}\t{sequence}{depths[nearest][1]}")
    return made


def _stamped(data: bytes) -> list[tuple[float, str]]:
    lines = [line.split() for line in data.decode().splitlines() if line.strip() and not line.startswith("#")]
    return [(float(time), name) for time, name, *_ in lines]


def read(store: Store, row: str) -> Sample:
    """'rgb depth' -> Sample. Depth: 16-bit PNG, metres * 5000, 0 is missing."""
    rgb, depth = columns(row, "rgb depth")
    picture = store.load(rgb, decode.rgb)
    return from_depth(
        rgb, picture, store.load(depth, decode.uint16) / 5000, camera=_camera(store, rgb, picture)
    )


def _camera(store: Store, rgb: str, picture: Array) -> Camera | None:
    name = store.label(rgb)
    return next((camera_for(picture, (480, 640), *k) for key, k in INTRINSICS.items() if key in name), None)


SEQUENCES = Layout("*/rgb.txt", rows, read)
SEQUENCE = Layout("rgb.txt", rows, read)
