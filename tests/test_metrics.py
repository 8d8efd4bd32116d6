"""Depth metrics against Marigold's, and what they must not see."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from leadline import metrics

IN_FILE_ORDER = [
    "absrel",
    "sqrel",
    "rmse",
    "rmse_log",
    "log10",
    "delta1",
    "delta2",
    "delta3",
    "irmse",
    "silog",
]
CASES = ["a", "b_allvalid", "c_gtzero_invalid", "d_gtnan_invalid", "e_onepixel", "f_perfect"]


@pytest.mark.parametrize("name", IN_FILE_ORDER)
@pytest.mark.parametrize("case", CASES)
def test_metric_matches_reference(case, name, golden):
    g = golden("eval/depth_metrics", case)
    pred, gt, mask = (g[key][None, None] for key in ("pred", "gt", "mask"))
    found = getattr(metrics, name)(pred, gt, mask)
    expected = g.marigold[[IN_FILE_ORDER.index(name)]].double()
    assert_close(found, expected, rtol=1e-5, atol=1e-3 if name == "silog" else 1e-6)


def test_names_are_in_the_order_of_the_file(golden):
    names = golden("eval/depth_metrics")["metric_names"].tolist()
    assert [n[:6] for n in names] == [
        "abs_re",
        "square",
        "rmse_l",
        "rmse_l",
        "log10",
        *["delta" + k for k in "123"],
        "i_rmse",
        "silog_",
    ]


@pytest.mark.parametrize("name", IN_FILE_ORDER)
def test_images_do_not_touch_each_other(name):
    pred, target = torch.rand(2, 3, 1, 6, 7) + 0.5
    valid = torch.rand(3, 1, 6, 7) > 0.3
    valid[1] = False
    found = getattr(metrics, name)(pred, target, valid)
    assert found.shape == (3,)
    assert found[1].isnan()
    for i in (0, 2):
        assert_close(found[i : i + 1], getattr(metrics, name)(pred[[i]], target[[i]], valid[[i]]))


@pytest.mark.parametrize("name", IN_FILE_ORDER)
@pytest.mark.parametrize("poison", [0.0, -1.0, torch.nan, torch.inf])
def test_pixels_outside_the_mask_do_not_leak(name, poison):
    pred, target = torch.rand(2, 1, 1, 6, 7) + 0.5
    valid = torch.rand(1, 1, 6, 7) > 0.3
    metric = getattr(metrics, name)
    spoiled = metric(pred.where(valid, poison), target.where(valid, poison), valid)
    assert_close(spoiled, metric(pred, target, valid))


def test_a_constant_ratio_has_no_silog_of_its_own():
    target = torch.rand(1, 1, 20, 20) + 0.5
    assert metrics.silog(1.5 * target, target, target > 0).item() < 1e-4  # the released code returns NaN
