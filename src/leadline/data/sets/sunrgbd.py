"""SUN RGB-D (Song et al. 2015): 10,335 rooms of four sensors, as published or as ZoeDepth takes them."""

from __future__ import annotations

import numpy as np

from leadline.data import decode
from leadline.data.layouts import Layout, camera_from, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

FARTHEST_M = 8  # beyond, the sensors guess


def native_rows(store: Store) -> list[str]:
    """The picture of every frame: frames lie three to six folders deep."""
    levels = ["/".join(["*"] * depth) for depth in range(3, 7)]
    return sorted(name for level in levels for name in store.glob(f"{level}/image/*.jpg"))


def read_native(store: Store, row: str) -> Sample:
    """'<frame>/image/<name>.jpg' -> Sample, with the sensor's own depth. Depth: 16-bit PNG, see `decode`."""
    (rgb,) = columns(row, "rgb")
    frame = rgb.rsplit("/image/", 1)[0]
    picture = store.load(rgb, decode.rgb)
    depths = store.glob(f"{frame}/depth/*.png")
    if len(depths) != 1:
        raise DataError(f"{store.label(frame)}/depth holds {len(depths)} PNGs, one is wanted")
    K = store.load(f"{frame}/intrinsics.txt", lambda data: np.array(data.split(), float).reshape(3, 3))
    return from_depth(rgb, picture, store.load(depths[0], decode.sunrgbd), camera=camera_from(K, picture))


def read_flat(store: Store, row: str) -> Sample:
    """'rgb depth' of ZoeDepth's form -> Sample. Depth: 16-bit PNG in millimetres; beyond 8 m is invalid."""
    rgb, depth = columns(row, "rgb depth")
    metres = store.load(depth, decode.uint16) / 1000
    return from_depth(rgb, store.load(rgb, decode.rgb), metres, metres <= FARTHEST_M)


FLAT = Layout(
    "gt/gt/*.png", found("rgb/rgb/*.jpg", renamed(("rgb/rgb/", "gt/gt/"), (".jpg", ".png"))), read_flat
)
NATIVE = Layout("*/*/*/intrinsics.txt", native_rows, read_native, bases=("", "SUNRGBD"))
