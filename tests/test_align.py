"""Fits: the reference's numbers, degenerate input, and predictions in their own space."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from leadline import align
from leadline.errors import DataError, KindError, ShapeError
from leadline.prediction import Kind, Prediction

DEPTH_CASES = [
    "depth", "depth_allvalid", "depth_anticorrelated", "depth_gt0_outside", "depth_two_pixels",
    "depth_one_pixel", "depth_constant_pred", "depth_constant_zero_pred", "depth_empty_mask",
]  # fmt: skip


@pytest.mark.parametrize("case", DEPTH_CASES)
def test_fit_matches_reference(case, golden):
    g = _case(golden, case)
    scale, shift = align.fit(g["pred"], g["gt"], g["mask"])
    assert_close(scale.flatten(), g["scale"].float(), rtol=1e-4, atol=1e-5)
    assert_close(shift.flatten(), g["shift"].float(), rtol=1e-4, atol=1e-5)
    assert_close((scale * g["pred"] + shift), g["aligned"], rtol=1e-5, atol=1e-5)


def test_fit_in_disparity_matches_reference(golden):
    g = _case(golden, "disparity")
    inverse = torch.where(g["gt"] > 0, 1 / g["gt"], 0)
    scale, shift = align.fit(g["pred_disparity"], inverse, g["fit_mask"])
    assert_close(scale.flatten(), g["scale"].float(), rtol=1e-4, atol=1e-6)
    assert_close(shift.flatten(), g["shift"].float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(("case", "mask"), [("ssi", "ssi_mask"), ("ssi_one_empty", "ssi_onemask")])
def test_fit_matches_the_papers_code(case, mask, compat, golden):
    g = golden("e2e/losses")
    scale, shift = align.fit(g.ssi_pred, g.ssi_gt, g[mask], compat=compat)
    assert_close(scale.flatten(), g[f"{case}_scale"], rtol=1e-5, atol=1e-5)
    assert_close(shift.flatten(), g[f"{case}_shift"], rtol=1e-5, atol=1e-5)


def test_fit_of_a_constant_is_zero_under_compat(golden):
    g = golden("e2e/losses")
    for value in align.fit(g.ssi_const_pred, g.ssi_gt, g.ssi_mask, compat=True):
        assert (value == 0).all()


def test_fit_never_looks_at_invalid_pixels():
    pred, target = torch.rand(2, 1, 1, 8, 8)
    valid = torch.rand(1, 1, 8, 8) > 0.3
    expected = align.fit(pred, target, valid)
    assert_close(align.fit(pred, target.where(valid, torch.nan), valid), expected)
    assert_close(align.fit(pred.where(valid, torch.inf), target, valid), expected)


def test_fit_is_per_image():
    pred, target = torch.rand(2, 3, 1, 8, 8)
    valid = torch.rand(3, 1, 8, 8) > 0.3
    together = align.fit(pred, target, valid)
    for i in range(3):
        alone = align.fit(pred[i : i + 1], target[i : i + 1], valid[i : i + 1])
        assert_close([x[i : i + 1] for x in together], list(alone))


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_fit_survives_large_offsets(offset):
    x = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    scale, shift = align.fit(x + offset, 2 * x + 1, torch.ones_like(x, dtype=torch.bool))
    assert_close(scale.item(), 2.0, rtol=1e-5, atol=0)
    assert_close(shift.item(), 1 - 2 * offset, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [Kind.affine_depth, Kind.affine_disparity, Kind.metric_depth])
def test_to_recovers_the_truth_in_the_predictions_own_space(kind):
    truth = np.random.default_rng(0).uniform(1, 20, (12, 16)).astype(np.float32)
    raw = {
        Kind.affine_depth: truth / 19 - 1 / 19,
        Kind.affine_disparity: 0.3 / truth + 0.2,
        Kind.metric_depth: truth * 1.3,
    }[kind]
    known = np.random.default_rng(1).random((12, 16)) > 0.8  # a fifth of the pixels is enough
    aligned = align.to(Prediction(raw.astype(np.float32), kind, model="m"), truth, known)
    np.testing.assert_allclose(aligned.metres(), truth, rtol=1e-4)
    assert aligned.kind == Kind.metric_depth
    assert aligned.model == "m"
    assert aligned.settings["align"]["pixels"] == known.sum()
    assert aligned.settings["align"]["space"] == ("disparity" if kind == Kind.affine_disparity else "depth")


def test_to_fits_metric_depth_in_disparity_if_asked():
    truth = np.random.default_rng(0).uniform(1, 20, (12, 16)).astype(np.float32)
    prediction = Prediction((1 / (2 / truth + 0.1)).astype(np.float32), Kind.metric_depth)
    np.testing.assert_allclose(align.to(prediction, truth, space="disparity").metres(), truth, rtol=1e-4)
    assert np.abs(align.to(prediction, truth).metres() - truth).max() > 0.1


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
    with caplog.at_level(logging.WARNING, logger="leadline.align"):
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


def _case(golden, name):
    g = golden("eval/alignment", name)
    return {key: g[key][None, None] if g[key].dim() == 2 else g[key] for key in g}
