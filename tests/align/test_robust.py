"""Fits that survive outliers, against an independent implementation."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from leadline.align import robust


@pytest.mark.parametrize("known", ["clean", "outliers"])
@pytest.mark.parametrize(
    ("fit", "options", "stored"),
    [(robust.huber, {"limit": 0.1}, "huber0p1"), (robust.trimmed, {}, "trimmed80")],
)
def test_robust_fits_match_the_reference(fit, options, stored, known, golden):
    maps = _maps(golden, known)
    found = torch.cat([x.flatten() for x in fit(*maps, **options)])
    assert_close(found, golden("metricgold/alignment")[f"{stored}_{known}_f64"], rtol=0, atol=1e-6)


def test_ransac_matches_the_reference(golden):
    g = golden("metricgold/alignment")
    pred, target, valid = _maps(golden, "outliers")
    p, gt = pred[valid], target[valid]
    limits = torch.full_like(gt, g.ransac_threshold_f64.item())
    scale, shift, counts = robust.consensus(p, gt, g.ransac_pairs, limits)
    assert counts.tolist() == g.ransac_counts.tolist()
    best = counts.argmax()
    assert_close(torch.stack([scale[best], shift[best]]), g.ransac_best_model_f64, rtol=0, atol=1e-6)
    inside = robust._residual(p, gt, (scale[best], shift[best])) < limits
    assert torch.equal(inside, g.ransac_inliers)
    assert not (inside & g.outlier[valid[0, 0]]).any()
    found = robust.ransac(pred, target, valid, limit=0.1, pairs=g.ransac_pairs)
    assert_close(torch.cat([x.flatten() for x in found]), g.ransac_refit_f64, rtol=0, atol=1e-6)


def test_ransac_draws_its_own_pairs_the_same_each_time(golden):
    maps, truth = _maps(golden, "outliers"), golden("metricgold/alignment").true_scale_shift_f64
    found = torch.cat([x.flatten() for x in robust.ransac(*maps)])
    assert_close(found, truth, rtol=0, atol=0.05)
    assert torch.equal(found, torch.cat([x.flatten() for x in robust.ransac(*maps)]))


def test_residuals_are_counted_in_chunks(golden, monkeypatch):
    maps = _maps(golden, "outliers")
    whole = robust.ransac(*maps)
    monkeypatch.setattr(robust, "CHUNK", 1)
    assert_close(robust.ransac(*maps), whole)


@pytest.mark.parametrize("fit", [robust.huber, robust.trimmed, robust.ransac])
def test_images_without_valid_pixels_get_nothing_and_others_their_own(fit, golden):
    pred, target, valid = _maps(golden, "outliers")
    none = torch.zeros_like(valid)
    found = fit(torch.cat([pred, pred]), torch.cat([target, target]), torch.cat([none, valid]))
    assert_close([x[1:] for x in found], list(fit(pred, target, valid)))
    assert [x[0].item() for x in found] == [0, 0]


def _maps(golden, known):
    g = golden("metricgold/alignment")
    return [g[x][None, None] for x in ("pred_f64", f"gt_{known}_f64", "valid")]
