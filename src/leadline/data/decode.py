"""The encodings in which data sets store pictures, depth and normals: the bytes of a file -> an array.

Each function raises whatever its library raises for damaged bytes, or a DataError for numbers of another
kind than it stands for; `Store.load` turns both into one line that names the file.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leadline import ade20k, pixels
from leadline.errors import DataError, extra
from leadline.save import containers

Array = NDArray[Any]
PICTURES = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")
UNKNOWN = 255  # a class in 8 bits
FOREGROUND = 0.1  # of a matte's white
SINTEL_TAG = 202021.25  # "PIEH" read as a float: how Sintel's files begin


def rgb(data: bytes) -> Array:
    """uint8 [H,W,3] as it is stored: a turn by EXIF is not applied, since the maps were made without it."""
    with Image.open(io.BytesIO(data), formats=PICTURES) as picture:
        if picture.mode.startswith(("I", "F")):
            raise DataError(f"a picture of mode {picture.mode} holds values, 8-bit colours are wanted")
        return np.array(picture.convert("RGB"))


def uint8(data: bytes) -> Array:
    """uint8 [H,W] of a grey picture; of colours, their grey value."""
    with Image.open(io.BytesIO(data), formats=PICTURES) as picture:
        if picture.mode.startswith(("I", "F")):
            raise DataError(f"a picture of mode {picture.mode}, 8 bits are wanted")
        return np.array(picture.convert("L"))


def classes(data: bytes) -> Array:
    """int64 [H,W] of an 8-bit grey PNG of class numbers, or one with a palette, whose colours say nothing;
    255 is unknown, -1.
    """
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        if picture.mode not in ("L", "P"):
            raise DataError(f"a picture of mode {picture.mode}, 8-bit numbers of classes are wanted")
        numbers = np.array(picture).astype(np.int64)
    return np.where(numbers == UNKNOWN, ade20k.UNKNOWN, numbers)


def matte(data: bytes) -> Array:
    """bool [H,W] of an 8-bit picture of a matte: more than a tenth is foreground (Depth Pro)."""
    return uint8(data) / np.float32(255) > FOREGROUND


def uint16(data: bytes) -> Array:
    """uint16 [H,W] of a 16-bit grey PNG or PGM: counts, whose unit the data set knows."""
    with Image.open(io.BytesIO(data), formats=PICTURES) as picture:
        if not picture.mode.startswith("I"):
            raise DataError(f"a picture of mode {picture.mode} holds colours, 16-bit counts are wanted")
        return np.array(picture).astype(np.uint16)


def colours(data: bytes) -> Array:
    """uint8 or uint16 [H,W,3] of a colour PNG; of 16 bits, Pillow alone would keep the high ones."""
    file = io.BytesIO(data)
    with Image.open(file, formats=("PNG",)) as picture:
        array = pixels.stored(picture, file, "picture")
    if array.dtype.kind != "u" or array.shape[2] != 3:
        raise DataError(f"holds {array.dtype} {list(array.shape)}, [H, W, 3] of 8 or 16 bits is wanted")
    return array


def npy(data: bytes) -> Array:
    """float32, of a .npy file of floats; axes of length 1 at the end are dropped."""
    array = containers.read_npy(data)
    if array.dtype.kind != "f":
        raise DataError(f"holds {array.dtype} {list(array.shape)}, floats are wanted")
    return array.astype(np.float32).reshape(array.shape[:-1] if array.shape[-1:] == (1,) else array.shape)


def mask(data: bytes) -> Array:
    """bool [H,W], of a .npy file of any numbers: not 0 is true."""
    array = containers.read_npy(data)
    return array.reshape(array.shape[:2]).astype(bool)


def integers(data: bytes) -> Array:
    """int64 [H,W], of a .npy file of whole numbers."""
    array = containers.read_npy(data)
    if array.dtype.kind not in "iu":
        raise DataError(f"holds {array.dtype} {list(array.shape)}, whole numbers are wanted")
    return array.astype(np.int64)


def float32(data: bytes, size: tuple[int, int]) -> Array:
    """float32 [H,W] of bare little-endian floats, whose size (height, width) has to be known."""
    height, width = size
    if len(data) != 4 * height * width:
        raise DataError(
            f"{len(data):,} bytes, {4 * height * width:,} are wanted for {width}x{height} float32"
        )
    return np.frombuffer(data, "<f4").reshape(size)


def npz(data: bytes) -> Array:
    """float32, of the only array of a .npz file."""
    arrays, _ = containers.read_npz(data)
    if len(arrays) != 1:
        raise DataError(f"holds the arrays {', '.join(arrays) or 'none'}, exactly one is wanted")
    return next(iter(arrays.values())).astype(np.float32)


def tiff(data: bytes) -> Array:
    """float32 [H,W] of a TIFF."""
    return containers.read_tiff(data)[0]


def records(data: bytes, columns: int) -> Array:
    """float64 [N,columns] of bare little-endian float32 records, such as a laser's points."""
    if not data or len(data) % (4 * columns):
        raise DataError(f"{len(data):,} bytes are no records of {columns} float32")
    return np.frombuffer(data, "<f4").reshape(-1, columns).astype(np.float64)


def dpt(data: bytes) -> Array:
    """float32 [H,W] of Sintel's .dpt: a tag, width, height, values."""
    tag, size = np.frombuffer(data, "<f4", 1)[0], np.frombuffer(data, "<i4", 2, offset=4)
    if tag != np.float32(SINTEL_TAG):
        raise DataError(f"begins with {tag:g}, a .dpt file begins with {SINTEL_TAG}")
    return float32(data[12:], (int(size[1]), int(size[0])))


def cam(data: bytes) -> tuple[Array, Array]:
    """Intrinsics float64 [3,3] and world-to-camera float64 [3,4] of Sintel's .cam."""
    tag, numbers = np.frombuffer(data, "<f4", 1)[0], np.frombuffer(data, "<f8", 21, offset=4)
    if tag != np.float32(SINTEL_TAG):
        raise DataError(f"begins with {tag:g}, a .cam file begins with {SINTEL_TAG}")
    return numbers[:9].reshape(3, 3), numbers[9:].reshape(3, 4)


def pfm(data: bytes) -> Array:
    """float32 [H,W] of a portable float map."""
    return containers.read_pfm(data)


def exr(data: bytes) -> Array:
    """float32 [H,W,3], the channels R, G, B of an EXR file, or N.X, N.Y, N.Z as `leadline.save` has them."""
    channels, _ = containers.read_exr(data)
    names = next((n for n in (("R", "G", "B"), ("N.X", "N.Y", "N.Z")) if channels.keys() >= set(n)), None)
    if names is None:
        raise DataError(f"channels are {', '.join(channels)}, R, G and B are wanted")
    return np.stack([channels[name].astype(np.float32) for name in names], axis=-1)


def exr_depth(data: bytes) -> Array:
    """float32 [H,W], the channel Z of an EXR file."""
    channels, _ = containers.read_exr(data)
    if "Z" not in channels:
        raise DataError(f"channels are {', '.join(channels)}, Z is wanted")
    return channels["Z"].astype(np.float32)


def hdf5(data: bytes, name: str = "dataset") -> Array:
    """The array of numbers of that name in an HDF5 file."""
    with library("h5py").File(io.BytesIO(data)) as file:
        array = np.array(file[name])
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name!r} holds {array.dtype} {list(array.shape)}, numbers are wanted")
    return array


def mat(data: bytes) -> dict[str, Any]:
    """The variables of a MATLAB file before version 7.3."""
    return dict(library("scipy.io").loadmat(io.BytesIO(data)))


def kinect(data: bytes) -> Array:
    """Metres float32 [H,W] of NYUv2's raw Kinect: a PGM of 11-bit disparity with its bytes swapped.

    metres = 351.3 / (1092.5 - value) (the NYUv2 toolbox); 0 where it cannot be.
    """
    value = uint16(data).byteswap().astype(np.float32)
    return np.where(value < 1092, 351.3 / (1092.5 - np.minimum(value, 1092)), 0).astype(np.float32)


def sunrgbd(data: bytes) -> Array:
    """Metres float32 [H,W] of SUN RGB-D: millimetres, rotated left by three bits."""
    value = uint16(data)
    return (value >> 3 | value << 13).astype(np.float32) / 1000


def normals(counts: Array) -> tuple[Array, Array]:
    """Vectors float32 [H,W,3] and valid [H,W] of 8- or 16-bit colours: 2 v / max - 1, black is invalid."""
    valid = counts.sum(axis=-1, dtype=np.int64) > 0
    return (counts / np.float32(np.iinfo(counts.dtype).max) * 2 - 1).astype(np.float32), valid


def library(name: str) -> Any:
    """An optional library, imported when it is needed. DataError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise DataError(f"reading it needs {package}, which is not installed: {extra('datasets')}") from error
