"""Files of the data sets themselves, where a folder of them is at hand: depth lies where things stand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import trees

from leadline.data import decode
from leadline.data.lidar import sparse_depth
from leadline.data.lists import read_list
from leadline.data.sets import hypersim_raw, middlebury, open_set

CAMERA_HEIGHT = {"kitti": 1.65, "nuscenes": 1.51}  # metres above the road


@pytest.fixture
def native(shared_data) -> Path:
    folder = shared_data / "native"
    if not folder.is_dir():
        pytest.skip("needs files of the data sets in their own formats, in the folder native")
    return folder


def put(root: Path, files: dict[str, Path]) -> Path:
    for name, source in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(source)
    return root


def row_of(table: Path, frame: str) -> dict[str, str]:
    with open(table, newline="") as file:
        return next(row for row in csv.DictReader(file) if row["frame"] == frame)


def test_nyu(native, shared_data, tmp_path):
    names = {"a/rgb_00050.jpg": "rgb_00050.jpg", "a/sync_depth_00050.png": "sync_depth_00050.png"}
    put(tmp_path, {name: native / "nyuv2_sync" / file for name, file in names.items()})
    sample = open_set("nyuv2", tmp_path)[0]
    known = row_of(shared_data / "rgbd_indoor/frames.csv", "sync_00050")
    assert sample.valid.mean() == pytest.approx(float(known["valid_fraction"]), abs=1e-3)
    found = np.quantile(sample.depth_m[sample.valid], [0, 0.5, 1]) * 1000
    assert found == pytest.approx([float(known[key]) for key in ("min_mm", "median_mm", "max_mm")], abs=1)
    assert sample.camera.fov[0] == pytest.approx(63.3, abs=0.2)


def test_kittis_ground_truth(native, shared_data, tmp_path):
    drive, file = "2011_09_28_drive_0001_sync", "0000000050.png"
    rgb = f"2011_09_28/{drive}/image_02/data/{file}"
    depth = f"val/{drive}/proj_depth/groundtruth/image_02/{file}"
    put(tmp_path, {rgb: native / "kitti_depth/rgb" / file, depth: native / "kitti_depth/depth" / file})
    sample = open_set("kitti", tmp_path)[0]
    known = row_of(shared_data / "kitti/frames.csv", "annotated_0000000050")
    assert sample.valid.sum() == int(known["valid_depth_pixels"])
    assert (sample.camera.fx, sample.camera.cx) == (float(known["fx"]), float(known["cx"]) + 0.5)
    assert 0.9 < road(sample.depth_m, sample.camera.K, CAMERA_HEIGHT["kitti"]) < 1.1


def road(depth: np.ndarray, K: np.ndarray, height: float) -> float:
    """Median ratio of the depth just before the car to that of a flat road."""
    rows, columns = np.nonzero(depth)
    before = (rows > K[1, 2] + 0.6 * (depth.shape[0] - K[1, 2])) & (
        abs(columns - K[0, 2]) < 0.1 * depth.shape[1]
    )
    rows, columns = rows[before], columns[before]
    assert len(rows) > 50
    return float(np.median(depth[rows, columns] * (rows + 0.5 - K[1, 2]) / (height * K[1, 1])))


def test_a_sweep_of_kitti_lies_on_the_road(native):
    day = native / "kitti_raw/2011_09_26"
    picture = decode.rgb((day / "image_02/data/0000000010.png").read_bytes())
    points = decode.records((day / "velodyne_points/data/0000000010.bin").read_bytes(), 4)[:, :3]
    with np.load(native / "kitti_raw/calib.npz") as stored:
        P, R, laser = stored["P_rect"], stored["R_rect"], stored["velo_to_cam"]
    K = P[:, :3]
    in_camera = (np.c_[points, np.ones(len(points))] @ (R @ laser).T)[:, :3] + np.linalg.inv(K) @ P[:, 3]
    depth = sparse_depth(in_camera, K, picture.shape[:2])
    assert 0.03 < (depth > 0).mean() < 0.05  # about 4 % of the pixels
    assert 0.9 < road(depth, K, CAMERA_HEIGHT["kitti"]) < 1.1


def test_a_sweep_of_nuscenes_lies_on_the_road(native):
    folder = native / "nuscenes"
    calibration = json.loads((folder / "calibration.json").read_text())
    front = calibration["images"]["CAM_FRONT"]
    picture = decode.rgb((folder / front["img_path"]).read_bytes())
    points = decode.records((folder / calibration["lidar_points"]["lidar_path"]).read_bytes(), 5)[:, :3]
    into, K = np.array(front["lidar2cam"]), np.array(front["cam2img"])
    depth = sparse_depth(points @ into[:3, :3].T + into[:3, 3], K, picture.shape[:2])
    assert 2000 < (depth > 0).sum() < 5000
    assert 0.9 < road(depth, K, CAMERA_HEIGHT["nuscenes"]) < 1.1


def test_tum(native, tmp_path):
    folder = "rgbd_dataset_freiburg1_desk/"
    put(tmp_path, {f"{folder}rgb/1.png": native / "tum/fr1_desk_1.png"})
    put(tmp_path, {f"{folder}depth/1.png": native / "tum/fr1_desk_1_depth.png"})
    for kind in ("rgb", "depth"):
        (tmp_path / folder / f"{kind}.txt").write_text(f"# {kind}\n1.01 {kind}/1.png\n")
    sample = open_set("tum", tmp_path)[0]
    near, median = np.quantile(sample.depth_m[sample.valid], [0.01, 0.5])
    assert 0.5 < near < median < 3  # a desk
    assert sample.camera.fx == 517.3


def test_sun_rgbd(native, tmp_path):
    folder = "SUNRGBD/kv1/a/b/"
    put(tmp_path, {f"{folder}image/a.jpg": native / "sunrgbd/SUN_color.jpg"})
    put(tmp_path, {f"{folder}depth/a.png": native / "sunrgbd/SUN_depth.png"})
    (tmp_path / folder / "intrinsics.txt").write_text("520 0 320\n0 520 240\n0 0 1\n")
    sample = open_set("sunrgbd", tmp_path)[0]
    assert sample.valid.mean() > 0.8
    low, high = np.quantile(sample.depth_m[sample.valid], [0, 1])
    assert 0.5 < low < high < 10.5  # a corridor; beyond, a Kinect sees nothing


def test_a_raw_kinect(native):
    depth = decode.kinect((native / "nyuv2_raw/NYU_depth.pgm").read_bytes())
    assert depth.shape == (480, 640)
    low, high = np.quantile(depth[depth > 0], [0.01, 0.9])
    assert 0.5 < low < high < 8


def test_middlebury(native):
    with np.load(native / "middlebury_motorcycle/motorcycle_disp.npz") as stored:
        disparity = stored["arr_0"]
    depth = middlebury.depth_mm(disparity, 994.978, 31.278, 193.001) / 1000  # the reduced copy's calibration
    assert (depth[~np.isfinite(disparity)] == 0).all()
    low, high = np.quantile(depth[depth > 0], [0, 1])
    assert 2 < low < high < 5.5  # a garage


def test_hypersims_distances(native):
    scene = native / "hypersim/ai_037_002"
    file = scene / "images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5"
    distance = decode.hdf5(file.read_bytes())
    assert distance.shape == (768, 1024)
    depth = hypersim_raw.planar(distance.astype(np.float32))
    np.testing.assert_allclose((depth / distance)[[0, 384], [0, 512]], [0.81119, 1], atol=1e-3)
    places = decode.hdf5((scene / "_detail/cam_00/camera_keyframe_positions.hdf5").read_bytes())
    assert places.shape[1] == 3


@pytest.fixture
def lists(shared_data) -> Path:
    folder = shared_data / "splits"
    if not folder.is_dir():
        pytest.skip("needs published lists, in the folder splits")
    return folder


def test_published_lists_are_read(lists):
    """Counts as their names and the papers have them."""
    kitti = read_list(lists / "marigold_depth_kitti_eigen_test_697.txt.gz")
    assert (len(kitti.rows), kitti.dropped) == (652, 45)
    for file in sorted(lists.glob("*.txt.gz")):
        found = read_list(file)
        assert len(found.rows) + found.dropped == int(file.name.removesuffix(".txt.gz").rsplit("_", 1)[1])
    scenes = read_list(lists / "nuscenes_c_scenes.csv")
    assert len(scenes.rows) == 1 + 87


@pytest.mark.parametrize(
    ("file", "case"),
    [
        ("marigold_depth_nyu_test_654", ("nyuv2", "prepared")),
        ("marigold_depth_nyu_train_795", ("nyuv2", "prepared")),
        ("marigold_depth_kitti_eigen_test_697", ("kitti", "prepared")),
        ("marigold_depth_kitti_val_from_train_800", ("kitti", "prepared")),
        ("marigold_depth_eth3d_454", ("eth3d", "prepared")),
        ("marigold_depth_scannet_val_800", ("scannet", "prepared")),
        ("marigold_depth_diode_val_all_771", ("diode", "scans")),
        ("marigold_depth_hypersim_val_7370", ("hypersim", "prepared")),
        ("marigold_depth_hypersim_train_53885", ("hypersim", "prepared")),
        ("marigold_depth_vkitti_val_5364", ("vkitti2", "prepared")),
        ("marigold_depth_vkitti_train_20148", ("vkitti2", "prepared")),
        ("marigold_normals_nyu_test_654", ("nyuv2-normals", "marigold")),
        ("marigold_normals_scannet_300", ("scannet-normals", "marigold")),
        ("marigold_normals_ibims_100", ("ibims-normals", "marigold")),
        ("marigold_normals_diode_test_771", ("diode-normals", "marigold")),
        ("marigold_normals_oasis_9999", ("oasis-normals", "marigold")),
        ("marigold_normals_sintel_train_627", ("sintel-normals", "marigold")),
        ("marigold_normals_hypersim_all_48925", ("hypersim-normals", "marigold")),
        ("dsine_normals_nyuv2_test_654", ("nyuv2-normals", "dsine")),
        ("dsine_normals_scannet_300", ("scannet-normals", "dsine")),
        ("dsine_normals_ibims_100", ("ibims-normals", "dsine")),
        ("dsine_normals_sintel_1064", ("sintel-normals", "dsine")),
        ("dsine_normals_vkitti_1000", ("vkitti-normals", "dsine")),
        ("dsine_normals_oasis_10000", ("oasis-normals", "dsine")),
        ("depthpro_dis5k_sample_200", ("dis5k", "native")),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_the_files_that_published_lists_name_are_found(lists, file, case, tmp_path):
    """The first, a middle and the last line, over files of one tiny picture."""
    one, root = tmp_path / "one", tmp_path / "all"
    names = trees.TREES[case](one, trees.colours(), trees.truth_for(case[0]))
    rows = read_list(lists / f"{file}.txt.gz").rows
    chosen = [rows[place][1] for place in (0, len(rows) // 2, -1)]
    for row in chosen:
        picture, *maps = files_of(row)
        trees.put(root, picture, (one / names.picture).read_bytes())
        for name in maps or [beside(picture, names)]:
            if name.endswith("_mask.npy"):
                trees.npy(root, name, np.ones(trees.SIZE))
            elif not name.replace(".", "").isdigit():  # as KITTI's focal length is
                trees.put(root, name, (one / names.map).read_bytes())
        if case[1] == "dsine":
            trees.npy(root, picture.rsplit("_img", 1)[0] + "_intrins.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "list.txt").write_text("\n".join(chosen))
    listed = open_set(case[0], root, list_file=tmp_path / "list.txt")
    assert listed.layout == case[1]
    assert [listed[place].name for place in range(3)] == [
        row if "DIS5K" in row else row.split()[0] for row in chosen
    ]


def files_of(row: str) -> list[str]:
    """The names in a line; those of DIS5K hold blanks."""
    return [row.removeprefix("DIS5K/")] if row.startswith("DIS5K/") else row.split()


def beside(picture: str, names: trees.Names) -> str:
    """The map of a picture whose list has one column."""
    if "/im/" in picture:
        return picture.replace("/im/", "/gt/").replace(".jpg", ".png")
    return picture.rsplit("_img", 1)[0] + "_normal" + Path(names.map).suffix
