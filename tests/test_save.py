"""Files: every format says what it holds and reads back, and is there whole or not at all."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from leadline import save
from leadline.camera import Camera
from leadline.errors import LeadlineError, SaveError, UsageError
from leadline.prediction import Kind, Prediction
from leadline.save import counts
from leadline.save.files import remove_leftovers
from leadline.save.writing import output_name

H, W = 5, 7
DEPTHS = ["affine_depth", "affine_disparity", "metric_depth"]
READABLE = {
    **{kind: ["npy", "npz", "png16", "exr", "pfm", "tiff"] for kind in DEPTHS},
    "normals": ["npy", "npz", "exr", "pfm"],
    "segmentation": ["npy", "npz"],
}
SUFFIX = {"png16": "_16bit.png"}


def made(kind, *, holes=True, **more):
    """A prediction of this kind with a camera, settings and, if asked, three invalid pixels."""
    rng = np.random.default_rng(3)
    values = {
        "affine_depth": rng.random((H, W)),
        "affine_disparity": rng.normal(scale=30, size=(H, W)),
        "metric_depth": 0.3 + 40 * rng.random((H, W)),
        "normals": rng.normal(size=(H, W, 3)),
        "segmentation": rng.integers(0, 9, (H, W)),
    }[kind].astype(np.float32)
    if kind == "normals":
        values /= np.linalg.norm(values, axis=-1, keepdims=True)
    valid = np.ones((H, W), bool)
    valid[0, :3] = not holes
    camera = Camera.from_fov(W, H, horizontal=60)
    facts = {"model": "small é", "revision": "abc", "settings": {"seed": 7, "processed": [64, 48]}}
    return Prediction(values, Kind(kind), valid if holes else None, None, camera, "given", **facts | more)


def unsure(kind):
    """The same, of an ensemble whose members are one unit apart everywhere."""
    return replace(made(kind), uncertainty=np.ones((H, W), np.float32))


def only(paths, suffix):
    (path,) = [path for path in paths if path.name.endswith(suffix)]
    return path


def assert_same(back, prediction, tolerance=0.0):
    seen = np.ones(prediction.values.shape[:2], bool) if prediction.valid is None else prediction.valid
    assert back.kind is prediction.kind
    assert (back.valid is None) == (prediction.valid is None)
    if back.valid is not None:
        np.testing.assert_array_equal(back.valid, prediction.valid)
    np.testing.assert_allclose(back.values[seen], prediction.values[seen], rtol=0, atol=tolerance)
    assert back.record() == prediction.record()


@pytest.mark.parametrize("holes", [True, False])
@pytest.mark.parametrize(("kind", "format"), [(kind, f) for kind, fs in READABLE.items() for f in fs])
def test_what_is_written_reads_back(tmp_path, kind, format, holes):
    if format == "exr":
        pytest.importorskip("OpenEXR", reason="needs the extra exr")
    prediction = made(kind, holes=holes)
    paths = save.write(prediction, tmp_path, "a/x", [format])
    name = f"x_{output_name(prediction.kind)}"
    path = only(paths, name + SUFFIX.get(format, f".{format}"))
    assert path.parent == tmp_path / "a"
    spread = np.ptp(prediction.values) if kind == "affine_disparity" else 1
    step = {"metric_depth": 0.001}.get(kind, spread / 65534)
    assert_same(save.read(path), prediction, tolerance=0.51 * step if format == "png16" else 0)


@pytest.mark.parametrize("kind", READABLE)
def test_usual_files_and_names(tmp_path, kind):
    paths = save.write(made(kind), tmp_path, "frame.0001")
    word = {"normals": "normals", "segmentation": "segmentation"}.get(kind, "depth")
    picture = "frame.0001_normals.png" if kind == "normals" else f"frame.0001_{word}_colored.png"
    assert [path.name for path in paths] == [f"frame.0001_{word}.npy", picture, "frame.0001.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    words = json.loads(paths[-1].read_text())
    assert words == made(kind).record()
    assert np.load(paths[0]).dtype == np.float32


def test_all_names_of_depth(tmp_path):
    formats = [name for name in save.FORMATS if name != "exr"]
    paths = save.write(unsure("metric_depth"), tmp_path, "x", formats, rgb=np.zeros((H, W, 3), np.uint8))
    endings = "_depth.npy _depth.npz _depth_16bit.png _depth.pfm _depth.tiff _depth_colored.png"
    endings += " _depth_controlnet.png _depth_uncertainty.png _side.png _depth.ply .json"
    assert {path.name for path in paths} == {f"x{ending}" for ending in endings.split()}
    assert paths[-1].name == "x.json"  # last: where it stands, the others stand
    with Image.open(tmp_path / "x_side.png") as side:
        assert side.size == (2 * W, H)


def test_uncertainty_is_a_picture_of_its_own_and_never_read_for_depth(tmp_path):
    (path,) = save.write(unsure("normals"), tmp_path, "x", ["uncertainty"])
    assert path.name == "x_normals_uncertainty.png"
    with Image.open(path) as image:
        assert (image.mode, image.size, image.text["shows"]) == ("L", (W, H), "uncertainty")
    with pytest.raises(SaveError, match="holds colours, not values"):
        save.read(path)
    with pytest.raises(UsageError, match="ask for uncertainty with it"):
        save.write(made("normals"), tmp_path, "y", ["uncertainty"])


def test_every_picture_says_what_it_shows(tmp_path):
    formats = ["png16", "png", "controlnet", "side"]
    for path in save.write(made("metric_depth"), tmp_path, "x", formats, rgb=np.zeros((H, W, 3), np.uint8)):
        if path.suffix == ".png":
            with Image.open(path) as image:
                text = image.text
            assert text["kind"] == "metric_depth"
            assert text["unit"] == "metre"
            assert text["near_is"] == "small"
            assert text["model"] == "small é"
            assert json.loads(text["camera"])["width"] == W


def test_wordless_formats_bring_the_record(tmp_path):
    for format in ("npy", "pfm", "png16"):
        assert (tmp_path / format / "x.json") in save.write(
            made("affine_depth"), tmp_path / format, "x", [format]
        )
    assert len(save.write(made("affine_depth"), tmp_path / "own words", "x", ["tiff", "npz"])) == 2


def test_16_bits_keep_more_than_four_thousand_levels(tmp_path):
    ramp = np.linspace(0, 1, 64 * 128, dtype=np.float32).reshape(64, 128)
    for kind, values in (
        ("affine_depth", ramp),
        ("affine_disparity", 9 * ramp - 3),
        ("metric_depth", 60 * ramp),
    ):
        path = only(save.write(Prediction(values, Kind(kind)), tmp_path, kind, ["png16"]), "_16bit.png")
        with Image.open(path) as image:
            assert len(np.unique(np.array(image))) > 4000


def test_affine_depth_in_16_bits_is_the_rounded_share(tmp_path):
    prediction = made("affine_depth", holes=False)
    path = only(save.write(prediction, tmp_path, "x", ["png16"]), "_16bit.png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.array(image), np.round(prediction.values.astype(float) * 65535))
        assert (float(image.text["scale"]), float(image.text["offset"])) == (1 / 65535, 0)


@pytest.mark.parametrize(("unit", "scale"), [("millimetre", 0.001), ("1/256 metre", 1 / 256)])
def test_metric_counts(tmp_path, unit, scale):
    values = np.float32([[0, 0.0001, 1.2344, 65.535, 70, 300, np.inf]])
    prediction = Prediction(values, Kind.metric_depth)
    path = only(save.write(prediction, tmp_path, "x", ["png16"], style=save.Style(png16=unit)), "_16bit.png")
    with Image.open(path) as image:
        stored = np.array(image)[0]
        assert float(image.text["scale"]) == scale
    assert stored[0] == 0
    assert stored[1] == 1  # near, not invalid
    for index in (2, 3, 4, 5):
        expected = round(float(values[0, index]) / scale)
        assert stored[index] == (expected if expected <= 65535 else 0)  # too far is unknown, not 65.535 m
    assert stored[6] == 0
    assert json.loads((tmp_path / "x.json").read_text())["png16"] == {
        "scale": scale,
        "offset": 0,
        "invalid": 0,
    }


def test_affine_depth_far_out_of_range_is_stretched_and_says_so():
    slightly = Prediction(np.float32([[-0.0005, 1.0005]]), Kind.affine_depth)
    assert counts.encoding(slightly).scale == 1 / 65535
    assert counts.to_counts(slightly, counts.encoding(slightly)).tolist() == [[0, 65535]]
    far = Prediction(np.float32([[-1, 3]]), Kind.affine_depth)
    assert counts.encoding(far)[:2] == (4 / 65535, -1)
    empty = replace(far, valid=np.zeros((1, 2), bool))
    assert counts.to_counts(empty, counts.encoding(empty)).tolist() == [[0, 0]]


def test_pfm_is_little_endian_bottom_up(tmp_path):
    path = only(save.write(made("metric_depth", holes=False), tmp_path, "x", ["pfm"]), ".pfm")
    header, rest = path.read_bytes()[:12], path.read_bytes()[12:]
    assert header == b"Pf\n7 5\n-1.0\n"
    rows = np.frombuffer(rest, "<f4").reshape(H, W)
    np.testing.assert_array_equal(rows[::-1], made("metric_depth").values)


def test_a_big_endian_pfm_of_another_program(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "theirs.pfm").write_bytes(b"Pf 3 2 1.0\n" + values[::-1].astype(">f4").tobytes())
    back = save.read(tmp_path / "theirs.pfm", kind="metric_depth")
    np.testing.assert_array_equal(back.values, values)


def test_npz_keys(tmp_path):
    prediction = unsure("metric_depth")
    path = only(save.write(prediction, tmp_path, "x", ["npz"]), ".npz")
    with np.load(path, allow_pickle=False) as stored:
        assert set(stored.files) == {"depth", "mask", "intrinsics", "meta", "uncertainty"}
        np.testing.assert_array_equal(stored["mask"], prediction.valid)
        np.testing.assert_array_equal(stored["intrinsics"], prediction.camera.K)
        assert json.loads(str(stored["meta"]))["kind"] == "metric_depth"
    np.testing.assert_array_equal(save.read(path).uncertainty, prediction.uncertainty)


def test_exr_has_the_channels_and_attributes_of_compositors(tmp_path):
    openexr = pytest.importorskip("OpenEXR", reason="needs the extra exr")
    for kind, names in (("metric_depth", {"Z", "mask"}), ("normals", {"N.X", "N.Y", "N.Z", "mask"})):
        path = only(save.write(made(kind), tmp_path, "x", ["exr"]), ".exr")
        with openexr.File(str(path), separate_channels=True) as file:
            assert set(file.channels()) == names
            assert file.header()["kind"] == kind
            assert file.header()["compression"] == openexr.ZIP_COMPRESSION
            assert all(np.isfinite(channel.pixels).all() for channel in file.channels().values())


def test_exr_without_its_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(SaveError, match=r"pip install '\.\[exr\]'"):
        save.write(made("metric_depth"), tmp_path, "x", ["exr"])
    assert list(tmp_path.iterdir()) == []


def test_normals_are_converted_and_the_frame_is_said(tmp_path):
    prediction = made("normals", holes=False)
    usual = save.write(prediction, tmp_path / "usual", "x")
    np.testing.assert_array_equal(np.load(usual[0]), prediction.values)
    with Image.open(usual[1]) as image:
        assert image.text["frame"] == "opengl"
        colours = np.array(image)
    up = save.write(prediction, tmp_path / "up", "x", style=save.Style(frame="opengl"))
    np.testing.assert_array_equal(np.load(up[0]), prediction.values * [1, -1, -1])
    expected = np.round((np.load(up[0]) + 1) / 2 * 255)
    np.testing.assert_array_equal(colours, expected)
    assert json.loads(up[2].read_text())["frame"] == "opengl"
    assert_same(save.read(up[0]), prediction)


def test_further_outputs_are_written_and_read_by_name(tmp_path):
    normals, filtered = made("normals"), replace(made("metric_depth"), model="filter")
    both = made("metric_depth", also={"normals": normals, "filtered": filtered})
    paths = save.write(both, tmp_path, "x", ["npy", "png", "tiff", "side"], rgb=np.zeros((H, W, 3), np.uint8))
    names = "_depth.npy _normals.npy _filtered.npy _depth_colored.png _normals.png _filtered_colored.png"
    names += " _depth.tiff _filtered.tiff _side.png .json"
    assert [path.name for path in paths] == [f"x{name}" for name in names.split()]
    assert_same(save.read(tmp_path / "x_normals.npy"), normals)
    assert save.read(tmp_path / "x_filtered.npy").model == "filter"
    with pytest.raises(SaveError, match="two outputs"):
        save.write(made("metric_depth", also={"depth": filtered}), tmp_path, "y")


def test_marigold_layout_is_the_authors(tmp_path, golden):
    g = golden("e2e/colormap")
    prediction = Prediction(g.values.numpy(), Kind.affine_depth)
    paths = save.write(prediction, tmp_path, "a/x", style=save.Style(layout="marigold"))
    assert {str(path.relative_to(tmp_path)) for path in paths} == {
        "depth_npy/a/x_pred.npy", "depth_npy/a/x_pred.json", "depth_bw/a/x_pred.png",
        "depth_colored/a/x_pred_colored.png",
    }  # fmt: skip
    np.testing.assert_array_equal(np.load(tmp_path / "depth_npy/a/x_pred.npy"), prediction.values)
    with Image.open(tmp_path / "depth_bw/a/x_pred.png") as image:
        np.testing.assert_array_equal(np.array(image), g.png16.numpy())
    with Image.open(tmp_path / "depth_colored/a/x_pred_colored.png") as image:
        np.testing.assert_array_equal(np.array(image), g.author_u8.numpy())
    assert_same(save.read(tmp_path / "depth_npy/a/x_pred.npy"), prediction)
    assert_same(save.read(tmp_path / "depth_bw/a/x_pred.png"), prediction, tolerance=1 / 65535)


def test_marigold_layout_of_normals_and_of_what_it_cannot_hold(tmp_path):
    style = save.Style(layout="marigold")
    paths = save.write(made("normals", holes=False), tmp_path, "x", style=style)
    assert {str(path.relative_to(tmp_path)) for path in paths} == {
        "normals_npy/x_pred.npy", "normals_npy/x_pred.json", "normals_vis/x_pred_colored.png",
    }  # fmt: skip
    stored = np.load(tmp_path / "normals_npy/x_pred.npy")
    assert stored.shape == (3, H, W)
    np.testing.assert_array_equal(stored[1], -made("normals").values[..., 1])
    assert_same(save.read(tmp_path / "normals_npy/x_pred.npy"), made("normals", holes=False))
    with pytest.raises(UsageError, match="cannot hold affine_disparity"):
        save.write(made("affine_disparity"), tmp_path, "x", style=style)


def test_encode_gives_the_bytes_of_the_file(tmp_path):
    prediction = made("affine_disparity")
    for format in ("npy", "npz", "png16", "pfm", "tiff", "png", "controlnet"):
        path = save.write(prediction, tmp_path, "x", [format])[0]
        assert path.read_bytes() == save.encode(prediction, format)
        assert path.read_bytes() == save.encode(prediction, format)  # no clock, no chance in any of them


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.npy", np.zeros((2, 2)), "kind"),
        ("a.tiff", np.zeros((2, 2), np.float32), "kind"),
        ("a.png", np.zeros((2, 2), np.uint16), "count"),
    ],
)
def test_reading_never_guesses(tmp_path, name, data, said):
    if name.endswith("npy"):
        np.save(tmp_path / name, data)
    else:
        Image.fromarray(data).save(tmp_path / name)
    with pytest.raises(SaveError, match=said):
        save.read(tmp_path / name)
    given = save.read(tmp_path / name, kind="metric_depth", scale=0.001)
    assert given.kind is Kind.metric_depth


def test_normals_of_other_programs_need_a_frame(tmp_path):
    np.save(tmp_path / "n.npy", made("normals").values)
    with pytest.raises(SaveError, match="frame"):
        save.read(tmp_path / "n.npy", kind="normals")
    back = save.read(tmp_path / "n.npy", kind="normals", frame="opengl")
    np.testing.assert_array_equal(back.values, made("normals").values * [1, -1, -1])


def test_a_file_that_says_otherwise_is_not_overruled(tmp_path):
    path = save.write(made("affine_depth"), tmp_path, "x", ["npz"])[0]
    with pytest.raises(
        SaveError, match="kind is affine_depth by the file itself, metric_depth was asked for"
    ):
        save.read(path, kind="metric_depth")


def test_the_record_of_a_neighbour_is_not_taken(tmp_path):
    save.write(made("metric_depth"), tmp_path, "x", ["npy"])
    save.write(made("affine_depth"), tmp_path, "x_depth", ["npy"])
    assert save.read(tmp_path / "x_depth.npy").kind is Kind.metric_depth
    assert save.read(tmp_path / "x_depth_depth.npy").kind is Kind.affine_depth
    np.save(tmp_path / "x_other.npy", np.zeros((2, 2)))
    with pytest.raises(SaveError, match="kind"):
        save.read(tmp_path / "x_other.npy")


@pytest.mark.parametrize("format", ["npy", "npz", "png16", "exr", "pfm", "tiff"])
def test_damaged_files_are_one_line(tmp_path, format):
    if format == "exr":
        pytest.importorskip("OpenEXR", reason="needs the extra exr")
    path = save.write(made("metric_depth"), tmp_path, "x", [format])[0]
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2], whole[:20], bytes(len(whole))):
        path.write_bytes(damaged)
        with pytest.raises(SaveError) as error:
            save.read(path, kind="metric_depth", scale=1)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_reading_refuses_pickles_pictures_and_what_is_not_there(tmp_path):
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], object), allow_pickle=True)
    picture = save.write(made("metric_depth"), tmp_path, "x", ["png"])[0]
    (tmp_path / "x.txt").write_text("")
    for path in (tmp_path / "p.npy", picture, tmp_path / "x.txt", tmp_path / "none.npy", tmp_path):
        with pytest.raises(SaveError):
            save.read(path, kind="metric_depth")


def test_wrong_choices_name_the_right_one(tmp_path):
    prediction = made("normals")
    for formats, said in (
        (["nby"], "did you mean 'npy'"),
        (["controlnet"], "cannot hold normals: choose from npy"),
        ([], "no format is given"),
        (["side"], "pass its pixels"),
    ):
        with pytest.raises(UsageError, match=said):
            save.write(prediction, tmp_path, "x", formats)
    for wrong in ({"layout": "mariogold"}, {"png16": "metre"}, {"cmap": "jet"}, {"frame": "open"}):
        with pytest.raises(UsageError):
            save.Style(**wrong)
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize("stem", ["../x", "a/../../x", "/tmp/x", "link/x"])
def test_results_stay_below_the_output_folder(tmp_path, stem):
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to(tmp_path)
    with pytest.raises(SaveError, match="stay below the output folder"):
        save.write(made("affine_depth"), out, stem)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x_depth.npy").symlink_to(tmp_path / "precious")
    save.write(made("affine_depth"), tmp_path / "out", "x")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "out" / "x_depth.npy").is_symlink()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_the_umasks_whatever_the_writer_does(tmp_path, mask):
    before = os.umask(mask)
    try:
        with save.atomic(tmp_path / "a") as temporary:
            temporary.write_text("new")
            temporary.chmod(0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_atomic_keeps_the_old_file_if_anything_fails(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail_half_way():
        with save.atomic(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with save.atomic(tmp_path / "new folder" / ("n" * 250)) as temporary:  # a name of the greatest length
        temporary.write_text("new")
    assert (tmp_path / "new folder" / ("n" * 250)).read_text() == "new"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_system_that_refuses_is_one_line(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(SaveError, match=os.strerror(number)) as error:
        save.write(made("affine_depth"), tmp_path, "x")
    assert isinstance(error.value, LeadlineError)
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_the_old_file_and_one_leftover(tmp_path):
    """The process dies inside the block: nothing of it shows under the real name, and the leftover can go."""
    code = f"""
import os, pathlib, signal
from leadline import save
with save.atomic(pathlib.Path({str(tmp_path)!r}) / "a") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "a").write_text("old")
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers([tmp_path, tmp_path / "missing"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_saving_needs_no_torch():
    code = "import sys; from leadline import save; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
