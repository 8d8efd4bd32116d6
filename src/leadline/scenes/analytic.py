"""Four scenes whose depth and normals have closed forms, to check a loader, a camera, a converter or a metric
against.

`scene(name)` is rendered like any other; `exact(name)` is the same scene from its formula alone, in float64,
sharing no code with the renderer but the camera's rays. Camera at 1.5 m over the ground, looking 0.2 rad
down.

>>> view = scene("sphere", (48, 64))
>>> truth = exact("sphere", (48, 64))
>>> float(np.abs(view.depth[0].numpy() - truth.depth).max()) < 1e-4
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from leadline.camera import Camera
from leadline.errors import UsageError, did_you_mean
from leadline.scenes import shapes
from leadline.scenes.render import Scene, picture, stage_camera
from leadline.scenes.textures import Textures
from leadline.scenes.world import Light, Stage, World

Array = NDArray[np.float64]

HEIGHT, PITCH, FOV = 1.5, 0.2, 60.0
WALL_X, WALL_Z = 2.0, 4.0  # the room corner: a wall on the right and one ahead
SPHERE, RADIUS = np.array([0.3, -0.9, 3.5]), 0.8  # centre, metres; y points down
STEPS, RISE, TREAD, FIRST = 5, 0.18, 0.3, 2.0  # stairs that go up ahead, from FIRST metres away
LANDING_Z = FIRST + STEPS * TREAD


@dataclass(frozen=True)
class Exact:
    """depth [H,W] metres along the optical axis; normals [H,W,3], OpenCV camera frame, towards the viewer;
    float64.
    """

    depth: Array
    normals: Array
    camera: Camera


def scene(name: str, size: tuple[int, int] = (96, 128), device: torch.device | str = "cpu") -> Scene:
    """One of NAMES, rendered at (height, width)."""
    world = World(np.random.default_rng(1), Textures())
    _SCENES[_known(name)][0](world)
    return picture(world, _stage(), size, kind=name, device=device)


def exact(name: str, size: tuple[int, int] = (96, 128)) -> Exact:
    """The closed form of the same scene."""
    stage = _stage()
    camera = stage_camera(stage, *size)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones(size)], -1)  # [H,W,3]
    rotation = stage.rotation()
    depth, normals = _SCENES[_known(name)][1](rays @ rotation.T)
    return Exact(depth, normals @ rotation, camera)


def _stage() -> Stage:
    sun = Light((0.3, -0.8, -0.5), (0.8, 0.8, 0.8), is_sun=True)
    return Stage(np.array([0.0, -HEIGHT, 0.0]), pitch=PITCH, fov=FOV, lights=[sun])


def _known(name: str) -> str:
    if name not in _SCENES:
        raise UsageError(f"analytic scene {name!r} is unknown: {did_you_mean(name, NAMES)}")
    return name


def _nearest_of(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The front of several surfaces, each (depth [H,W], normal [3] or [H,W,3]); infinite and normal 0 where
    there is none.
    """
    depth = np.full(parts[0][0].shape, math.inf)
    normals = np.zeros((*depth.shape, 3))
    for t, normal in parts:
        closer = (t > 0) & (t < depth)
        depth = np.where(closer, t, depth)
        normals = np.where(closer[..., None], normal, normals)
    return depth, normals


def _level(rays: Array, y: float) -> Array:
    """Depth of the horizontal plane at `y`; inf above the horizon."""
    with np.errstate(divide="ignore"):
        t = (y + HEIGHT) / rays[..., 1]
    return np.where(t > 0, t, math.inf)


def _upright(rays: Array, axis: int, at: float) -> Array:
    """Depth of the vertical plane x = at (axis 0) or z = at (axis 2)."""
    with np.errstate(divide="ignore"):
        t = at / rays[..., axis]
    return np.where(t > 0, t, math.inf)


UP, BACK, LEFT = np.array([0.0, -1, 0]), np.array([0.0, 0, -1]), np.array([-1.0, 0, 0])


def _ground(world: World) -> None:
    with world.thing("floor", 0, 0):
        world.add(shapes.SQUARE, (0, 0, 0), (5000, 0.01, 5000), world.material("checker", photo=0))


def _plane_exact(rays: Array) -> tuple[Array, Array]:
    t = _level(rays, 0.0)
    return _nearest_of([(np.where(np.abs(t[..., None] * rays).max(-1) < 5000, t, math.inf), UP)])


def _corner(world: World) -> None:
    _ground(world)
    with world.thing("wall", 0, 0):
        world.box((WALL_X + 10, 0, 0), (10, 2000, 2000), world.material("brick", photo=0))
        world.box((0, 0, WALL_Z + 10), (2000, 2000, 10), world.material("plaster", photo=0))


def _corner_exact(rays: Array) -> tuple[Array, Array]:
    return _nearest_of(
        [(_level(rays, 0.0), UP), (_upright(rays, 0, WALL_X), LEFT), (_upright(rays, 2, WALL_Z), BACK)]
    )


def _sphere(world: World) -> None:
    _corner(world)
    with world.thing("ball", 0, 0):
        world.ball(SPHERE, RADIUS, world.material("stripes", photo=0))


def _sphere_exact(rays: Array) -> tuple[Array, Array]:
    offset = np.array([0, -HEIGHT, 0]) - SPHERE
    a, b, c = (rays**2).sum(-1), rays @ offset, offset @ offset - RADIUS**2
    root = np.sqrt(np.maximum(b * b - a * c, 0))
    t = np.where(b * b - a * c > 0, (-b - root) / a, math.inf)
    normal = (offset + np.where(np.isfinite(t), t, 0)[..., None] * rays) / RADIUS
    return _nearest_of([_corner_exact(rays), (t, normal)])


def _stairs(world: World) -> None:
    _ground(world)
    with world.thing("stairs", 0, 0):
        for step in range(STEPS):
            z, top = FIRST + step * TREAD, RISE * (step + 1)
            world.box(
                (0, -top / 2, (z + LANDING_Z + 50) / 2),
                (1000, top / 2, (LANDING_Z + 50 - z) / 2),
                world.material("tile", photo=0),
            )


def _stairs_exact(rays: Array) -> tuple[Array, Array]:
    parts = [(_level(rays, 0.0), UP)]
    for step in range(STEPS):
        z, top = FIRST + step * TREAD, -RISE * (step + 1)
        riser = _upright(rays, 2, z)
        at = riser * rays[..., 1] - HEIGHT
        parts.append((np.where((at >= top) & (at <= 0), riser, math.inf), BACK))
        tread = _level(rays, top)
        far = tread * rays[..., 2]
        parts.append((np.where((far >= z) & (far <= LANDING_Z + 50), tread, math.inf), UP))
    return _nearest_of(parts)


_SCENES: dict[str, tuple[Callable[[World], None], Callable[[Array], tuple[Array, Array]]]] = {
    "plane": (_ground, _plane_exact),
    "corner": (_corner, _corner_exact),
    "sphere": (_sphere, _sphere_exact),
    "stairs": (_stairs, _stairs_exact),
}
NAMES = tuple(_SCENES)
