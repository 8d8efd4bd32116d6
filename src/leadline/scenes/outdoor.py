"""Open land, house fronts and loose blocks under the sky; and where the camera stands."""

from __future__ import annotations

import math

import numpy as np

from leadline.scenes import objects, shapes, vehicles
from leadline.scenes.world import SURROUNDINGS, Light, Stage, World, turn_x, turn_y, turn_z


def field(world: World) -> Stage:
    """Open land, parks, gardens, hills."""
    rng = world.rng
    ground(world, str(rng.choice(["grass", "earth", "field"])))
    for _ in range(int(rng.integers(0, 6))):
        far = math.exp(rng.uniform(math.log(40), math.log(600)))
        with world.thing("mountain" if far > 250 else "hill", rng.uniform(-1.2, 1.2) * far, far):
            size = far * rng.uniform(0.2, 0.6)
            world.ball(
                (0, 0, 0),
                (size, size * rng.uniform(0.1, 0.6), size),
                world.material("grass", "foliage", "stones", tile=(10, 60), shine=0.0),
            )
    if rng.random() < 0.5:
        with world.thing("path", rng.uniform(-3, 3), 30, rng.normal(0, 0.25)):
            world.add(
                shapes.SQUARE,
                (0, -0.01, 0),
                (rng.uniform(0.5, 2.5), 0.01, 60),
                world.material("road", "speckle", "stones", tile=(1, 4)),
            )
    if rng.random() < 0.5:
        skyline(world)
    near = math.exp(rng.uniform(math.log(1.5), math.log(8)))
    for _ in range(int(rng.integers(6, 40))):
        label, make = objects.OUTDOOR[rng.integers(len(objects.OUTDOOR))]
        z = near * math.exp(rng.uniform(0, math.log(20)))
        z = max(z, 16.0) if label == "house" else z  # nearer it would fill the picture
        with world.thing(label, z * rng.uniform(-1, 1), z, rng.uniform(-math.pi, math.pi)):
            make(world)
    position = np.array([0.0, -rng.uniform(0.4, 3.0) * (4 if rng.random() < 0.1 else 1), 0.0])
    world.clear_around(position, 2.0, SURROUNDINGS)
    return daylight(
        world,
        Stage(position, rng.normal(0, 0.3), rng.normal(0.03, 0.15), rng.normal(0, 0.04), rng.uniform(40, 95)),
    )


def facades(world: World) -> Stage:
    """A house front, court or square seen from near by, often slanted."""
    rng = world.rng
    ground(world, str(rng.choice(["grass", "road", "earth", "sidewalk"])))
    far = rng.uniform(5, 25)
    for i in range(int(rng.integers(1, 5))):
        with world.thing("house", (i - 1) * rng.uniform(8, 14), far + rng.uniform(5, 9), rng.normal(0, 0.15)):
            objects.house(world)
    for _ in range(int(rng.integers(1, 14))):
        label, make = (*objects.OUTDOOR, ("car", vehicles.car), ("bench", objects.table))[
            rng.integers(len(objects.OUTDOOR) + 2)
        ]
        if label != "house":
            with world.thing(
                label, rng.uniform(-1, 1) * far, rng.uniform(2.5, far), rng.uniform(-math.pi, math.pi)
            ):
                make(world)
    position = np.array([rng.uniform(-6, 6), -rng.uniform(0.8, 2.5), 0.0])
    world.clear_around(position, 2.0, SURROUNDINGS)
    return daylight(
        world,
        Stage(
            position, rng.normal(0, 0.45), rng.normal(-0.08, 0.12), rng.normal(0, 0.03), rng.uniform(40, 90)
        ),
    )


def blocks(world: World) -> Stage:
    """Loose solids of all kinds, turned anyhow, before a wall or the sky: nothing to recognise, only shape
    and shading.
    """
    rng = world.rng
    ground(world, "floor")
    far = rng.uniform(3, 12)
    if rng.random() < 0.7:
        with world.thing("wall", 0, far, rng.normal(0, 0.5)):
            world.box((0, -5, 0), (40, 12, 0.1), world.material(*objects.ANY))
    for _ in range(int(rng.integers(5, 45))):
        z = rng.uniform(1.2, far)
        size = rng.uniform(0.05, 0.45) * (1 + z / 4)
        with world.thing(
            "box", rng.uniform(-0.8, 0.8) * z, z, rng.uniform(-math.pi, math.pi), -abs(rng.normal(0.6, 0.8))
        ):
            kind = int(
                rng.choice(
                    [shapes.BOX, shapes.BOX, shapes.SPHERE, shapes.CYLINDER, shapes.GABLE, shapes.PYRAMID]
                )
            )
            spin = turn_x(rng.normal(0, 1)) @ turn_z(rng.normal(0, 1)) if rng.random() < 0.5 else np.eye(3)
            world.add(
                kind,
                (0, -size / 2, 0),
                size * rng.uniform(0.15, 1, 3),
                world.material(*objects.ANY, tile=(0.2, 2)),
                spin,
            )
    position = np.array([0.0, -rng.uniform(0.3, 2.0), 0.0])
    world.clear_around(position, 0.3, SURROUNDINGS)
    stage = Stage(position, rng.normal(0, 0.2), rng.normal(0.1, 0.2), rng.normal(0, 0.1), rng.uniform(40, 90))
    return daylight(world, stage)


def ground(world: World, label: str) -> None:
    patterns = {
        "grass": ("grass",),
        "field": ("grass", "stripes"),
        "earth": ("speckle", "stones", "road"),
        "floor": objects.ANY,
    }
    with world.thing(label, 0, 0):
        covering = world.material(
            *patterns.get(label, ("road", "tile", "stones")), tile=(1.5, 6), photo=0.12, shine=0.0
        )
        world.add(shapes.SQUARE, (0, 0, 0), (2000, 0.01, 2000), covering)


def skyline(world: World) -> None:
    """What closes the view in most places: a wood, or roofs and walls, along the horizon."""
    rng = world.rng
    far = math.exp(rng.uniform(math.log(45), math.log(300)))
    wood = rng.random() < 0.7
    cover = (
        world.material("foliage", "foliage", "grass", tile=(2, 8), photo=0.15, shine=0.0)
        if wood
        else world.material("facade", "brick", "plaster", tile=(3, 12), photo=0.25, shine=0.0)
    )
    tall = rng.uniform(4, 16)
    x = -1.4 * far
    while x < 1.4 * far:
        high = tall * rng.uniform(0.5, 1.1)
        wide = max(high * rng.uniform(0.3, 0.8 if wood else 2.0), 0.03 * far)
        with world.thing("tree" if wood else "building", x, far * rng.uniform(0.85, 1.2)):
            if wood:
                world.add(shapes.LEAVES, (0, -high / 2, 0), (wide, high / 2, wide), cover, turn_y(x))
            else:
                world.box((0, -high / 2, 0), (wide, high / 2, wide), cover)
        x += wide * rng.uniform(0.9, 1.8)


def daylight(world: World, stage: Stage) -> Stage:
    """Sun and sky: from a grey day without shadows to black shadows under a sky that burns out."""
    rng = world.rng
    height, turn, haze = rng.uniform(0.15, 1.4), rng.uniform(-math.pi, math.pi), rng.random()
    hard = 0.0 if rng.random() < 0.25 else rng.random() ** 0.7  # 0: overcast
    power = 3.0 * hard
    towards = (math.cos(height) * math.sin(turn), -math.sin(height), math.cos(height) * math.cos(turn))
    warm = 0.5 + 0.5 * min(1.0, height)
    stage.lights = (
        [Light(towards, (power, power * (0.4 + 0.6 * warm), power * warm * 0.9), is_sun=True)]
        if power > 0.15
        else []
    )
    level = 0.7 * math.exp(-rng.uniform(0.2, 2.2) * (0.3 + hard))
    stage.ambient = (level, level * 1.02, level * rng.uniform(0.95, 1.2))
    grey = math.exp(rng.uniform(math.log(0.5), math.log(2.5)))
    stage.sky_low = (grey, grey * rng.uniform(0.9, 1.03), grey * rng.uniform(0.8, 1.1))
    blue = rng.uniform(0.3, 1.0)
    stage.sky_high = (grey * blue * 0.75, grey * blue, grey * min(1.2, blue * 1.5))
    stage.clouds = int(rng.choice(world.textures.numbers("cloudy")))
    stage.cloud_cover = float(rng.uniform(0, 1)) if rng.random() < 0.7 else 0.0
    stage.fog = float(10 ** rng.uniform(-3.4, -2.0)) if haze < 0.25 else 0.0
    return stage
