"""Augmentation: geometry stays true for the changed camera, colour leaves it alone, draws repeat."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_flips_come_as_often_as_asked():
    rng = np.random.default_rng(0)
    flipped = [augment(plane(4, 6), rng, Options(flip=0.25)).camera.cx != 33 for _ in range(2000)]
    assert 0.22 < np.mean(flipped) < 0.28
