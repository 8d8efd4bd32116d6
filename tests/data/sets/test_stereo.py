"""Disparity becomes depth by each data set's own rule."""

from __future__ import annotations

import numpy as np
import pytest
import trees

from leadline.data.sets import middlebury, open_set
from leadline.errors import DataError


def test_spring_stores_twice_the_size_and_every_second_counts(golden, tmp_path):
    g = golden("eval/decoders", "spring")
    names = trees.TREES["spring", "native"](tmp_path, trees.colours((4, 6)), np.ones((4, 6), np.float32))
    trees.hdf5(tmp_path, names.map, disparity=np.asarray(g.disp_2x))
    (tmp_path / "spring/train/0001/cam_data/intrinsics.txt").write_text(f"{float(g.fx)} {float(g.fx)} 3 2\n")
    sample = open_set("spring", tmp_path)[0]
    known = np.isfinite(np.asarray(g.depth))
    np.testing.assert_array_equal(sample.valid, known)
    np.testing.assert_allclose(sample.depth_m[known], np.asarray(g.depth)[known], rtol=1e-5)


def test_a_frame_of_spring_has_its_own_line_of_intrinsics(tmp_path):
    names = trees.TREES["spring", "native"](tmp_path, trees.colours(), trees.truth_for("spring"))
    (tmp_path / names.picture).rename((tmp_path / names.picture).with_name("frame_left_0002.png"))
    (tmp_path / names.map).rename((tmp_path / names.map).with_name("disp1_left_0002.dsp5"))
    with pytest.raises(DataError, match="intrinsics.txt has 1 lines, frame 0002 needs its own"):
        open_set("spring", tmp_path)[0]


def test_middleburys_disparity_counts_from_its_own_zero(golden):
    g = golden("eval/decoders", "middlebury")
    made = middlebury.depth_mm(np.asarray(g.disparity), *g.calib.tolist())
    np.testing.assert_allclose(made, g.depth_mm, rtol=1e-5)


def test_kittis_baseline_is_that_of_its_two_cameras(golden, tmp_path):
    g = golden("eval/decoders", "kitti_stereo15")
    names = trees.TREES["kitti-stereo", "native"](tmp_path, trees.colours((2, 4)), np.ones((2, 4)))
    trees.put(tmp_path, names.map, bytes(np.asarray(g.disp_png_bytes)))
    f, baseline = 721.5377, 0.532725
    lines = [
        f"P_rect_0{n}: {f} 0 2 {x} 0 {f} 1 0 0 0 1 0"
        for n, x in ((2, 44.85728), (3, 44.85728 - f * baseline))
    ]
    (tmp_path / "training/calib_cam_to_cam/000000.txt").write_text("\n".join(lines))
    sample = open_set("kitti-stereo", tmp_path)[0]
    np.testing.assert_allclose(sample.depth_m, g["depth_example_f721.5377_b0.532725"], rtol=1e-6)


def test_a_calibration_without_both_cameras_is_named(tmp_path):
    trees.TREES["kitti-stereo", "native"](tmp_path, trees.colours(), trees.truth_for("kitti-stereo"))
    (tmp_path / "training/calib_cam_to_cam/000000.txt").write_text("P_rect_02: " + "1 " * 12)
    with pytest.raises(DataError, match="000000.txt: holds no P_rect_02 and P_rect_03"):
        open_set("kitti-stereo", tmp_path)[0]


def test_a_calibration_of_middlebury_without_its_lines_is_named(tmp_path):
    trees.TREES["middlebury", "native"](tmp_path, trees.colours(), trees.truth_for("middlebury"))
    (tmp_path / "Adirondack-perfect/calib.txt").write_text("cam0=[1 0 0; 0 1 0; 0 0 1]\n")
    with pytest.raises(DataError, match="calib.txt: holds no baseline, doffs"):
        open_set("middlebury", tmp_path)[0]
