"""Views: crops, ranges and normals of the depth, on samples and in front of whole sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from leadline.camera import Camera
from leadline.data.mix import Scalable, fetch
from leadline.data.sample import Sample
from leadline.data.scenes import Scenes
from leadline.data.view import View, with_normals
from leadline.errors import DataError, DocumentError


def road(height: int = 375, width: int = 1242) -> Sample:
    """Virtual KITTI's size and camera: a flat road below the horizon, the sky above."""
    camera = Camera(725.0087, 725.0087, 621, 187.5, width, height)
    rays = camera.rays()
    depth = np.where(rays[..., 1] > 0.004, 1.5 / np.maximum(rays[..., 1], 0.004), 655.35).astype(np.float32)
    rgb = np.broadcast_to(np.arange(width, dtype=np.uint16)[None, :, None] % 251, (height, width, 3))
    return Sample(rgb.astype(np.uint8), np.ones((height, width), bool), depth, camera=camera, name="road")


def test_kittis_crop_cuts_pixels_and_resizes_nothing():
    whole, made = road(), View(crop="kitti").of(road())
    assert made.size == (352, 1216)
    assert_array_equal(made.rgb, whole.rgb[23:, 13:1229])
    assert_array_equal(made.depth_m, whole.depth_m[23:, 13:1229])
    assert (made.camera.cx, made.camera.cy) == (621 - 13, 187.5 - 23)


def test_a_range_leaves_out_the_sky_and_both_ends():
    sample = replace(road(), depth_m=np.full((375, 1242), 65, np.float32))
    assert not View(range_m=(1e-5, 65)).of(sample).valid.any()
    made = View(range_m=(1e-5, 80)).of(road())
    assert_array_equal(made.valid, road().depth_m < 80)
    assert 0.3 < made.valid.mean() < 0.6


def test_normals_of_the_depth_stand_on_the_road():
    made = View(normals="d2nt", range_m=(1e-5, 80)).of(road())
    below = made.normals[300:, 100:-100]
    assert_allclose(below.mean(axis=(0, 1)), [0, -1, 0], atol=0.01)
    assert made.valid[300:].mean() > 0.99


def test_e2e_fts_normals_count_pixels_from_one(golden):
    """Their file of Virtual KITTI's layout, high and low bytes, of the depth and intrinsics in the vector."""
    g = golden("e2e/d2nt")
    depth = g.depth_m.numpy()
    height, width = depth.shape
    fx, fy, cx, cy = g.K.tolist()
    camera = Camera(fx, fy, cx + 0.5, cy + 0.5, width, height)
    sample = Sample(np.zeros((height, width, 3), np.uint8), np.ones(depth.shape, bool), depth, camera=camera)
    found = -with_normals(sample, "e2e-ft").normals
    off = np.abs(found - g.cm_v3_normals.numpy()).max(axis=-1)
    assert (off > 1e-5).mean() < 0.005  # ties
    counts = ((found + 1) * 32767.5).astype(np.uint16).astype(int)
    assert (np.abs(counts - g.cm_v3_png16.numpy().astype(int)).max(axis=-1) > 1).mean() < 0.005
    other = -with_normals(sample).normals
    assert np.abs(other - found).max() > 1e-3  # half a pixel is no rounding


def test_what_a_view_needs_and_does_not_find_is_named():
    with pytest.raises(DataError, match="road has no camera"):
        View(normals="d2nt").of(replace(road(), camera=None))
    with pytest.raises(DataError, match="sample road: crop 'kitti' is Box"):
        View(crop="kitti").of(replace(road(40, 60), camera=None))
    for wrong, words in (({"crop": "kiti"}, "did you mean 'kitti'"), ({"range_m": [5, 1]}, "rising")):
        with pytest.raises(ValueError, match=words):
            View.model_validate(wrong)


def test_a_set_is_looked_at_as_a_whole():
    scenes = Scenes(seed=1, count=3, size=(24, 32))
    seen = View(range_m=(0.1, 30)).over(scenes)
    assert isinstance(seen, Scalable)
    assert fetch(seen, 2, (16, 16)).size == (16, 16)
    assert len(seen) == 3
    assert not seen[0].valid[~np.isfinite(seen[0].depth_m)].any()
    assert not isinstance(View(crop="nyu").over([road()]), Scalable)


def test_mistakes_in_a_recipe_are_named():
    from leadline import recipe

    text = "{method: e2e-ft, data: {scenes: {corp: kitti}}, optimiser: {lr: 1e-3}, steps: 5}"
    with pytest.raises(DocumentError, match="data.scenes.corp: unknown key, did you mean 'crop'"):
        recipe.load(text)
