"""leadline.data.scenes: procedural scenes as training samples."""

import numpy as np
import pytest
from PIL import Image

from leadline.data.sample import check
from leadline.data.scenes import Scenes
from leadline.errors import DataError


def test_a_sample_is_complete_and_the_same_every_time():
    scenes = Scenes(seed=3, count=10, size=(24, 32))
    first, again = scenes[7], scenes[7]
    assert check(first) is first
    assert first.rgb.shape == (24, 32, 3)
    assert first.camera.height == 24
    for field in ("rgb", "depth_m", "normals", "classes", "valid"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))


def test_two_seeds_share_no_scene():
    assert not np.array_equal(
        Scenes(seed=1, count=2, size=(24, 32))[0].rgb, Scenes(seed=2, size=(24, 32))[0].rgb
    )
    with pytest.raises(DataError, match="use another seed"):
        Scenes(count=10_000_001)


def test_the_sky_is_infinitely_far_and_valid():
    sample = next(s for s in Scenes(size=(24, 32), kind="field") if not np.isfinite(s.depth_m).all())
    assert sample.valid.all()
    assert (sample.normals[np.isinf(sample.depth_m)] == 0).all()


def test_a_sample_can_be_had_at_another_size():
    scenes = Scenes(seed=5, count=3, size=(24, 32))
    assert scenes.at(2, (16, 48)).depth_m.shape == (16, 48)
    assert scenes.at(2, (16, 48)).camera.width == 48


def test_it_ends_after_count_scenes():
    scenes = Scenes(count=2, size=(8, 8))
    assert len(list(scenes)) == len(scenes) == 2
    with pytest.raises(IndexError):
        scenes[2]


def test_an_unknown_kind_and_a_folder_without_photographs_are_named(tmp_path):
    with pytest.raises(DataError, match="'roam' are unknown: did you mean 'room'"):
        Scenes(kind="roam")
    with pytest.raises(DataError, match="holds no photographs"):
        Scenes(textures=tmp_path)


def test_photographs_of_a_folder_appear_on_surfaces(tmp_path):
    Image.new("RGB", (80, 60), (255, 0, 255)).save(tmp_path / "pink.tiff")
    (tmp_path / "._pink.png").write_text("what macOS leaves beside it")
    plain, pink = Scenes(size=(24, 32)), Scenes(size=(24, 32), textures=tmp_path)

    def most_pink(scenes):
        return max(
            (s.rgb[..., [0, 2]].min(-1) > 2 * s.rgb[..., 1].astype(int)).mean()
            for s in (scenes[i] for i in range(6))
        )

    assert most_pink(pink) > most_pink(plain) + 0.05
