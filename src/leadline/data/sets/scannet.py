"""ScanNet v2 (Dai et al. 2017): rooms scanned with a tablet's structured light."""

from __future__ import annotations

import numpy as np
from PIL import Image

from leadline.camera import Camera
from leadline.data import decode
from leadline.data.layouts import Layout, camera_from, found, from_depth, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

PICTURES = "scene*/color/*.jpg"


def read(store: Store, row: str) -> Sample:
    """'rgb depth' -> Sample of the depth map's size. Depth: 16-bit PNG in millimetres, 0 is missing.

    The scanner's own pictures are larger (1296x968): they are shrunk, antialiased, to the map's 640x480.
    """
    rgb, depth = columns(row, "rgb depth")
    picture = store.load(rgb, decode.rgb)
    metres = store.load(depth, decode.uint16) / 1000
    file = f"{rgb.split('/color/')[0]}/intrinsic/intrinsic_color.txt"
    camera: Camera | None = None
    if store.has(file):
        camera = camera_from(store.load(file, _matrix), picture)
    height, width = metres.shape
    if picture.shape[:2] != metres.shape:
        if abs(picture.shape[1] * height / (picture.shape[0] * width) - 1) > 0.02:
            found = f"{picture.shape[1]}x{picture.shape[0]} and {width}x{height}"
            raise DataError(
                f"{store.label(rgb)}: picture and depth map are {found}: no two sizes of one view"
            )
        picture = np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
        camera = camera and camera.resized(width, height)
    return from_depth(rgb, picture, metres, camera=camera)


def _matrix(data: bytes) -> np.ndarray:
    return np.array(data.split(), float).reshape(4, 4)[:3, :3]


_ROWS = found(PICTURES, renamed(("/color/", "/depth/"), (".jpg", ".png")))
PREPARED = Layout(PICTURES, _ROWS, read)
NATIVE = Layout("scene*/intrinsic/intrinsic_color.txt", _ROWS, read, bases=("scans", ""))
