"""A laser's points in a camera's picture: sparse depth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sparse_depth(
    points: Array, K: Array, size: tuple[int, int], nearest_m: float = 1.0, margin: float = 1.0
) -> Array:
    """Points [N,3] in the camera's frame -> depth float32 [H,W], 0 where none falls.

    A point at (u, v) = (fx x/z + cx, fy y/z + cy) counts if z > nearest_m and it lies more than `margin`
    pixels inside; its pixel is (floor v, floor u); of several points in a pixel, the nearest counts.

    >>> K = np.array([[10.0, 0, 4], [0, 10, 3], [0, 0, 1]])
    >>> float(sparse_depth(np.array([[0.0, 0, 5], [0, 0, 2], [0, 0, 0.5]]), K, (6, 8))[3, 4])
    2.0
    """
    height, width = size
    points = points[points[:, 2] > nearest_m]
    u, v, _ = (points @ K.T / points[:, 2:]).T
    z = points[:, 2]
    inside = (u > margin) & (u < width - margin) & (v > margin) & (v < height - margin)
    order = np.argsort(-z[inside], kind="stable")  # the nearest last: it overwrites
    rows, columns = (np.floor(x[inside][order]).astype(int) for x in (v, u))
    depth = np.zeros(size, np.float32)
    depth[rows, columns] = z[inside][order]
    return depth
