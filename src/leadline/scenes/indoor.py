"""Rooms by lamplight and sunlight, fitted kitchens, corridors, laid tables: walls, furniture along them; and
where the camera stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from leadline.scenes import groups, objects, shapes
from leadline.scenes.world import SURROUNDINGS, Light, Material, Stage, World

PALE = ((0.8, 0.8, 0.78), (0.75, 0.72, 0.63), (0.6, 0.62, 0.62), (0.7, 0.66, 0.6), (0.62, 0.68, 0.7))
STRONG = ((0.35, 0.1, 0.08), (0.12, 0.2, 0.3), (0.2, 0.3, 0.2), (0.5, 0.35, 0.12), (0.1, 0.1, 0.11))


def room(world: World) -> Stage:
    w, d, h = _extent(world)
    _shell(world, w, d, h)
    return _lamplight(world, _furnished(world, w, d, h, range(4)), w, d, h)


def sunroom(world: World) -> Stage:
    """A room with a wide window or a glass door, by which the sun comes in: on floor, walls and furniture lie
    patches with sharp borders that are nobody's edges, and each wall is as bright as it faces the window.
    """
    rng = world.rng
    w, d, h = _extent(world)
    side = int(rng.integers(4))
    _shell(world, w, d, h, window=side)
    stage = _furnished(world, w, d, h, [other for other in range(4) if other != side])
    reach = (d, w)[side % 2]
    return _sunshine(world, stage, side * math.pi / 2, reach, h)


def fitted(world: World) -> Stage:
    """A kitchen, or another room whose walls are built up, from so near that fronts fill the lower half of
    the picture, where other rooms have their floor.
    """
    rng = world.rng
    w, d, h = _extent(world)
    window = int(rng.integers(4)) if rng.random() < 0.5 else None
    _shell(world, w, d, h, window)
    sides = [int(side) for side in rng.permutation(4) if side != window][: int(rng.integers(1, 4))]
    for side in sides:
        groups.lined_wall(world, side, *((d, w), (w, d))[side % 2], h)
    if rng.random() < 0.5:
        chairs = int(rng.integers(0, 5))
        groups.laid_table(world, rng.uniform(-w, w) * 0.4, rng.uniform(-d, d) * 0.4, chairs=chairs)
    stage = _facing(world, sides[0], *((d, w), (w, d))[sides[0] % 2])
    world.clear_around(stage.position, 0.3, SURROUNDINGS)
    if window is None:
        return _lamplight(world, stage, w, d, h)
    return _sunshine(world, stage, window * math.pi / 2, (d, w)[window % 2], h)


def _facing(world: World, side: int, reach: float, run: float) -> Stage:
    """A camera before a wall, `reach` metres from the middle of the room and `run` wide either way."""
    rng = world.rng
    outwards, away = side * math.pi / 2, rng.uniform(1.0, max(1.2, min(3.0, 1.7 * reach)))
    forward = np.array([math.sin(outwards), 0, math.cos(outwards)])
    right = np.array([math.cos(outwards), 0, -math.sin(outwards)])
    lift = rng.uniform(0.7, 1.7)
    position = (reach - away) * forward + rng.uniform(-run, run) * 0.7 * right + np.array([0, -lift, 0])
    pitch = math.atan2(lift - rng.uniform(0.2, 1.3), away)
    return Stage(position, outwards + rng.normal(0, 0.5), pitch, rng.normal(0, 0.07), rng.uniform(45, 80))


def _extent(world: World) -> tuple[float, float, float]:
    """Half width, half depth, height in metres."""
    rng = world.rng
    return rng.uniform(1.2, 3.5), rng.uniform(1.4, 4.5), rng.uniform(2.2, 3.2)


def _furnished(world: World, w: float, d: float, h: float, sides: Iterable[int]) -> Stage:
    """Furniture along these walls and in the middle, and a camera among it."""
    rng = world.rng
    for side in sides:
        if rng.random() < 0.75:
            groups.along_wall(world, side, *((d, w), (w, d))[side % 2])
    for _ in range(int(rng.integers(0, 4))):  # in the middle, any way round
        label, make = objects.INDOOR[rng.integers(len(objects.INDOOR))]
        with world.thing(
            label, rng.uniform(-w, w) * 0.6, rng.uniform(-d, d) * 0.6, rng.uniform(-math.pi, math.pi)
        ):
            make(world)
    if rng.random() < 0.75:
        chairs = int(rng.integers(0, 7))
        groups.laid_table(world, rng.uniform(-w, w) * 0.4, rng.uniform(-d, d) * 0.4, chairs=chairs)
    stage = _standing(world, w, d, h)
    world.clear_around(stage.position, 0.3, SURROUNDINGS)
    return stage


def _standing(world: World, w: float, d: float, h: float) -> Stage:
    """A camera in someone's hands, looking across the room and a little down."""
    rng = world.rng
    lift = rng.uniform(0.6, min(1.8, h - 0.3)) if rng.random() < 0.4 else rng.uniform(1.2, min(1.7, h - 0.3))
    position = np.array([rng.uniform(-w, w) * 0.85, -lift, rng.uniform(-d, d) * 0.85])
    across = -position * rng.uniform(0.2, 1.2) + np.array([rng.normal(0, 0.3) * w, 0, rng.normal(0, 0.3) * d])
    yaw = math.atan2(across[0] - position[0], across[2] - position[2])
    pitch = rng.normal(0.05 + 0.16 * lift, 0.17)
    return Stage(position, yaw, pitch, rng.normal(0, 0.07), rng.uniform(45, 90))


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
        groups.laid_table(world, 0, 0, crowded=True, chairs=int(rng.integers(0, 5)))
        if rng.random() < 0.75
        else groups.scatter(world, 0, 0, 0.9, 0.9, 0.0, 30)
    )
    for side in range(4):
        if rng.random() < 0.6:
            groups.along_wall(world, side, *((d, w), (w, d))[side % 2])
    far, angle = rng.uniform(0.5, 1.3), rng.uniform(-math.pi, math.pi)
    lift = rng.uniform(0.15, 0.9)
    position = np.array([far * math.sin(angle), -height - lift, far * math.cos(angle)])
    pitch = math.atan2(lift, far) * rng.uniform(0.4, 1.3)
    world.clear_around(position, 0.2, SURROUNDINGS)
    stage = Stage(
        position, angle + math.pi + rng.normal(0, 0.15), pitch, rng.normal(0, 0.06), rng.uniform(40, 75)
    )
    return _lamplight(world, stage, w, d, h)


def _shell(world: World, w: float, d: float, h: float, window: int | None = None) -> None:
    """Floor, ceiling and four walls with what hangs on them; half width, half depth, height in metres. The
    wall of number `window` is mostly an opening.
    """
    rng = world.rng
    with world.thing("floor", 0, 0):
        floor = world.material(
            "planks", "planks", "tile", "speckle", "checker", "stones", "stripes", tile=(0.6, 2.5), photo=0.08
        )
        world.add(shapes.SQUARE, (0, 0, 0), (w, 0.01, d), floor)
    with world.thing("ceiling", 0, 0):
        plain = rng.random() < 0.75
        bright = world.paint(*PALE) if plain else world.material("plaster", "tile", "planks", tile=(1, 3))
        world.add(shapes.SQUARE, (0, -h, 0), (w, 0.01, d), bright)
    same = _wall_cover(world)
    for side in range(4):
        reach, run = ((d, w), (w, d))[side % 2]
        cover = same if rng.random() < 0.75 else _wall_cover(world)
        if side == window:
            with world.thing("wall", 0, 0, side * math.pi / 2):
                _opening(world, reach, run, h, cover)
            continue
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


def _opening(world: World, reach: float, run: float, h: float, cover: Material) -> None:
    """A wall with a wide window or glass door in it, frames, curtains drawn aside, and what is to be seen
    outside.
    """
    rng = world.rng
    half = run * rng.uniform(0.4, 0.95)
    middle = rng.uniform(half - run, run - half)
    sill = 0.03 if rng.random() < 0.5 else rng.uniform(0.4, 1.0)
    lintel = rng.uniform(max(sill + 0.8, 1.8), h - 0.08)
    z, thick = reach + 0.05, 0.05
    for low, high in ((-run - 0.1, middle - half), (middle + half, run + 0.1)):
        world.box(((low + high) / 2, -h / 2, z), ((high - low) / 2, h / 2, thick), cover)
    world.box((middle, -sill / 2, z), (half, sill / 2, thick), cover)
    world.box((middle, -(lintel + h) / 2, z), (half, (h - lintel) / 2, thick), cover)
    with world.thing("windowpane", middle, reach):
        frame, bar = world.material("plain", "planks"), rng.uniform(0.015, 0.05)
        for x in np.linspace(-half, half, int(rng.integers(2, 7))):
            world.box((x, -(sill + lintel) / 2, 0.03), (bar, (lintel - sill) / 2, 0.03), frame)
        for y in (sill, lintel, *rng.uniform(sill, lintel, int(rng.integers(0, 2)))):
            world.box((0, -y, 0.03), (half, bar, 0.03), frame)
    for x in (middle - half, middle + half):
        if rng.random() < 0.6:
            with world.thing("curtain", float(np.clip(x, 0.4 - run, run - 0.4)), reach - 0.12):
                objects.curtain(world)
    _outside(world, reach, run)


def _outside(world: World, reach: float, run: float) -> None:
    """Ground somewhat lower than the floor, and a wall, a hedge, trees or a house behind it, or only sky."""
    rng = world.rng
    with world.thing("earth", 0, reach, 0, rng.uniform(0.03, 1.0)):
        covering = world.material("grass", "tile", "stones", "speckle", tile=(0.5, 4), photo=0.12, shine=0.0)
        world.add(shapes.SQUARE, (0, 0, 500.15), (500, 0.01, 500), covering)
        if rng.random() < 0.6:
            tall, far = rng.uniform(0.5, 2.0), rng.uniform(1.0, 8.0)
            world.box(
                (0, -tall, far), (20, tall, 0.1), world.material("brick", "foliage", "planks", "plaster")
            )
        for _ in range(int(rng.integers(0, 6))):
            label, make = objects.OUTDOOR[rng.integers(len(objects.OUTDOOR))]
            far = rng.uniform(16, 30) if label == "house" else rng.uniform(2.5, 12)
            with world.thing(label, rng.uniform(-2, 2) * run, far, rng.uniform(-math.pi, math.pi)):
                make(world)


def _wall_cover(world: World) -> Material:
    """Most walls are painted, and most paint is pale."""
    if world.rng.random() < 0.6:
        return world.paint(*PALE, *PALE, *STRONG)
    return world.material(
        "plaster", "plain", "stripes", "brick", "tile", "planks", "cloudy", tile=(1, 3), photo=0.1
    )


def _hang(world: World, side: int, reach: float, run: float, h: float) -> None:
    """Pictures, windows, doors and curtains on one wall."""
    rng = world.rng
    with world.thing("wall", 0, 0, side * math.pi / 2):
        for _ in range(int(rng.integers(0, 6))):
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
    level = math.exp(
        rng.uniform(math.log(0.15), math.log(1.2))
    )  # from one bare lamp to light from everywhere
    stage.ambient = (level, level * rng.uniform(0.85, 1.05), level * rng.uniform(0.75, 1.15))
    return stage


def _sunshine(world: World, stage: Stage, outwards: float, reach: float, h: float) -> Stage:
    """A sun that stands before the window, the window itself as a wide soft lamp, and what the room throws
    back; `outwards`: where the window looks, in radians.
    """
    rng = world.rng
    height, azimuth = rng.uniform(0.25, 0.9), outwards + rng.uniform(-0.9, 0.9)
    towards = (math.cos(height) * math.sin(azimuth), -math.sin(height), math.cos(height) * math.cos(azimuth))
    power, warm = math.exp(rng.uniform(math.log(1.5), math.log(8.0))), rng.uniform(0.7, 1.0)
    sun = Light(towards, (power, power * (0.4 + 0.6 * warm), power * warm * 0.9), is_sun=True)
    soft = rng.uniform(0.3, 2.0) * max(reach, 1.0) ** 2
    beyond = reach + rng.uniform(0.1, 0.8)
    place = (beyond * math.sin(outwards), -h * rng.uniform(0.4, 0.7), beyond * math.cos(outwards))
    stage.lights = [sun, Light(place, (soft, soft, soft * rng.uniform(0.95, 1.15)))]
    stage.walled = True
    level = math.exp(rng.uniform(math.log(0.15), math.log(1.0)))
    stage.ambient = (level, level * rng.uniform(0.9, 1.05), level * rng.uniform(0.85, 1.15))
    sky = math.exp(rng.uniform(math.log(1.0), math.log(5.0)))
    stage.sky_low, stage.sky_high = (sky, sky, sky), (sky * 0.5, sky * 0.7, sky)
    return stage
