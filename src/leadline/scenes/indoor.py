"""Rooms, corridors and laid tables: walls, furniture along them, lamps; and where the camera stands."""

from __future__ import annotations

import math

import numpy as np

from leadline.scenes import objects, shapes
from leadline.scenes.world import SURROUNDINGS, Light, Stage, World, turn_y


def room(world: World) -> Stage:
    rng = world.rng
    w, d, h = rng.uniform(1.3, 4.0), rng.uniform(1.6, 5.0), rng.uniform(2.2, 3.4)
    _shell(world, w, d, h)
    for _ in range(int(rng.integers(2, 11))):  # along the walls, backs to them
        label, make = objects.INDOOR[rng.integers(len(objects.INDOOR))]
        side = int(rng.integers(4))
        reach, run = ((d, w), (w, d))[side % 2]
        x, z = rng.uniform(-run, run) * 0.85, reach - rng.uniform(0.3, 0.6)
        turned = turn_y(side * math.pi / 2) @ np.array([x, 0, z])
        with world.thing(label, turned[0], turned[2], side * math.pi / 2 + rng.normal(0, 0.06)):
            make(world)
    for _ in range(int(rng.integers(0, 5))):  # in the middle, any way round
        label, make = objects.INDOOR[rng.integers(len(objects.INDOOR))]
        with world.thing(
            label, rng.uniform(-w, w) * 0.6, rng.uniform(-d, d) * 0.6, rng.uniform(-math.pi, math.pi)
        ):
            make(world)
    if rng.random() < 0.6:
        laid_table(world, rng.uniform(-w, w) * 0.5, rng.uniform(-d, d) * 0.5)
    position = np.array(
        [rng.uniform(-w, w) * 0.85, -rng.uniform(0.5, min(1.9, h - 0.3)), rng.uniform(-d, d) * 0.85]
    )
    target = np.array([rng.uniform(-w, w), 0, rng.uniform(-d, d)]) * 0.7
    yaw = math.atan2(target[0] - position[0], target[2] - position[2]) + rng.normal(0, 0.3)
    world.clear_around(position, 0.25, SURROUNDINGS)
    stage = Stage(position, yaw, rng.normal(0.12, 0.22), rng.normal(0, 0.04), rng.uniform(45, 95))
    return _lamplight(world, stage, w, d, h)


def corridor(world: World) -> Stage:
    rng = world.rng
    w, d, h = rng.uniform(0.7, 2.0), rng.uniform(4, 16), rng.uniform(2.2, 3.6)
    _shell(world, w, d, h)
    for side in (-1, 1):
        z = -d + rng.uniform(0, 2)
        while z < d - 1:
            with world.thing("door", side * w, z, side * math.pi / 2):
                world.box((0, -1.02, 0), (0.45, 1.02, 0.04), world.material(*objects.WOOD))
                world.box((0, -1.05, 0.01), (0.52, 1.08, 0.035), world.material("plain", "plaster"))
            z += rng.uniform(1.3, 4)
    for _ in range(int(rng.integers(0, 6))):
        label, make = objects.INDOOR[rng.integers(len(objects.INDOOR))]
        side = int(rng.choice([-1, 1]))
        with world.thing(label, side * (w - 0.3), rng.uniform(-d, d), side * math.pi / 2):
            make(world)
    for z in np.arange(-d + 1, d, rng.uniform(1.5, 4)):
        with world.thing("light", 0, z):
            world.box((0, -h + 0.03, 0), (0.3, 0.02, 0.3), world.material("plain", glow=1.5))
    position = np.array([rng.uniform(-w, w) * 0.6, -rng.uniform(0.9, 1.8), -d * rng.uniform(0.3, 0.95)])
    world.clear_around(position, 0.3, SURROUNDINGS)
    stage = Stage(
        position, rng.normal(0, 0.15), rng.normal(0.05, 0.12), rng.normal(0, 0.03), rng.uniform(50, 95)
    )
    return _lamplight(world, stage, w, d, h)


def table_top(world: World) -> Stage:
    """Looking down at a laid table or a floor from near by."""
    rng = world.rng
    w, d, h = rng.uniform(1.5, 3.5), rng.uniform(1.5, 4), rng.uniform(2.3, 3)
    _shell(world, w, d, h)
    height = (
        laid_table(world, 0, 0, crowded=True)
        if rng.random() < 0.75
        else _scatter(world, 0, 0, 0.9, 0.9, 0.0, 30)
    )
    for _ in range(int(rng.integers(0, 6))):
        label, make = objects.INDOOR[rng.integers(len(objects.INDOOR))]
        angle = rng.uniform(-math.pi, math.pi)
        with world.thing(label, 0.85 * w * math.sin(angle), 0.85 * d * math.cos(angle), angle):
            make(world)
    far, angle = rng.uniform(0.5, 1.3), rng.uniform(-math.pi, math.pi)
    lift = rng.uniform(0.15, 0.9)
    position = np.array([far * math.sin(angle), -height - lift, far * math.cos(angle)])
    pitch = math.atan2(lift, far) * rng.uniform(0.4, 1.3)
    world.clear_around(position, 0.2, SURROUNDINGS)
    stage = Stage(
        position, angle + math.pi + rng.normal(0, 0.15), pitch, rng.normal(0, 0.06), rng.uniform(40, 75)
    )
    return _lamplight(world, stage, w, d, h)


def laid_table(world: World, x: float, z: float, *, crowded: bool = False) -> float:
    """A table with things on it; returns its height."""
    rng = world.rng
    yaw = rng.uniform(-math.pi, math.pi)
    with world.thing("table", x, z, yaw):
        w, d, h = objects.table(world)
    _scatter(
        world,
        x,
        z,
        w * 0.9,
        d * 0.9,
        h,
        int(rng.integers(5, 26)) if crowded else int(rng.integers(0, 8)),
        yaw,
    )
    if rng.random() < 0.3:
        with world.thing("monitor", x, z, yaw + rng.normal(0, 0.3), -h):
            objects.screen(world)
    return h


def _scatter(
    world: World, x: float, z: float, w: float, d: float, y: float, count: int, yaw: float = 0.0
) -> float:
    rng = world.rng
    with world.thing("table", x, z, yaw, -y):
        for _ in range(count):
            label = str(rng.choice(["box", "bottle", "book", "plaything", "plate", "food", "vase"]))
            with world.thing(label, rng.uniform(-w, w), rng.uniform(-d, d), rng.uniform(-math.pi, math.pi)):
                objects.clutter(world)
    return y


def _shell(world: World, w: float, d: float, h: float) -> None:
    """Floor, ceiling and four walls with what hangs on them; half width, half depth, height in metres."""
    rng = world.rng
    with world.thing("floor", 0, 0):
        floor = world.material(
            "planks", "tile", "speckle", "checker", "stones", "plaster", tile=(0.6, 2.5), photo=0.12
        )
        world.add(shapes.SQUARE, (0, 0, 0), (w, 0.01, d), floor)
    with world.thing("ceiling", 0, 0):
        bright = world.material(
            "plaster", "plain", "tile", "planks", tile=(1, 3), photo=0.03, flat=float(rng.uniform(0.3, 1))
        )
        world.add(shapes.SQUARE, (0, -h, 0), (w, 0.01, d), bright)
    same = world.material(
        "plaster", "plaster", "plain", "stripes", "brick", "cloudy", tile=(1, 3), photo=0.08
    )
    for side in range(4):
        reach, run = ((d, w), (w, d))[side % 2]
        cover = (
            same
            if rng.random() < 0.75
            else world.material("plaster", "brick", "planks", "tile", "spines", tile=(1, 3))
        )
        with world.thing("wall", 0, 0, side * math.pi / 2):
            world.box((0, -h / 2, reach + 0.05), (run + 0.1, h / 2, 0.05), cover)
            if rng.random() < 0.6:
                world.box((0, -0.06, reach - 0.005), (run, 0.06, 0.012), world.material("plain", "planks"))
        _hang(world, side, reach, run, h)
    for _ in range(int(rng.integers(0, 3))):
        with world.thing("rug", rng.uniform(-w, w) * 0.4, rng.uniform(-d, d) * 0.4, rng.normal(0, 0.3)):
            world.box(
                (0, -0.005, 0),
                (rng.uniform(0.4, 1.2), 0.008, rng.uniform(0.4, 1.5)),
                world.material("stripes", "checker", "speckle", "poster"),
            )


def _hang(world: World, side: int, reach: float, run: float, h: float) -> None:
    """Pictures, windows, doors and curtains on one wall."""
    rng = world.rng
    with world.thing("wall", 0, 0, side * math.pi / 2):
        for _ in range(int(rng.integers(0, 4))):
            x, size = rng.uniform(-run, run) * 0.85, rng.uniform(0.12, 0.55)
            choice = rng.random()
            if choice < 0.45:
                with world.thing("painting", x, reach):
                    world.box(
                        (0, -h * rng.uniform(0.5, 0.7), 0),
                        (size, size * rng.uniform(0.5, 1.5), 0.03),
                        world.material("poster", "cloudy", tile=(0.4, 1.5), photo=0.6),
                    )
            elif choice < 0.75:
                with world.thing("windowpane", x, reach):
                    tall = rng.uniform(0.4, 0.8)
                    world.box(
                        (0, -1.5, 0), (size + 0.25, tall + 0.06, 0.05), world.material("plain", "planks")
                    )
                    world.box(
                        (0, -1.5, -0.01),
                        (size + 0.2, tall, 0.05),
                        world.material(
                            "cloudy",
                            "foliage",
                            "plain",
                            tile=(1, 4),
                            photo=0.5,
                            glow=float(rng.uniform(0, 2.5)),
                        ),
                    )
                    world.box((0, -1.5, -0.02), (0.025, tall, 0.05), world.material("plain"))
                if rng.random() < 0.4:
                    with world.thing("curtain", x + size + 0.3, reach - 0.1):
                        objects.curtain(world)
            else:
                with world.thing("door", x, reach):
                    world.box((0, -1.03, 0), (0.48, 1.05, 0.025), world.material("plain", "planks"))
                    world.box((0, -1.0, -0.01), (0.42, 1.0, 0.03), world.material(*objects.WOOD))
                    world.ball((0.33, -1.0, -0.08), 0.03, world.material("plain"))


def _lamplight(world: World, stage: Stage, w: float, d: float, h: float) -> Stage:
    """One to three lamps under the ceiling, and the light that the walls throw back."""
    rng = world.rng
    for _ in range(int(rng.integers(1, 4))):
        power = rng.uniform(0.4, 1.6) * max(w * d / 4, 1.0)
        warm = rng.uniform(0.55, 1.1)
        place = (rng.uniform(-w, w) * 0.8, -h * rng.uniform(0.7, 0.97), rng.uniform(-d, d) * 0.8)
        stage.lights.append(Light(place, (power, power * (0.5 + 0.5 * warm), power * warm)))
    level = rng.uniform(0.12, 0.5)
    stage.ambient = (level, level * rng.uniform(0.85, 1.05), level * rng.uniform(0.75, 1.15))
    return stage
