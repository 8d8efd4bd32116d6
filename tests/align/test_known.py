"""Predictions in metres: their own space, what determines a fit, and what is written down of it."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from leadline import align
from leadline.errors import DataError, KindError, ShapeError
from leadline.prediction import Kind, Prediction

TRUTH = np.random.default_rng(0).uniform(1, 20, (12, 16)).astype(np.float32)


@pytest.mark.parametrize("kind", [Kind.affine_depth, Kind.affine_disparity, Kind.metric_depth])
def test_to_recovers_the_truth_in_the_predictions_own_space(kind):
    raw = {
        Kind.affine_depth: TRUTH / 19 - 1 / 19,
        Kind.affine_disparity: 0.3 / TRUTH + 0.2,
        Kind.metric_depth: TRUTH * 1.3,
    }[kind]
    space = "depth" if kind is Kind.metric_depth else None
    known = np.random.default_rng(1).random((12, 16)) > 0.8  # a fifth of the pixels is enough
    aligned = align.to(Prediction(raw.astype(np.float32), kind, model="m"), TRUTH, known, space=space)
    np.testing.assert_allclose(aligned.metres(), TRUTH, rtol=1e-4)
    assert aligned.kind == Kind.metric_depth
    assert aligned.model == "m"
    assert aligned.settings["align"]["pixels"] == known.sum()
    assert aligned.settings["align"]["space"] == ("disparity" if kind == Kind.affine_disparity else "depth")


def test_to_fits_metric_depth_in_disparity_if_asked():
    prediction = Prediction((1 / (2 / TRUTH + 0.1)).astype(np.float32), Kind.metric_depth)
    np.testing.assert_allclose(align.to(prediction, TRUTH, space="disparity").metres(), TRUTH, rtol=1e-4)
    assert np.abs(align.to(prediction, TRUTH, space="depth").metres() - TRUTH).max() > 0.1


def test_to_limits_what_lies_behind_the_horizon():
    truth = np.array([[1.0, 2.0, 4.0, 0.0]], np.float32)  # the last one is unknown
    disparity = np.array([[1.0, 0.5, 0.25, -0.1]], np.float32)
    metres = align.to(Prediction(disparity, Kind.affine_disparity), truth, far_m=80).metres()
    np.testing.assert_allclose(metres, [[1, 2, 4, 80]], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_to_leaves_out_impossible_depths(bad):
    truth = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    spoiled = truth.copy()
    spoiled[1, 1] = bad
    aligned = align.to(Prediction(truth / 20, Kind.affine_depth), spoiled)
    np.testing.assert_allclose(aligned.metres(), truth, rtol=1e-5)


def test_to_warns_of_a_prediction_that_runs_backwards(caplog):
    truth = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    with caplog.at_level(logging.WARNING, logger="leadline.align.known"):
        align.to(Prediction(-truth, Kind.affine_depth), truth)
    assert "negative scale" in caplog.text


def test_to_refuses_what_makes_no_sense():
    truth = np.ones((2, 2), np.float32)
    affine = Prediction(truth, Kind.affine_depth)
    with pytest.raises(KindError, match="fit it in depth"):
        align.to(affine, truth, space="disparity")
    with pytest.raises(KindError, match="use a depth model"):
        align.to(Prediction(np.ones((2, 2, 3), np.float32), Kind.normals), truth)
    with pytest.raises(DataError, match="1 known depths"):
        align.to(affine, truth, np.array([[True, False], [False, False]]))
    with pytest.raises(ShapeError, match="depth_m"):
        align.to(affine, np.ones((3, 2), np.float32))


def test_to_takes_points():
    prediction = Prediction(TRUTH / 20 - 0.1, Kind.affine_depth)
    points = np.array([[x + 0.5, y + 0.9, TRUTH[y, x]] for x, y in ((0, 0), (15, 11), (3, 7))])
    aligned = align.to(prediction, points)
    np.testing.assert_allclose(aligned.metres(), TRUTH, rtol=1e-4)
    assert aligned.settings["align"]["pixels"] == 3
    with_holes = np.concatenate([points, [[1, 1, np.nan], [2, 2, 0]]])
    np.testing.assert_array_equal(align.to(prediction, with_holes).metres(), aligned.metres())


def test_to_says_which_point_lies_outside():
    points = np.array([[1.0, 1.0, 2.0], [16.0, 3.0, 5.0]])
    with pytest.raises(DataError, match=r"1 points .* 16x12, the first at \(16, 3\)"):
        align.to(Prediction(TRUTH, Kind.affine_depth), points)


def test_to_survives_wrong_points_by_robust_methods():
    spoiled = TRUTH.copy()
    spoiled[:2] *= 4  # a sixth of the pixels
    prediction = Prediction(TRUTH / 20 - 0.1, Kind.affine_depth)
    for method, error in (("ransac", 1e-4), ("trimmed", 1e-4), ("huber", 0.1)):
        aligned = align.to(prediction, spoiled, method=method)
        np.testing.assert_allclose(aligned.metres(), TRUTH, rtol=error)
        assert aligned.settings["align"]["method"] == method
    plain = align.to(prediction, spoiled).metres()
    assert np.abs(plain / TRUTH - 1).max() > 0.3


def test_to_records_how_well_it_fits():
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, TRUTH.shape).astype(np.float32)
    aligned = align.to(Prediction(TRUTH * (1 + noise), Kind.metric_depth), TRUTH, method="none")
    record = aligned.settings["align"]
    np.testing.assert_allclose(record["residual_median"], np.median(np.abs(noise)), rtol=1e-3)
    np.testing.assert_allclose(record["residual_p90"], np.quantile(np.abs(noise), 0.9), rtol=1e-3)
    assert (record["scale"], record["shift"], record["pixels"]) == (1, 0, TRUTH.size)


def test_to_looks_at_no_invalid_pixel_of_the_prediction():
    raw, valid = TRUTH / 20, np.ones(TRUTH.shape, bool)
    raw[0, 0], valid[0, 0] = 77, False
    raw[1, 1] = np.nan
    aligned = align.to(Prediction(raw, Kind.affine_depth, valid=valid), TRUTH)
    np.testing.assert_allclose(aligned.metres()[2:], TRUTH[2:], rtol=1e-4)
    assert aligned.settings["align"]["pixels"] == TRUTH.size - 2


def test_to_never_refits_metres_unasked():
    prediction = Prediction(TRUTH, Kind.metric_depth)
    with pytest.raises(KindError, match="in metres already"):
        align.to(prediction, 2 * TRUTH)
    np.testing.assert_allclose(align.to(prediction, 2 * TRUTH, method="log_median").metres(), 2 * TRUTH)


def test_one_known_depth_is_enough_for_a_scale():
    one = np.zeros_like(TRUTH)
    one[3, 4] = 2 * TRUTH[3, 4]
    prediction = Prediction(TRUTH, Kind.metric_depth)
    np.testing.assert_allclose(align.to(prediction, one, method="scale").metres(), 2 * TRUTH)
    with pytest.raises(DataError, match="1 known depths, a fit needs 2"):
        align.to(prediction, one, space="depth")


@pytest.mark.parametrize("flat", ["pred", "known"])
def test_known_depths_without_contrast_are_refused(flat):
    level = np.full((2, 3), 4, np.float32)
    slope = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    pred, known = (level, slope) if flat == "pred" else (slope, level)
    with pytest.raises(DataError, match="without contrast"):
        align.to(Prediction(pred, Kind.affine_depth), known)


def test_a_negative_scale_is_refused_if_it_may_not_be():
    with pytest.raises(DataError, match="runs against"):
        align.to(Prediction(-TRUTH, Kind.affine_depth), TRUTH, allow_negative_scale=False)
    with pytest.raises(DataError, match="no scale"):  # ransac finds no rising line
        align.to(Prediction(-TRUTH, Kind.affine_depth), TRUTH, method="ransac")


def test_a_prediction_aligns_itself():
    prediction = Prediction(TRUTH / 20 - 0.1, Kind.affine_depth)
    np.testing.assert_array_equal(prediction.align_to(TRUTH).values, align.to(prediction, TRUTH).values)
