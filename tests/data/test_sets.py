"""Every data set in every layout: recognised, read exactly, from folders and archives, and damaged."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import SIZE, TREES, colours, kind_of, picture, truth_for

from leadline.data import open_set as open_by_options
from leadline.data.sets import SETS, open_set
from leadline.errors import DataError

ROOT = Path(__file__).parents[2]
CASES = sorted(TREES)
MAPPED = [(name, layout) for name, layout in CASES if name != "da2k"]  # its truth is part of the rows
DEPTHS = [case for case in CASES if kind_of(case[0]) == "depth_m"]


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


def close(sample, name, truth):
    """The truth, where the encoding can hold it: 8-bit normals to a degree, disparities to a thousandth."""
    kind = kind_of(name)
    made = getattr(sample, kind)
    if kind == "normals":
        assert (made * truth).sum(axis=-1)[sample.valid].min() > 0.9999
        assert sample.valid[:, :-1].all()  # OASIS's box ends there
    elif kind == "depth_m":
        inner = np.s_[2:-1, 2:-1] if "nuscenes" in name else np.s_[:]  # the margin's points are left out
        np.testing.assert_allclose(made[inner], truth[inner], rtol=2e-3)
        assert sample.valid[inner].all()
    else:
        np.testing.assert_array_equal(made, truth)


def test_every_layout_of_the_table_is_tried_here():
    ours = {(name, layout) for name, layouts in SETS.items() for layout in layouts}
    own_tests = {
        ("scenes", "procedural"),
        ("manifest", "table"),
        ("nuscenes-c", "native"),
        ("diode-indoor", "unmasked"),
        ("hypersim", "exact"),
        ("diode-outdoor", "unmasked"),
    }
    assert ours - own_tests == set(CASES)


def test_every_set_and_layout_is_documented():
    page = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    words = {word for name, layouts in SETS.items() for word in (name, *layouts)} - {"pairs", "table"}
    assert not [word for word in words if f"`{word}`" not in page]


def test_a_layout_is_recognised_and_read_exactly(case, tmp_path):
    name, layout = case
    truth = truth_for(name)
    names = TREES[case](tmp_path, colours(), truth)
    listed = open_set(name, tmp_path)
    assert (listed.name, listed.layout, len(listed), listed.list) == (name, layout, 1, None)
    sample = listed[0]
    assert sample.name == names.rgb
    assert sample.size == SIZE
    close(sample, name, truth)
    if case != ("hypersim", "native"):  # tone mapping changes them
        assert np.abs(sample.rgb.astype(int) - colours()).mean() < 4  # JPEG


def packed(folder: Path, kind: str) -> Path:
    archive = folder.with_name(f"{kind.strip('./')}.archive")
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(folder.rglob("*")):
                file.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w") as file:
            for path in [folder] if kind == "./tar" else sorted(folder.iterdir()):
                file.add(path, "." if kind == "./tar" else path.name)
    return archive


def test_an_archive_is_read_like_its_folder(case, tmp_path):
    TREES[case](tmp_path / "tree", colours(), truth_for(case[0]))
    one = open_set(case[0], tmp_path / "tree")[0]
    for kind in ("./tar", "tar", "zip"):
        other = open_set(case[0], packed(tmp_path / "tree", kind))[0]
        assert other.name == one.name
        for field in ("rgb", "valid", "depth_m", "normals", "matte", "pairs"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_a_folder_within_the_given_one_is_found(case, tmp_path):
    TREES[case](tmp_path / "downloads" / case[0], colours(), truth_for(case[0]))
    expected = "sequences" if case[0] == "tum" else case[1]  # one of TUM's sequences is a folder of them, too
    assert open_set(case[0], tmp_path / "downloads").layout == expected


def test_a_set_travels_to_another_process(case, tmp_path):
    TREES[case](tmp_path, colours(), truth_for(case[0]))
    listed = open_set(case[0], tmp_path)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(listed))[0].rgb, listed[0].rgb)


# --- faults ---


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5 // 4 * 4 + 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>" * 3)


def pipe(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_numbers(path: Path) -> None:
    """Numbers of a kind that the format does not store there."""
    if path.suffix == ".npy":
        np.save(path, np.zeros(SIZE, np.complex64))
    elif path.suffix.lower() in (".png", ".jpg"):
        modes = {2: np.zeros((*SIZE, 3), np.uint8), 1: np.zeros(SIZE, np.uint16)}
        try:
            with Image.open(path) as image:
                sixteen = image.mode.startswith("I")
        except OSError:  # ETH3D's .JPG of floats
            sixteen = True
        path.write_bytes(b"")
        picture(path.parent, path.name, modes[2 if sixteen else 1])
    else:
        path.write_bytes(pickle.dumps([1, 2, 3]))


def damaged(case, field: str, fault, root: Path) -> tuple[str, str]:
    """What is said of a set of which one file is spoilt after it was opened, and that file's name."""
    names = TREES[case](root, colours(), truth_for(case[0]))
    listed = open_set(case[0], root)
    path = root / getattr(names, field)
    fault(path)
    with pytest.raises(DataError) as error:
        listed[0]
    return str(error.value), path.name


@pytest.mark.parametrize("case", MAPPED, ids="-".join)
def test_a_damaged_map_is_one_line_that_names_it(case, tmp_path):
    for fault in (remove, cut, empty, scribble, pipe, other_numbers):
        root = tmp_path / fault.__name__
        message, name = damaged(case, "map", fault, root)
        assert message.startswith(f"{case[0]}: {root}")
        assert name in message or "/depth holds 0 PNGs" in message


def test_a_damaged_picture_is_one_line_that_names_it(case, tmp_path):
    for fault in (remove, cut, empty, scribble):
        message, name = damaged(case, "picture", fault, tmp_path / fault.__name__)
        assert name in message


@pytest.mark.parametrize("case", [case for case in MAPPED if "nuscenes" not in case[0]], ids="-".join)
def test_a_map_of_another_size_is_refused(case, tmp_path):
    size = (7, 10) if case[0] == "oasis-normals" else (5, 8)  # a smaller one is a box within the picture
    TREES[case](tmp_path, colours(), truth_for(case[0], size))
    with pytest.raises(DataError, match=rf"^{case[0]}: "):
        open_set(case[0], tmp_path)[0]


@pytest.mark.parametrize(
    "case", [case for case in CASES if kind_of(case[0]) in ("depth_m", "normals")], ids="-".join
)
def test_a_map_without_any_measurement_is_a_sample_without_valid_pixels(case, tmp_path):
    TREES[case](tmp_path, colours(), truth_for(case[0]) * 0)
    assert not open_set(case[0], tmp_path)[0].valid.any()


@pytest.mark.parametrize("case", DEPTHS, ids="-".join)
def test_what_is_no_distance_is_invalid_and_zero(case, tmp_path):
    truth = truth_for(case[0])
    truth[2, 2:5] = np.nan, np.inf, 0
    TREES[case](tmp_path, colours(), truth)
    sample = open_set(case[0], tmp_path)[0]
    assert not sample.valid[2, 2:5].any()
    assert (sample.depth_m[~sample.valid] == 0).all()
    assert np.isfinite(sample.depth_m).all()
    assert sample.valid[3, 2:5].all()


# --- lists and names ---


def test_a_fault_names_the_list_and_its_line(tmp_path):
    TREES["nyuv2", "prepared"](tmp_path, colours(), truth_for("nyuv2"))
    lines = [
        "test/kitchen_0004/rgb_0001.png test/kitchen_0004/depth_0001.png test/kitchen_0004/filled_0001.png"
    ]
    (tmp_path / "list.txt").write_text("\n".join([*lines, "", "test/a/rgb_0002.png test/a/depth_0002.png x"]))
    listed = open_set("nyuv2", tmp_path, list_file=tmp_path / "list.txt")
    assert len(listed) == 2
    assert listed[0].valid.all()
    with pytest.raises(DataError, match=r"^nyuv2, list\.txt line 3: .*test/a/rgb_0002\.png is missing: copy"):
        listed[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("test/kitchen_0004/rgb_0001.png", r"the line has 1 column .*, wanted rgb depth"),
        (
            "../../etc/passwd test/kitchen_0004/depth_0001.png",
            r"'../../etc/passwd' leads out of the data set",
        ),
        ("/etc/passwd test/kitchen_0004/depth_0001.png", r"'/etc/passwd' leads out of the data set"),
        ("test/kitchen_0004/rgb_0001.png test/kitchen_0004/rgb_0001.png", "16-bit counts are wanted"),
    ],
)
def test_a_bad_line_of_a_list_is_named(tmp_path, line, message):
    TREES["nyuv2", "prepared"](tmp_path, colours(), truth_for("nyuv2"))
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(DataError, match=f"^nyuv2, list.txt line 1: .*{message}"):
        open_set("nyuv2", tmp_path, list_file=tmp_path / "list.txt")[0]


def test_lines_without_ground_truth_are_dropped_and_counted(tmp_path):
    names = TREES["kitti", "prepared"](tmp_path, colours(), truth_for("kitti"))
    absent = "2011_09_26/d/image_02/data/0000000001.png None 721.5377"
    (tmp_path / "eigen.txt").write_text(f"{absent}\n{names.rgb} {names.map} 721.5377\n{absent}\n")
    listed = open_set("kitti", tmp_path, list_file=tmp_path / "eigen.txt")
    assert (len(listed), listed.list.dropped, listed.rows[0][0]) == (1, 2, 2)
    assert listed[0].valid.all()


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (
            ("eth3d", "native"),
            "rgb/office/images/dslr_images/DSC_0219.JPG depth/office_dslr_depth/office/x.JPG",
        ),
        (("hypersim", "native"), "ai_037_002/rgb_cam_00_fr0000.png ai_037_002/depth_plane_cam_00_fr0000.png"),
        (("vkitti2", "native"), "rgb/Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg depth/Scene01/x.png"),
        (("nyuv2", "labelled"), "test/kitchen_0004/rgb_0002.png test/kitchen_0004/depth_0002.png x"),
        (("dis5k", "native"), "DIS5K/DIS-TE1/im/12#Graphics#4#TrafficSign#8245751856.jpg"),
        (("da2k", "native"), "./images/indoor/a.jpg"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, tuple) else "",
)
def test_published_lists_of_prepared_archives_fit_the_sets_own_layouts_too(case, line, tmp_path):
    TREES[case](tmp_path, colours(), truth_for(case[0]))
    (tmp_path / "list.txt").write_text(line)
    close(open_set(case[0], tmp_path, list_file=tmp_path / "list.txt")[0], case[0], truth_for(case[0]))


def test_unknown_names_are_answered_with_the_nearest(tmp_path):
    with pytest.raises(DataError, match="data set 'nyu' is unknown: did you mean 'nyuv2'"):
        open_set("nyu", tmp_path)
    with pytest.raises(DataError, match="nyuv2's layout 'label' is unknown: did you mean 'labelled'"):
        open_set("nyuv2", tmp_path, layout="label")


def test_where_nothing_of_the_set_lies_the_wanted_files_are_named(tmp_path):
    with pytest.raises(
        DataError, match=r"nothing of data set kitti was found: wanted are files such as .*\(native\)"
    ):
        open_set("kitti", tmp_path)
    with pytest.raises(DataError, match="lies nowhere yet"):
        open_set("kitti")
    with pytest.raises(DataError, match="No such file"):
        open_set("kitti", tmp_path / "kitty")


def test_the_base_folder_of_the_authors_evaluation_is_understood(tmp_path):
    TREES["nyuv2", "prepared"](tmp_path / "tree", colours(), truth_for("nyuv2"))
    (tmp_path / "data/nyuv2").mkdir(parents=True)
    with tarfile.open(tmp_path / "data/nyuv2/nyu_labeled_extracted.tar", "w") as archive:
        archive.add(tmp_path / "tree", ".")
    assert open_set("nyuv2", tmp_path / "data")[0].valid.all()


def test_training_opens_the_same_sets_by_their_options(tmp_path):
    TREES["vkitti2", "native"](tmp_path, colours(), truth_for("vkitti2"))
    assert len(open_by_options("vkitti2", {"path": tmp_path})) == 1
    with pytest.raises(
        DataError, match="data set vkitti2: option 'list' is unknown: did you mean 'list_file'"
    ):
        open_by_options("vkitti2", {"path": tmp_path, "list": "x"})


@pytest.mark.parametrize("part", ["indoor", "outdoor"])
def test_diode_can_be_read_without_its_masks(part, tmp_path):
    names = TREES[f"diode-{part}", "scans"](tmp_path, colours(), truth_for("diode"))
    np.save(tmp_path / names.map.replace("_depth.npy", "_depth_mask.npy"), np.zeros(SIZE))
    assert not open_set(f"diode-{part}", tmp_path)[0].valid.any()
    assert open_set(f"diode-{part}", tmp_path, layout="unmasked")[0].valid.all()


def test_procedural_scenes_need_no_files(tmp_path):
    (tmp_path / "list.txt").write_text("5:0\n5:1\nfive\n")
    listed = open_set("scenes", list_file=tmp_path / "list.txt")
    assert listed[1].depth_m.max() == np.inf or listed[1].valid.all()
    with pytest.raises(DataError, match=r"scenes, list.txt line 3: 'five' is no scene"):
        listed[2]
    assert len(open_set("scenes")) == 100
