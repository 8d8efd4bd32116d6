"""Normals: DSINE's pool and Marigold's mean over images are two figures, and both are met."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from leadline.errors import DataError, ShapeError
from leadline.metrics import Pool, Scores, angular_error
from leadline.metrics.normals import pool, summary


@pytest.mark.parametrize("case", ["img0", "img1", "img2"])
def test_the_error_is_the_papers_angle(case, golden):
    pred, target, valid = _maps(golden, case)
    expected = golden("eval/normals", case).error_deg[None, None]
    assert_close(angular_error(pred, target)[valid], expected[valid], rtol=0, atol=1e-3)


def test_summaries_per_image_match_marigold(golden):
    scores = Scores()
    for place, case in enumerate(["img0", "img1", "img2"]):
        found = summary(_pool(golden, case), decimals=4)
        assert_close(_numbers(found), golden("eval/normals", case).marigold_metrics, rtol=0, atol=1e-3)
        scores.add(place, case, found)
    expected = golden("eval/normals").mean_of_images_marigold
    assert_close(_numbers(scores.means()), expected, rtol=0, atol=1e-3)


def test_the_summary_of_all_pixels_matches_dsine(golden):
    total = Pool()
    for case in ("img0", "img1", "img2"):
        total.merge(_pool(golden, case))
    assert_close(_numbers(summary(total)), golden("eval/normals").pooled_dsine, rtol=0, atol=1e-3)


def test_figures_stand_in_dsines_order(golden):
    names = [name.removeprefix("within") for name in summary(Pool())]
    assert names == golden("eval/normals")["metric_names"].tolist()


def test_a_prediction_without_length_is_at_right_angles(golden):
    g = golden("eval/normals")
    target = torch.nn.functional.normalize(torch.randn(1, 3, 2, 2), dim=1)
    assert_close(angular_error(torch.zeros(1, 3, 2, 2), target)[0, 0], g.zero_prediction_error_deg)


def test_lengths_do_not_matter():
    pred, target = torch.randn(2, 2, 3, 4, 5)
    assert_close(angular_error(7 * pred, 0.1 * target), angular_error(pred, target), rtol=0, atol=1e-3)


def test_an_angle_that_is_no_number_is_refused_where_it_counts():
    error = torch.ones(1, 1, 2, 2)
    error[0, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        pool(error, torch.ones(1, 1, 2, 2, dtype=torch.bool))
    assert len(pool(error, error.isfinite())) == 3


def test_an_empty_mask_has_no_figures():
    empty = pool(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.bool))
    assert np.isnan(list(summary(empty).values())).all()
    assert np.isnan(list(summary(empty, decimals=4).values())).all()


def test_fields_of_other_sizes_are_refused():
    with pytest.raises(ShapeError, match="pred"):
        angular_error(torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 3))


def _maps(golden, case):
    g = golden("eval/normals", case)
    return g.pred.permute(2, 0, 1)[None], g.gt.permute(2, 0, 1)[None], g.mask[None, None]


def _pool(golden, case):
    pred, target, valid = _maps(golden, case)
    return pool(angular_error(pred, target), valid)


def _numbers(values):
    return torch.tensor(list(values.values()), dtype=torch.float64)
