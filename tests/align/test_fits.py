"""Fits: the reference's numbers, and degenerate input."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from leadline import align
from leadline.align import fits

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


NUMBERS = {
    "scale": fits.scale_only, "median": fits.median, "median_ratio": fits.median_ratio,
    "log_median": fits.log_median, "midas": fits.midas, "least_squares": fits.fit,
}  # fmt: skip
STORED = {
    "scale": "scale_only_ls", "median": "median_scale", "median_ratio": "median_ratio",
    "log_median": "log_median_shift", "midas": "midas_median_mad", "least_squares": "ls",
}  # fmt: skip


@pytest.mark.parametrize("known", ["clean", "outliers"])
@pytest.mark.parametrize("name", NUMBERS)
def test_fits_match_the_metric_reference(name, known, golden):
    g = golden("metricgold/alignment")
    scale, shift = NUMBERS[name](*(g[x][None, None] for x in ("pred_f64", f"gt_{known}_f64", "valid")))
    expected = g[f"{STORED[name]}_{known}_f64"]
    expected = expected.exp() if name == "log_median" else expected
    found = torch.stack([scale.flatten(), shift.flatten()])[: len(expected), 0]
    assert_close(found, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("case", "rule"), [("median_scale", fits.median), ("ls_scale_only", fits.scale_only)]
)
def test_scales_match_the_reference(case, rule, golden):
    g = _case(golden, case)
    scale, shift = rule(g["pred"], g["gt"], g["mask"])
    assert_close(scale.flatten().double(), g["scale"], rtol=1e-5, atol=1e-6)
    assert shift.item() == 0


@pytest.mark.parametrize("rule", [*NUMBERS.values(), fits.identity])
def test_fits_by_few_numbers_are_per_image_and_see_valid_pixels_only(rule):
    pred, target = torch.rand(2, 3, 1, 5, 5) + 0.1
    valid = torch.rand(3, 1, 5, 5) > 0.3
    valid[1] = False
    together = rule(pred.where(valid, torch.nan), target.where(valid, -1), valid)
    for i in range(3):
        alone = rule(pred[[i]], target[[i]], valid[[i]])
        assert_close([x[[i]] for x in together], list(alone))
    assert [x[1].item() for x in together] == [0, 0]


def test_weights_count_pixels_as_often_as_they_say():
    x, y = torch.rand(2, 1, 1, 1, 6)
    weight = torch.tensor([1.0, 2, 0, 3, 1, 1]).view(1, 1, 1, 6)
    ok = torch.ones_like(x, dtype=torch.bool)
    often = [z.flatten().repeat_interleave(weight.flatten().long()).view(1, 1, 1, -1) for z in (x, y)]
    repeated = fits.fit(*often, torch.ones(1, 1, 1, 8, dtype=torch.bool))
    assert_close(fits.fit(x, y, ok, weight=weight), repeated)


def _case(golden, name):
    g = golden("eval/alignment", name)
    return {key: g[key][None, None] if g[key].dim() == 2 else g[key] for key in g}
