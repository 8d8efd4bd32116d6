"""TartanAir (Wang et al. 2020): rendered flights through 18 worlds, 640x480.

The sky is 10,000 m away or so, and infinitely far where the file has half precision: a training names a range
of depths, and leaves out worlds by patterns (`exclude`), such as the ocean, whose water has no bottom.
Pictures that follow each other are nearly the same: the parts to train on hold every fifth.
"""

from __future__ import annotations

from leadline.data import decode
from leadline.data.layouts import Layout, camera_for, chosen, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store

PICTURES = "*/*/P*/image_left/*_left.png"
DEPTH = renamed(("/image_left/", "/depth_left/"), ("_left.png", "_left_depth.npy"))
HELD_OUT = ("office2", "seasidetown")  # whole worlds, as flights through one world are no test of each other
EVERY = 5


def read(store: Store, row: str) -> Sample:
    """A picture's line -> Sample, its group the world. Depth: .npy of any float type, metres, planar."""
    (rgb,) = columns(row, "rgb")
    picture = store.load(rgb, decode.rgb)
    camera = camera_for(picture, (480, 640), 320, 320, 319.5, 239.5)
    depth = store.load(DEPTH(rgb), decode.npy)
    return from_depth(rgb, picture, depth, camera=camera, group=rgb.split("/")[-5])


def train(name: str) -> bool:
    """Whether a picture is trained on: every fifth of the worlds that are not held out."""
    return name.split("/")[-5] not in HELD_OUT and _number(name) % EVERY == 0


def val(name: str) -> bool:
    """Whether a picture is one of those held out: every fifth of two worlds."""
    return name.split("/")[-5] in HELD_OUT and _number(name) % EVERY == 0


def _number(name: str) -> int:
    return int(name.split("/")[-1].split("_")[0])


ROWS = found(PICTURES)
NATIVE = Layout(PICTURES, ROWS, read, parts={"train": chosen(ROWS, train), "val": chosen(ROWS, val)})
