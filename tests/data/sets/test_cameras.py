"""Cameras of data sets: from their files, or known for the one size of their pictures."""

from __future__ import annotations

import numpy as np
import pytest
import trees

from leadline.data.sets import open_set
from leadline.data.sets.kitti import INTRINSICS

FROM_FILES = [
    ("kitti", "native"),
    ("kitti-stereo", "native"),
    ("scannet", "native"),
    ("sintel", "final"),
    ("spring", "native"),
    ("ibims", "raw"),
    ("ibims", "mat"),
    ("middlebury", "native"),
    ("sunrgbd", "native"),
    ("nuscenes", "native"),
    ("nyuv2-normals", "dsine"),
    ("ibims-normals", "dsine"),
    ("oasis-normals", "dsine"),
]


@pytest.mark.parametrize("case", FROM_FILES, ids="-".join)
def test_a_file_of_intrinsics_becomes_the_camera_of_the_pixels(case, tmp_path):
    """All trees put the axis through the picture's centre."""
    trees.TREES[case](tmp_path, trees.colours(), trees.truth_for(case[0]))
    camera = open_set(case[0], tmp_path)[0].camera
    height, width = trees.SIZE
    assert (camera.cx, camera.cy) == pytest.approx((width / 2, height / 2))
    assert camera.fx == pytest.approx(5 if case[0] == "scannet" else 10)  # its picture was shrunk to half


@pytest.mark.parametrize(
    ("case", "size", "fx", "centre"),
    [
        (("nyuv2", "prepared"), (480, 640), 518.8579, (326.0824, 254.2362)),
        (("kitti", "prepared"), (375, 1242), 721.5377, (610.0593, 173.354)),
        (("vkitti2", "native"), (375, 1242), 725.0087, (621, 187.5)),
        (("diode", "scans"), (768, 1024), 886.81, (512, 384)),
        (("hypersim", "prepared"), (768, 1024), 886.81, (512, 384)),
        (("tartanair", "native"), (480, 640), 320, (320, 240)),
        (("tum", "sequences"), (480, 640), 517.3, (319.1, 255.8)),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, tuple) and isinstance(x[0], str) else "",
)
def test_known_cameras_belong_to_the_published_size_alone(case, size, fx, centre, tmp_path):
    trees.TREES[case](
        tmp_path / "whole", trees.colours((1, 1)).repeat(size[0], 0).repeat(size[1], 1), np.ones(size)
    )
    camera = open_set(case[0], tmp_path / "whole")[0].camera
    assert camera.fx == pytest.approx(fx)
    assert (camera.cx, camera.cy) == pytest.approx(centre)
    if case[0] != "hypersim":  # always the same angle of view
        trees.TREES[case](tmp_path / "part", trees.colours(), trees.truth_for(case[0]))
        assert open_set(case[0], tmp_path / "part")[0].camera is None


def test_every_day_of_kitti_has_its_own_focal_length():
    assert len({f for f, _, _ in INTRINSICS.values()}) == 5
