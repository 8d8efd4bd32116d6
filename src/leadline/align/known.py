"""A prediction and some depths that are known -> the prediction in metres, and how well it fits."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leadline.align import spaces
from leadline.align.fits import CONTRAST
from leadline.errors import DataError, KindError, check_shape
from leadline.prediction import Kind, Prediction

log = logging.getLogger(__name__)
Array = NDArray[Any]
# In which spaces each kind is an affine function of the truth, its own first
SPACES_OF: dict[Kind, tuple[str, ...]] = {
    Kind.affine_depth: ("depth", "log", "loglog"),
    Kind.affine_disparity: ("disparity",),
    Kind.metric_depth: ("depth", "disparity", "loglog"),
}


def to(
    prediction: Prediction,
    depth_m: Array,
    valid: Array | None = None,
    *,
    space: str | None = None,
    method: str | None = None,
    near_m: float = 1e-3,
    far_m: float = 1e3,
    allow_negative_scale: bool = True,
    **options: Any,
) -> Prediction:
    """A depth-like prediction -> metric depth, fitted to known depths.

    depth_m: metres along the optical axis [H,W], as few as two pixels of it, with `valid` saying which, bool
    [H,W], by default the finite ones above 0; or points [N,3]: x and y in pixels, of which the first spans 0
    to 1, and metres.
    space: depth, disparity, log or loglog; None: what the kind is affine in. method: a name of
    `leadline.align.METHODS`, None is "least_squares"; options: the method's own. Metric depth is refitted
    only if one of the two is given.

    Results are limited to near_m..far_m. Space, method, scale, shift, the number of known pixels and the
    median and 90th percentile of |fitted - known| / known are kept in `settings["align"]`.

    Raises KindError for kinds or spaces that make no sense, DataError where the known depths do not determine
    the fit, or determine a negative scale (a warning if that is allowed).

    >>> truth = np.array([[1, 2], [3, 4]], np.float32)
    >>> to(Prediction(truth / 10 - 3, Kind.affine_depth), truth).metres().round(3).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    chosen, method = _space_of(prediction, space, method), method or "least_squares"
    raw = _raw(prediction, chosen)
    points = depth_m.shape != raw.shape and depth_m.ndim == 2 and depth_m.shape[1] == 3
    places, known = _sparse(depth_m, prediction) if points else _dense(depth_m, valid, prediction)
    usable = _usable(prediction, raw, chosen)[places]
    places, known = places[usable], known[usable].astype(np.float64)
    at = raw.ravel()[places]  # [N], as `known`
    _check_determined(at, known, method)
    everywhere = torch.ones(1, 1, 1, len(at), dtype=torch.bool)
    fitted = spaces.depths(_map(at), _map(known), everywhere, space=chosen, method=method, **options)
    scale, shift = fitted.scale.item(), fitted.shift.item()
    _check_scale(scale, prediction, allow_negative_scale)
    metres = spaces.moved(_map(raw), fitted.scale, fitted.shift, chosen, far_m)
    values = spaces.clip(metres, near_m, far_m).view(raw.shape).float().numpy()
    residual = np.abs(values.ravel()[places] - known) / known
    record = {
        "space": chosen,
        "method": method,
        "scale": scale,
        "shift": shift,
        "pixels": len(known),
        "residual_median": float(np.median(residual)),
        "residual_p90": float(np.quantile(residual, 0.9)),
    }
    return replace(
        prediction,
        values=values,
        kind=Kind.metric_depth,
        uncertainty=None,
        settings={**prediction.settings, "align": record},
    )


def _space_of(prediction: Prediction, wanted: str | None, method: str | None) -> str:
    able = SPACES_OF.get(prediction.kind)
    if able is None:
        raise KindError(f"{prediction.kind} cannot be fitted to depths: use a depth model")
    if wanted is not None and wanted not in able:
        raise KindError(f"{prediction.kind} cannot be fitted in {wanted}: fit it in {able[0]}")
    metric = prediction.kind is Kind.metric_depth
    if metric and wanted is None and method is None:
        raise KindError("metric_depth is in metres already: give space or method to refit it all the same")
    if method == "none" and not metric:
        raise KindError(f"{prediction.kind} is in no unit: method 'none' is for metric depth")
    return wanted or able[0]


def _raw(prediction: Prediction, space: str) -> Array:
    """What is fitted, [H,W]: the values as they are, or metric depth turned into disparity."""
    inverse = space == "disparity" and prediction.kind is Kind.metric_depth
    return prediction.disparity() if inverse else prediction.depth


def _usable(prediction: Prediction, raw: Array, space: str) -> NDArray[np.bool_]:
    """Which pixels of the prediction may enter a fit, [H*W]."""
    usable = np.isfinite(raw) & ((raw > 0) | (not spaces.SPACES[space].needs_positive_pred))
    return (usable if prediction.valid is None else usable & prediction.valid).ravel()


def _sparse(points: Array, prediction: Prediction) -> tuple[Array, Array]:
    """Places in the flattened map and depths [N] of points [N,3], of those with a depth."""
    x, y, depth_m = points[np.isfinite(points).all(1) & (points[:, 2] > 0)].T
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    outside = (column < 0) | (column >= prediction.width) | (row < 0) | (row >= prediction.height)
    if outside.any():
        raise DataError(
            f"{outside.sum()} points lie outside the image of {prediction.width}x{prediction.height}, the "
            f"first at ({x[outside][0]:g}, {y[outside][0]:g}): give x and y in pixels of the photo"
        )
    return row * prediction.width + column, depth_m


def _dense(depth_m: Array, valid: Array | None, prediction: Prediction) -> tuple[Array, Array]:
    """The same of a map [H,W]."""
    check_shape(depth_m, "H W", "depth_m", H=prediction.height, W=prediction.width)
    usable = np.isfinite(depth_m) & (depth_m > 0) & (True if valid is None else valid)
    return np.flatnonzero(usable), depth_m[usable]


def _check_determined(raw: Array, depth_m: Array, method: str) -> None:
    needed = 1 if method in spaces.ONE_NUMBER else 2
    if len(raw) < needed:
        raise DataError(f"{len(raw)} known depths, a fit needs {needed}: check the known depths and valid")
    if needed == 2 and method != "none" and not (_varies(raw) and _varies(depth_m)):
        raise DataError(
            f"{len(raw)} known depths without contrast, {depth_m[0]:.4g} m where the model has {raw[0]:.4g}: "
            "a fit needs near and far ones"
        )


def _varies(x: Array) -> bool:
    centred = x.astype(np.float64) - x.mean(dtype=np.float64)
    return bool((centred**2).sum() > CONTRAST * (x.astype(np.float64) ** 2).sum())


def _check_scale(scale: float, prediction: Prediction, allow_negative: bool) -> None:
    who = prediction.model or "the prediction"
    if not np.isfinite(scale) or scale == 0:
        raise DataError(f"no scale brings {who} to the known depths: check them, or choose another method")
    if scale < 0 and not allow_negative:
        raise DataError(f"negative scale: {who} runs against the known depths: are they of this picture?")
    if scale < 0:
        log.warning("negative scale: %s runs against the known depths", who)


def _map(x: Array) -> Tensor:
    """Anything -> [1,1,1,N] float64."""
    return torch.from_numpy(np.ascontiguousarray(x, np.float64)).view(1, 1, 1, -1)
