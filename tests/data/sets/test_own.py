"""One's own pairs: folders and tables, every format of maps, and what has to be said about them."""

from __future__ import annotations

import json

import numpy as np
import OpenEXR
import pytest
import trees
from PIL import Image

from leadline.camera import convert_normals
from leadline.data.prepare import prepare
from leadline.data.sample import check, collate
from leadline.data.scan import Source
from leadline.data.sets import open_set
from leadline.errors import DataError

DEPTH = trees.truth_for("folder")
NORMALS = trees.truth_for("nyuv2-normals")


def tiff(root, name, array):
    Image.fromarray(array).save(root / name)


def npz(root, name, array):
    np.savez(root / name, depth=array)


def exr(root, name, array):
    with OpenEXR.File({}, {"Z": array}) as file:
        file.write(str(root / name))


FORMATS = {
    ".npy": trees.npy,
    ".npz": npz,
    ".pfm": trees.pfm,
    ".tiff": tiff,
    ".exr": exr,
}


def table(root, *rows, name="pairs.jsonl"):
    (root / name).write_text("\n".join(json.dumps(row) for row in rows))
    return root / name


@pytest.fixture
def root(tmp_path):
    trees.picture(tmp_path, "images/a b.png", trees.colours())
    return tmp_path


@pytest.mark.parametrize("suffix", FORMATS)
def test_maps_of_every_format_are_metres(root, suffix):
    (root / "depth").mkdir()
    FORMATS[suffix](root, f"depth/a b{suffix}", DEPTH)
    sample = open_set("folder", root)[0]
    np.testing.assert_array_equal(sample.depth_m, DEPTH)
    np.testing.assert_array_equal(sample.rgb, trees.colours())
    assert (sample.name, sample.camera) == ("images/a b.png", None)


@pytest.mark.parametrize(("encoding", "per_metre"), [("counts", 5000), ("sunrgbd", 8000), ("kinect", None)])
def test_counts_need_their_unit(root, encoding, per_metre):
    if encoding == "kinect":
        values = np.rint(1092.5 - 351.3 / DEPTH).astype(np.uint16)
        trees.picture(root, "depth/a b.png", values.byteswap())
    else:
        trees.counts(root, "depth/a b.png", DEPTH, per_metre)
    words = {"counts": "scale: 0.0002"}.get(encoding, f"encoding: {encoding}")
    (root / "pairs.yaml").write_text(words)
    tolerance = 0.03 if encoding == "kinect" else 1e-6
    np.testing.assert_allclose(open_set("folder", root)[0].depth_m, DEPTH, rtol=tolerance)


def test_a_camera_for_all_and_masks_normals_and_mattes_beside(root):
    trees.npy(root, "depth/a b.npy", DEPTH)
    trees.npy(root, "normals/a b.npy", convert_normals(NORMALS, "opencv", "opengl"))
    trees.picture(root, "masks/a b.png", np.tile(np.arange(8) > 0, (6, 1)))
    trees.picture(root, "mattes/a b.png", DEPTH > 2)
    (root / "pairs.yaml").write_text(
        "frame: opengl\nfx: 10\nfy: 11\ncx: 3.5\ncy: 2.5\ncentres: integer\ngroup: rooms"
    )
    sample = open_set("folder", root)[0]
    assert np.array_equal(sample.valid, np.tile(np.arange(8) > 0, (6, 1)))
    np.testing.assert_allclose(sample.normals[sample.valid], NORMALS[sample.valid], atol=1e-6)
    np.testing.assert_array_equal(sample.matte, DEPTH > 2)
    assert (sample.camera.fy, sample.camera.cx, sample.group) == (11, 4, "rooms")


def test_what_another_model_says_takes_the_place_of_depth(root):
    said = DEPTH.copy()
    said[0, 0] = np.nan
    trees.npy(root, "pseudo/a b.npy", said)
    (root / "pairs.yaml").write_text("pseudo_kind: affine_disparity")
    sample = open_set("folder", root)[0]
    np.testing.assert_array_equal(sample.pseudo, said)
    assert (sample.depth_m, sample.pseudo_kind) == (None, "affine_disparity")
    assert not sample.valid[0, 0]
    assert sample.valid.sum() == DEPTH.size - 1


def test_classes_and_captions_lie_beside(root):
    trees.npy(root, "depth/a b.npy", DEPTH)
    numbers = np.tile(np.array([0, 3, 149, 255] * 2), (6, 1))
    trees.picture(root, "classes/a b.png", numbers.astype(np.uint8))
    trees.text(root, "captions/a b.txt", "a wall, and a floor\n")
    sample = open_set("folder", root)[0]
    np.testing.assert_array_equal(sample.classes, np.where(numbers == 255, -1, numbers))
    assert sample.caption == "a wall, and a floor"
    trees.npy(root, "n.npy", np.where(numbers == 255, -1, numbers))
    row = {"image": "images/a b.png", "depth": "depth/a b.npy", "classes": "n.npy", "caption": "said here"}
    listed = open_set("manifest", table(root, row))
    assert listed[0].caption == "said here"
    np.testing.assert_array_equal(listed[0].classes, sample.classes)
    check(listed[0])
    batch = collate([listed[0], sample])
    assert batch.captions == ["said here", "a wall, and a floor"]
    assert batch.classes.shape == (2, 6, 8)


def test_a_palette_of_class_numbers_says_nothing(root):
    trees.npy(root, "depth/a b.npy", DEPTH)
    numbers = np.tile(np.arange(8, dtype=np.uint8), (6, 1))
    picture = Image.fromarray(numbers)
    picture.putpalette(list(range(255, -1, -1)) * 3)
    (root / "classes").mkdir()
    picture.save(root / "classes/a b.png")
    np.testing.assert_array_equal(open_set("folder", root)[0].classes, numbers)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("c.png", lambda root: trees.picture(root, "c.png", trees.colours()), "c.png: a picture of mode RGB"),
        ("c.npy", lambda root: trees.npy(root, "c.npy", DEPTH), "c.npy: holds float32 .* whole numbers"),
        (
            "c.npy",
            lambda root: trees.npy(root, "c.npy", np.zeros((2, 8), int)),
            r"classes: the shape is \[2, 8\], \[H, W\] is needed with H = 6, W = 8",
        ),
        ("c.jpg", lambda root: None, "c.jpg: no format of such maps: one of .npy, .png"),
    ],
)
def test_classes_that_do_not_fit_are_named(root, name, make, message):
    trees.npy(root, "d.npy", DEPTH)
    make(root)
    with pytest.raises(DataError, match=message):
        open_set("manifest", table(root, {"image": "images/a b.png", "depth": "d.npy", "classes": name}))[0]


def test_prepared_pairs_keep_classes_and_captions(root):
    trees.npy(root, "depth/a b.npy", DEPTH)
    trees.picture(root, "classes/a b.png", np.tile(np.uint8([0, 3, 149, 255] * 2), (6, 1)))
    trees.text(root, "captions/a b.txt", 'a "wall", and a floor')
    prepare(Source("folder", {"path": root}), root / "out")
    before, after = open_set("folder", root)[0], open_set("manifest", root / "out/pairs.csv")[0]
    np.testing.assert_array_equal(after.classes, before.classes)
    assert after.caption == before.caption == 'a "wall", and a floor'


def test_maps_belong_to_the_picture_as_it_is_shown(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(trees.colours()).save(tmp_path / "images/a.jpg", exif=turned)
    trees.npy(tmp_path, "depth/a.npy", DEPTH.T)
    assert open_set("folder", tmp_path)[0].size == (8, 6)


def test_tables_of_every_kind_say_the_same(root):
    trees.npy(root, "maps/d.npy", DEPTH)
    row = {"image": "images/a b.png", "depth": "maps/d.npy", "fx": 9.0, "fy": 9.0, "cx": 4.0, "cy": 3.0}
    table(root, row)
    (root / "pairs.csv").write_text('image,depth,mask,fx,fy,cx,cy\n"images/a b.png",maps/d.npy,,9,9,4,3\n')
    for name in ("pairs.jsonl", "pairs.csv"):
        listed = open_set("manifest", root / name)
        assert listed.list.name == name
        np.testing.assert_array_equal(listed[0].depth_m, DEPTH)
        assert listed[0].camera.cx == 4
    assert len(open_set("manifest", root, list_file=root / "pairs.csv")) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "a.png"}, "a.png has no map: give it depth, normals, pseudo"),
        ({"image": "a.png", "depht": "d.npy"}, "depht: unknown key, did you mean 'depth'"),
        ({"depth": "d.npy"}, "image: Field required"),
        ({"image": "a.png", "depth": "d.png"}, r"d.png holds counts: add `scale`, metres per count \(0.001"),
        ({"image": "a.png", "pseudo": "q.npy"}, "q.npy has no kind: add `pseudo_kind`"),
        ({"image": "a.png", "normals": "n.npy"}, "n.npy has no frame: add `frame`"),
        ({"image": "a.png", "depth": "d.npy", "fx": 3}, "a camera is fx, fy, cx and cy"),
        ({"image": "a.png", "depth": "d.png", "scale": -1}, "scale: Input should be greater than 0"),
    ],
)
def test_what_a_row_does_not_say_is_asked_for_before_anything_is_read(root, row, message):
    good = {"image": "images/a b.png", "depth": "d.npy"}
    with pytest.raises(DataError, match=f"manifest, pairs.jsonl: line 2: {message}"):
        open_set("manifest", table(root, good, row))


def test_lines_that_are_no_rows_are_named(root):
    (root / "pairs.jsonl").write_text('{"image": "a.png", "depth": "d.npy"}\n[1, 2]\n')
    with pytest.raises(DataError, match="line 2: no JSON object"):
        open_set("manifest", root / "pairs.jsonl")
    (root / "commas.csv").write_text("image,depth\nmy house, in spring.jpg,d.npy\n")
    with pytest.raises(DataError, match="line 2: 3 cells under 2 titles: quote names with commas"):
        open_set("manifest", root / "commas.csv")
    (root / "titles.csv").write_text("image,depth\n")
    with pytest.raises(DataError, match="holds nothing to read"):
        open_set("manifest", root / "titles.csv")
    with pytest.raises(DataError, match="give the table: a .csv, .jsonl or .parquet file"):
        open_set("manifest", root)


def test_a_picture_without_a_map_is_named(root):
    trees.npy(root, "depth/other.npy", DEPTH)
    with pytest.raises(DataError, match=r"folder: .*images/a b.png: images/a b.png has no map"):
        open_set("folder", root)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        (
            "d.gif",
            lambda root: trees.picture(root, "d.gif", trees.colours()),
            "d.gif: no format of such maps",
        ),
        ("d.npz", lambda root: np.savez(root / "d.npz", a=DEPTH, b=DEPTH), "d.npz: holds the arrays a, b"),
        ("d.npy", lambda root: trees.npy(root, "d.npy", NORMALS), r"the depth map: the shape is \[6, 8, 3\]"),
        (
            "d.npy",
            lambda root: trees.npy(root, "d.npy", DEPTH[:2]),
            r"the depth map: the shape is \[2, 8\], \[H, W\] is needed with H = 6, W = 8",
        ),
        ("../d.npy", lambda root: None, r"'../d.npy' leads out of the data set"),
        ("d.npy", lambda root: None, "d.npy is missing"),
    ],
)
def test_maps_that_do_not_fit_are_named_with_their_line(root, name, make, message):
    make(root)
    listed = open_set("manifest", table(root, {"image": "images/a b.png", "depth": name}))
    with pytest.raises(DataError, match=f"^manifest, pairs.jsonl line 1: .*{message}"):
        listed[0]
