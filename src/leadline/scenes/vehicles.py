"""Cars, vans, lorries and buses, standing on the road with their length along z and their rear towards -z.

Most are white, grey or black, as on any road; what tells the distance of the next one is its rear: glass
above, lamps at the sides, a plate, wheels, and the dark below.
"""

from __future__ import annotations

import math

from leadline.scenes import shapes
from leadline.scenes.world import Material, World, turn_x, turn_z

GREYS = ((0.75, 0.75, 0.75), (0.45, 0.46, 0.48), (0.2, 0.21, 0.22), (0.08, 0.08, 0.09), (0.02, 0.02, 0.025))
COLOURS = ((0.35, 0.03, 0.03), (0.03, 0.07, 0.25), (0.05, 0.15, 0.1), (0.5, 0.42, 0.3), (0.12, 0.2, 0.35))
TALL = (
    (0.8, 0.8, 0.8),
    (0.8, 0.8, 0.8),
    (0.5, 0.5, 0.52),
    (0.5, 0.08, 0.05),
    (0.06, 0.15, 0.4),
    (0.7, 0.5, 0.1),
)
GLASS, RUBBER = ((0.03, 0.035, 0.04),), ((0.02, 0.02, 0.02),)


def car(world: World) -> None:
    rng = world.rng
    long, wide = rng.uniform(1.8, 2.4), rng.uniform(0.82, 0.95)
    belt, roof = (
        rng.uniform(0.85, 1.0),
        rng.uniform(1.4, 1.75),
    )  # heights of the window's lower edge, the roof
    paint = world.paint(*(GREYS if rng.random() < 0.75 else COLOURS), shine=0.6)
    glass, black = world.paint(*GLASS, shine=0.9), world.paint(*RUBBER)
    world.box((0, -(belt + 0.3) / 2, 0), (wide, (belt - 0.3) / 2, long), paint)
    world.box((0, -0.38, 0), (wide + 0.01, 0.16, long + 0.04), paint if rng.random() < 0.5 else black)
    cabin = rng.uniform(0.5, 0.75) * long  # half its length; the bonnet is in front, a boot may be behind
    back = min(long - cabin, rng.uniform(0, 0.35)) + cabin - long
    rise = (roof - belt) / 2
    world.add(shapes.FRUSTUM, (0, -belt - rise, back), (wide * 0.94, rise, cabin), glass)
    world.box((0, -roof, back), (wide * 0.75, 0.025, cabin * 0.62), paint)
    world.add(shapes.FRUSTUM, (0, -belt - rise, back), (wide * 0.955, rise, cabin * 0.1), paint)
    _wheels(world, wide, (-0.6 * long, 0.62 * long), rng.uniform(0.29, 0.35))
    _lamps(world, wide, long, belt * rng.uniform(0.75, 0.95), tall=rng.uniform(0.07, 0.16))


def van(world: World) -> None:
    """A van or bus: one tall box with a row of windows."""
    rng = world.rng
    bus = rng.random() < 0.3
    long, wide = (rng.uniform(4.5, 6), 1.25) if bus else (rng.uniform(2.2, 3.2), rng.uniform(0.95, 1.05))
    tall = rng.uniform(2.7, 3.2) if bus else rng.uniform(1.9, 2.7)
    paint, glass = world.paint(*TALL, shine=0.3), world.paint(*GLASS, shine=0.9)
    world.box((0, -(tall + 0.35) / 2, 0), (wide, (tall - 0.35) / 2, long), paint)
    reach = 0.95 if bus else rng.choice([0.35, 0.9])
    world.box((0, -tall * 0.66, long * (1 - reach)), (wide + 0.01, tall * 0.13, long * reach * 0.97), glass)
    if rng.random() < 0.7:
        world.box((0, -tall * 0.66, 0), (wide * 0.85, tall * 0.14, long + 0.01), glass)
    _wheels(world, wide, (-0.6 * long, 0.66 * long), 0.45 if bus else 0.34)
    _lamps(world, wide, long, rng.uniform(0.6, 1.2), tall=rng.uniform(0.1, 0.3))


def lorry(world: World) -> None:
    """A cab in front; behind it a box, a tank, or an open load, over a dark frame on wheels."""
    rng = world.rng
    long, wide, tall = rng.uniform(2.5, 6.5), rng.uniform(1.05, 1.27), rng.uniform(2.2, 3.9)
    cab, black = world.paint(*TALL, shine=0.4), world.paint(*RUBBER, (0.1, 0.1, 0.1))
    high = rng.uniform(2.3, 3.2)
    world.box((0, -0.45 - high / 2, long + 1.0), (wide * 0.97, high / 2 - 0.05, 0.95), cab)
    world.box((0, -0.45 - high * 0.65, long + 1.3), (wide, high * 0.17, 0.68), world.paint(*GLASS, shine=0.9))
    world.box((0, -0.85, 0.5), (wide * 0.45, 0.2, long + 0.9), black)
    load, choice = _load(world), rng.random()
    if choice < 0.25:
        radius = min(wide, (tall - 1) / 2)
        world.add(shapes.CYLINDER, (0, -1.0 - radius, 0), (wide, long, radius), load, turn_x(math.pi / 2))
        world.box((0, -0.75, 0), (wide, 0.08, long * 0.6), world.paint(*GREYS))
    elif choice < 0.85:
        world.box((0, -(tall + 1.0) / 2, 0), (wide, (tall - 1.0) / 2, long), load)
    else:
        world.box((0, -1.1, 0), (wide, 0.1, long), load)
        for side in (-1, 1):
            world.box((side * wide, -1.4, 0), (0.03, 0.35, long), load)
    axles = (-0.85 * long, -0.5 * long, long + 0.9)
    _wheels(world, wide, axles, 0.48)
    world.box((0, -0.6, -long), (wide * 0.95, 0.08, 0.05), black)
    _lamps(world, wide, long + 0.02, 0.75, tall=0.09)


def _load(world: World) -> Material:
    """Painted, printed, or a tarpaulin."""
    if world.rng.random() < 0.6:
        return world.paint(*TALL, shine=0.3)
    return world.material("poster", "plain", "stripes", tile=(3, 8), photo=0.2, shine=0.2)


def _wheels(world: World, wide: float, axles: tuple[float, ...], radius: float) -> None:
    rubber, rim = world.paint(*RUBBER), world.paint((0.35, 0.35, 0.36), (0.1, 0.1, 0.1))
    upright = turn_z(math.pi / 2)
    for side in (-1, 1):
        for z in axles:
            world.add(
                shapes.CYLINDER, (side * (wide - 0.1), -radius, z), (radius, 0.12, radius), rubber, upright
            )
            world.add(
                shapes.CYLINDER,
                (side * (wide - 0.1), -radius, z),
                (radius * 0.6, 0.13, radius * 0.6),
                rim,
                upright,
            )


def _lamps(world: World, wide: float, long: float, height: float, tall: float) -> None:
    """Red behind, white in front, and a plate."""
    on = float(world.rng.choice([0.0, 0.0, 0.8]))
    bare = world.textures.numbers("bare")[0]
    red = Material(bare, 1.0, (0.6, 0.03, 0.02), shine=0.5, glow=on)
    white = Material(bare, 1.0, (0.7, 0.7, 0.68), shine=0.8, glow=on)
    for side in (-1, 1):
        world.box((side * (wide - 0.12), -height, -long), (0.12, tall, 0.015), red)
        world.box((side * (wide - 0.18), -height * 0.85, long), (0.18, 0.08, 0.015), white)
    world.box((0, -height * 0.8, -long), (0.26, 0.055, 0.015), white)
