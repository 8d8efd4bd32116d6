"""A metric depth map as points in space, with colours and normals, and those as a binary PLY file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline import colour, surface
from leadline.camera import ASSUMED_FOV, Camera, normal_signs
from leadline.errors import CameraError, check_shape
from leadline.prediction import Prediction

log = logging.getLogger(__name__)
Array = NDArray[Any]
JUMP = 1.1  # neighbours whose depths differ by more than this factor are not of one surface
SKY_M = 1000.0  # from here on it is sky, or what an alignment has moved to its limit


def points(prediction: Prediction, rgb: Array | None = None, frame: str = "opencv") -> dict[str, Array]:
    """The pixels of metric depth as columns of equal length N, in row-major order.

    x, y, z in metres and nx, ny, nz of unit length, float32, in a frame of `leadline.camera.NORMAL_FRAMES`,
    the camera at the origin; with rgb [H,W,3] also red, green, blue, uint8. Normals are of the depth (D2NT)
    and face the camera. Left out are pixels that are not valid, not in front of the camera or a kilometre
    away, and those on either side of a jump, which hang between two surfaces.

    Raises KindError unless the kind is metric, CameraError without a camera (see `with_camera`).
    """
    depth, camera = prediction.metres(), prediction.camera
    if camera is None:
        raise CameraError("no camera is known: points need one, at least an assumed one (with_camera)")
    usable = (depth > 0) & (depth < SKY_M)  # NaN is neither
    usable = usable if prediction.valid is None else usable & prediction.valid
    depth = np.where(usable, depth, np.nan)
    kept = usable & ~jumps(depth)
    if not kept.any():
        log.warning("the cloud is empty: no pixel has a depth without a jump beside it")
    signs = np.array(normal_signs("opencv", frame), np.float32)
    xyz = camera.unproject(depth)[kept].astype(np.float32)  # [N,3]
    normals = _facing(surface.d2nt(100 * depth, camera)[kept], xyz)
    columns = dict(zip("xyz", (xyz * signs).T, strict=True))
    columns |= dict(zip(("nx", "ny", "nz"), (normals * signs).T, strict=True))
    if rgb is not None:
        check_shape(rgb, "H W 3", "photograph", H=prediction.height, W=prediction.width)
        columns |= dict(zip(("red", "green", "blue"), colour.as_bytes(rgb)[kept].T, strict=True))
    return columns


def with_camera(prediction: Prediction) -> Prediction:
    """The prediction with its camera, or else one of 60 degrees across; a warning says so, and the record."""
    if prediction.camera is not None:
        return prediction
    log.warning("no camera is known: a horizontal field of view of %g degrees is assumed", ASSUMED_FOV)
    camera = Camera.from_fov(prediction.width, prediction.height, horizontal=ASSUMED_FOV)
    return replace(prediction, camera=camera, camera_source="assumed")


def jumps(depth: Array) -> NDArray[np.bool_]:
    """Pixels [H,W] of which a neighbour's depth is another by more than the factor `JUMP`."""
    found = np.zeros(depth.shape, bool)
    for near, far in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = depth[near], depth[far]
        apart = np.maximum(a, b) > JUMP * np.minimum(a, b)  # not where one is NaN
        found[near] |= apart
        found[far] |= apart
    return found


def ply_bytes(columns: Mapping[str, Array], comments: Mapping[str, str]) -> bytes:
    """Columns as a binary little-endian PLY file of vertices, with comments "name: words" in its header."""
    kinds = {np.dtype(np.float32): ("float", "<f4"), np.dtype(np.uint8): ("uchar", "u1")}
    types = {name: kinds[column.dtype] for name, column in columns.items()}
    count = len(next(iter(columns.values())))
    vertices = np.empty(count, [(name, stored) for name, (_, stored) in types.items()])
    for name, column in columns.items():
        vertices[name] = column
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment {name}: {ascii(words)[1:-1]}" for name, words in comments.items()]
    lines += [f"element vertex {count}"]
    lines += [f"property {word} {name}" for name, (word, _) in types.items()]
    return "\n".join([*lines, "end_header\n"]).encode("ascii") + vertices.tobytes()


def _facing(normals: Array, xyz: Array) -> Array:
    """Normals [N,3] turned to the camera; towards it where there is none."""
    towards = -xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    normals = np.where(np.isfinite(normals).all(1, keepdims=True), normals, towards)
    turned: Array = np.where((normals * xyz).sum(1, keepdims=True) > 0, -normals, normals).astype(np.float32)
    return turned
