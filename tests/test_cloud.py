"""Point clouds: the right points, in colour, with normals, in a file that others can read."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from leadline import save
from leadline.camera import Camera
from leadline.errors import CameraError, KindError, UsageError
from leadline.prediction import Kind, Prediction
from leadline.save import cloud

CAMERA = Camera.from_fov(40, 30, horizontal=70)


def read_ply(data):
    """An independent reader: header words, comments, vertices by name."""
    header, body = data.split(b"end_header\n", 1)
    lines = [line.split() for line in header.decode("ascii").splitlines()]
    assert lines[:2] == [["ply"], ["format", "binary_little_endian", "1.0"]]
    kinds = {"float": "<f4", "uchar": "u1"}
    types = [(line[2], kinds[line[1]]) for line in lines if line[0] == "property"]
    (count,) = (int(line[2]) for line in lines if line[:2] == ["element", "vertex"])
    comments = dict(
        line.removeprefix("comment ").split(": ", 1)
        for line in header.decode().splitlines()
        if line.startswith("comment")
    )
    assert len(body) == count * np.dtype(types).itemsize
    return np.frombuffer(body, types), comments


def plane(normal, distance=3.0):
    normal = np.array(normal) / np.linalg.norm(normal)
    depth = distance / (CAMERA.rays() @ -normal)
    return Prediction(depth.astype(np.float32), Kind.metric_depth, camera=CAMERA, model="m"), normal


def stack(vertices, names):
    return np.stack([vertices[name] for name in names], axis=1)


def test_a_plane_becomes_its_points_with_its_normal():
    prediction, normal = plane([0.2, -0.3, -0.9])
    rgb = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    vertices, comments = read_ply(save.encode(prediction, "ply", rgb=rgb))
    assert len(vertices) == 30 * 40
    np.testing.assert_allclose(stack(vertices, "xyz") @ normal, -3, rtol=1e-5)
    found = stack(vertices, ["nx", "ny", "nz"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    inside = found.reshape(30, 40, 3)[1:-1, 1:-1] @ normal  # at the border one side is a mirror image
    assert np.median(inside) > 0.999
    np.testing.assert_array_equal(stack(vertices, ["red", "green", "blue"]), rgb.reshape(-1, 3))
    np.testing.assert_allclose(CAMERA.project(stack(vertices, "xyz").astype(float))[0], (0.5, 0.5), atol=1e-4)
    assert comments["unit"] == "metre"
    assert comments["frame"] == "opencv"
    assert comments["model"] == "m"
    assert (
        max(len(line) for line in save.encode(prediction, "ply").split(b"end_header")[0].splitlines()) < 1024
    )


def test_another_frame_turns_points_and_normals_alike():
    prediction, _ = plane([0, 0.5, -1])
    usual, _ = read_ply(save.encode(prediction, "ply"))
    turned, comments = read_ply(save.encode(prediction, "ply", style=save.Style(frame="opengl")))
    for names in (["x", "y", "z"], ["nx", "ny", "nz"]):
        np.testing.assert_array_equal(stack(turned, names), stack(usual, names) * (1, -1, -1))
    assert comments["frame"] == "opengl"


def test_invalid_pixels_jumps_and_the_sky_are_left_out():
    depth = np.full((30, 40), 2.0, np.float32)
    depth[:, 20:] = 5  # a jump between columns 19 and 20
    depth[3, 3], depth[5, 5], depth[7, 7] = np.nan, np.inf, 0
    depth[:, 35:] = 1000  # sky
    valid = np.ones((30, 40), bool)
    valid[9, 9] = False
    columns = cloud.points(Prediction(depth, Kind.metric_depth, valid=valid, camera=CAMERA))
    assert len(columns["x"]) == 30 * 33 - 4
    assert set(columns["z"].tolist()) == {2.0, 5.0}
    assert all(np.isfinite(column).all() for column in columns.values())
    assert (columns["nz"] < -0.9).mean() > 0.95


def test_without_a_camera_one_is_assumed_said_and_recorded(tmp_path, caplog):
    prediction = Prediction(np.full((30, 40), 2.0, np.float32), Kind.metric_depth)
    with caplog.at_level(logging.WARNING):
        paths = save.write(prediction, tmp_path, "x", ["npy", "ply"])
    assert "60 degrees is assumed" in caplog.text
    assert [path.name for path in paths] == ["x_depth.npy", "x_depth.ply", "x.json"]
    back = save.read(paths[0])
    assert back.camera_source == "assumed"
    assert back.camera.fov[0] == pytest.approx(60)
    with pytest.raises(CameraError, match="no camera"):
        cloud.points(prediction)


def test_only_metric_depth_becomes_a_cloud():
    affine = Prediction(np.ones((30, 40), np.float32), Kind.affine_depth, camera=CAMERA)
    with pytest.raises(UsageError, match="'ply' cannot hold affine_depth: align it to known depths"):
        save.encode(affine, "ply")
    with pytest.raises(KindError):
        cloud.points(affine)


def test_a_map_of_holes_becomes_an_empty_cloud_and_a_warning(caplog):
    nothing = Prediction(np.zeros((30, 40), np.float32), Kind.metric_depth, camera=CAMERA)
    vertices, _ = read_ply(save.encode(nothing, "ply", rgb=np.zeros((30, 40, 3), np.uint8)))
    assert len(vertices) == 0
    assert "the cloud is empty" in caplog.text
