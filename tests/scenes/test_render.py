"""leadline.scenes.render: exact answers, the same bits again, and pictures that are worth training on."""

import math

import numpy as np
import pytest
import torch

from leadline.scenes import CLASSES, LAYOUTS, Scene, Textures, render, shapes
from leadline.scenes.render import picture
from leadline.scenes.world import Light, Stage, World


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render(seed, (48, 64), kind=kind) for seed, kind in enumerate(LAYOUTS)]


def test_same_seed_gives_the_same_bits_and_another_seed_another_scene() -> None:
    a, b, other = render(11, (40, 56)), render(11, (40, 56), textures=Textures()), render(12, (40, 56))
    for field in ("rgb", "depth", "normals", "ids", "classes"):
        assert torch.equal(getattr(a, field), getattr(b, field)), field
    assert a.camera == b.camera
    assert not torch.equal(a.rgb, other.rgb)


def test_no_global_randomness_is_read_or_written() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    render(5, (24, 32))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_geometry_does_not_depend_on_the_size_of_the_picture() -> None:
    """A picture of odd multiples has a pixel at the same place: three times the size, the middle one of each
    3 x 3 block.
    """
    small, large = render(21, (30, 40)), render(21, (90, 120))
    at_same_place = large.depth[:, 1::3, 1::3]
    same = (at_same_place - small.depth).abs() <= 1e-4 * small.depth
    assert (same | (at_same_place == small.depth)).float().mean() > 0.999


def test_every_layout_is_sane(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.rgb.shape == (3, 48, 64)
        assert scene.rgb.min() >= 0
        assert scene.rgb.max() <= 1
        assert scene.rgb.std() > 0.02, f"{scene.kind}: a picture of nothing"
        depth = scene.depth[scene.valid]
        assert ((depth > 0) & torch.isfinite(depth)).all()
        assert scene.valid.float().mean() > 0.2
        assert torch.isinf(scene.depth[~scene.valid]).all()
        assert (scene.classes[~scene.valid[0]] == CLASSES.index("sky")).all()
        assert (scene.ids[~scene.valid[0]] == 0).all()
        assert scene.ids[scene.valid[0]].min() > 0


def test_normals_are_unit_and_face_the_viewer(scenes: list[Scene]) -> None:
    for scene in scenes:
        seen = scene.valid[0]
        rays = torch.from_numpy(scene.camera.rays()).permute(2, 0, 1)
        assert torch.allclose(scene.normals.norm(dim=0)[seen], torch.ones(()), atol=1e-4)
        assert ((scene.normals * rays).sum(0)[seen] <= 1e-5).all()


def test_normals_agree_with_finite_differences_of_depth(scenes: list[Scene]) -> None:
    """On the inside of objects, where the depth is smooth, the cross product of neighbours is the normal."""
    errors = []
    for scene in (render(s, (96, 128), kind=k) for s, k in enumerate(LAYOUTS)):
        points = torch.from_numpy(scene.camera.rays()).permute(2, 0, 1) * scene.depth
        du, dv = points[:, 1:-1, 2:] - points[:, 1:-1, :-2], points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
        normal = torch.linalg.cross(dv, du, dim=0)
        normal = normal / normal.norm(dim=0).clamp(min=1e-12)
        n, d = scene.normals, scene.depth[0]
        flat = scene.valid[0, 1:-1, 1:-1].clone()
        for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):  # all four neighbours lie on the same plane
            other = n[:, dy : dy + flat.shape[0], dx : dx + flat.shape[1]]
            flat &= (n[:, 1:-1, 1:-1] - other).abs().amax(0) < 1e-5
            flat &= (d[dy : dy + flat.shape[0], dx : dx + flat.shape[1]] / d[1:-1, 1:-1] - 1).abs() < 0.1
            there = points[:, dy : dy + flat.shape[0], dx : dx + flat.shape[1]]
            flat &= (((there - points[:, 1:-1, 1:-1]) * n[:, 1:-1, 1:-1]).sum(0)).abs() < 1e-3
        errors.append((normal - n[:, 1:-1, 1:-1]).abs().amax(0)[flat])
    errors = torch.cat(errors)
    assert len(errors) > 10_000
    assert errors.quantile(0.99) < 1e-2
    assert errors.median() < 1e-4


def test_before_fitted_furniture_the_lower_half_is_upright() -> None:
    """Where other rooms show their floor."""

    def upright(kind: str) -> float:
        lower = torch.stack([render(seed, (24, 32), kind=kind).normals[1, 12:] for seed in range(10)])
        return float((lower.abs() < 0.3).float().mean())

    assert upright("fitted") > 0.5 > 2 * upright("room")


def test_the_camera_is_the_one_that_made_the_picture() -> None:
    """Ground pixels, brought to 3D with the camera and the depth, lie on one plane at the camera's height."""
    for seed in range(4):
        scene = render(seed, (60, 80), kind="street")
        road = scene.classes == CLASSES.index("road")
        points = torch.from_numpy(scene.camera.rays()).permute(2, 0, 1) * scene.depth
        normal = scene.normals[:, road].double().mean(1)
        heights = (points[:, road].double() * normal[:, None]).sum(0)
        assert heights.std() < 0.02, "the markings lie a centimetre above the road"
        assert 1.0 < -heights.mean() < 2.4


def test_fields_of_view_cover_forty_to_a_hundred_degrees() -> None:
    fovs = [max(render(seed, (12, 16)).camera.fov) for seed in range(40)]
    assert min(fovs) >= 39.9
    assert max(fovs) <= 100.1
    assert max(fovs) - min(fovs) > 30


def test_the_sun_enters_a_walled_room_by_its_opening_alone() -> None:
    def seen(power: float, *, opening: bool, walled: bool = True) -> torch.Tensor:
        world = World(np.random.default_rng(0), Textures())
        paint = world.paint((0.7, 0.7, 0.7))
        with world.thing("ceiling", 0, 0):
            world.box((0, -2.5, 0), (2.1, 0.05, 2.1), paint)
        for side in range(1 if opening else 0, 4):
            with world.thing("wall", 0, 0, side * math.pi / 2):
                world.box((0, -1.25, 2.05), (2.1, 1.25, 0.05), paint)
        with world.thing("floor", 0, 0):
            world.box((0, 0.05, 0), (2.1, 0.05, 2.1), paint)
        sun = Light((0.0, -0.5, 0.866), (power,) * 3, is_sun=True)
        stage = Stage(np.array([0.0, -1.5, -1.5]), pitch=0.6, lights=[sun], walled=walled)
        return picture(world, stage, (24, 32), kind="box").rgb

    assert torch.equal(seen(3.0, opening=False), seen(0.0, opening=False))
    assert (seen(3.0, opening=True) - seen(0.0, opening=True)).abs().max() > 0.1
    assert (seen(3.0, opening=False, walled=False) - seen(0.0, opening=False)).abs().max() > 0.1


def test_photographs_are_used_where_given() -> None:
    """A collection with one glaring photograph changes pictures."""
    glaring = np.zeros((64, 64, 3), np.uint8)
    glaring[..., 0] = 255
    plain = [render(seed, (24, 32)) for seed in range(6)]
    with_photo = [render(seed, (24, 32), textures=Textures([glaring])) for seed in range(6)]
    assert any(not torch.equal(a.rgb, b.rgb) for a, b in zip(plain, with_photo, strict=True))


def test_wide_tall_and_tiny_pictures() -> None:
    for size in ((1, 1), (7, 33), (33, 7), (64, 65)):
        scene = render(3, size)
        assert scene.depth.shape == (1, *size)
        assert torch.isfinite(scene.rgb).all()
        longer = max(size)
        fov = math.degrees(2 * math.atan(longer / 2 / scene.camera.fx))
        assert 39.9 < fov < 100.1


def test_tiles_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles only leave out what their rays cannot meet: the picture is that of every solid in every tile."""
    tiled = [render(seed, (37, 61)) for seed in range(8)]

    cast, blocked = shapes.cast, shapes.blocked
    monkeypatch.setattr(shapes, "cast", lambda *rays_and_near: cast(*rays_and_near[:3]))
    monkeypatch.setattr(shapes, "blocked", lambda *rays_and_near: blocked(*rays_and_near[:4]))
    for seed, scene in enumerate(tiled):
        whole = render(seed, (37, 61))
        assert torch.equal(scene.depth, whole.depth)
        assert torch.equal(scene.rgb, whole.rgb)
        assert torch.equal(scene.ids, whole.ids)
