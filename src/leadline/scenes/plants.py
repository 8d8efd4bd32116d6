"""Trees, bushes and pot plants: stems, and crowns of leaves with gaps."""

from __future__ import annotations

import math

import numpy as np

from leadline.scenes import shapes
from leadline.scenes.world import Material, Vector, World, turn_y

MOST_SOLIDS = 700  # of a world: a hedge ends where they are used up


def tree(world: World) -> None:
    rng = world.rng
    h = math.exp(rng.uniform(math.log(2.5), math.log(16)))
    trunk, bark = h * rng.uniform(0.015, 0.035), world.material("bark", tile=(0.5, 2))
    kind = rng.random()
    if kind < 0.12:
        _conifer(world, h, trunk, bark)
    elif kind < 0.22:
        _bare(world, h, trunk, bark)
    else:
        _leafy(world, h, trunk, bark)


def _leafy(world: World, h: float, trunk: float, bark: Material) -> None:
    rng = world.rng
    leaf, stem, lean = leaves(world, h), h * rng.uniform(0.12, 0.4), rng.uniform(-0.06, 0.06) * h
    world.rod((0, 0, 0), (lean, -h * 0.7, 0), trunk, bark)
    for _ in range(int(rng.integers(2, 7))):
        size = h * rng.uniform(0.14, 0.28)
        a, r = rng.uniform(0, 2 * math.pi), h * rng.uniform(0, 0.2)
        place = (lean + r * math.cos(a), -rng.uniform(min(stem + size, h - size), h - size), r * math.sin(a))
        crown(world, place, (size * rng.uniform(0.8, 1.3), size, size), leaf)


def _conifer(world: World, h: float, trunk: float, bark: Material) -> None:
    leaf = leaves(world, h)
    world.cylinder((0, 0, 0), trunk, h * 0.3, bark)
    slim = world.rng.uniform(0.12, 0.26)
    for i in range(5):
        r = h * slim * (1 - 0.18 * i)
        world.add(shapes.PYRAMID, (0, -h * (0.25 + 0.16 * i), 0), (r, h * 0.15, r), leaf, turn_y(0.5 * i))


def _bare(world: World, h: float, trunk: float, bark: Material) -> None:
    rng = world.rng
    world.rod((0, 0, 0), (0, -h * 0.7, 0), trunk, bark)
    for _ in range(14):
        a = rng.uniform(0, 2 * math.pi)
        tip = (h * 0.3 * math.cos(a), -h * rng.uniform(0.5, 1), h * 0.3 * math.sin(a))
        world.rod((0, -h * rng.uniform(0.25, 0.65), 0), tip, trunk * 0.35, bark)


def leaves(world: World, size: float) -> Material:
    """Foliage for a plant of about `size` metres: coarse enough that light and dark show from afar."""
    return world.material("foliage", "foliage", "grass", tile=(0.2 * size, 0.6 * size), photo=0.12, shine=0.0)


def crown(world: World, centre: Vector, half: Vector, leaf: Material) -> None:
    """A cloud of leaves that one can look into; turned at random, since all clouds have the same gaps."""
    rng = world.rng
    half = np.asarray(half, float)
    world.add(shapes.LEAVES, centre, half, leaf, turn_y(rng.uniform(-math.pi, math.pi)))
    world.add(shapes.LEAVES, centre, half * 0.7, leaf, turn_y(rng.uniform(-math.pi, math.pi)))


def bush(world: World) -> None:
    rng = world.rng
    leaf = leaves(world, 3)
    for _ in range(int(rng.integers(1, 4))):
        s = rng.uniform(0.3, 1.1)
        place = (rng.uniform(-0.8, 0.8), -s * 0.6, rng.uniform(-0.8, 0.8))
        crown(world, place, (s, s * rng.uniform(0.6, 1.2), s), leaf)


def thicket(world: World, half_length: float, tall: float) -> None:
    """A hedge or the edge of a wood along z, ragged above."""
    rng = world.rng
    leaf = leaves(world, tall)
    world.box((0, -tall * 0.35, 0), (0.35 * tall, tall * 0.35, half_length), leaf)
    z = -half_length
    while z < half_length and len(world.kinds) < MOST_SOLIDS:
        size = tall * rng.uniform(0.25, 0.45)
        world.add(
            shapes.LEAVES,
            (rng.uniform(-0.2, 0.2) * tall, -tall + size * rng.uniform(0.5, 1.3), z),
            (size, size, size * rng.uniform(1, 1.6)),
            leaf,
            turn_y(rng.uniform(-math.pi, math.pi)),
        )
        z += size * rng.uniform(1, 2) * (1 + max(z + half_length, 0) / 40)


def potted_plant(world: World) -> None:
    rng = world.rng
    r, h = rng.uniform(0.1, 0.22), rng.uniform(0.2, 0.4)
    world.cylinder((0, 0, 0), r, h, world.material("plaster", "cloudy", "stripes"))
    leaf = world.material("foliage", tile=(0.2, 0.6), photo=0.1)
    spread, tall = rng.uniform(0.15, 0.4), rng.uniform(0.2, 1.0)
    for _ in range(int(rng.integers(4, 12))):
        a, lift = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, tall)
        tip = (spread * math.cos(a), -h - lift, spread * math.sin(a))
        world.rod((0, -h, 0), tip, 0.008, leaf)
        world.ball(tip, (rng.uniform(0.04, 0.15), rng.uniform(0.02, 0.1), rng.uniform(0.04, 0.15)), leaf)
