"""Boxes by name against the published fractions and pixels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from leadline.crops import Box, box
from leadline.errors import DataError, UsageError

NAMES = {
    "benchmark_crop": "kitti", "eigen_kitti": "eigen", "garg_kitti": "garg", "eigen_nyu": "nyu",
    "center_crop": "sintel",
}  # fmt: skip
with (Path(__file__).parent / "golden" / "eval" / "crops.csv").open() as file:
    ROWS = list(csv.DictReader(file))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['crop']}-{row['height']}x{row['width']}")
def test_boxes_match_the_reference(row):
    numbers = {key: int(value) for key, value in row.items() if key not in ("source", "crop")}
    found = box(NAMES[row["crop"]], numbers["height"], numbers["width"])
    assert found == (numbers["row_start"], numbers["row_stop"], numbers["col_start"], numbers["col_stop"])


def test_boxes_match_the_metric_reference(golden):
    g = golden("metricgold/metric_eval")
    for (height, width), garg, eigen in zip(
        g.crop_sizes_hw.tolist(), g.garg_rows_cols.tolist(), g.eigen_kitti_rows_cols.tolist(), strict=True
    ):
        assert box("garg", height, width) == tuple(garg)
        assert box("eigen", height, width) == tuple(eigen)
    for (height, width), corner in zip(g.kb_crop_in_hw.tolist(), g.kb_crop_top_left.tolist(), strict=True):
        assert [box("kitti", height, width)[i] for i in (0, 2)] == corner
    assert box("nyu", 480, 640) == tuple(g.eigen_nyu_rows_cols_480x640.tolist())


def test_a_box_cuts_and_masks_the_same_pixels():
    rgb = np.arange(20 * 30 * 3).reshape(20, 30, 3)
    found = box("eigen", 20, 30)
    mask = found.mask(20, 30)
    np.testing.assert_array_equal(rgb[found.slices].reshape(-1, 3), rgb[mask])


def test_the_box_of_nyu_is_of_one_size_unless_its_pixels_are_asked_for():
    with pytest.raises(DataError, match="480x640"):
        box("nyu", 768, 1024)
    assert box("nyu-pixels", 768, 1024) == Box(45, 471, 41, 601)


@pytest.mark.parametrize("name", ["kitti", "nyu-pixels", "sintel"])
def test_maps_too_small_for_a_box_are_refused(name):
    with pytest.raises(DataError, match="does not hold"):
        box(name, 100, 400)


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="did you mean 'eigen'"):
        box("eigne", 10, 10)
