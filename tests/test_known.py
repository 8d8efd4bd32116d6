"""Known depths of a run's pictures: from files, folders and models, and each of them wrong in its way."""

from __future__ import annotations

import numpy as np
import pytest
from folder_runs import Fake, photographs

from leadline import image, jobs, save
from leadline.errors import DataError, UsageError
from leadline.image import Picture
from leadline.jobs import Known
from leadline.prediction import Kind, Prediction

TRUTH = np.random.default_rng(0).uniform(1, 9, (10, 12)).astype(np.float32)
AFFINE = Prediction(TRUTH / 10 - 0.05, Kind.affine_depth)
METRIC = Prediction(TRUTH, Kind.metric_depth)
PICTURE = Picture(np.zeros((10, 12, 3), np.uint8), name="photos/x.jpg")


def points_file(path, indices=((0, 0), (9, 11), (4, 7))):
    lines = [f"{column},{row},{TRUTH[row, column]}" for row, column in indices]
    path.write_text("\n".join(["u,v,depth_m", *lines]))
    return path


@pytest.mark.parametrize("format", ["npy", "png16", "pfm", "tiff", "npz"])
def test_every_format_of_depth_can_be_what_is_known(format, tmp_path):
    (path, *_) = save.write(METRIC, tmp_path, "known", [format])
    aligned = Known(path).align(AFFINE, PICTURE)
    np.testing.assert_allclose(aligned.metres(), TRUTH, atol=1e-3)


def test_foreign_files_are_metres_and_counts_need_a_scale(tmp_path):
    np.save(tmp_path / "x.npy", TRUTH)
    np.testing.assert_allclose(Known(tmp_path / "x.npy").align(AFFINE, PICTURE).metres(), TRUTH, rtol=1e-4)
    save.write_bytes(tmp_path / "x.png", save.containers.png_bytes((TRUTH * 256).astype(np.uint16), {}))
    with pytest.raises(DataError, match="give --align-scale"):
        Known(tmp_path / "x.png").align(AFFINE, PICTURE)
    scaled = Known(tmp_path / "x.png", scale=1 / 256).align(AFFINE, PICTURE)
    np.testing.assert_allclose(scaled.metres(), TRUTH, atol=0.01)


def test_points_align_and_residuals_are_kept(tmp_path):
    known = Known(points_file(tmp_path / "points.csv"))
    aligned = known.align(AFFINE, PICTURE)
    np.testing.assert_allclose(aligned.metres(), TRUTH, rtol=1e-4)
    assert aligned.settings["align"]["pixels"] == 3
    assert known.residuals == [aligned.settings["align"]["residual_median"]]
    assert "median residual 0.00%" in str(known)


def test_a_map_of_another_size_is_taken_as_points_and_of_another_shape_refused(tmp_path):
    photo = Prediction(np.kron(TRUTH, np.ones((4, 4), np.float32)) / 10, Kind.affine_depth)
    picture = Picture(np.zeros((40, 48, 3), np.uint8), name="x.jpg")
    np.save(tmp_path / "known.npy", TRUTH)
    aligned = Known(tmp_path / "known.npy").align(photo, picture)
    np.testing.assert_allclose(aligned.metres(), np.kron(TRUTH, np.ones((4, 4))), rtol=1e-4)
    assert aligned.settings["align"]["pixels"] == TRUTH.size
    with pytest.raises(DataError, match="12x10 pixels, another shape than the photo's 48x48"):
        Known(tmp_path / "known.npy").align(photo, Picture(np.zeros((48, 48, 3), np.uint8)))


@pytest.mark.parametrize("name", ["x.csv", "x.npy", "x_depth.npy"])
def test_a_folder_holds_a_file_of_the_same_stem(name, tmp_path):
    if name.endswith("csv"):
        points_file(tmp_path / name)
    else:
        np.save(tmp_path / name, TRUTH)
    np.testing.assert_allclose(Known(tmp_path).align(AFFINE, PICTURE).metres(), TRUTH, rtol=1e-4)
    with pytest.raises(DataError, match=r"no y\.csv"):
        Known(tmp_path).align(AFFINE, Picture(PICTURE.rgb, name="y.jpg"))


class Metric:
    """A model that knows the truth."""

    kind = Kind.metric_depth

    class card:  # noqa: N801
        name = "truth"

    def stream(self, images):
        for _ in images:
            yield METRIC


def test_another_model_gives_the_metres():
    known = Known(Metric())
    np.testing.assert_allclose(known.align(AFFINE, PICTURE).metres(), TRUTH, rtol=1e-4)
    assert known.settings["model"] == "truth"
    with pytest.raises(UsageError, match="gives affine_depth"):
        Known(Fake("affine_depth"))


def test_impossible_wishes_are_usage_errors(tmp_path):
    points = points_file(tmp_path / "points.csv")
    for make, message in [
        (lambda: Known(tmp_path / "none.csv"), "no such file"),
        (lambda: Known(points, "ransack"), "did you mean 'ransac'"),
        (lambda: Known(points.rename(tmp_path / "points.docx")), "known depths are .csv"),
        (lambda: Known(tmp_path).check(Kind.normals), "cannot be aligned"),
        (lambda: Known(tmp_path).check(Kind.metric_depth), "metres already"),
    ]:
        with pytest.raises(UsageError, match=message):
            make()
    assert Known(tmp_path, "log_median").check(Kind.metric_depth) is Kind.metric_depth


def test_what_is_known_is_part_of_a_runs_settings(tmp_path):
    points = points_file(tmp_path / "points.csv")
    before = Known(points).settings
    assert before == Known(points).settings
    assert before != Known(points, "median").settings
    points.write_text(points.read_text().replace("0,0,", "0,0,1"))
    assert before != Known(points).settings


def test_a_picture_that_cannot_be_aligned_fails_alone(tmp_path):
    photographs(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png"])
    known = tmp_path / "known"
    known.mkdir()
    model = Fake("affine_depth")
    (result,) = model.stream([image.read(tmp_path / "in" / "a.png")])
    np.save(known / "a.npy", 3 * result.values + 1)
    np.save(known / "b.npy", np.ones_like(result.values))
    (known / "c.csv").write_text("1,1,2\n")
    out = tmp_path / "out"
    summary = jobs.files([tmp_path / "in"], out, model=model, formats=["npy"], known=Known(known))
    assert summary.done == 1
    reasons = {failure.name: (failure.stage, failure.reason) for failure in summary.failed}
    assert "without contrast" in reasons["b"][1]
    assert "1 known depths, a fit needs 2" in reasons["c"][1]
    assert "holds no known depths of it" in reasons["d"][1]
    assert {stage for stage, _ in reasons.values()} == {"align"}
    back = save.read(out / "a_depth.npy")
    assert back.kind is Kind.metric_depth
    np.testing.assert_allclose(back.settings["align"]["scale"], 3, rtol=1e-4)


@pytest.mark.parametrize(
    ("pictures", "known"),
    [
        (["a/x.png", "b/x.png"], ["a/x.npy", "b/x.npy"]),  # in a tree like theirs
        (["a/x.png", "b/x.png"], ["x.npy", "b/x_depth.npy"]),
        (["a/x.png", "a/x.webp"], ["a/x.png_depth.npy", "a/x.webp_depth.npy"]),  # as a run has laid them
    ],
)
def test_pictures_of_one_stem_have_known_depths_of_their_own(pictures, known, tmp_path):
    photographs(tmp_path / "in", pictures)
    model = Fake()
    for name, picture, scale in zip(known, pictures, (2, 3), strict=True):
        (result,) = model.stream([image.read(tmp_path / "in" / picture)])
        (tmp_path / "known" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "known" / name, scale * result.values + 1)
    how = {"model": model, "formats": ["npy"], "recursive": True, "known": Known(tmp_path / "known")}
    assert jobs.files([tmp_path / "in"], tmp_path / "out", **how).done == 2
    for job, scale in zip(jobs.collect([tmp_path / "in"], True), (2, 3), strict=True):
        found = save.read(tmp_path / "out" / f"{job.name}_depth.npy").settings["align"]["scale"]
        assert found == pytest.approx(scale, rel=1e-3)


def test_two_pictures_never_share_a_file_of_known_depths(tmp_path):
    photographs(tmp_path / "in", ["a/x.png", "b/x.png"])
    (tmp_path / "known").mkdir()
    points_file(tmp_path / "known" / "x.csv")
    how = {"model": Fake(), "recursive": True, "known": Known(tmp_path / "known")}
    with pytest.raises(UsageError, match=r"known/x\.csv has the stem of .*a/x\.png and of .*b/x\.png: lay"):
        jobs.files([tmp_path / "in"], tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


def test_known_depths_are_found_by_names_that_print_as_escapes(tmp_path):
    stem = "Screenshot 10.00\u202fAM"  # of macOS
    photographs(tmp_path / "in", [f"{stem}.png"])
    (tmp_path / "known").mkdir()
    model, known = Fake(), Known(tmp_path / "known")
    (result,) = model.stream([picture := image.read(tmp_path / "in" / f"{stem}.png")])
    np.save(tmp_path / "known" / f"{stem}.npy", 2 * result.values + 1)
    assert jobs.files([tmp_path / "in"], tmp_path / "out", model=model, known=known).done == 1
    assert known.align(result, picture).kind is Kind.metric_depth  # as a pipe does


def test_one_file_is_of_one_picture(tmp_path):
    photographs(tmp_path / "in", ["a.png", "b.png"])
    known = Known(points_file(tmp_path / "points.csv"))
    with pytest.raises(UsageError, match="one picture, 2 are given"):
        jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake("affine_depth"), known=known)
