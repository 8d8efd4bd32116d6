"""Normals of a depth map, without a network: D2NT (Feng et al. 2023), the normals that E2E-FT trains on."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leadline.camera import Camera
from leadline.errors import UsageError, check_shape

Array = NDArray[Any]
Version = Literal["basic", "v2", "v3"]
TINY = 1e-8


@np.errstate(invalid="ignore", over="ignore")  # unknown depths may be anything
def d2nt(depth: Array, camera: Camera, version: Version = "v3") -> Array:
    """Depth along the optical axis [H,W] -> unit normals [H,W,3] float32, OpenCV frame, facing the camera.

    "basic" takes central differences; "v2" the side of each pixel that is on its own surface; "v3" then
    copies the normal of whichever neighbour is on the flattest spot. The choice of side depends on the
    unit: give centimetres, as E2E-FT does, for hard edges. E2E-FT counts pixels from 1 and negates the
    result: its files are `-d2nt(100 * depth_m, camera)` with half a pixel taken off cx and cy.
    Where depth jumps or is unknown the result is arbitrary: mask it.

    Raises ShapeError if the map has another size than the camera, UsageError for an unknown version.

    >>> d2nt(np.full((3, 4), 200.0), Camera.from_fov(4, 3, horizontal=60))[1, 1].round(3) + 0.0
    array([ 0.,  0., -1.], dtype=float32)
    """
    check_shape(depth, "H W", "depth", H=camera.height, W=camera.width)
    if version not in ("basic", "v2", "v3"):
        raise UsageError(f"version of D2NT is {version!r}, 'basic', 'v2' or 'v3' is needed")
    z = np.asarray(depth, np.float32)
    across, along = _slopes(z, version)
    u = np.arange(camera.width, dtype=np.float32) + np.float32(0.5 - camera.cx)  # [W]
    v = np.arange(camera.height, dtype=np.float32)[:, None] + np.float32(0.5 - camera.cy)  # [H,1]
    fx, fy = np.float32(camera.fx), np.float32(camera.fy)
    n = np.stack([fx * across, fy * along, -(z + v * along + u * across)], axis=-1)
    n /= np.linalg.norm(n, axis=-1, keepdims=True) + TINY
    return _of_the_flattest(n, z) if version == "v3" else n


def _slopes(z: Array, version: Version) -> tuple[Array, Array]:
    """How depth grows from pixel to pixel, to the right and downwards: Gu and Gv of the paper, [H,W] each."""
    left, right, up, down = _neighbours(z, "reflect")
    if version == "basic":
        return (right - left) / 2, (down - up) / 2
    return _on_own_side(z - left, right - z), _on_own_side((z - up).T, (down - z).T).T


def _neighbours(x: Array, mode: Literal["reflect", "constant"]) -> tuple[Array, ...]:
    """Left, right, upper and lower neighbour of every pixel; at the border mirrored, or infinite."""
    options: dict[str, Any] = {"constant_values": np.inf} if mode == "constant" else {}
    padded = np.pad(x, 1, mode, **options)
    return padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]


def _on_own_side(before: Array, after: Array) -> Array:
    """Of the differences to both neighbours along the last axis, a mean that trusts the flatter side."""
    flatness = np.exp(-np.abs(before - after))
    empty = np.zeros_like(flatness[:, :1])
    first = np.concatenate([empty, flatness[:, :-1]], axis=1)  # the neighbour's before
    second = np.concatenate([flatness[:, 1:], empty], axis=1)
    total = first + second + np.float32(TINY)
    a, b = (first + np.float32(TINY / 2)) / total, (second + np.float32(TINY / 2)) / total
    a, b = _harden(a, b)
    mean: Array = a * before + b * after
    return mean


def _harden(a: Array, b: Array) -> tuple[Array, Array]:
    """A weight e times the other takes all. The order is the authors': each test sees the one before."""
    tiny = np.float32(TINY)
    limit = np.float32(2.71828)
    a = np.where(a / (b + tiny) > limit, 1, a)
    b = np.where(a / (b + tiny) > limit, 0, b)
    a = np.where(b / (a + tiny) > limit, 0, a)
    b = np.where(b / (a + tiny) > limit, 1, b)
    return a, b


def _of_the_flattest(n: Array, z: Array) -> Array:
    """For each pixel the normal of its left, right, upper, lower neighbour or its own, where z bends least.

    On planes the bending is rounding and decides all the same: float32, added in the authors' order.
    """
    left, right, up, down = _neighbours(z, "reflect")
    bending = np.abs(-up - left + 4 * z - right - down)
    bending = np.where(np.isnan(bending), np.inf, bending)
    best = np.argmin([*_neighbours(bending, "constant"), bending], axis=0)
    rows, columns = np.ogrid[: z.shape[0], : z.shape[1]]
    steps = np.array([[0, -1], [0, 1], [-1, 0], [1, 0], [0, 0]])
    result: Array = n[rows + steps[best, 0], columns + steps[best, 1]]
    return result
