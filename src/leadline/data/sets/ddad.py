"""DDAD (Guizilini et al. 2020), validation frames in the form that ZoeDepth takes: a laser's sparse depth."""

from __future__ import annotations

from leadline.data import decode
from leadline.data.layouts import Layout, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store


def read(store: Store, row: str) -> Sample:
    """'rgb depth' -> Sample. Depth: .npy in metres, 0 is missing."""
    rgb, depth = columns(row, "rgb depth")
    return from_depth(rgb, store.load(rgb, decode.rgb), store.load(depth, decode.npy))


FLAT = Layout("*_depth.npy", found("*_rgb.png", renamed(("_rgb.png", "_depth.npy"))), read)
