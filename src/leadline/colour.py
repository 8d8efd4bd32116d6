"""Numbers -> pictures: what is near has the same colour whichever way a model counts.

Pictures are for looking at: they clip the range and hold 8 bits. The numbers themselves are written by
`save`. The tables are matplotlib's, 256 entries each: the rows of `colour_tables.png`, near (left) to far.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leadline import ade20k
from leadline.camera import convert_normals
from leadline.errors import KindError, UsageError, check_shape, did_you_mean
from leadline.prediction import Kind

MAPS = ("spectral", "turbo", "inferno", "viridis", "magma", "grey", "grey_inverted")  # rows of the file
NEUTRAL = 128  # grey of pixels that hold no value
PERCENTILES = (2.0, 98.0)  # a sky or a window would else take the whole range
UNCERTAIN = 95.0  # percentile of uncertainty that is white
Rgb = NDArray[np.uint8]  # [H,W,3]
Range = tuple[float, float]


def picture(
    values: NDArray[Any],
    kind: Kind | str,
    *,
    cmap: str | None = None,
    valid: NDArray[np.bool_] | None = None,
    percentiles: Range = PERCENTILES,
    limits: Range | None = None,
) -> Rgb:
    """The usual picture of a prediction's values: [H,W] or [H,W,3] -> uint8 [H,W,3].

    Depth and disparity go through a colour map in which near is red (spectral, turbo), bright (inferno,
    viridis, magma), white (grey) or black (grey_inverted). It spans the `percentiles` of the valid pixels, or
    the values `limits`; what lies beyond takes the end's colour. Normals and classes have colours of their
    own. Pixels that are not valid, or not finite, are neutral grey.

    Raises UsageError for an unknown kind or map, ShapeError for values that do not fit their kind.

    >>> depth = np.array([[0.0, 0.5, 1.0, np.nan]], np.float32)
    >>> picture(depth, "affine_depth", limits=(0, 1)).tolist()
    [[[158, 1, 66], [254, 254, 190], [94, 79, 162], [128, 128, 128]]]
    >>> picture(10 - depth, "affine_disparity", limits=(9, 10)).tolist()
    [[[158, 1, 66], [254, 254, 190], [94, 79, 162], [128, 128, 128]]]
    """
    kind = Kind.named(kind)
    if kind is Kind.normals:
        return normals(values, valid=valid)
    if kind is Kind.segmentation:
        return classes(values, valid=valid)
    if kind is Kind.picture:
        check_shape(values, "H W 3", "picture")
        return _bytes((values + 1) / 2)
    check_shape(values, "H W", f"values of {kind}")
    colours = table(cmap or "spectral")
    shown = _shown(values, valid)
    low, high = limits or _percentiles(values[shown], percentiles)
    near, far = (low, high) if kind.near_is == "small" else (high, low)
    position = _stretch(values, shown, near, far)
    entries = np.minimum((position * 256).astype(np.int64), 255)  # as matplotlib does
    return np.where(shown[..., None], colours[entries], np.uint8(NEUTRAL))


@cache
def table(name: str) -> Rgb:
    """A colour map: uint8 [256,3] from near to far. Raises UsageError for a name that is not in MAPS."""
    if name not in MAPS:
        raise UsageError(f"colour map is {name!r}: {did_you_mean(name, MAPS)}")
    with (
        resources.as_file(resources.files("leadline") / "colour_tables.png") as path,
        Image.open(path) as rows,
    ):
        entries: Rgb = np.array(rows, np.uint8)[MAPS.index(name)]
    entries.flags.writeable = False  # it is shared by all callers
    return entries


def normals(values: NDArray[Any], *, frame: str = "opengl", valid: NDArray[np.bool_] | None = None) -> Rgb:
    """Unit vectors [H,W,3] in the OpenCV frame -> uint8 [H,W,3]: round((n + 1) / 2 * 255).

    `frame` says in which frame the colours are meant. In the usual one, "opengl" (x right, y up, z to the
    viewer), a surface that faces the camera is (128, 128, 255). Pixels not valid or not finite are grey.

    >>> normals(np.array([[[0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]])).tolist()
    [[[128, 128, 255], [128, 255, 128]]]
    """
    check_shape(values, "H W 3", "normals")
    shown = _shown(values, valid)
    vectors = np.where(shown[..., None], convert_normals(values, "opencv", frame), 0)
    return _bytes((vectors + 1) / 2)


def controlnet(values: NDArray[Any], kind: Kind | str, *, valid: NDArray[np.bool_] | None = None) -> Rgb:
    """The depth picture that ControlNet models read: grey, white near, 2nd to 98th percentile, uint8 [H,W,3].

    Metric depth is inverted first, as the networks behind ControlNet's training pictures predict disparity;
    affine depth has no inverse and is turned round. Pixels that are not valid are black. Raises KindError for
    kinds without depth.

    >>> controlnet(np.array([[1.0, 2.0, 4.0]]), "metric_depth")[0, :, 0].tolist()
    [255, 85, 0]
    """
    kind = Kind.named(kind)
    if not kind.is_depth:
        raise KindError(f"a ControlNet picture shows depth, this prediction holds {kind}: use another format")
    check_shape(values, "H W", f"values of {kind}")
    shown = _shown(values, valid)
    nearness = values
    if kind is Kind.metric_depth:
        shown = shown & (values > 0)
        nearness = np.divide(1, values, out=np.zeros(values.shape), where=shown)
    elif kind is Kind.affine_depth:
        nearness = -values
    grey = _bytes(_stretch(nearness, shown, *_percentiles(nearness[shown], PERCENTILES)))
    return np.repeat(np.where(shown, grey, np.uint8(0))[..., None], 3, axis=-1)


def uncertainty(values: NDArray[Any], *, valid: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """How far members of an ensemble disagree, [H,W] of 0 or more -> uint8 [H,W]: white from the 95th
    percentile of the valid pixels on. Marigold's picture; pixels that are not valid are black.

    >>> uncertainty(np.array([[0.0, 0.5, 1.0, 1.0]])).tolist()
    [[0, 127, 255, 255]]
    """
    check_shape(values, "H W", "uncertainty")
    shown = _shown(values, valid)
    (_, most) = _percentiles(values[shown], (0, UNCERTAIN))
    levels = _stretch(values, shown, 0, most) * 255
    return np.where(shown, levels, 0).astype(np.uint8)  # cut off, as theirs


def classes(values: NDArray[Any], *, valid: NDArray[np.bool_] | None = None) -> Rgb:
    """Class numbers [H,W] -> uint8 [H,W,3] in the usual colours of ADE20K's classes; others are grey.

    >>> classes(np.array([[0, 2, 149, 150]])).tolist()
    [[[120, 120, 120], [6, 230, 230], [92, 0, 255], [128, 128, 128]]]
    """
    check_shape(values, "H W", "classes")
    palette = np.array(ade20k.COLOURS, np.uint8)
    shown = _shown(values, valid) & (values >= 0) & (values < len(palette))
    numbers = np.where(shown, values, 0).astype(np.int64)
    return np.where(shown[..., None], palette[numbers], np.uint8(NEUTRAL))


def side_by_side(rgb: NDArray[Any], right: Rgb) -> Rgb:
    """A photograph [H,W,3] (uint8, or float in [0,1]) left of a picture, scaled to the picture's height.

    >>> side_by_side(np.zeros((4, 8, 3), np.uint8), np.zeros((2, 5, 3), np.uint8)).shape
    (2, 9, 3)
    """
    check_shape(rgb, "H W 3", "photograph")
    check_shape(right, "H W 3", "picture")
    left = as_bytes(rgb)
    height = right.shape[0]
    if left.shape[0] != height:
        width = max(1, round(left.shape[1] * height / left.shape[0]))
        left = np.asarray(Image.fromarray(left).resize((width, height), Image.Resampling.BILINEAR))
    return np.concatenate([left, right], axis=1)


def as_bytes(rgb: NDArray[Any]) -> Rgb:
    """A photograph's pixels, uint8 as they are or float in [0,1], as uint8."""
    return rgb if rgb.dtype == np.uint8 else _bytes(rgb)


def _shown(values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Where there is something to show, [H,W] bool."""
    channels = np.isfinite(values).reshape(*values.shape[:2], -1)  # [H,W,1 or 3]
    finite: NDArray[np.bool_] = np.all(channels, axis=-1)
    return finite if valid is None else finite & valid


def _percentiles(values: NDArray[Any], shares: Range) -> Range:
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values.astype(np.float64), shares)
    return float(low), float(high)


def _stretch(values: NDArray[Any], shown: NDArray[np.bool_], start: float, end: float) -> NDArray[np.float64]:
    """Values -> 0 at `start`, 1 at `end`, clipped; 0 if these are equal, and where nothing is shown."""
    if start == end:
        return np.zeros(values.shape)
    finite = np.where(shown, values, start).astype(np.float64)
    return np.clip((finite - start) / (end - start), 0, 1)


def _bytes(shares: NDArray[Any]) -> Rgb:
    rounded: Rgb = np.round(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return rounded
