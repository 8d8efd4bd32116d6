"""DSINE's package: OASIS's boxes, and the colours that E2E-FT's networks saw."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import trees

from leadline.data.sets import dsine, open_set
from leadline.data.sets.dsine import minmax_input
from leadline.errors import DataError


@pytest.mark.parametrize("case", ["full_range", "low_contrast"])
def test_pictures_change_as_in_e2e_fts_measurement(golden, case):
    g = golden("eval/e2e_normals_input", case)
    made = minmax_input(np.asarray(g.rgb))
    assert made.dtype == np.uint8
    assert np.abs(made.astype(int) - np.asarray(g.model_input_uint8).astype(int)).max() <= 1
    scaled = dsine._standardised(np.asarray(g.rgb))
    np.testing.assert_allclose([scaled.min(), scaled.max()], g.normalised_min_max, atol=1e-6)


def test_floats_count_where_they_have_a_length(golden, tmp_path):
    g = golden("eval/normals", "decode_exr")
    vectors, counts = dsine._exr(
        (tmp_path / trees.exr(tmp_path, "a.exr", np.asarray(g.rgb))).read_bytes(), None
    )
    np.testing.assert_array_equal(vectors, g.rgb)
    np.testing.assert_array_equal(counts, np.asarray(g.mask)[..., 0])


def test_a_picture_of_one_grey_is_no_division_by_zero():
    assert minmax_input(np.zeros((2, 3, 3), np.uint8)).shape == (2, 3, 3)


def test_only_what_was_marked_in_the_box_counts(tmp_path):
    names = trees.TREES["oasis-normals", "dsine"](tmp_path, trees.colours(), trees.truth_for("oasis-normals"))
    marked = np.zeros((2, 3, 3), np.float32)
    marked[0, 1:] = 0, 0, 1
    box = {"min_y": 1, "max_y": 2, "min_x": 4, "max_x": 6, "normal": marked}
    (tmp_path / names.map).write_bytes(pickle.dumps(box))
    sample = open_set("oasis-normals", tmp_path)[0]
    assert np.argwhere(sample.valid).tolist() == [[1, 5], [1, 6]]
    assert sample.normals[1, 5].tolist() == [0, 0, -1]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ({"min_y": 0}, "holds no normals of a box"),
        ([1, 2], "holds no normals of a box"),
        (
            {"min_y": 0, "max_y": 9, "min_x": 0, "max_x": 9, "normal": np.ones((10, 10, 3))},
            "with H = 6, W = 8",
        ),
        ({"min_y": "a", "max_y": 9, "min_x": 0, "max_x": 9, "normal": np.ones((10, 10, 3))}, "damaged"),
    ],
)
def test_boxes_that_make_no_sense_are_named(tmp_path, box, message):
    names = trees.TREES["oasis-normals", "dsine"](tmp_path, trees.colours(), trees.truth_for("oasis-normals"))
    (tmp_path / names.map).write_bytes(pickle.dumps(box))
    with pytest.raises(DataError, match=f"{names.map}: .*{message}"):
        open_set("oasis-normals", tmp_path)[0]
