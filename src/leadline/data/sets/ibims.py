"""iBims-1 (Koch et al. 2018): 100 rooms, 640x480, depth from a laser scanner.

Glass and what the scanner missed are invalid by two masks.
"""

from __future__ import annotations

import numpy as np

from leadline.camera import Camera
from leadline.data import decode
from leadline.data.layouts import Array, Layout, camera_from, found, from_depth
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

FARTHEST_M = 50  # what 65535 means in the PNGs
MASKS = ("mask_invalid", "mask_transp")


def read_raw(store: Store, row: str) -> Sample:
    """A picture of ibims1_core_raw -> Sample. Depth: 16-bit PNG, 65535 is 50 m, 0 is missing."""
    (rgb,) = columns(row, "rgb")
    name = rgb.split("/")[-1]
    picture = store.load(rgb, decode.rgb)
    depth = store.load(f"depth/{name}", decode.uint16) * (FARTHEST_M / 65535)
    invalid, transparent = (store.load(f"{mask}/{name}", decode.uint8) for mask in MASKS)
    file = f"calib/{name.removesuffix('.png')}.txt"
    camera = store.load(file, lambda data: camera_of(_numbers(data), picture))
    return from_depth(rgb, picture, depth, (invalid > 0) & (transparent > 0), camera)


def read_mat(store: Store, row: str) -> Sample:
    """A file of ibims1_core_mat -> Sample. Depth: metres."""
    (name,) = columns(row, "mat")
    fields = store.load(name, lambda data: decode.mat(data)["data"][0, 0])
    with store.naming(name):
        picture = np.ascontiguousarray(fields["rgb"])
        valid = (fields["mask_invalid"] > 0) & (fields["mask_transp"] > 0)
        camera = camera_of(np.asarray(fields["calib"], float), picture)
        return from_depth(name, picture, fields["depth"], valid, camera)


def camera_of(numbers: Array, picture: Array) -> Camera:
    """From fx, fy, cx, cy or a matrix [3,3], in MATLAB's turned form too."""
    if numbers.size == 4:
        fx, fy, cx, cy = numbers.ravel()
        return camera_from(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), picture)
    if numbers.size != 9:
        raise DataError(f"the calibration has {numbers.size} numbers, 4 or 9 are wanted")
    K = numbers.reshape(3, 3)
    return camera_from(K if K[2, 0] == 0 else K.T, picture)


def _numbers(data: bytes) -> Array:
    return np.array(data.decode().replace(",", " ").split(), float)


RAW = Layout("mask_transp/*.png", found("rgb/*.png"), read_raw, bases=("ibims1_core_raw", ""))
MAT = Layout("*.mat", found("*.mat"), read_mat, bases=("ibims1_core_mat", ""))
