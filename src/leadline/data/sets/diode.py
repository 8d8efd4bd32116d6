"""DIODE (Vasiljevic et al. 2019), validation: 325 indoor and 446 outdoor pictures with a laser's depth.

The mask file alone says what is valid: protocols test no range. Outdoors, wrong small depths near the edges
of objects survive it.
"""

from __future__ import annotations

from functools import partial

from leadline.data import decode
from leadline.data.layouts import Layout, camera_for, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store


def read(store: Store, row: str, masked: bool = True) -> Sample:
    """'rgb depth mask' -> Sample. Depth: .npy in metres [H,W,1]; mask: .npy, 1 is valid.

    masked: without it, all distances count, as ZoeDepth's evaluation has it.
    """
    rgb, depth, mask = columns(row, "rgb depth mask")
    picture = store.load(rgb, decode.rgb)
    camera = camera_for(picture, (768, 1024), 886.81, 927.06, 511.5, 383.5)
    valid = store.load(mask, decode.mask) if masked else None
    return from_depth(rgb, picture, store.load(depth, decode.npy), valid, camera, rgb.split("/")[0])


def _layout(part: str, masked: bool = True) -> Layout:
    pictures = f"{part}/scene_*/scan_*/*.png"
    files = renamed((".png", "_depth.npy")), renamed((".png", "_depth_mask.npy"))
    return Layout(pictures, found(pictures, *files), partial(read, masked=masked), bases=("val", ""))


ALL, INDOOR, OUTDOOR = _layout("*"), _layout("indoors"), _layout("outdoor")
INDOOR_UNMASKED, OUTDOOR_UNMASKED = _layout("indoors", masked=False), _layout("outdoor", masked=False)
