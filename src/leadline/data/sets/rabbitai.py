"""rabbitAI (Robust Vision Challenge 2020): scenes of a light-field rig, dense depth. Its server is gone."""

from __future__ import annotations

from leadline.data import decode
from leadline.data.layouts import Layout, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store

PICTURES = "*/*/image_01/*.png"


def read(store: Store, row: str) -> Sample:
    """'rgb depth' -> Sample. Depth: 16-bit PNG, metres * 256, 0 is missing."""
    rgb, depth = columns(row, "rgb depth")
    return from_depth(rgb, store.load(rgb, decode.rgb), store.load(depth, decode.uint16) / 256)


CHALLENGE = Layout(
    "*/*/proj_depth/groundtruth/image_01/*.png",
    found(PICTURES, renamed(("/image_01/", "/proj_depth/groundtruth/image_01/"))),
    read,
)
