"""Furniture, people, poles, houses: things made of a few solids, each standing on its own ground point
(y = 0, up is negative).

Every function adds one thing to the world in the frame that `World.thing` has set. Sizes are metres, drawn
about everyday values.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from leadline.scenes import plants, shapes
from leadline.scenes.world import Material, World, turn_x, turn_y, turn_z

WOOD = ("planks", "planks", "plain", "plaster")
CLOTH = ("stripes", "speckle", "cloudy", "plain", "checker")
METAL = ("plain", "plaster", "speckle")
ANY = ("plain", "cloudy", "stripes", "poster", "checker", "speckle", "planks", "tile", "stones")


def table(world: World, height: float | None = None) -> tuple[float, float, float]:
    """Returns half width, half depth and height of the top."""
    rng = world.rng
    w, d = rng.uniform(0.3, 1.1), rng.uniform(0.25, 0.6)
    h = rng.uniform(0.4, 0.8) if height is None else height
    top, leg = world.material(*WOOD), world.material(*WOOD, *METAL)
    if rng.random() < 0.25:
        world.cylinder((0, -h + 0.04, 0), min(w, d), 0.04, top)
        world.cylinder((0, 0, 0), 0.05, h, leg)
        world.cylinder((0, 0, 0), min(w, d) * 0.5, 0.03, leg)
        return min(w, d) * 0.7, min(w, d) * 0.7, h
    world.box((0, -h + 0.02, 0), (w, 0.02, d), top)
    thick = rng.uniform(0.012, 0.045)
    for sx in (-1, 1):
        for sz in (-1, 1):
            world.box((sx * (w - 0.06), -h / 2, sz * (d - 0.06)), (thick, h / 2, thick), leg)
    if rng.random() < 0.3:
        world.box((w / 2, -h + 0.2, 0), (w / 2 - 0.08, 0.16, d - 0.08), leg)
    return w, d, h


def chair(world: World) -> None:
    """Its back is at +z: a plate, rungs across or bars upright."""
    rng = world.rng
    w, h, back = rng.uniform(0.19, 0.26), rng.uniform(0.4, 0.5), rng.uniform(0.35, 0.6)
    frame = world.material(*WOOD, *METAL)
    seat = world.material(*CLOTH, *WOOD) if rng.random() < 0.5 else frame
    world.box((0, -h, 0), (w, rng.uniform(0.015, 0.06), w), seat)
    choice, count = rng.random(), int(rng.integers(2, 5))
    if choice < 0.4:
        world.box((0, -h - back * 0.65, w), (w, back * 0.35, 0.02), seat, turn_x(rng.uniform(-0.2, 0.05)))
    for i in range(count if choice >= 0.4 else 0):
        if choice < 0.75:
            world.box((0, -h - back * (1 - i / (count + 1)), w), (w, 0.035, 0.012), frame)
        else:
            world.box((w * (2 * (i + 0.5) / count - 1), -h - back / 2, w), (0.02, back / 2, 0.012), frame)
    if choice >= 0.75:
        world.box((0, -h - back, w), (w + 0.02, 0.04, 0.015), frame)
    for sx in (-1, 1):
        world.rod((sx * w, -h - back, w), (sx * w, 0, w), 0.018, frame)
        world.rod((sx * w, -h, -w), (sx * w, 0, -w), 0.018, frame)


def sofa(world: World) -> None:
    rng = world.rng
    w, d, h = rng.uniform(0.4, 1.1), rng.uniform(0.35, 0.5), rng.uniform(0.36, 0.48)
    cloth = world.material(*CLOTH)
    world.box((0, -h / 2, 0), (w, h / 2, d), cloth)
    world.box((0, -h - 0.18, d - 0.1), (w, 0.28, 0.11), cloth)
    for side in (-1, 1):
        world.box((side * (w + 0.09), -h / 2 - 0.1, 0), (0.09, h / 2 + 0.1, d), cloth)
    for _ in range(int(rng.integers(0, 4))):
        place = (rng.uniform(-w, w) * 0.8, -h - 0.17, d - 0.3)
        world.box(
            place, (0.2, 0.18, 0.06), world.material(*CLOTH), turn_x(-0.3) @ turn_z(rng.uniform(-0.3, 0.3))
        )


def bed(world: World) -> None:
    rng = world.rng
    w, h = rng.uniform(0.45, 0.95), rng.uniform(0.3, 0.6)
    world.box((0, -h / 2, 0), (w, h / 2, 1.0), world.material(*CLOTH))
    world.box((0, -h - 0.04, -0.25), (w + 0.03, 0.05, 0.78), world.material(*CLOTH))
    world.box((0, -0.5, 1.03), (w + 0.03, rng.uniform(0.45, 0.7), 0.04), world.material(*WOOD))
    for x in (-w / 2, w / 2):
        world.box((x, -h - 0.08, 0.75), (w * 0.4, 0.08, 0.2), world.material(*CLOTH, flat=0.7), turn_x(-0.15))


def cabinet(world: World, height: float | None = None) -> float:
    rng = world.rng
    w, d, h = rng.uniform(0.25, 0.9), rng.uniform(0.18, 0.35), height or rng.uniform(0.5, 2.2)
    wood = world.material(*WOOD)
    world.box((0, -h / 2, 0), (w, h / 2, d), wood)
    columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    front, knob = world.material(*WOOD), world.material(*METAL)
    for i in range(columns):
        for j in range(rows):
            x, y = (i + 0.5) / columns * 2 * w - w, -(j + 0.5) / rows * h
            world.box((x, y, -d - 0.005), (w / columns - 0.015, h / rows / 2 - 0.015, 0.012), front)
            world.ball((x + w / columns * 0.6, y, -d - 0.03), 0.015, knob)
    return h


def shelf(world: World) -> None:
    rng = world.rng
    w, d, h, rows = (
        rng.uniform(0.35, 0.9),
        rng.uniform(0.13, 0.22),
        rng.uniform(0.8, 2.2),
        int(rng.integers(2, 6)),
    )
    wood = world.material(*WOOD)
    for side in (-1, 1):
        world.box((side * w, -h / 2, 0), (0.015, h / 2, d), wood)
    if rng.random() < 0.7:
        world.box((0, -h / 2, d), (w, h / 2, 0.01), wood)
    for row in range(rows + 1):
        y = -0.03 - row * (h - 0.03) / rows
        world.box((0, y, 0), (w, 0.012, d), wood)
        if row < rows and rng.random() < 0.85:
            x = -w + 0.04
            while x < w - 0.1:
                run, tall = rng.uniform(0.05, 0.4), rng.uniform(0.4, 0.85) * h / rows
                run = min(run, w - 0.03 - x)
                spines = world.material("spines", "poster", "plain", tile=(0.2, 0.5), photo=0.1)
                world.box(
                    (x + run / 2, y - tall / 2, rng.uniform(0, d * 0.3)),
                    (run / 2, tall / 2, d * 0.65),
                    spines,
                )
                x += run + max(0.0, rng.uniform(-0.1, 0.3))


def curtain(world: World) -> None:
    """A window hung with cloth: pleats are a row of cylinders."""
    rng = world.rng
    cloth, h = world.material(*CLOTH), rng.uniform(1.2, 2.3)
    count, pleat = int(rng.integers(3, 9)), rng.uniform(0.04, 0.08)
    for i in range(count):
        world.cylinder(((i - count / 2) * pleat * 1.6, -0.05, 0), pleat, h, cloth)


def floor_lamp(world: World) -> None:
    rng = world.rng
    h, pole = rng.uniform(1.2, 1.8), world.material(*METAL)
    world.cylinder((0, 0, 0), 0.14, 0.03, pole)
    world.cylinder((0, 0, 0), 0.013, h, pole)
    world.cylinder(
        (0, -h + 0.15, 0), rng.uniform(0.12, 0.25), 0.28, world.material("plain", glow=rng.uniform(0, 1.2))
    )


def person(world: World) -> None:
    rng = world.rng
    h = rng.uniform(1.5, 1.9)
    trousers, shirt = world.material(*CLOTH, tile=(0.2, 0.8)), world.material(*CLOTH, tile=(0.2, 0.8))
    shade = rng.uniform(0.25, 1.1)
    skin = Material(world.material("plain").texture, 1.0, (0.75 * shade, 0.5 * shade, 0.4 * shade), flat=0.9)
    stride = rng.uniform(-0.2, 0.2)
    for side, step in ((-1, stride), (1, -stride)):
        world.rod((side * 0.09, -h * 0.5, 0), (side * 0.1, 0, step), 0.075, trousers)
        hand = (side * rng.uniform(0.22, 0.4), -h * rng.uniform(0.45, 0.6), rng.uniform(-0.3, 0.1))
        world.rod((side * 0.2, -h * 0.8, 0), hand, 0.05, shirt)
    world.ball((0, -h * 0.65, 0), (0.21, h * 0.19, 0.13), shirt)
    world.ball((0, -h + 0.12, 0), (0.09, 0.13, 0.1), skin)


def clutter(world: World) -> None:
    """One small thing, as stands on tables and floors."""
    rng = world.rng
    s, m = rng.uniform(0.03, 0.16), world.material(*ANY, tile=(0.05, 0.4))
    choice = rng.random()
    if choice < 0.4:
        tall = s * rng.uniform(0.1, 1.8)
        world.box((0, -tall, 0), (s, tall, s * rng.uniform(0.4, 1)), m)
    elif choice < 0.6:
        world.cylinder((0, 0, 0), s * rng.uniform(0.25, 0.8), s * rng.uniform(0.5, 3), m)
    elif choice < 0.75:
        world.ball((0, -s, 0), s, m)
    elif choice < 0.88:  # a bottle
        world.cylinder((0, 0, 0), s * 0.35, s * 1.6, m)
        world.ball((0, -s * 1.6, 0), s * 0.35, m)
        world.cylinder((0, -s * 1.6, 0), s * 0.13, s * 0.8, m)
    else:  # an open book or a heap
        for i in range(int(rng.integers(1, 5))):
            world.box(
                (0, -0.015 - 0.03 * i, 0),
                (s, 0.014, s * 0.7),
                world.material(*ANY),
                turn_y(rng.uniform(-0.4, 0.4)),
            )


def screen(world: World) -> None:
    rng = world.rng
    w = rng.uniform(0.2, 0.6)
    dark = Material(world.material("plain").texture, 1.0, (0.04, 0.04, 0.05), shine=0.4)
    world.box((0, -0.12 - w * 0.33, 0), (w, w * 0.33 * 1.7, 0.015), dark)
    picture = world.material("poster", "plain", tile=(0.4, 1.2), glow=rng.choice([0.0, 0.6]))
    world.box((0, -0.12 - w * 0.33, -0.012), (w * 0.95, w * 0.33 * 1.6, 0.01), picture)
    world.cylinder((0, 0, 0), 0.1, 0.02, dark)
    world.cylinder((0, 0, 0.03), 0.03, 0.2, dark)


def pole(world: World) -> None:
    """A lamp post, traffic sign or mast."""
    rng = world.rng
    h, r = rng.uniform(2.2, 8), rng.uniform(0.03, 0.12)
    metal = world.material(*METAL, "bark")
    world.cylinder((0, 0, 0), r, h, metal)
    choice = rng.random()
    if choice < 0.35:
        arm = rng.uniform(0.5, 2.5) * rng.choice([-1, 1])
        world.rod((0, -h, 0), (arm, -h - 0.2, 0), r * 0.6, metal)
        world.box((arm, -h - 0.2, 0), (0.3, 0.06, 0.12), world.material("plain", glow=0.3))
    elif choice < 0.7:
        s = rng.uniform(0.2, 0.5)
        sign = world.material("poster", "plain", "stripes", tile=(0.4, 1.0), photo=0.0)
        if rng.random() < 0.5:
            world.box((0, -h + s, -r - 0.02), (s, s * rng.uniform(0.5, 1.3), 0.015), sign)
        else:
            world.add(shapes.CYLINDER, (0, -h + s, -r - 0.02), (s, 0.015, s), sign, turn_x(math.pi / 2))


def fence(world: World) -> None:
    rng = world.rng
    long, h, step = rng.uniform(2, 8), rng.uniform(0.6, 1.8), rng.uniform(0.3, 1.5)
    wood = world.material(*WOOD, *METAL)
    if rng.random() < 0.3:
        world.box((0, -h / 2, 0), (long, h / 2, 0.08), world.material("brick", "stones", "plaster", "planks"))
        return
    for rail in range(int(rng.integers(1, 4))):
        world.box((0, -h * (0.35 + 0.3 * rail), 0), (long, 0.04, 0.02), wood)
    for i in range(min(14, int(2 * long / step) + 1)):
        world.box((-long + i * step, -h / 2, 0), (rng.uniform(0.03, 0.06), h / 2, 0.04), wood)


def rock(world: World) -> None:
    rng = world.rng
    s = math.exp(rng.uniform(math.log(0.15), math.log(1.6)))
    stone = world.material("stones", "cloudy", "speckle", "plaster", tile=(0.5, 3), photo=0.4, shine=0.0)
    if rng.random() < 0.5:
        world.ball((0, -s * 0.3, 0), (s, s * rng.uniform(0.4, 0.9), s * rng.uniform(0.5, 1)), stone)
    else:
        world.box(
            (0, -s * 0.2, 0),
            (s, s * 0.5, s * 0.7),
            stone,
            turn_x(rng.uniform(-0.6, 0.6)) @ turn_z(rng.uniform(-0.6, 0.6)),
        )


def house(world: World, storeys: int | None = None) -> None:
    """Faces -z; a box with windows and, often, a gabled roof."""
    rng = world.rng
    w, d = rng.uniform(2.5, 8), rng.uniform(2.5, 7)
    h = rng.uniform(2.6, 3.4) * (storeys or int(rng.integers(1, 6)))
    wall = world.material("facade", "facade", "brick", "plaster", tile=(3, 7), photo=0.3)
    world.box((0, -h / 2, 0), (w, h / 2, d), wall)
    if rng.random() < 0.6:
        roof, rise = world.material("brick", "stripes", "tile", "planks", tile=(1, 3)), rng.uniform(0.6, 2.2)
        turned = turn_y(math.pi / 2) if rng.random() < 0.5 else turn_y(0)
        half = (d + 0.3, rise, w + 0.3) if turned[0, 0] < 0.5 else (w + 0.3, rise, d + 0.3)
        world.add(shapes.GABLE, (0, -h - rise, 0), half, roof, turned)
    pane, frame = (
        world.material("plain", "cloudy", tile=(1, 3), photo=0.0, shine=0.7),
        world.material("plain", "plaster"),
    )
    columns, storey = int(rng.integers(2, 6)), 2.9
    for i in range(columns if rng.random() < 0.5 else 0):
        x = (i + 0.5) / columns * 2 * w - w
        for j in range(min(3, int(h / storey))):
            world.box((x, -1.7 - j * storey, -d), (0.55, 0.75, 0.06), frame)
            world.box((x, -1.7 - j * storey, -d - 0.02), (0.47, 0.66, 0.06), pane)
    world.box((rng.uniform(-w, w) * 0.7, -1.05, -d), (0.5, 1.05, 0.05), world.material(*WOOD))


# What may stand about, with the label of each; the layouts choose from these.
INDOOR: tuple[tuple[str, Callable[[World], object]], ...] = (
    ("table", table),
    ("chair", chair),
    ("chair", chair),
    ("sofa", sofa),
    ("bed", bed),
    ("cabinet", cabinet),
    ("shelf", shelf),
    ("lamp", floor_lamp),
    ("plant", plants.potted_plant),
    ("person", person),
    ("box", clutter),
)
OUTDOOR: tuple[tuple[str, Callable[[World], object]], ...] = (
    ("tree", plants.tree),
    ("tree", plants.tree),
    ("plant", plants.bush),
    ("pole", pole),
    ("fence", fence),
    ("rock", rock),
    ("person", person),
    ("house", house),
)
