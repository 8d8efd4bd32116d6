"""Normals as DSINE's evaluation package holds them (Bae & Davison 2024): six sets, beside each picture
`<id>_img.png` its `<id>_normal.*` and `<id>_intrins.npy`. E2E-FT is measured on four of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from leadline.data import decode, pickled
from leadline.data.layouts import Array, Layout, camera_from, found, from_normals
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError, check_shape

IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)  # mean and deviation


def minmax_input(rgb: Array) -> Array:
    """The picture [H,W,3] as E2E-FT's networks saw it inside DSINE's test: uint8, its colours shifted.

    The loader subtracts ImageNet's mean and divides by its deviation per channel; the test undoes that by one
    minimum and maximum over all channels, which is not the inverse. Published numbers were measured so.
    """
    scaled = _standardised(rgb)
    low, high = scaled.min(), scaled.max()
    stretched: Array = (scaled - low) / max(high - low, np.float32(1e-12)) * 255
    return stretched.astype(np.uint8)


def _standardised(rgb: Array) -> Array:
    scaled: Array = (rgb.astype(np.float32) / 255 - IMAGENET[0]) / IMAGENET[1]
    return scaled


def _png(data: bytes, picture: Array) -> tuple[Array, Array]:
    return decode.normals(decode.colours(data))


def _exr(data: bytes, picture: Array) -> tuple[Array, Array]:
    vectors = decode.exr(data)
    return vectors, np.linalg.norm(vectors, axis=-1) > 0.5


def _pickle(data: bytes, picture: Array) -> tuple[Array, Array]:
    """OASIS: vectors within a box whose ends belong to it, x right and y down, zero where nobody marked."""
    box = pickled.load(data)
    if not isinstance(box, dict) or not box.keys() >= {"min_y", "max_y", "min_x", "max_x", "normal"}:
        raise DataError("holds no normals of a box, wanted min_y, max_y, min_x, max_x and normal")
    top, bottom, left, right = (int(box[key]) for key in ("min_y", "max_y", "min_x", "max_x"))
    vectors = np.zeros(picture.shape, np.float32)
    inside = vectors[top : bottom + 1, left : right + 1]
    check_shape(box["normal"], "H W 3", "normal", H=inside.shape[0], W=inside.shape[1])
    inside[:] = box["normal"] * (-1, -1, 1)
    return vectors, (vectors != 0).any(axis=-1)


def _layout(folder: str, pictures: str, kind: str) -> Layout:
    def read(store: Store, row: str) -> Sample:
        """A picture `<id>_img.<ext>` -> Sample. The package's frame is x left, y up, z to the viewer."""
        (rgb,) = columns(row, "rgb")
        stem = re.sub(r"_img\.\w+$", "", rgb)
        picture = store.load(rgb, decode.rgb)
        vectors, valid = store.load(f"{stem}_normal.{kind}", lambda data: DECODERS[kind](data, picture))
        camera = camera_from(store.load(f"{stem}_intrins.npy", decode.npy), picture)
        return from_normals(rgb, picture, vectors, "e2e_ft", valid, camera)

    sign = re.sub(r"_img\.\w+$", "_intrins.npy", pictures)
    return Layout(sign, found(pictures), read, (f"dsine_eval/{folder}", folder, ""))


DECODERS: dict[str, Callable[[bytes, Array], tuple[Array, Array]]] = {
    "png": _png,
    "exr": _exr,
    "pkl": _pickle,
}
NYUV2 = _layout("nyuv2", "test/*_img.png", "png")
SCANNET = _layout("scannet", "scene*/*_img.png", "png")
IBIMS = _layout("ibims", "ibims/*_img.png", "exr")
SINTEL = _layout("sintel", "*_*/frame_*_img.png", "exr")
VKITTI = _layout("vkitti", "Scene*/*_img.jpg", "png")
OASIS = _layout("oasis", "val/*_img.png", "pkl")
