"""What one data set's file consists of: layouts, and the few steps from decoded arrays to a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.camera import Camera, convert_normals
from leadline.data.lists import Row
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import check_shape

Array = NDArray[Any]
Rows = Callable[[Store], list[str]]


@dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on disk.

    sign: a pattern; where a file's name matches, this layout is meant. rows: what lies there, for use
    without a list. read: a row, or a line of a list, to its sample. bases: folders below which all of it may
    lie. expand: the lines of a list to rows, where a line is something else than a picture's row. parts: rows
    of what goes by a name of its own, such as `train`.
    """

    sign: str
    rows: Rows
    read: Callable[[Store, str], Sample]
    bases: Sequence[str] = ("",)
    expand: Callable[[Store, Sequence[Row]], list[Row]] | None = None
    parts: Mapping[str, Rows] = field(default_factory=dict)


def found(pattern: str, *partners: Callable[[str], str]) -> Rows:
    """Rows of all pictures whose name matches: it, and the names of its other files, which follow from it."""
    return lambda store: [
        "\t".join([name, *(partner(name) for partner in partners)]) for name in store.glob(pattern)
    ]


def renamed(*changes: tuple[str, str]) -> Callable[[str], str]:
    """A name with some parts replaced, in turn.

    >>> renamed(("rgb_", "depth_"), (".jpg", ".png"))("test/rgb_01.jpg")
    'test/depth_01.png'
    """

    def rename(name: str) -> str:
        for old, new in changes:
            name = name.replace(old, new)
        return name

    return rename


def chosen(rows: Rows, wanted: Callable[[str], bool]) -> Rows:
    """Those of the rows that are wanted."""
    return lambda store: [row for row in rows(store) if wanted(row)]


def from_depth(
    name: str,
    rgb: Array,
    depth_m: Array,
    valid: Array | None = None,
    camera: Camera | None = None,
    group: str = "",
) -> Sample:
    """A sample of a depth map in metres: believed where it is finite, positive and `valid`; 0 elsewhere."""
    height, width = rgb.shape[:2]
    check_shape(depth_m, "H W", f"{name}: the depth map", H=height, W=width)
    believed = np.isfinite(depth_m) & (depth_m > 0)
    if valid is not None:
        check_shape(valid, "H W", f"{name}: the mask", H=height, W=width)
        believed &= valid
    depth = np.where(believed, depth_m, 0).astype(np.float32)
    return Sample(rgb, believed, depth, camera=camera, name=name, group=group)


def from_normals(
    name: str,
    rgb: Array,
    vectors: Array,
    frame: str,
    valid: Array | None = None,
    camera: Camera | None = None,
) -> Sample:
    """A sample of normals [H,W,3] in a frame (`camera.NORMAL_FRAMES`), of any length: unit vectors, 0 where
    they are not finite, zero, or not `valid`.
    """
    height, width = rgb.shape[:2]
    check_shape(vectors, "H W 3", f"{name}: the normals", H=height, W=width)
    length = np.linalg.norm(vectors, axis=-1)
    believed = np.isfinite(length) & (length > 0)
    if valid is not None:
        check_shape(valid, "H W", f"{name}: the mask", H=height, W=width)
        believed &= valid
    unit = np.where(believed[..., None], vectors, 0) / np.where(believed, length, 1)[..., None]
    normals = convert_normals(unit.astype(np.float32), frame, "opencv")
    return Sample(rgb, believed, None, normals, camera, name)


def camera_for(
    rgb: Array, size: tuple[int, int], fx: float, fy: float, cx: float, cy: float
) -> Camera | None:
    """The one camera of a data set whose numbers count pixel centres as integers; None for pictures of
    another size (height, width) than it belongs to.
    """
    height, width = size
    return Camera(fx, fy, cx + 0.5, cy + 0.5, width, height) if rgb.shape[:2] == size else None


def camera_from(K: Array, rgb: Array) -> Camera:
    """The camera of a picture from its own matrix [3,3], which counts pixel centres as integers. However odd
    its view: the data set knows.
    """
    check_shape(K, "3 3", "intrinsics")
    fx, fy, cx, cy = (float(K[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return Camera(fx, fy, cx + 0.5, cy + 0.5, rgb.shape[1], rgb.shape[0])
