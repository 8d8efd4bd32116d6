"""Which of two points is nearer: DA-2K's measure, blind to all that keeps the order of depths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leadline.errors import DataError, KindError, check_shape
from leadline.prediction import Kind


def nearer(values: NDArray[np.floating], kind: Kind, pairs: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether a depth-like map puts the first point of each pair in front of the second, [N] bool.

    values: [H,W] at the photo's size; pairs: [N,2,2], per pair the nearer point's (row, column), then the
    farther one's. A tie is wrong, and so is a value that is not finite. The figure of a data set is the share
    of its pairs, not a mean over images: weigh each image by its number of pairs.

    Raises DataError for a point outside the map, KindError for a map that is no depth.

    >>> depth = np.array([[1.0, 2.0, 2.0]])
    >>> nearer(depth, Kind.metric_depth, np.array([[[0, 0], [0, 1]], [[0, 1], [0, 2]]])).tolist()
    [True, False]
    """
    height, width = check_shape(values, "H W", "values").values()
    check_shape(pairs, "N 2 2", "pairs")
    if kind.near_is is None:
        raise KindError(f"{kind} has no order of depths: use a depth model")
    outside = ((pairs < 0) | (pairs >= (height, width))).any(axis=(1, 2))
    if outside.any():
        point = pairs[outside][0].tolist()
        raise DataError(
            f"points {point} lie outside the map of {height}x{width}: give (row, column) at its size"
        )
    near, far = (values[pairs[:, i, 0], pairs[:, i, 1]] for i in (0, 1))
    finite = np.isfinite(near) & np.isfinite(far)
    result: NDArray[np.bool_] = finite & ((near < far) if kind.near_is == "small" else (near > far))
    return result
