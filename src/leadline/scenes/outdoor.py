"""Streets, open land, house fronts and loose blocks under the sky; and where the camera stands."""

from __future__ import annotations

import math

import numpy as np

from leadline.scenes import objects, shapes
from leadline.scenes.world import SURROUNDINGS, Light, Material, Stage, World, turn_x, turn_z

SOLIDS_PER_SIDE = 95  # of a street: what stands far away is left out first


def street(world: World) -> Stage:
    rng = world.rng
    road_half, walk = rng.uniform(2.8, 7.5), rng.uniform(0.0, 3.5)
    _ground(world, "grass" if rng.random() < 0.5 else "earth")
    with world.thing("road", 0, 0):
        world.add(
            shapes.SQUARE,
            (0, -0.005, 60),
            (road_half, 0.01, 160),
            world.material("road", "road", "speckle", tile=(2, 6), photo=0.05, shine=0.0),
        )
        _markings(world, road_half)
    crowd = rng.random()
    for side in (-1, 1):
        if walk > 0.8:
            with world.thing("sidewalk", side * (road_half + walk / 2), 60):
                world.box(
                    (0, -0.05, 0),
                    (walk / 2, 0.09, 150),
                    world.material("tile", "road", "stones", tile=(1, 3), photo=0.1),
                )
        _roadside(world, side, road_half + walk, crowd)
        _parked(world, side, road_half)
    for _ in range(int(rng.integers(0, 8))):
        lane = rng.uniform(-0.75, 0.75) * road_half
        label, make = (("car", objects.car), ("truck", objects.lorry))[int(rng.random() < 0.2)]
        with world.thing(
            label,
            lane,
            math.exp(rng.uniform(math.log(6), math.log(90))),
            rng.normal(0, 0.04) + math.pi * (lane < 0),
        ):
            make(world)
    position = np.array([rng.uniform(-0.7, 0.7) * road_half, -rng.uniform(1.2, 2.2), 0.0])
    world.clear_around(position, 0.8, SURROUNDINGS)
    stage = Stage(
        position, rng.normal(0, 0.12), rng.normal(0.03, 0.06), rng.normal(0, 0.02), rng.uniform(50, 100)
    )
    if rng.random() < 0.2:
        stage.yaw = rng.uniform(-math.pi, math.pi)
    return _daylight(world, stage)


def field(world: World) -> Stage:
    """Open land, parks, gardens, hills."""
    rng = world.rng
    _ground(world, str(rng.choice(["grass", "earth", "field"])))
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
    near = math.exp(rng.uniform(math.log(1.5), math.log(8)))
    for _ in range(int(rng.integers(3, 26))):
        label, make = objects.OUTDOOR[rng.integers(len(objects.OUTDOOR))]
        z = near * math.exp(rng.uniform(0, math.log(20)))
        with world.thing(label, z * rng.uniform(-1, 1), z, rng.uniform(-math.pi, math.pi)):
            make(world)
    position = np.array([0.0, -rng.uniform(0.4, 3.0) * (4 if rng.random() < 0.1 else 1), 0.0])
    world.clear_around(position, 0.6, SURROUNDINGS)
    return _daylight(
        world,
        Stage(position, rng.normal(0, 0.3), rng.normal(0.03, 0.15), rng.normal(0, 0.04), rng.uniform(40, 95)),
    )


def facades(world: World) -> Stage:
    """A house front, court or square seen from near by, often slanted."""
    rng = world.rng
    _ground(world, str(rng.choice(["grass", "road", "earth", "sidewalk"])))
    far = rng.uniform(5, 25)
    for i in range(int(rng.integers(1, 5))):
        with world.thing("house", (i - 1) * rng.uniform(8, 14), far + rng.uniform(5, 9), rng.normal(0, 0.15)):
            objects.house(world)
    for _ in range(int(rng.integers(1, 14))):
        label, make = (*objects.OUTDOOR, ("car", objects.car), ("bench", objects.table))[
            rng.integers(len(objects.OUTDOOR) + 2)
        ]
        if label != "house":
            with world.thing(
                label, rng.uniform(-1, 1) * far, rng.uniform(2.5, far), rng.uniform(-math.pi, math.pi)
            ):
                make(world)
    position = np.array([rng.uniform(-6, 6), -rng.uniform(0.8, 2.5), 0.0])
    world.clear_around(position, 0.6, SURROUNDINGS)
    return _daylight(
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
    _ground(world, "floor")
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
    return _daylight(world, stage)


def _ground(world: World, label: str) -> None:
    patterns = {
        "grass": ("grass",),
        "field": ("grass", "stripes"),
        "earth": ("speckle", "stones", "cloudy"),
        "floor": objects.ANY,
    }
    with world.thing(label, 0, 0):
        covering = world.material(
            *patterns.get(label, ("road", "tile", "stones")), tile=(1.5, 6), photo=0.12, shine=0.0
        )
        world.add(shapes.SQUARE, (0, 0, 0), (2000, 0.01, 2000), covering)


def _markings(world: World, road_half: float) -> None:
    rng = world.rng
    paint = Material(world.material("plaster").texture, 1.0, (1.4, 1.4, 1.35), flat=0.5)
    lanes = [0.0] if rng.random() < 0.6 else [-road_half / 2, 0.0, road_half / 2]
    dashed = rng.random() < 0.7
    for x in lanes if rng.random() < 0.8 else []:
        for z in np.arange(2, 70, 9.0) if dashed else [75.0]:
            world.add(shapes.SQUARE, (x, -0.012, z), (0.07, 0.01, 2.0 if dashed else 75.0), paint)
    for side in (-1, 1) if rng.random() < 0.5 else ():
        world.add(shapes.SQUARE, (side * (road_half - 0.3), -0.012, 70), (0.07, 0.01, 80), paint)


def _roadside(world: World, side: int, edge: float, crowd: float) -> None:
    """A row of houses, or trees, fences and poles, from near to far."""
    rng = world.rng
    z, houses = rng.uniform(-6, 12), crowd < 0.55
    if rng.random() < (0.25 if houses else 0.75):  # a hedge, a wall or the edge of a wood, all along
        label, patterns = (("tree", ("foliage", "grass")), ("fence", ("brick", "stones", "planks")))[
            int(rng.random() < 0.25)
        ]
        tall = rng.uniform(0.6, 8) if label == "tree" and not houses else rng.uniform(0.5, 2.0)
        with world.thing(label, side * (edge + rng.uniform(0.8, 12)), 50, rng.normal(0, 0.02)):
            world.box(
                (0, -tall / 2, 0),
                (0.7, tall / 2, 70),
                world.material(*patterns, tile=(1, 4), photo=0.15, shine=0.0),
            )
    full = len(world.kinds) + SOLIDS_PER_SIDE
    while z < 110 and len(world.kinds) < full:
        if houses or rng.random() < 0.15:
            back = edge + rng.uniform(5, 8) + (rng.uniform(2, 14) if crowd > 0.25 else 0)
            with world.thing("building" if crowd < 0.25 else "house", side * back, z + 5, side * math.pi / 2):
                objects.house(world)
            z += rng.uniform(6, 18)
        z += rng.uniform(0.5, 2 + 0.08 * max(z, 0))
        choice = rng.random()
        if choice < 0.75:
            label, make = (*objects.OUTDOOR[:5], ("pole", objects.pole))[rng.integers(6)]
            turn = math.pi / 2 if label == "fence" else rng.uniform(-math.pi, math.pi) * (label != "pole")
            with world.thing(label, side * (edge + rng.uniform(0.2, 4 if houses else 18)), z, turn):
                make(world)
        elif choice < 0.9:
            with world.thing("person", side * (edge - rng.uniform(0, 1)), z):
                objects.person(world)


def _parked(world: World, side: int, road_half: float) -> None:
    rng = world.rng
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 8))):
            with world.thing(
                "car",
                side * (road_half - 1.0),
                rng.uniform(3, 60),
                rng.normal(0, 0.05) + math.pi * (rng.random() < 0.3),
            ):
                objects.car(world)


def _daylight(world: World, stage: Stage) -> Stage:
    rng = world.rng
    height, turn, haze = rng.uniform(0.15, 1.4), rng.uniform(-math.pi, math.pi), rng.random()
    power = float(np.clip(rng.normal(0.9, 0.5), 0, 2.0))
    towards = (math.cos(height) * math.sin(turn), -math.sin(height), math.cos(height) * math.cos(turn))
    warm = 0.5 + 0.5 * min(1.0, height)
    stage.lights = (
        [Light(towards, (power, power * (0.4 + 0.6 * warm), power * warm * 0.9), is_sun=True)]
        if power > 0.15
        else []
    )
    level = rng.uniform(0.3, 0.75)
    stage.ambient = (level, level * 1.02, level * rng.uniform(0.95, 1.2))
    grey = rng.uniform(0.5, 1.1)
    stage.sky_low = (grey, grey * rng.uniform(0.9, 1.03), grey * rng.uniform(0.8, 1.1))
    blue = rng.uniform(0.3, 1.0)
    stage.sky_high = (grey * blue * 0.75, grey * blue, grey * min(1.2, blue * 1.5))
    stage.clouds = int(rng.choice(world.textures.numbers("cloudy")))
    stage.cloud_cover = float(rng.uniform(0, 1)) if rng.random() < 0.7 else 0.0
    stage.fog = float(10 ** rng.uniform(-3.2, -1.6)) if haze < 0.5 else 0.0
    return stage
