"""A street as drivers see it: lanes with traffic, kerbs, what stands along them, bridges across."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leadline.scenes import objects, plants, shapes, vehicles
from leadline.scenes.outdoor import daylight, ground, skyline
from leadline.scenes.world import SURROUNDINGS, Stage, World

SOLIDS_PER_SIDE = 90  # of what stands along: far away is left out first
SOLIDS_OF_TRAFFIC = 260
VEHICLES = (("car", vehicles.car, 0.74), ("van", vehicles.van, 0.12), ("truck", vehicles.lorry, 0.14))
# Beside the road: how often, and whether houses, trees or nothing much.
SIDES = {"houses": 0.45, "wood": 0.35, "open": 0.2}


@dataclass(frozen=True)
class Road:
    """Lanes of `lane` metres: `ours` in our direction on the right, `theirs` on the left, x = 0 between."""

    lane: float
    ours: int
    theirs: int

    @property
    def left(self) -> float:
        return -self.lane * self.theirs - 0.4

    @property
    def right(self) -> float:
        return self.lane * self.ours + 0.4


def street(world: World) -> Stage:
    rng = world.rng
    road = Road(rng.uniform(2.9, 3.7), int(rng.choice([1, 1, 2, 3])), int(rng.choice([0, 1, 1, 2])))
    ground(world, "grass" if rng.random() < 0.6 else "earth")
    _surface(world, road)
    position = np.array([road.lane * rng.integers(road.ours) + road.lane * rng.uniform(0.35, 0.65), 0.0, 0.0])
    position[1] = -rng.uniform(1.3, 2.1)
    _traffic(world, road, position[0])
    built = rng.random() < 0.5  # in town both sides are alike, more or less
    for side, edge in ((-1, road.left), (1, road.right)):
        _roadside(world, side, abs(edge), built)
    if rng.random() < 0.2:
        _bridge(world, road)
    if rng.random() < 0.8:
        skyline(world)
    world.clear_around(position, 1.2, SURROUNDINGS)
    stage = Stage(
        position, rng.normal(0, 0.06), rng.normal(0.02, 0.04), rng.normal(0, 0.015), rng.uniform(60, 98)
    )
    if rng.random() < 0.12:
        stage.yaw = rng.uniform(-1.0, 1.0)
    return daylight(world, stage)


def _surface(world: World, road: Road) -> None:
    rng = world.rng
    middle, half = (road.left + road.right) / 2, (road.right - road.left) / 2
    with world.thing("road", 0, 0):
        asphalt = world.material("road", tile=(2, 6), photo=0.0, shine=0.0)
        world.add(shapes.SQUARE, (middle, -0.005, 230), (half, 0.01, 260), asphalt)
        if rng.random() < 0.85:
            _markings(world, road)


def _markings(world: World, road: Road) -> None:
    rng = world.rng
    paint = world.paint((0.75, 0.75, 0.72))
    dash, gap = rng.uniform(1, 3), rng.uniform(3, 9)
    for i in range(-road.theirs + 1, road.ours):
        solid = i == 0 and rng.random() < 0.4
        for z in [75.0] if solid else np.arange(rng.uniform(0, gap), 70, gap + dash):
            length = 75.0 if solid else dash / 2
            world.add(
                shapes.SQUARE, (i * road.lane, -0.012, z), (rng.uniform(0.06, 0.09), 0.01, length), paint
            )
    for x in (road.left + 0.3, road.right - 0.3) if rng.random() < 0.6 else ():
        world.add(shapes.SQUARE, (x, -0.012, 100), (0.07, 0.01, 120), paint)
    if rng.random() < 0.15:  # a crossing
        z = rng.uniform(6, 30)
        for x in np.arange(road.left + 0.5, road.right, 1.0):
            world.add(shapes.SQUARE, (x, -0.013, z), (0.25, 0.01, 1.5), paint)


def _traffic(world: World, road: Road, camera_x: float) -> None:
    """Vehicles in every lane: none, some, or a jam, a few metres away at least; and cars at the kerbs."""
    rng = world.rng
    full = len(world.kinds) + SOLIDS_OF_TRAFFIC
    busy = float(rng.choice([0.0, 60.0, 25.0, 6.0], p=[0.1, 0.3, 0.3, 0.3]))  # mean gap in metres
    lanes = [((i + 0.5) * road.lane, busy) for i in range(-road.theirs, road.ours)]
    for edge in (road.left + 0.9, road.right - 0.9):
        if rng.random() < 0.3:
            lanes.append((edge, float(rng.uniform(1, 20))))
    for x, gap in lanes if busy else []:
        z = (4.5 if abs(x - camera_x) < 1.9 else rng.uniform(-6, 3)) + rng.exponential(gap)
        while z < 120 and len(world.kinds) < full:
            label, make, _ = VEHICLES[rng.choice(len(VEHICLES), p=[share for *_, share in VEHICLES])]
            z += 2.2 if label == "car" else 5
            with world.thing(label, x + rng.normal(0, 0.2), z, rng.normal(0, 0.02) + math.pi * (x < 0)):
                make(world)
            z += (2.4 if label == "car" else 6) + 1 + rng.exponential(gap)


def _roadside(world: World, side: int, edge: float, built: bool) -> None:
    """Kerb, rail, posts, and a row of houses or trees, from near to far."""
    rng = world.rng
    walk = rng.uniform(1.2, 4) if built or rng.random() < 0.4 else 0.0
    if walk:
        with world.thing("sidewalk", side * (edge + walk / 2), 60):
            paving = world.material("road", "road", "stones", tile=(1, 3), photo=0.0, shine=0.0)
            world.box((0, -0.05, 0), (walk / 2, 0.08, 150), paving)
            world.box((-side * walk / 2, -0.05, 0), (0.08, 0.085, 150), world.paint((0.4, 0.4, 0.38)))
    elif rng.random() < 0.3:
        with world.thing("railing", side * (edge + 0.3), 60):
            world.box((0, -0.62, 0), (0.05, 0.15, 100), world.paint((0.4, 0.41, 0.42), shine=0.3))
    edge += walk
    if rng.random() < 0.35:
        _posts(world, side * (edge + 0.3), rng.uniform(15, 35))
    names = list(SIDES)
    kind = names[0] if built and rng.random() < 0.75 else names[rng.choice(3, p=list(SIDES.values()))]
    back = edge + rng.uniform(0.5, 8)
    if kind == "wood" or rng.random() < 0.2:
        with world.thing("tree", side * (back + 1), 50, rng.normal(0, 0.01)):
            plants.thicket(world, 58, rng.uniform(1, 2) if kind == "houses" else rng.uniform(1.5, 9))
    elif rng.random() < 0.2:
        with world.thing("wall" if rng.random() < 0.5 else "fence", side * back, 50, rng.normal(0, 0.01)):
            tall, boards = (
                rng.uniform(0.5, 2),
                world.material("brick", "stones", "planks", "plaster", tile=(1, 3)),
            )
            world.box((0, -tall, 0), (0.15, tall, 70), boards)
    _row(world, side, back, kind, rng.uniform(-6, 10))


def _row(world: World, side: int, back: float, kind: str, z: float) -> None:
    rng = world.rng
    full, storeys = len(world.kinds) + SOLIDS_PER_SIDE, int(rng.integers(1, 7))
    while z < 110 and len(world.kinds) < full:
        if kind == "houses" or rng.random() < 0.08:
            tall = max(1, storeys + int(rng.integers(-1, 2)))
            with world.thing(
                "house" if tall < 4 else "building", side * (back + 7), z + 5, side * math.pi / 2
            ):
                objects.house(world, tall)
            z += rng.uniform(6, 18)
        z += rng.uniform(0.5, 3 + 0.08 * max(z, 0))
        if rng.random() < (0.5 if kind == "houses" else 0.8):
            with world.thing("tree", side * (back + rng.uniform(-0.5, 3 if kind == "houses" else 20)), z):
                (plants.tree if rng.random() < 0.75 else plants.bush)(world)
        elif rng.random() < 0.5:
            label, make = (("person", objects.person), ("pole", objects.pole))[int(rng.random() < 0.5)]
            with world.thing(label, side * (back - rng.uniform(0.2, 1.5)), z):
                make(world)


def _posts(world: World, x: float, step: float) -> None:
    """A row of street lamps, their arms over the road."""
    rng = world.rng
    h, metal = rng.uniform(4, 10), world.paint((0.3, 0.31, 0.32), (0.08, 0.1, 0.09))
    for z in np.arange(rng.uniform(2, step), 120, step):
        with world.thing("streetlight", x, z):
            world.cylinder((0, 0, 0), 0.09, h, metal)
            world.rod((0, -h, 0), (-math.copysign(1.6, x), -h - 0.3, 0), 0.06, metal)


def _bridge(world: World, road: Road) -> None:
    """A bridge across, on pillars beside the road."""
    rng = world.rng
    z, clear, thick = (
        math.exp(rng.uniform(math.log(15), math.log(120))),
        rng.uniform(4.7, 7),
        rng.uniform(0.4, 1),
    )
    concrete = world.material("plaster", "road", "speckle", tile=(3, 8), photo=0.0, shine=0.0)
    with world.thing("building", 0, z, rng.normal(0, 0.15)):
        world.box((0, -clear - thick, 0), (120, thick, rng.uniform(2, 7)), concrete, None)
        for x in (road.left - 2.5, road.right + 2.5):
            world.box((x, -clear / 2, 0), (0.6, clear / 2, rng.uniform(0.5, 2)), concrete)
        world.box((0, -clear - 2 * thick - 0.5, -2), (120, 0.5, 0.06), world.paint((0.4, 0.4, 0.4)))
