"""What a protocol makes of a sample: all its maps and its camera stay together."""

from __future__ import annotations

from dataclasses import replace

import measured
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from leadline.camera import Camera
from leadline.data.sample import Sample
from leadline.errors import DataError
from leadline.evaluate import views
from leadline.protocols import Rule, load


def wide() -> Sample:
    rows, columns = np.mgrid[:375, :1242]
    depth = (1 + rows * 1242 + columns).astype(np.float32)
    rgb = np.dstack([rows % 256, columns % 256, rows // 256]).astype(np.uint8)
    camera = Camera(700, 700, 600, 180, 1242, 375)
    return Sample(rgb, depth > 0, depth, camera=camera, name="a", pairs=np.array([[[100, 50], [200, 60]]]))


def test_the_benchmark_crop_cuts_picture_truth_camera_and_points():
    whole, part = wide(), views.cut(wide(), Rule(crop="kitti"))
    assert part.size == (352, 1216)
    np.testing.assert_array_equal(part.depth_m, whole.depth_m[23:, 13:1229])
    np.testing.assert_array_equal(part.rgb, whole.rgb[23:, 13:1229])
    assert (part.camera.cx, part.camera.cy, part.camera.width) == (587, 157, 1216)
    np.testing.assert_array_equal(part.pairs, [[[77, 37], [177, 47]]])


def test_hypersim_is_resized_to_the_nearest_pixel():
    sample = replace(measured.scene(), pairs=None, camera=Camera(30, 30, 16, 12, 32, 24))
    part = views.cut(sample, Rule(resize=(15, 20)))
    wanted = F.interpolate(torch.from_numpy(sample.depth_m)[None, None], (15, 20), mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(part.depth_m, wanted.numpy())
    assert part.rgb.shape == (15, 20, 3)
    assert part.normals.shape == (15, 20, 3)
    assert part.valid.shape == part.matte.shape == (15, 20)
    assert (part.camera.width, part.camera.height) == (20, 15)


def test_points_are_not_resized():
    with pytest.raises(DataError, match="leave out resize"):
        views.cut(measured.scene(), Rule(resize=(12, 16)))


def test_a_picture_too_small_for_a_crop_is_an_error():
    with pytest.raises(DataError, match="kitti"):
        views.cut(measured.scene(), Rule(crop="kitti"))


def test_models_get_the_picture_and_the_camera_that_is_known():
    sample = wide()
    picture = views.picture(sample, load("marigold"))
    assert picture.rgb is sample.rgb
    assert (picture.camera, picture.camera_source, picture.name) == (sample.camera, "given", "a")
    turned = views.mirrored(picture)
    np.testing.assert_array_equal(turned.rgb, sample.rgb[:, ::-1])
    assert turned.camera.cx == 1242 - 600
    assert views.picture(measured.scene(), load("marigold")).camera_source is None


def test_dsines_colours_are_an_option_of_its_protocol():
    black = replace(measured.scene(), rgb=np.zeros((4, 4, 3), np.uint8))
    black.rgb[0, 0] = 255
    shifted = views.picture(black, load("dsine-normals", ["input=dsine-minmax"])).rgb
    np.testing.assert_allclose(shifted[1, 1], [0, 4, 16], atol=1)
    np.testing.assert_allclose(shifted[0, 0], [234, 243, 255], atol=1)
    np.testing.assert_array_equal(views.picture(black, load("dsine-normals")).rgb, black.rgb)
