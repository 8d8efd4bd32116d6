"""DIML RGB-D (Cho et al. 2021), indoors and outdoors. Depth: 16-bit PNG in millimetres, 0 is missing."""

from __future__ import annotations

from leadline.data import decode
from leadline.data.layouts import Layout, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store


def read(store: Store, row: str) -> Sample:
    """'rgb depth' -> Sample."""
    rgb, depth = columns(row, "rgb depth")
    return from_depth(rgb, store.load(rgb, decode.rgb), store.load(depth, decode.uint16) / 1000)


_FILLED = renamed(("/color/", "/depth_filled/"), ("_c.png", "_depth_filled.png"))
INDOOR = Layout("*/depth_filled/*_depth_filled.png", found("*/color/*_c.png", _FILLED), read, ("LR", ""))
OUTDOOR = Layout("*/depthmap/*.png", found("*/outleft/*.png", renamed(("/outleft/", "/depthmap/"))), read)
