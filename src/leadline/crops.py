"""The rectangles that benchmarks cut out, by name.

Rows and columns are half-open, and products are truncated, as in the programs that made the published
numbers. Which of them belong together is a protocol's business: Marigold and E2E-FT take "kitti" and then
"eigen" of what remains, most metric models "kitti" and "garg".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leadline.errors import DataError, UsageError, did_you_mean


class Box(NamedTuple):
    """Rows top..bottom and columns left..right, the ends not included.

    >>> box("kitti", 375, 1242)
    Box(top=23, bottom=375, left=13, right=1229)
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """For arrays [H,W] or [H,W,C]: `array[box.slices]`."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """Which pixels of a map lie inside, [H,W]."""
        inside = np.zeros((height, width), bool)
        inside[self.slices] = True
        return inside


def box(name: str, height: int, width: int) -> Box:
    """The rectangle of this name in a map of this size.

    Raises UsageError for a name that does not exist, DataError for a map that it does not fit.
    """
    if name not in BOXES:
        raise UsageError(f"crop is {name!r}: {did_you_mean(name, BOXES)}")
    found = BOXES[name](height, width)
    if min(found.top, found.left) < 0 or found.bottom > height or found.right > width:
        raise DataError(f"crop {name!r} is {found}, which a map of {height}x{width} does not hold")
    return found


def _kitti(height: int, width: int) -> Box:
    """The benchmark's 352x1216: at the bottom, in the middle (KITTI depth development kit)."""
    left = int((width - 1216) / 2)
    return Box(height - 352, height, left, left + 1216)


def _eigen(height: int, width: int) -> Box:
    """Eigen et al. 2014, as a share of the picture."""
    return Box(
        int(0.3324324 * height), int(0.91351351 * height), int(0.0359477 * width), int(0.96405229 * width)
    )


def _garg(height: int, width: int) -> Box:
    """Garg et al. 2016."""
    return Box(
        int(0.40810811 * height), int(0.99189189 * height), int(0.03594771 * width), int(0.96405229 * width)
    )


def _nyu(height: int, width: int) -> Box:
    """Eigen et al. 2014 for NYUv2, in pixels: where the Kinect's frame has depths."""
    if (height, width) != (480, 640):
        raise DataError(
            f"crop 'nyu' is of maps of 480x640, this one is {height}x{width}: leave it out, "
            "or take 'nyu-pixels', which cuts the same pixels out of any size, as ZoeDepth does"
        )
    return NYU


def _columns_of_sintel(height: int, width: int) -> Box:
    """Sintel's 1024 columns without 221 on either side: Marigold's training on normals."""
    return Box(0, height, 221, 803)


NYU = Box(45, 471, 41, 601)
BOXES: dict[str, Callable[[int, int], Box]] = {
    "kitti": _kitti,
    "eigen": _eigen,
    "garg": _garg,
    "nyu": _nyu,
    "nyu-pixels": lambda height, width: NYU,
    "sintel": _columns_of_sintel,
}
