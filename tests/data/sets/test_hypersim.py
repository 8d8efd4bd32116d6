"""Hypersim: the renderer's files to colours, planar depth and normals, as Marigold and E2E-FT make them."""

from __future__ import annotations

import tarfile
from dataclasses import replace

import numpy as np
import pytest
import trees

from leadline.camera import convert_normals
from leadline.data import decode
from leadline.data.sets import hypersim_raw, open_set
from leadline.data.sets.hypersim import frame_of
from leadline.errors import DataError

GEOMETRY = "ai_037_002/images/scene_cam_00_geometry_{}/frame.0000.{}"


@pytest.mark.parametrize("case", ["tonemap", "tonemap_dark"])
def test_light_is_mapped_as_marigold_does(golden, case):
    g, entity = golden("eval/hypersim", case), np.asarray(golden("eval/hypersim", "tonemap").entity)
    made = hypersim_raw.tone_map(np.asarray(g.rgb), entity)
    np.testing.assert_allclose(made, g.out, atol=1e-9)
    if "uint8" in g:
        np.testing.assert_array_equal((made * 255).astype(np.uint8), g["uint8"])


def test_light_without_anything_in_it_keeps_its_scale(golden):
    light = np.asarray(golden("eval/hypersim", "tonemap").rgb)
    made = hypersim_raw.tone_map(light, np.full(light.shape[:2], -1))
    np.testing.assert_allclose(made, golden("eval/hypersim", "tonemap_allinvalid").out, atol=1e-9)


def test_distance_becomes_depth_along_the_axis(golden):
    g = golden("eval/hypersim", "dist")
    distance = np.asarray(g.distance_small)
    made = hypersim_raw.planar(distance)  # the vector's focal length is cut to 27.7
    np.testing.assert_allclose(made, g["plane_small_f27.7"], rtol=2e-3)
    factor = hypersim_raw.planar(np.ones((768, 1024)))
    np.testing.assert_allclose(factor[::64, ::64], g.factor_768x1024_every64, rtol=1e-6)
    points = [factor[0, 0], factor[0, -1], factor[-1, 0], factor[-1, -1], factor[383, 511], factor[384, 512]]
    np.testing.assert_allclose(points, g.factor_corners, rtol=1e-6)


def test_the_previews_normals_are_turned_as_e2e_ft_does(golden):
    g = golden("eval/hypersim", "e2e_normals")
    made = hypersim_raw.facing(np.asarray(g.png_rgb), np.asarray(g.depth_m), *g.K_fx_fy_cx_cy.tolist())
    difference = np.abs(made.astype(int) - np.asarray(g.out_uint8).astype(int))
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.99
    vectors = np.asarray(g.png_rgb) / 255 * 2 - 1
    front = hypersim_raw.seen(vectors, np.asarray(g.depth_m), *g.K_fx_fy_cx_cy.tolist())
    np.testing.assert_allclose(front, g.out, atol=1e-9)
    unturned = vectors * (-1, 1, 1)
    np.testing.assert_array_equal((front * unturned).sum(-1) < 0, g.flipped)


def test_marigolds_archives_wrap_beyond_what_sixteen_bits_hold(golden, tmp_path):
    g = golden("eval/hypersim", "dist")
    read = decode.uint16((tmp_path / trees.picture(tmp_path, "a.png", np.asarray(g.uint16_mm))).read_bytes())
    depth_m = np.asarray(g.uint16_input_m)
    held = depth_m < 65.536
    assert (~held).sum() > 0
    np.testing.assert_array_equal(read[held], np.trunc(depth_m[held] * 1000))
    np.testing.assert_array_equal(read[~held], np.trunc(depth_m[~held] * 1000) - 65536)


def test_marigolds_normals_face_the_eye():
    """A wall in front of the camera, rendered from behind in one half; the world is turned by a quarter."""
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # camera to world
    eye = np.array([5.0, 6, 7])
    cam = np.tile([0.0, 0, 2], (4, 6, 1))  # towards the viewer, not of unit length
    cam[:, 3:] *= -1
    x, y = np.meshgrid(np.linspace(-1, 1, 6), np.linspace(1, -1, 4))
    position = eye + np.stack([x, y, np.full_like(x, -3)], axis=-1) @ turn.T
    position[2, 1] = np.inf
    made = hypersim_raw.towards(cam, cam / 2 @ turn.T, position, eye)
    np.testing.assert_array_equal(made, np.tile([0.0, 0, 1], (4, 6, 1)))


def native(root, size=trees.SIZE):
    truth = trees.truth_for("hypersim", size)
    trees.TREES["hypersim", "native"](root, trees.colours(size), truth)
    return truth


def normals_of(size) -> np.ndarray:
    """Facing the camera, in OpenCV's frame."""
    return trees.truth_for("hypersim-normals", size)


def test_normals_of_the_renderer_are_read_and_turned(tmp_path):
    native(tmp_path)
    wanted = normals_of(trees.SIZE)
    sample = open_set("hypersim", tmp_path)[0]
    assert sample.normals is None
    backwards = wanted * (1, -1, -1) * np.where(np.arange(8) < 4, 1, -1)[:, None]  # OpenGL; half from behind
    rays = sample.camera.rays() * sample.depth_m[..., None] * (1, -1, -1)
    eye = np.array([1.0, 2, 3])
    for kind, array in (("normal_cam", backwards), ("normal_world", backwards), ("position", rays + eye)):
        trees.hdf5(tmp_path, GEOMETRY.format("hdf5", f"{kind}.hdf5"), dataset=array.astype(np.float32))
    trees.hdf5(tmp_path, "ai_037_002/_detail/cam_00/camera_keyframe_positions.hdf5", dataset=eye[None])
    sample = open_set("hypersim", tmp_path)[0]
    np.testing.assert_allclose(sample.normals, wanted, atol=1e-3)
    assert sample.valid.all()


def test_a_preview_of_normals_is_read_as_e2e_ft_does(tmp_path):
    native(tmp_path)
    wanted = normals_of(trees.SIZE)
    colours = np.rint((convert_normals(wanted, "opencv", "opengl") + 1) / 2 * 255).astype(np.uint8)
    trees.picture(tmp_path, GEOMETRY.format("preview", "normal_cam.png"), colours)
    sample = open_set("hypersim", tmp_path)[0]
    assert (sample.normals * wanted).sum(axis=-1).min() > 0.999


def test_a_preview_of_another_size_is_named(tmp_path):
    native(tmp_path)
    trees.picture(tmp_path, GEOMETRY.format("preview", "normal_cam.png"), trees.colours((3, 3)))
    with pytest.raises(DataError, match=r"normal_cam.png: normals: the shape is \[3, 3, 3\]"):
        open_set("hypersim", tmp_path)[0]


def test_the_published_preview_serves_where_the_light_is_not_there(tmp_path):
    native(tmp_path)
    folder = tmp_path / "ai_037_002/images/scene_cam_00_final_hdf5"
    trees.picture(
        tmp_path, "ai_037_002/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg", trees.colours()
    )
    (folder / "frame.0000.color.hdf5").unlink()
    sample = open_set("hypersim", tmp_path)[0]
    assert np.abs(sample.rgb.astype(int) - trees.colours()).mean() < 4


def test_the_table_of_all_frames_is_a_list(tmp_path):
    names = trees.TREES["hypersim", "prepared"](tmp_path, trees.colours(), trees.truth_for("hypersim"))
    titles = "scene_name,camera_name,frame_id,rgb_path,rgb_mean,depth_path,invalid_ratio"
    rows = [f"ai_003_010,cam_00,47,{names.rgb},101.5,{names.map},0.0", "ai_003_010,cam_00,48,,,,"]
    (tmp_path / "filename_meta_train.csv").write_text("\n".join([titles, *rows]))
    listed = open_set("hypersim", tmp_path, list_file=tmp_path / "filename_meta_train.csv")
    assert [number for number, _ in listed.rows] == [2]
    assert listed[0].valid.all()


def test_the_camera_is_the_sets_own(tmp_path):
    trees.TREES["hypersim", "prepared"](
        tmp_path, trees.colours((96, 128)), trees.truth_for("hypersim", (96, 128))
    )
    camera = open_set("hypersim", tmp_path)[0].camera
    assert camera == replace(camera, fx=886.81 / 8, fy=886.81 / 8, cx=64, cy=48)


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("ai_001_010/rgb_cam_03_fr0047.png", ("ai_001_010", "03", "0047")),
        ("train/ai_055_010/normal_cam_cam_01_fr0099.npy", ("ai_055_010", "01", "0099")),
        ("ai_001_010/images/scene_cam_02_final_hdf5/frame.0047.color.hdf5", ("ai_001_010", "02", "0047")),
    ],
)
def test_frames_are_known_in_both_forms(name, frame):
    assert frame_of(name) == frame


def test_other_names_are_no_frames():
    with pytest.raises(DataError, match="'a.png' is no frame of Hypersim"):
        frame_of("a.png")


TABLE = """scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,split_partition_name
ai_037_002,cam_00,0,True,,train
ai_037_002,cam_00,1,True,,train
ai_037_002,cam_01,0,False,bad,train
ai_037_002,cam_00,2,True,,val
"""


def test_parts_and_lists_are_those_of_the_sets_own_table(tmp_path):
    native(tmp_path)
    trees.text(tmp_path, "metadata_images_split_scene_v1.csv", TABLE)
    listed = open_set("hypersim", tmp_path, part="train")
    assert [row for _, row in listed.rows] == [
        "ai_037_002/images/scene_cam_00_final_hdf5/frame.0000.color.hdf5"
    ]  # of two public frames one is there
    with pytest.raises(DataError, match="nothing to read"):
        open_set("hypersim", tmp_path, part="val")
    table = tmp_path / "metadata_images_split_scene_v1.csv"
    assert len(open_set("hypersim", tmp_path, list_file=table).rows) == 3


def cameras(scene: str, matrix: np.ndarray) -> str:
    titles = [f"M_cam_from_uv_{i}{j}" for i in range(3) for j in range(3)]
    return "scene_name," + ",".join(titles) + "\n" + ",".join([scene, *map(str, matrix.ravel())]) + "\n"


def test_a_scenes_own_camera_gives_the_usual_depth_where_it_is_the_usual_one(tmp_path):
    truth = native(tmp_path)
    height, width = truth.shape
    across = width / 2 / (886.81 * width / 1024)
    usual = np.diag([across, across * height / width, -1.0])
    trees.text(tmp_path, "metadata_camera_parameters.csv", cameras("ai_037_002", usual))
    exact, plain = open_set("hypersim", tmp_path, layout="exact")[0], open_set("hypersim", tmp_path)[0]
    np.testing.assert_allclose(exact.depth_m, plain.depth_m, rtol=1e-6)
    assert exact.camera.fx == pytest.approx(plain.camera.fx)
    assert (exact.camera.cx, exact.camera.cy) == pytest.approx((plain.camera.cx, plain.camera.cy))


def test_a_scenes_own_camera_is_shifted_or_tilted():
    """Points of a plane z = 2 along the axis, seen by the matrix, have depth 2; shifts move the centre."""
    shifted = np.array([[0.5, 0, 0.1], [0, 0.4, -0.2], [0, 0, -1.0]])
    camera = hypersim_raw.pinhole(shifted, 60, 80)
    rays = camera.rays()
    axial = hypersim_raw.axial(shifted, 60, 80)
    np.testing.assert_allclose(axial, 1 / np.linalg.norm(rays / rays[..., 2:], axis=-1), rtol=1e-6)
    tilted = shifted.copy()
    tilted[2, 1] = 0.05
    assert hypersim_raw.pinhole(tilted, 60, 80) is None
    assert np.isfinite(hypersim_raw.axial(tilted, 60, 80)).all()


@pytest.fixture
def frame(tmp_path):
    """One prepared frame."""
    rng = np.random.default_rng(0)
    return trees.hypersim(tmp_path, rng.integers(0, 256, (12, 16, 3), np.uint8), rng.uniform(1, 9, (12, 16)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("filename_list_{}.txt", "{0} x\n"),
        ("filename_meta_{}.csv", "scene_name,rgb_path,depth_path\nai,{0},x\n"),
    ],
)
def test_a_part_of_prepared_frames_is_what_its_list_says(tmp_path, frame, name, text):
    assert len(open_set("hypersim", tmp_path, part="train")) == 1  # one part alone
    trees.text(tmp_path, name.format("val"), text.format("ai_001_001/rgb_cam_00_fr0000.png"))
    with pytest.raises(DataError, match="part train has no list, there is filename_"):
        open_set("hypersim", tmp_path, part="train")
    trees.text(tmp_path, name.format("train"), text.format(frame.rgb))
    assert open_set("hypersim", tmp_path, part="train").rows == open_set("hypersim", tmp_path).rows
    with pytest.raises(DataError, match="nothing to read"):
        open_set("hypersim", tmp_path, part="val")


def test_a_part_of_prepared_frames_is_what_the_sets_own_table_says(tmp_path, frame):
    trees.text(tmp_path, "metadata_images_split_scene_v1.csv", TABLE)
    with pytest.raises(DataError, match="nothing to read"):
        open_set("hypersim", tmp_path, part="train")
    trees.text(tmp_path, "metadata_images_split_scene_v1.csv", TABLE + "ai_003_010,cam_00,47,True,,train\n")
    assert len(open_set("hypersim", tmp_path, part="train")) == 1


@pytest.mark.parametrize("place", ["val", "hypersim/processed_val", "hypersim_processed_val.tar"])
def test_a_folder_or_archive_of_another_part_is_refused(tmp_path, place):
    root = tmp_path / place.removesuffix(".tar")
    trees.hypersim(root, trees.colours(), trees.truth_for("hypersim"))
    if place.endswith(".tar"):
        with tarfile.open(tmp_path / place, "w") as tar:
            tar.add(root / "ai_003_010", "ai_003_010")
    assert len(open_set("hypersim", tmp_path / place, part="val")) == 1
    with pytest.raises(DataError, match="is part val by its name, part train was asked for"):
        open_set("hypersim", tmp_path / place, part="train")


def test_of_published_archives_the_parts_own_is_opened(tmp_path):
    (tmp_path / "hypersim").mkdir()
    trees.hypersim(tmp_path / "in", trees.colours(), trees.truth_for("hypersim"))
    for part in ("val", "train"):
        with tarfile.open(tmp_path / f"hypersim/hypersim_processed_{part}.tar", "w") as tar:
            tar.add(tmp_path / "in/ai_003_010", "ai_003_010")
    found = {part: open_set("hypersim", tmp_path, part=part).store.path.name for part in ("train", "val")}
    assert found == {part: f"hypersim_processed_{part}.tar" for part in found}
    assert open_set("hypersim", tmp_path).store.path.name == "hypersim_processed_val.tar"


def test_frames_with_normals_lie_in_a_folder_per_part(tmp_path):
    for part in ("train", "test"):
        places = (
            f"{part}/ai_001_001/rgb_cam_00_fr0000.png",
            f"{part}/ai_001_001/normal_cam_cam_00_fr0000.npy",
        )
        trees.marigold(tmp_path, trees.colours(), trees.truth_for("hypersim-normals"), "", *places)
    assert len(open_set("hypersim-normals", tmp_path)) == 2
    (row,) = open_set("hypersim-normals", tmp_path, part="train").rows
    assert row[1].startswith("train/")
