"""Predictions as files: Marigold's names, and what the files mean."""

from __future__ import annotations

import measured
import numpy as np
import pytest

from leadline.errors import DataError, UsageError
from leadline.evaluate import stored
from leadline.evaluate.stored import Meaning, meaning_of
from leadline.prediction import Kind
from leadline.protocols import Rule, load

DEPTH = Meaning(Kind.affine_depth)
NAMES = {
    "nyuv2": ("test/kitchen_0004/rgb_0001.png", "test/kitchen_0004/pred_0001.npy"),
    "kitti": ("2011_09_26/x/image_02/data/0000000069.png", "2011_09_26/x/image_02/data/pred_0000000069.npy"),
    "eth3d": ("rgb/office/DSC_0219.JPG", "rgb/office/pred_DSC_0219.npy"),
    "scannet": ("scene0406_02/color/000300.jpg", "scene0406_02/color/pred_000300.npy"),
    "diode": ("indoors/scan/00021_indoors_010.png", "indoors/scan/pred_00021_indoors_010.npy"),
    "hypersim": ("ai_003_010/rgb_cam_00_fr0000.png", "ai_003_010/pred_cam_00_fr0000.npy"),
    "vkitti2": ("rgb/Scene01/rgb_00000.jpg", "rgb/Scene01/pred_rgb_00000.npy"),
}  # fmt: skip


@pytest.mark.parametrize("data", NAMES)
def test_names_are_marigolds(data):
    picture, file = NAMES[data]
    assert stored.name_of(picture, Kind.affine_depth, load("marigold").rule(data)) == file


@pytest.mark.parametrize("kind", list(Kind)[:4])
def test_what_is_written_comes_back(tmp_path, kind):
    prediction = measured.predicted(measured.perfect(measured.scene(), kind), kind)
    stored.describe(tmp_path, Meaning(kind, model="mine"))
    stored.write(tmp_path, stored.name_of("a/rgb_1.png", kind, Rule()), prediction)
    meaning = meaning_of(tmp_path)
    assert (meaning.kind, meaning.model) == (kind, "mine")
    np.testing.assert_array_equal(
        stored.read(tmp_path, "a/rgb_1.png", Rule(), meaning).values, prediction.values
    )
    (file,) = (tmp_path / "a").iterdir()
    array = np.load(file)
    assert array.dtype == np.float32
    assert array.shape == ((3, *measured.SIZE) if kind is Kind.normals else measured.SIZE)


@pytest.mark.parametrize("name", ["1.npy", "1_pred.npy", "1_depth.npy", "pred_1.npy"])
@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (4, 5, 1)])
def test_other_programs_files_are_found_and_read(tmp_path, name, shape):
    np.save(tmp_path / name, np.arange(20.0).reshape(shape))
    assert stored.read(tmp_path, "1.png", Rule(), DEPTH).values.shape == (4, 5)


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(DataError, match="pred_1.npy: No such file"):
        stored.read(tmp_path, "1.png", Rule(), DEPTH)
    (tmp_path / "pred_1.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"pred_1.npy: damaged"):
        stored.read(tmp_path, "1.png", Rule(), DEPTH)


def test_pickles_are_not_opened(tmp_path):
    np.save(tmp_path / "pred_1.npy", np.array([print], dtype=object))
    with pytest.raises(DataError, match="damaged"):
        stored.read(tmp_path, "1.png", Rule(), DEPTH)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "add --kind"),
        ({"kind": "affine_dept"}, "did you mean 'affine_depth'"),
        ({"kind": "normals"}, "add --frame"),
        ({"kind": "normals", "frame": "opengll"}, "add --frame, one of"),
    ],
)
def test_meaning_is_asked_for_and_never_guessed(tmp_path, words, message):
    with pytest.raises(UsageError, match=message):
        meaning_of(tmp_path, **words)
    assert meaning_of(tmp_path, "normals", "opengl") == Meaning(Kind.normals, "opengl")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        meaning_of(tmp_path / "nowhere", "affine_depth")
