"""leadline.scenes.world: building the stage."""

import numpy as np
import pytest

from leadline.scenes import CLASSES, Textures, plants, vehicles
from leadline.scenes.world import World


@pytest.fixture
def world() -> World:
    return World(np.random.default_rng(0), Textures())


def test_only_what_the_camera_would_stand_in_is_cleared_away(world: World) -> None:
    """A long lorry in the next lane stays, however near its side is; one across the camera goes."""
    for x, z in ((3.0, 2.0), (0.0, 30.0)):
        with world.thing("truck", x, z):
            vehicles.lorry(world)
    both = set(world.ids)
    world.clear_around(np.array([0.0, -1.6, 0.0]), 1.2, frozenset())
    assert set(world.ids) == both
    world.clear_around(np.array([3.0, -1.6, 0.0]), 1.2, frozenset())
    assert set(world.ids) == both - {min(both)}


def test_surroundings_stay_though_the_camera_touches_them(world: World) -> None:
    with world.thing("wall", 0, 0):
        world.box((0, 0, 0), (1, 1, 1), world.paint((0.5, 0.5, 0.5)))
    world.clear_around(np.zeros(3), 1.0, frozenset({"wall"}))
    assert world.labels == [CLASSES.index("wall")]


def test_paint_is_one_of_its_colours_lighter_or_darker(world: World) -> None:
    for _ in range(20):
        red, green, blue = world.paint((0.4, 0.2, 0.1), spread=0.25).gain
        assert 0.3 <= red <= 0.5
        assert green == pytest.approx(red / 2)
        assert blue == pytest.approx(red / 4)


@pytest.mark.parametrize("make", [vehicles.car, vehicles.van, vehicles.lorry, plants.tree, plants.bush])
def test_things_stand_on_the_ground_and_have_everyday_sizes(world: World, make) -> None:
    for _ in range(12):
        with world.thing("car", 0, 0):
            make(world)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    parts = zip(world.centres, world.halves, world.rotations, strict=True)
    points = np.concatenate([c + (r @ (corners * h).T).T for c, h, r in parts])
    assert points[:, 1].max() < 1.2, "a bush may sink into the ground, nothing hangs below it"
    assert -20 < points[:, 1].min() < -0.3
    assert np.abs(points[:, [0, 2]]).max() < 12


def test_what_is_added_after_an_inner_thing_belongs_to_the_outer_one(world: World) -> None:
    grey = world.paint((0.5, 0.5, 0.5))
    with world.thing("table", 2, 0):
        world.box((0, 0, 0), (1, 1, 1), grey)
        with world.thing("chair", 1, 0):
            world.box((0, 0, 0), (1, 1, 1), grey)
        world.box((0, 0, 0), (1, 1, 1), grey)
    assert [CLASSES[label] for label in world.labels] == ["table", "chair", "table"]
    assert world.ids == [1, 2, 1]
    assert [centre[0] for centre in world.centres] == [2, 3, 2]
