"""Hypersim's arithmetic: from what the renderer wrote to colours, planar depth and oriented normals."""

from __future__ import annotations

import numpy as np

from leadline.camera import Camera, ray_to_z
from leadline.data.layouts import Array

FOCAL_PX, WIDTH = 886.81, 1024  # 60 degrees; the axis goes through the picture's centre
GAMMA, BRIGHT, DARKEST = 2.2, 0.8, 1e-4  # of the tone mapping
STRAIGHT = 1e-5  # entries of a camera's matrix under this are rounding
AWAY = -1e-3  # cosine below which Marigold takes a normal for turned away


def camera(height: int, width: int) -> Camera:
    """The camera of a picture of that size. Some scenes have tilted lenses: as in all papers here, one camera
    stands for all.

    >>> camera(768, 1024).fx
    886.81
    """
    focal = FOCAL_PX * width / WIDTH
    return Camera(focal, focal, width / 2, height / 2, width, height)


def planar(distance: Array) -> Array:
    """Distance to the camera's centre [H,W] -> depth along its axis: d f / sqrt(x^2 + y^2 + f^2)."""
    return ray_to_z(distance, camera(*distance.shape))


def axial(to_camera: Array, height: int, width: int) -> Array:
    """Depth along the camera's axis of each pixel's distance 1, float64 [H,W], for a scene's own camera.

    to_camera: matrix [3,3] from (u, v, 1), both in [-1,1], u to the right and v up, to a direction in the
    camera's OpenGL frame.
    """
    u = np.linspace(-1, 1, 2 * width + 1)[1::2]  # centres of pixels
    v = -np.linspace(-1, 1, 2 * height + 1)[1::2]
    uv1 = np.stack([*np.meshgrid(u, v), np.ones((height, width))], axis=-1)  # [H,W,3]
    rays = uv1 @ to_camera.T
    along: Array = -rays[..., 2] / np.linalg.norm(rays, axis=-1)
    return along


def pinhole(to_camera: Array, height: int, width: int) -> Camera | None:
    """The same matrix as a camera; None where the lens is tilted, so that no pinhole camera sees so.

    >>> round(float(pinhole(np.diag([3**-0.5, 0.75 * 3**-0.5, -1]), 768, 1024).fx), 2)
    886.81
    """
    m = to_camera / -to_camera[2, 2]
    if np.abs([m[0, 1], m[1, 0], m[2, 0], m[2, 1]]).max() > STRAIGHT:
        return None
    fx, fy = width / (2 * m[0, 0]), height / (2 * m[1, 1])
    return Camera(fx, fy, width / 2 - fx * m[0, 2], height / 2 + fy * m[1, 2], width, height)


def millimetres(depth_m: Array, *, wrap: bool = False) -> Array:
    """Metres, not finite where unknown -> uint16 millimetres, cut off and not rounded; 0 where unknown.

    Beyond 65.535 m no number is left: 0. `wrap` counts on from 0 instead, as that script does: 70 m become
    4.464 m.
    """
    known = np.isfinite(depth_m) & (depth_m > 0)
    counts = np.where(known, depth_m * 1000, 0).astype(np.int64)
    return (counts % 65536 if wrap else np.where(counts > 65535, 0, counts)).astype(np.uint16)


def tone_map(light: Array, entity: Array) -> Array:
    """Linear light [H,W,3] and entity numbers [H,W] (-1: nothing is there) -> colours in [0,1].

    Scaled so that the 90th percentile of the things' brightness becomes 0.8, then the 2.2th root (Marigold).
    """
    light = light.astype(np.float64)
    brightness = (light @ (0.3, 0.59, 0.11))[entity != -1]
    p90 = np.percentile(brightness, 90) if brightness.size else None
    scale = 1.0 if p90 is None else 0.0 if p90 < DARKEST else BRIGHT**GAMMA / p90
    return np.clip(np.maximum(scale * light, 0) ** (1 / GAMMA), 0, 1)


def facing(colours: Array, depth_m: Array, fx: float, fy: float, cx: float, cy: float) -> Array:
    """E2E-FT's normals: the preview's 8-bit colours [H,W,3] -> 8-bit colours, x left, y up, z to the viewer,
    turned so that the camera sees their front. As its authors do, values are cut off, not rounded.
    """
    front = seen(colours / 255 * 2 - 1, depth_m, fx, fy, cx, cy)
    return ((front + 1) / 2 * 255).astype(np.uint8)


def seen(normal: Array, depth_m: Array, fx: float, fy: float, cx: float, cy: float) -> Array:
    """Its arithmetic before that: vectors [H,W,3] in the camera's OpenGL frame -> x left, y up, z to the
    viewer, their backs turned away. Pixels count from 0 without a half.
    """
    normal = normal * (1, -1, -1)  # x right, y down, z forward
    v, u = np.mgrid[: depth_m.shape[0], : depth_m.shape[1]]
    point = np.stack([(u - cx) / fx * depth_m, (v - cy) / fy * depth_m, depth_m], axis=-1)  # [H,W,3]
    away = (normal * point).sum(axis=-1, keepdims=True) > 0
    return np.where(away, normal, -normal)


def towards(normal_cam: Array, normal_world: Array, position: Array, eye: Array) -> Array:
    """Marigold's normals [H,W,3]: unit vectors in the camera's OpenGL frame, turned where the camera, at
    `eye` in the world, would see their back. An infinite position counts as that of the pixel above.
    """
    rows = np.where(np.isfinite(position).all(axis=-1), np.arange(len(position))[:, None], 0)
    position = np.take_along_axis(position, np.maximum.accumulate(rows)[..., None], axis=0)
    view = eye - position
    with np.errstate(invalid="ignore"):  # still infinite: no side can be told, nothing is turned
        cosine = (normal_world * view).sum(axis=-1, keepdims=True) / np.linalg.norm(
            view, axis=-1, keepdims=True
        )
    unit = normal_cam / np.maximum(np.linalg.norm(normal_cam, axis=-1, keepdims=True), 1e-12)
    front: Array = np.where(cosine < AWAY, -unit, unit)
    return front
