"""`leadline predict --align`: metres for a model that knows none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.cli.conftest import save_photo

from leadline import save


@pytest.fixture
def predict(run, tiny_model):
    return lambda *words: run("predict", "--model", tiny_model, *words)


@pytest.fixture
def disparity(predict, photo, tmp_path):
    """What the model says of the photograph."""
    assert predict(photo, "-o", tmp_path / "plain", "-f", "npy").code == 0
    return np.load(tmp_path / "plain" / "photo_depth.npy")


def test_points_give_metres_and_a_line_about_the_fit(predict, photo, disparity, tmp_path):
    depth = 1 / (0.2 * disparity + 0.05)
    pixels = [(0, 0), (29, 39), (12, 20), (25, 3)]
    lines = [f"{column},{row},{depth[row, column]}" for row, column in pixels]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    out = tmp_path / "out"
    done = predict(photo, "-o", out, "--align", tmp_path / "points.csv", "-f", "npy,ply")
    assert done.code == 0
    assert "median residual 0.00%" in done.err
    aligned = save.read(out / "photo_depth.npy")
    np.testing.assert_allclose(aligned.metres(), depth, rtol=1e-3)
    record = json.loads((out / "photo.json").read_text())["settings"]["align"]
    assert (record["space"], record["method"], record["pixels"]) == ("disparity", "least_squares", 4)
    assert record["residual_p90"] < 1e-3
    assert (out / "photo_depth.ply").read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert (
        predict(photo, "-o", out, "--align", tmp_path / "points.csv", "-f", "npy,ply").code == 0
    )  # done before
    assert predict(photo, "-o", out, "-f", "npy").code == 2  # other settings


def test_a_pipe_aligns_too(predict, photo, disparity, tmp_path):
    np.save(tmp_path / "known.npy", 1 / (disparity + 0.1))
    done = predict(
        photo, "-o", "-", "-f", "npy", "--align", tmp_path / "known.npy", "--align-method", "ransac"
    )
    assert done.code == 0
    (tmp_path / "piped.npy").write_bytes(done.raw)
    np.testing.assert_allclose(np.load(tmp_path / "piped.npy"), 1 / (disparity + 0.1), rtol=1e-3)
    assert "aligned to known depths" in done.err


def test_counts_need_a_scale_and_the_failure_says_so(predict, photo, disparity, tmp_path):
    counts = (1000 / (disparity + 0.1)).astype(np.uint16)
    (tmp_path / "known.png").write_bytes(save.containers.png_bytes(counts, {}))
    done = predict(photo, "-o", tmp_path / "a", "--align", tmp_path / "known.png")
    assert done.code == 1
    assert "--align-scale (0.001 for millimetres)" in done.err
    done = predict(photo, "-o", tmp_path / "b", "--align", tmp_path / "known.png", "--align-scale", "0.001")
    assert done.code == 0


def test_a_folder_aligns_what_it_can(predict, disparity, photo, tmp_path):
    save_photo(photo.parent / "other.png", seed=3)
    (tmp_path / "known").mkdir()
    np.save(tmp_path / "known" / "photo.npy", 1 / (disparity + 0.1))
    done = predict(photo.parent, "-o", tmp_path / "out", "--align", tmp_path / "known")
    assert done.code == 1
    failures = [line for line in done.err.splitlines() if line.startswith("failed")]
    assert len(failures) == 1
    assert "other.png (align)" in failures[0]
    assert (tmp_path / "out" / "photo_depth.npy").exists()


def test_an_assumed_camera_is_said_once_however_many_pictures(predict, photo, disparity, tmp_path):
    save_photo(photo.parent / "other.png", seed=3)
    (tmp_path / "known").mkdir()
    for name in ("photo", "other"):
        (tmp_path / "known" / f"{name}.csv").write_text("3,3,2\n30,20,4\n9,25,3\n")
    words = (photo.parent, "-o", tmp_path / "out", "--align", tmp_path / "known", "--align-method", "scale")
    done = predict(*words, "-f", "ply,json")
    assert done.code == 0
    assert done.err.count("60 degrees is assumed") == 1
    assert predict(*words, "-f", "ply,json", "--overwrite", "--quiet")[:3] == (0, "", "")
    for file in (tmp_path / "out").glob("*.json"):
        assert json.loads(file.read_text())["camera_source"] == "assumed"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--align-method ransac", "go with --align"),
        ("--align nothing.csv", "no such file"),
        ("--align=", "--align has no name"),
        ("--align . --align-method ransak", "did you mean 'ransac'"),
        ("--align model:small", "metres are needed"),
        ("--align model:small --align-scale 2", "leave it out"),
        ("--align model:smal", "did you mean 'small'"),
        ("--format ply", "'ply' cannot hold affine_disparity"),
    ],
)
def test_mistakes_are_said_in_one_line_before_the_work(predict, photo, tmp_path, words, expected):
    done = predict(photo, "-o", tmp_path / "out", *words.split())
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert expected in line
    assert not (tmp_path / "out").exists()
