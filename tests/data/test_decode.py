"""The encodings, against tiny files written by independent definitions of their formats."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import trees
from PIL import Image

from leadline.data import decode
from leadline.data.sample import Sample
from leadline.errors import DataError
from leadline.evaluate.score import known_depths
from leadline.protocols import load


def raw(array) -> bytes:
    return bytes(np.asarray(array))


@pytest.mark.parametrize(
    ("case", "per_metre"),
    [("kitti", 256), ("vkitti", 100), ("nyu", 1000), ("hypersim", 1000), ("ibims_raw", 65535 / 50)],
)
def test_sixteen_bit_pngs_hold_counts(golden, case, per_metre):
    g = golden("eval/decoders", case)
    np.testing.assert_allclose(decode.uint16(raw(g.png_bytes)) / per_metre, g.depth_m, rtol=1e-6)


@pytest.mark.parametrize(
    ("case", "data", "valid"),
    [
        ("kitti", "kitti", "valid_marigold"),
        ("vkitti", "vkitti2", "valid_marigold"),
        ("nyu", "nyuv2", "valid_range"),
        ("hypersim", "hypersim", "valid"),
    ],
)
def test_their_depths_count_in_marigolds_ranges(golden, case, data, valid):
    g, rule = golden("eval/decoders", case), load("marigold").rule(data)
    depth_m = np.asarray(g.depth_m)
    sample = Sample(np.zeros((*depth_m.shape, 3), np.uint8), depth_m > 0, depth_m)
    truth = known_depths(sample, rule.model_copy(update={"box": None}))
    np.testing.assert_array_equal(truth.counts[0, 0], g[valid])


def test_bare_floats_need_their_exact_size(golden):
    g = golden("eval/decoders", "eth3d")
    height, width = g.shape.tolist()
    depth = decode.float32(raw(g.raw_bytes), (height, width))
    np.testing.assert_array_equal(np.where(np.isfinite(depth), depth, 0), g.depth_m)
    with pytest.raises(DataError, match="24 bytes, 32 are wanted for 4x2 float32"):
        decode.float32(raw(g.raw_bytes), (2, 4))


def test_sintels_depth_and_camera(golden):
    g = golden("eval/decoders", "sintel")
    np.testing.assert_array_equal(decode.dpt(raw(g.dpt_bytes)), g.depth)
    K, world_to_camera = decode.cam(raw(g.cam_bytes))
    np.testing.assert_array_equal(K, g.cam_intrinsic)
    np.testing.assert_array_equal(world_to_camera, g.cam_extrinsic_w2c)
    for read in (decode.dpt, decode.cam):
        with pytest.raises(DataError, match=r"begins with 0, a .* file begins with 202021.25"):
            read(bytes(200))


def test_middleburys_disparity_is_stored_bottom_up(golden):
    g = golden("eval/decoders", "middlebury")
    np.testing.assert_array_equal(decode.pfm(raw(g.pfm_bytes)), g.disparity)


def test_kittis_disparity(golden):
    g = golden("eval/decoders", "kitti_stereo15")
    np.testing.assert_array_equal(decode.uint16(raw(g.disp_png_bytes)) / 256, g.disparity)


@pytest.mark.parametrize("case", ["decode8", "decode16"])
def test_normals_as_colours(golden, case):
    g = golden("eval/normals", case)
    vectors, valid = decode.normals(np.asarray(g.png_rgb))
    np.testing.assert_allclose(vectors, g.normal, atol=1e-6)
    np.testing.assert_array_equal(valid, g.mask[..., 0])


def test_all_sixteen_bits_of_colours_are_read(tmp_path, golden):
    counts = np.asarray(golden("eval/normals", "decode16").png_rgb)
    trees.png16_rgb(tmp_path, "a.png", counts)
    np.testing.assert_array_equal(decode.colours((tmp_path / "a.png").read_bytes()), counts)


def test_floats_of_exr(tmp_path, golden):
    vectors = np.asarray(golden("eval/normals", "decode_exr").rgb)
    trees.exr(tmp_path, "a.exr", vectors)
    np.testing.assert_array_equal(decode.exr((tmp_path / "a.exr").read_bytes()), vectors)
    with pytest.raises(
        DataError, match="channels are R, G, B, Z is wanted|channels are B, G, R, Z is wanted"
    ):
        decode.exr_depth((tmp_path / "a.exr").read_bytes())


def test_numbers_of_other_kinds_are_refused(tmp_path):
    def npy(array) -> bytes:
        return (tmp_path / trees.npy(tmp_path, "a.npy", array)).read_bytes()

    def png(array) -> bytes:
        return (tmp_path / trees.picture(tmp_path, "a.png", array)).read_bytes()

    sixteen, colours = np.zeros((2, 3), np.uint16), np.zeros((2, 3, 3), np.uint8)
    for decoder, data, message in [
        (decode.npy, npy(np.zeros((2, 3), int)), r"holds int64 \[2, 3\], floats are wanted"),
        (decode.uint16, png(colours), "mode RGB holds colours, 16-bit counts are wanted"),
        (decode.uint8, png(sixteen), "8 bits are wanted"),
        (decode.rgb, png(sixteen), "8-bit colours are wanted"),
        (decode.colours, png(sixteen), r"holds uint16 \[2, 3, 1\]"),
    ]:
        with pytest.raises(DataError, match=message):
            decoder(data)
    with pytest.raises(ValueError, match="allow_pickle"):
        decode.npy(npy(np.array([{}])))


def test_half_floats_are_read(tmp_path, golden):
    g = golden("eval/decoders", "tartanair")
    data = (tmp_path / trees.npy(tmp_path, "a.npy", np.asarray(g.depth_fp16))).read_bytes()
    np.testing.assert_allclose(80 / decode.npy(data), g.disparity, rtol=1e-6)  # fx * baseline = 320 * 0.25


def test_the_last_axis_of_depth_may_be_one(tmp_path):
    trees.npy(tmp_path, "a.npy", np.ones((2, 3, 1)))
    assert decode.npy((tmp_path / "a.npy").read_bytes()).shape == (2, 3)


def test_pictures_are_read_as_stored_and_grey_ones_become_colours(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(trees.colours()).save(file, "JPEG", exif=turned)
    assert decode.rgb(file.getvalue()).shape == (*trees.SIZE, 3)
    trees.picture(tmp_path, "grey.png", np.full((2, 3), 7, np.uint8))
    assert decode.rgb((tmp_path / "grey.png").read_bytes()).tolist() == np.full((2, 3, 3), 7).tolist()
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3, 4), 9, np.uint8)).save(file, "PNG")
    assert decode.rgb(file.getvalue()).shape == (2, 3, 3)


def test_a_matte_counts_above_a_tenth_of_white():
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 25, 26, 255]], np.uint8)).save(file, "PNG")
    assert decode.matte(file.getvalue()).tolist() == [[False, False, True, True]]


def test_records_are_whole():
    assert decode.records(np.arange(10, dtype="<f4").tobytes(), 5)[1].tolist() == [5, 6, 7, 8, 9]
    for data in (b"", bytes(24)):
        with pytest.raises(DataError, match="are no records of 5 float32"):
            decode.records(data, 5)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"needs h5py, which is not installed: pip install '\.\[datasets\]'"):
        decode.hdf5(b"")


def test_hdf5_holds_numbers(tmp_path):
    trees.hdf5(tmp_path, "a.hdf5", dataset=np.arange(3.0), words=np.array([b"one"]))
    data = (tmp_path / "a.hdf5").read_bytes()
    assert decode.hdf5(data).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="'words' holds .*, numbers are wanted"):
        decode.hdf5(data, "words")
