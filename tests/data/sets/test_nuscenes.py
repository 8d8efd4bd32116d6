"""nuScenes: scenes by category, and a sweep's points in the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trees

from leadline.data.lidar import sparse_depth
from leadline.data.sets import nuscenes, open_set
from leadline.errors import DataError

K = np.array([[10.0, 0, 4], [0, 10, 3], [0, 0, 1]])


def tree(root):
    return trees.TREES["nuscenes", "native"](root, trees.colours(), trees.truth_for("nuscenes"))


def test_scenes_of_a_list_carry_their_category(tmp_path):
    tree(tmp_path)
    (tmp_path / "scenes.csv").write_text("category,scene_name\nDay Cloudy,scene-0062\n")
    listed = open_set("nuscenes-c", tmp_path, list_file=tmp_path / "scenes.csv")
    assert len(listed) == 1
    assert listed.rows[0][0] == 2
    assert listed[0].group == "Day Cloudy"
    assert listed[0].camera.cx == 4


def test_without_its_list_the_corrupted_set_is_nothing(tmp_path):
    tree(tmp_path)
    with pytest.raises(DataError, match="nuscenes-c: nuScenes-C is a choice of scenes: give its list"):
        open_set("nuscenes-c", tmp_path)


def test_an_unknown_scene_is_named(tmp_path):
    tree(tmp_path)
    (tmp_path / "scenes.csv").write_text("Night,scene-0999\n")
    with pytest.raises(DataError, match="nuscenes-c, scenes.csv: its tables have no 'scene-0999'"):
        open_set("nuscenes-c", tmp_path, list_file=tmp_path / "scenes.csv")


def test_tables_are_read_in_pieces_of_any_size(tmp_path, monkeypatch):
    tree(tmp_path)
    whole = open_set("nuscenes", tmp_path).rows
    for size in (1, 7, 100):
        monkeypatch.setattr(nuscenes, "CHUNK", size)
        assert open_set("nuscenes", tmp_path).rows == whole


@pytest.mark.parametrize(
    ("table", "text", "message"),
    [
        (
            "sample_data",
            '[{"token": "d0"',
            r"sample_data.json: ends with '\{\"token\": \"d0\"', wanted a list",
        ),
        ("sample_data", "", "sample_data.json: ends with ''"),
        ("sample_data", '[{"token": "d0"}]', r"cannot be read \(KeyError: 'filename'\)"),
        ("ego_pose", "[]", "table ego_pose lacks 2 records"),
        ("scene", "no JSON", "scene.json: ends with 'no JSON'"),
    ],
)
def test_damaged_tables_are_named(tmp_path, table, text, message):
    tree(tmp_path)
    (tmp_path / f"v1.0-trainval/{table}.json").write_text(text)
    with pytest.raises(DataError, match=message):
        open_set("nuscenes", tmp_path)


def test_the_nearest_of_several_points_counts_whatever_their_order():
    points = np.array([[0.0, 0, 5], [0, 0, 2], [0, 0, 9]])
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        depth = sparse_depth(points[order], K, (6, 8))
        assert depth[3, 4] == 2
        assert np.count_nonzero(depth) == 1


@pytest.mark.parametrize(
    ("u", "v", "z", "counts"),
    [
        (4, 3, 1.0, False),
        (4, 3, 1.01, True),
        (1.0, 3, 5, False),
        (1.01, 3, 5, True),
        (7.0, 3, 5, False),
        (6.99, 3, 5, True),
        (4, 1.0, 5, False),
        (4, 5.0, 5, False),
        (4, 4.99, 5, True),
        (4, 3, -5, False),
    ],
)
def test_points_behind_near_and_at_the_edge_are_left_out(u, v, z, counts):
    point = np.array([[(u - 4) / 10 * z, (v - 3) / 10 * z, z]])
    depth = sparse_depth(point, K, (6, 8))
    assert np.argwhere(depth).tolist() == ([[int(v), int(u)]] if counts else [])


def test_quaternions_turn_as_they_should(tmp_path):
    half = np.sqrt(0.5)
    made = nuscenes._matrix({"rotation": [half, 0, 0, half], "translation": [1, 2, 3]})
    np.testing.assert_allclose(made @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)  # a quarter about z
    random = np.random.default_rng(1).normal(size=4).tolist()
    place = {"rotation": (np.array(random) / np.linalg.norm(random)).tolist(), "translation": [0, 0, 0]}
    np.testing.assert_allclose(nuscenes._matrix(place), trees.matrix4(place), atol=1e-12)


def test_a_record_that_makes_no_camera_is_named(tmp_path):
    tree(tmp_path)
    file = tmp_path / "v1.0-trainval/calibrated_sensor.json"
    records = json.loads(file.read_text())
    records[1]["camera_intrinsic"] = []
    file.write_text(json.dumps(records))
    with pytest.raises(DataError, match="nuscenes: "):
        open_set("nuscenes", tmp_path)[0]
