"""Furniture that belongs together, with what lies on it: tables with chairs, desks, kitchen counters, walls
lined with cabinets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from leadline.scenes import objects, plants
from leadline.scenes.world import Material, World

FRONTS = (  # of fitted doors, linear: whites, greys, and what kitchens are sold in
    (0.8, 0.8, 0.77),
    (0.75, 0.7, 0.6),
    (0.4, 0.4, 0.4),
    (0.12, 0.13, 0.14),
    (0.35, 0.02, 0.03),
    (0.03, 0.07, 0.2),
    (0.1, 0.2, 0.12),
    (0.5, 0.25, 0.05),
)

ALONG_WALLS = (
    ("cabinet", objects.cabinet),
    ("cabinet", objects.cabinet),
    ("shelf", objects.shelf),
    ("sofa", objects.sofa),
    ("bed", objects.bed),
    ("plant", plants.potted_plant),
    ("lamp", objects.floor_lamp),
    ("chair", objects.chair),
)


def laid_table(world: World, x: float, z: float, *, crowded: bool = False, chairs: int = 0) -> float:
    """A table with things on it and chairs drawn up to it; returns its height."""
    rng = world.rng
    yaw = rng.uniform(-math.pi, math.pi)
    with world.thing("table", x, z, yaw):
        w, d, h = objects.table(world)
        for number in range(chairs):
            side = 1 if number % 2 else -1
            place = (rng.uniform(-0.7, 0.7) * w, side * (d + rng.uniform(0.05, 0.35)))
            with world.thing("chair", *place, (0 if side > 0 else math.pi) + rng.normal(0, 0.25)):
                objects.chair(world)
    count = int(rng.integers(5, 26)) if crowded else int(rng.integers(0, 10))
    scatter(world, x, z, w * 0.9, d * 0.9, h, count, yaw)
    if rng.random() < 0.3:
        with world.thing("monitor", x, z, yaw + rng.normal(0, 0.3), -h):
            objects.screen(world)
    return h


def scatter(
    world: World, x: float, z: float, w: float, d: float, y: float, count: int, yaw: float = 0.0
) -> float:
    """`count` small things over a surface of half width w and half depth d at height y, which is returned."""
    rng = world.rng
    with world.thing("table", x, z, yaw, -y):
        for _ in range(count):
            label = str(rng.choice(["box", "bottle", "book", "plaything", "plate", "food", "vase"]))
            with world.thing(label, rng.uniform(-w, w), rng.uniform(-d, d), rng.uniform(-math.pi, math.pi)):
                objects.clutter(world)
    return y


def counter(world: World, half: float, front: Material | None = None) -> None:
    """A kitchen counter `half` metres to either side, its back at z = 0: doors below, cupboards or boards
    above, things standing about. front: of the doors.
    """
    rng = world.rng
    depth, high, column = 0.3, rng.uniform(0.84, 0.95), rng.uniform(0.4, 0.8)
    front = front or world.material(*objects.WOOD, "plain", shine=0.3)
    top = world.material("plain", "speckle", "stones", "planks")
    handle = world.paint((0.5, 0.5, 0.5), (0.1, 0.1, 0.1))
    world.box((0, -0.05, -depth + 0.04), (half, 0.05, depth - 0.04), handle)
    world.box((0, -high / 2 - 0.05, -depth), (half, high / 2 - 0.05, depth), front)
    world.box((0, -high, -depth), (half + 0.01, 0.02, depth + 0.02), top)
    above, lift = rng.random(), rng.uniform(1.35, 1.5)
    for i in range(int(2 * half / column)):
        x = (i + 0.5) * column - half
        world.box((x, -high * 0.88, -2 * depth - 0.01), (column * 0.25, 0.012, 0.012), handle)
        world.box((x + column / 2, -high / 2 - 0.05, -2 * depth), (0.004, high / 2 - 0.06, 0.003), handle)
        if above < 0.6 and rng.random() < 0.85:
            world.box((x, -lift - 0.33, -0.17), (column / 2 - 0.005, 0.33, 0.17), front)
    if above > 0.5:
        world.box((0, -lift, -0.12), (half, 0.015, 0.12), top)
        scatter(world, 0, -0.12, half, 0.05, lift, int(rng.integers(1, 8)))
    scatter(world, 0, -depth, half * 0.95, depth * 0.7, high, int(rng.integers(2, 14)))


def wardrobe(world: World, half: float, high: float, front: Material) -> None:
    """Doors side by side up to `high`, `half` metres to either side, its back at z = 0."""
    rng = world.rng
    depth, column = rng.uniform(0.2, 0.35), rng.uniform(0.35, 0.9)
    groove, handle = world.paint((0.05, 0.05, 0.05)), world.paint((0.5, 0.5, 0.5), (0.1, 0.1, 0.1))
    world.box((0, -high / 2, -depth), (half, high / 2, depth), front)
    parts = sorted(rng.uniform(0.3, 0.9, int(rng.integers(0, 3))))  # drawers, or doors above each other
    for level in parts:
        world.box((0, -high * level, -2 * depth), (half, 0.004, 0.003), groove)
    for i in range(int(2 * half / column)):
        x = (i + 1) * column - half
        world.box((x, -high / 2, -2 * depth), (0.004, high / 2, 0.003), groove)
        world.box((x - 0.06, -min(1.05, high * 0.6), -2 * depth - 0.02), (0.01, 0.09, 0.012), handle)


def lined_wall(world: World, side: int, reach: float, run: float, h: float) -> None:
    """A wall with fitted furniture from one corner to the other, or nearly: counters, chests of drawers,
    wardrobes up to the ceiling. As in `along_wall`; h: height of the room.
    """
    rng = world.rng
    half, choice = run * rng.uniform(0.6, 1.0), rng.random()
    middle = rng.uniform(half - run, run - half)
    painted = rng.random() < 0.65
    shine = float(max(0.0, rng.uniform(-0.3, 0.6)))
    front = world.paint(*FRONTS, shine=shine) if painted else world.material(*objects.WOOD, "plain", "poster")
    if choice < 0.55:
        with _against(world, "cabinet", side, middle, reach):
            counter(world, half, front)
        return
    chest = choice < 0.75
    high = rng.uniform(0.6, 1.3) if chest else rng.uniform(1.9, h - 0.02)
    with _against(world, "cabinet" if chest else "wardrobe", side, middle, reach):
        wardrobe(world, half, high, front)
        if chest:
            scatter(world, 0, -0.25, half * 0.95, 0.15, high, int(rng.integers(0, 10)))


@contextmanager
def _against(world: World, label: str, side: int, x: float, reach: float) -> Iterator[None]:
    """A thing with its back to wall `side`, x metres from the wall's middle."""
    with world.thing("wall", 0, 0, side * math.pi / 2), world.thing(label, x, reach):
        yield


def desk(world: World) -> None:
    """Its back at z = 0: screens, papers, and a chair before it."""
    rng = world.rng
    with world.thing("desk", 0, -0.4):
        w, d, h = objects.table(world, rng.uniform(0.68, 0.78))
    for _ in range(int(rng.integers(1, 3))):
        with world.thing("monitor", rng.uniform(-w, w) * 0.7, -0.4 + 0.5 * d, rng.normal(0, 0.25), -h):
            objects.screen(world)
    scatter(world, 0, -0.4, w * 0.9, d * 0.9, h, int(rng.integers(2, 14)))
    with world.thing("chair", rng.uniform(-0.3, 0.3), -0.6 - d, math.pi + rng.normal(0, 0.5)):
        objects.chair(world)


def along_wall(world: World, side: int, reach: float, run: float) -> None:
    """A counter or a row of furniture along wall `side`, `reach` metres away and `run` wide either way."""
    rng = world.rng
    with world.thing("wall", 0, 0, side * math.pi / 2):
        if rng.random() < 0.3:
            half = run * rng.uniform(0.4, 1.0)
            with world.thing("cabinet", rng.uniform(half - run, run - half), reach):
                counter(world, half)
        else:
            _row(world, reach, run)


def _row(world: World, reach: float, run: float) -> None:
    """Desks, cabinets, shelves, sofas ... side by side with their backs at z = `reach`, and gaps."""
    rng = world.rng
    x = -run + rng.uniform(0, 1)
    while x < run - 0.3:
        choice = rng.random()
        if choice < 0.2:
            with world.thing("desk", x + 0.4, reach):
                desk(world)
        elif choice < 0.75:
            label, make = ALONG_WALLS[rng.integers(len(ALONG_WALLS))]
            depth = 1.1 if label == "bed" else rng.uniform(0.3, 0.5)
            with world.thing(label, x, reach - depth, rng.normal(0, 0.04)):
                high = make(world)
                if isinstance(high, float) and high < 1.3:
                    scatter(world, 0, 0, 0.3, 0.12, high, int(rng.integers(0, 6)))
        x += rng.uniform(0.8, 1.8)
