"""Virtual KITTI 2 (Cabon et al. 2020): five rendered drives in ten kinds of weather and view, two cameras.

The sky is 655.35 m away. Normals are those that E2E-FT's script computes beforehand, where they lie beside.
"""

from __future__ import annotations

import re
from dataclasses import replace

from leadline.data import decode
from leadline.data.layouts import Layout, camera_for, chosen, found, from_depth, from_normals, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

PICTURES = "Scene*/*/frames/rgb/Camera_*/rgb_*.jpg"
HELD_OUT = "Scene01"
MARIGOLD = ("15-deg-left", "15-deg-right", "clone", "morning", "overcast", "sunset")
E2E_FT = ("fog", "morning", "overcast", "rain", "sunset")
DEPTH = renamed(("frames/rgb/", "frames/depth/"), ("/rgb_", "/depth_"), (".jpg", ".png"))
NORMALS = renamed(("frames/rgb/", "frames/normal/"), ("/rgb_", "/normal_"), (".jpg", ".png"))


def read(store: Store, row: str) -> Sample:
    """A picture's line -> Sample. Depth: 16-bit PNG, planar, centimetres. Normals: 16-bit colours, x left, y
    up, z to the viewer.
    """
    (rgb,) = columns(row, "rgb")
    place = _place(rgb)
    if place is None:
        raise DataError(f"the picture is {rgb!r}, 'Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg' is one")
    name = place[0]
    picture = store.load(store.first([f"rgb/{name}", name]), decode.rgb)
    metres = store.load(store.first([f"depth/{DEPTH(name)}", DEPTH(name)]), decode.uint16) / 100
    camera = camera_for(picture, (375, 1242), 725.0087, 725.0087, 620.5, 187)
    sample = from_depth(rgb, picture, metres, camera=camera)
    normals = f"vkitti_DAG_normals/{NORMALS(name)}"
    if not store.has(normals):
        return sample
    vectors, _ = decode.normals(store.load(normals, decode.colours))
    oriented = from_normals(rgb, picture, vectors, "e2e_ft", sample.valid)
    return replace(sample, normals=oriented.normals, valid=oriented.valid)


def marigold(name: str) -> bool:
    """Whether a picture is one of the 20,148 that Marigold trains on."""
    place = _place(name)
    return place is not None and place["scene"] != HELD_OUT and place["variation"] in MARIGOLD


def marigold_val(name: str) -> bool:
    """Whether a picture is one of the 5,364 that Marigold holds out: the first scene."""
    place = _place(name)
    return place is not None and place["scene"] == HELD_OUT and place["variation"] in MARIGOLD


def e2e_ft(name: str) -> bool:
    """Whether a picture is one of the 21,260 that E2E-FT's script trains on: all scenes, five variations."""
    place = _place(name)
    return place is not None and place["variation"] in E2E_FT


def _place(name: str) -> re.Match[str] | None:
    return re.search(r"(?P<scene>Scene\d+)/(?P<variation>[^/]+)/frames/rgb/Camera_\d/rgb_\d+\.jpg$", name)


def _layout(prefix: str) -> Layout:
    rows = found(prefix + PICTURES)
    selections = {"marigold": marigold, "marigold-val": marigold_val, "e2e-ft": e2e_ft}
    parts = {name: chosen(rows, wanted) for name, wanted in selections.items()}
    return Layout(prefix + PICTURES, rows, read, parts=parts)


PREPARED, NATIVE = _layout("rgb/"), _layout("")
