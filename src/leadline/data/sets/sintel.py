"""MPI Sintel (Butler et al. 2012): 1,064 frames of an animated film with depth and cameras, 1024x436.

The sky is thousands of units away and counts as seen. A unit is about a metre.
"""

from __future__ import annotations

from leadline.data import decode
from leadline.data.layouts import Layout, camera_from, found, from_depth
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store


def read(store: Store, row: str) -> Sample:
    """A picture '<pass>/<sequence>/frame_0001.png' -> Sample. Depth: .dpt."""
    (rgb,) = columns(row, "rgb")
    frame = "/".join(rgb.split("/")[-2:]).removesuffix(".png")
    picture = store.load(rgb, decode.rgb)
    depth = store.load(f"depth/{frame}.dpt", decode.dpt)
    K, _ = store.load(f"camdata_left/{frame}.cam", decode.cam)
    return from_depth(rgb, picture, depth, camera=camera_from(K, picture))


FINAL = Layout("final/*/frame_*.png", found("final/*/frame_*.png"), read, bases=("training", ""))
CLEAN = Layout("clean/*/frame_*.png", found("clean/*/frame_*.png"), read, bases=("training", ""))
