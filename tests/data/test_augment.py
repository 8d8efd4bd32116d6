"""Augmentation: geometry stays true for the changed camera, colour leaves it alone, draws repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leadline import ade20k
from leadline.camera import Camera
from leadline.data.augment import Options, augment, crop_box, cut, flip
from leadline.data.sample import Sample

STRONG = Options(
    **{
        "crop": 0.5,
        "stretch": 0.3,
        "exposure": 1,
        "gamma": 0.5,
        "contrast": 0.5,
        "saturation": 0.8,
        "hue": 0.1,
    },
    **{"cast": 0.3, "grey": 0.2, "blur": 2, "coarse": 3, "noise": 0.1, "jpeg": 0.5},
)
NORMAL = np.array([0.6, -0.48, -0.64])  # of a slanted plane, towards the camera


def plane(height: int = 60, width: int = 80) -> Sample:
    """A textured slanted plane: n . X = -3."""
    camera = Camera(90.0, 85.0, 33.0, 28.0, width, height)
    depth = -3 / (camera.rays() @ NORMAL)
    rng = np.random.default_rng(0)
    return Sample(
        rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        valid=depth > 0,
        depth_m=depth.astype(np.float32),
        normals=np.broadcast_to(NORMAL, (height, width, 3)).astype(np.float32),
        camera=camera,
        name="plane",
        classes=rng.integers(0, 5, (height, width)),
    )


def distance_to_plane(sample: Sample) -> np.ndarray:
    """n . X + 3 of each valid pixel, by the sample's own camera, depth and normals: 0 if all agree."""
    points = sample.camera.rays() * sample.depth_m[..., None]
    return ((points * sample.normals).sum(-1) + 3)[sample.valid]


def test_a_flip_keeps_depth_normals_and_camera_consistent():
    flipped = flip(plane())
    np.testing.assert_allclose(flipped.normals[0, 0], NORMAL * [-1, 1, 1], rtol=1e-6)
    assert flipped.camera.cx == 80 - 33
    assert np.abs(distance_to_plane(flipped)).max() < 1e-4


def test_a_wrong_flip_would_be_noticed():
    wrong = flip(plane())
    np.negative(wrong.normals[..., 0], out=wrong.normals[..., 0])
    assert np.abs(distance_to_plane(wrong)).max() > 0.1


def test_flipping_twice_changes_nothing():
    before, after = plane(), flip(flip(plane()))
    for name in ("rgb", "valid", "depth_m", "normals", "classes"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert after.camera == before.camera


def test_a_crop_is_exact():
    made = cut(plane(), (10, 5, 40, 30), (30, 40))
    np.testing.assert_array_equal(made.rgb, plane().rgb[5:35, 10:50])
    np.testing.assert_array_equal(made.classes, plane().classes[5:35, 10:50])
    assert np.abs(distance_to_plane(made)).max() < 1e-4


@pytest.mark.parametrize("size", [(20, 27), (40, 20), (90, 160), (1, 1)])
def test_a_resize_keeps_the_geometry_to_the_nearest_pixel(size):
    made = cut(plane(), (3, 7, 64, 50), size)
    assert (made.size, made.depth_m.shape, made.camera.height) == (size, size, size[0])
    slope = 50 / size[0] + 64 / size[1]  # source pixels per pixel: the depth may be that of a neighbour
    assert np.abs(distance_to_plane(made)).max() < 0.05 * (1 + slope)


@pytest.mark.parametrize("seed", range(20))
def test_any_augmentation_agrees_with_its_camera(seed):
    made = augment(plane(), np.random.default_rng(seed), STRONG, (48, 64))
    assert made.size == (48, 64)
    assert np.abs(distance_to_plane(made)).max() < 0.12
    assert np.allclose(np.linalg.norm(made.normals, axis=-1), 1, atol=1e-5)


def test_crops_stay_inside_and_reach_every_corner():
    options = Options(crop=0.5, stretch=0.3)
    rng = np.random.default_rng(0)
    boxes = np.array([crop_box((60, 80), (48, 64), options, rng.random(3)) for _ in range(3000)])
    left, top, width, height = boxes.T
    assert min(left.min(), top.min()) == 0
    assert ((left + width).max(), (top + height).max()) == (80, 60)
    assert (left + width <= 80).all()
    assert (top + height <= 60).all()
    assert 1 / 1.45 < (width / height / (4 / 3)).min() < (width / height / (4 / 3)).max() < 1.45
    assert 0.5 * 60 / 1.3 - 1 <= height.min() < 0.55 * 60


def test_the_largest_crop_is_the_picture_itself():
    assert crop_box((60, 80), (48, 64), Options(), np.array([0.3, 0.9, 0.7])) == (0, 0, 80, 60)


def test_colour_changes_leave_everything_else_alone():
    options = Options(
        flip=0, **{k: getattr(STRONG, k) for k in ("exposure", "hue", "blur", "noise", "coarse")}
    )
    before, after = plane(), augment(plane(), np.random.default_rng(3), options)
    assert (before.rgb != after.rgb).any()
    for name in ("valid", "depth_m", "normals", "classes"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert after.camera == before.camera


def test_nothing_switched_on_changes_nothing():
    made = augment(plane(), np.random.default_rng(0), Options(flip=0))
    np.testing.assert_array_equal(made.rgb, plane().rgb)
    assert made.camera == plane().camera


@pytest.mark.parametrize("options", [Options(flip=0, frame=1), Options(flip=0, widen=2)])
def test_what_is_put_around_a_picture_has_no_class(options):
    before = replace(plane(), classes=np.full(plane().size, 7))
    made = [augment(before, np.random.default_rng(seed), options) for seed in range(6)]
    assert not all(sample.valid.all() for sample in made)
    for sample in made:
        np.testing.assert_array_equal(sample.classes, np.where(sample.valid, 7, ade20k.UNKNOWN))


def test_the_same_generator_state_gives_the_same_sample():
    a, b, c = (augment(plane(), np.random.default_rng(s), STRONG) for s in (5, 5, 6))
    np.testing.assert_array_equal(a.rgb, b.rgb)
    assert (a.rgb != c.rgb).any()


def test_switching_one_change_off_does_not_alter_the_others():
    only = augment(plane(), np.random.default_rng(5), Options(flip=1, exposure=1))
    first = augment(plane(), np.random.default_rng(5), Options(flip=1, exposure=1, jpeg=1e-9))
    np.testing.assert_array_equal(only.rgb, first.rgb)


@pytest.mark.parametrize(
    "name",
    ["exposure", "gamma", "contrast", "saturation", "hue", "cast", "grey", "blur", "coarse", "noise", "jpeg"],
)
def test_every_change_changes_something_and_stays_in_range(name):
    amount = {"coarse": 4, "blur": 2, "hue": 0.3, "grey": 1, "jpeg": 1}.get(name, 0.8)
    options = Options(flip=0, **{name: amount})
    made = [augment(plane(), np.random.default_rng(seed), options).rgb for seed in range(8)]
    assert any((rgb != plane().rgb).any() for rgb in made)
    assert all(rgb.dtype == np.uint8 and rgb.std() > 2 for rgb in made)


def test_a_turn_of_the_hue_keeps_grey_grey():
    grey = np.repeat(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8, 1), 3, axis=2)
    sample = Sample(rgb=grey, valid=np.ones((8, 8), bool))
    made = augment(sample, np.random.default_rng(0), Options(flip=0, hue=0.5)).rgb
    assert np.abs(made.astype(int) - grey).max() <= 1


def test_a_frame_is_plain_thin_and_not_valid():
    for seed in range(20):
        before, made = plane(), augment(plane(), np.random.default_rng(seed), Options(flip=0, frame=1))
        inside = made.valid
        np.testing.assert_array_equal(made.rgb[inside], before.rgb[inside])
        assert len(np.unique(made.rgb[~inside])) <= 1
        rows, columns = inside.any(1), inside.any(0)
        np.testing.assert_array_equal(inside, rows[:, None] & columns)  # one rectangle
        assert rows.mean() > 0.9
        assert columns.mean() > 0.9
    assert not all(augment(plane(), np.random.default_rng(s), Options(frame=1)).valid.all() for s in range(3))


def test_a_frame_leaves_the_other_changes_alone():
    without = augment(plane(), np.random.default_rng(5), STRONG)
    framed = augment(plane(), np.random.default_rng(5), STRONG.model_copy(update={"frame": 1.0}))
    inside = framed.valid
    np.testing.assert_array_equal(without.rgb[inside], framed.rgb[inside])


def test_flips_come_as_often_as_asked():
    rng = np.random.default_rng(0)
    flipped = [augment(plane(4, 6), rng, Options(flip=0.25)).camera.cx != 33 for _ in range(2000)]
    assert 0.22 < np.mean(flipped) < 0.28


def test_a_matte_goes_along_and_pairs_of_points_are_left_behind():
    sample = replace(plane(), pairs=np.zeros((1, 2, 2), int))
    sample = replace(sample, matte=sample.depth_m > 4)
    changed = augment(sample, np.random.default_rng(3), Options(flip=1, crop=0.5), (30, 40))
    assert changed.pairs is None
    np.testing.assert_array_equal(changed.matte, changed.depth_m > 4)
    assert 0 < changed.matte.mean() < 1


def test_a_wider_view_has_noise_around_and_a_camera_that_knows():
    seen = 0
    for seed in range(12):
        before = plane()
        made = augment(before, np.random.default_rng(seed), Options(flip=0, widen=2))
        assert made.size == before.size
        if made.valid.all():
            assert made.camera == before.camera
            continue
        seen += 1
        rows, columns = np.nonzero(made.valid)
        share = (np.ptp(columns) + 1) / made.size[1]
        assert 0.45 <= share < 1
        assert made.camera.fx == pytest.approx(before.camera.fx * share, rel=0.05)
        assert made.camera.fov[0] > before.camera.fov[0]
        rays = made.camera.rays()[rows, columns] * made.depth_m[rows, columns, None]
        old = before.camera.rays() * before.depth_m[..., None]  # the same surface is seen
        assert np.abs(rays[..., 2].mean() - old[..., 2].mean()) < 0.1 * old[..., 2].mean()
        assert (made.depth_m[~made.valid] == 0).all()
    assert 2 < seen < 10
