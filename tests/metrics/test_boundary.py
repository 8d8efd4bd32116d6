"""Boundary F1 and recall: Depth Pro's numbers, and what holes do."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from leadline.errors import DataError, KindError
from leadline.metrics import boundary, boundary_f1, boundary_recall
from leadline.prediction import Kind

F1_CASES = [
    "basic", "perfect", "scaled_by_3", "flat_pred", "flat_both", "zero_depth_in_pred", "nan_in_gt",
    "affine_shifted_pred",
]  # fmt: skip
RECALL_CASES = ["recall_binary", "recall_alpha", "recall_empty_mask", "recall_gt_depth"]
PREDICTIONS = ["perfect", "scaled", "shifted", "blurred", "noisy", "shift1px", "constant", "unit"]
DIRECTIONS = ["left", "top", "right", "bottom"]


@pytest.mark.parametrize("case", F1_CASES)
def test_f1_matches_depth_pro(case, golden):
    g = golden("eval/boundary", case)
    pred, gt = g.pred[None, None], g.gt[None, None]
    assert_close(boundary_f1(pred, gt), g.SI_boundary_F1.view(1), rtol=1e-5, atol=1e-6)
    precision, recall = boundary.precision_and_recall(pred, gt)
    assert_close(precision[0], g.precision_per_t, rtol=1e-5, atol=1e-6)
    assert_close(recall[0], g.recall_per_t, rtol=1e-5, atol=1e-6)
    assert_close(boundary.f1(precision, recall)[0], g.f1_per_t, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", RECALL_CASES)
def test_recall_matches_depth_pro(case, golden):
    g = golden("eval/boundary", case)
    pred, matte = g.pred[None, None], g.target_mask[None, None]
    assert_close(boundary_recall(pred, matte), g.SI_boundary_Recall.view(1), rtol=1e-5, atol=1e-6)
    assert_close(boundary.matte_recall(pred, matte)[0], g.recall_per_t, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_scores_match_depth_pro_in_float64(name, golden):
    g = golden("fiffdepth/boundary_metrics")
    pred, gt, matte = (x[None, None] for x in (g[f"pred_{name}_f64"], g.gt_depth_f64, g.alpha_mask))
    precision, recall = boundary.precision_and_recall(pred, gt)
    found = {
        "f1_": boundary_f1(pred, gt),
        "recall_": boundary_recall(pred, matte),
        "per_t_f1_": boundary.f1(precision, recall)[0],
        "per_t_p_": precision[0],
        "per_t_r_": recall[0],
        "per_t_mrecall_": boundary.matte_recall(pred, matte)[0],
    }
    for prefix, value in found.items():
        assert_close(value, g[f"{prefix}{name}_f64"], rtol=0, atol=1e-12)


def test_thresholds_and_weights_are_depth_pros(golden):
    g, h = golden("fiffdepth/boundary_metrics"), golden("eval/boundary")
    for thresholds, weights in ((g.thresholds_f64, g.weights_f64), (h.thresholds, h.weights)):
        assert_close(boundary.THRESHOLDS, thresholds, rtol=0, atol=1e-15)
        assert_close(boundary.WEIGHTS, weights, rtol=0, atol=1e-15)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_edges_and_thinned_edges_match_depth_pro(direction, golden):
    g, i = golden("eval/boundary"), DIRECTIONS.index(direction)
    t, pred = g["relations/t"].item(), g["basic/pred"]
    near, far = list(boundary._sides(1 / pred.clamp(min=1e-6)))[i]
    ratio = (near / far).contiguous()
    thinned = torch.zeros(ratio.numel(), dtype=torch.bool)
    thinned[boundary._steepest(ratio, t)] = True
    for found, stored in ((ratio > t, "relations"), (thinned.view_as(ratio), "relations_thinned")):
        assert torch.equal(found if i in (0, 2) else found.T, g[f"{stored}/{direction}"])
    inside, outside = list(boundary._sides(g["recall_binary/target_mask"] > boundary.OPAQUE))[i]
    outline = inside & ~outside
    assert torch.equal(outline if i in (0, 2) else outline.T, g[f"mask_relations/{direction}"])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_edges_match_the_papers_protocol(direction, golden):
    g, i = golden("fiffdepth/boundary_metrics"), DIRECTIONS.index(direction)
    near, far = list(boundary._sides(1 / g.gt_depth_f64))[i]
    inside, outside = list(boundary._sides(g.alpha_mask > boundary.OPAQUE))[i]
    blurred, beside = list(boundary._sides(1 / g.pred_blurred_f64))[i]
    ratio = (blurred / beside).contiguous()
    thinned = torch.zeros(ratio.numel(), dtype=torch.bool)
    thinned[boundary._steepest(ratio, 1.1)] = True
    expected = {
        f"edge_{direction}_gt_t1p1": near / far > 1.1,
        f"maskedge_{direction}": inside & ~outside,
        f"thin_{direction}_blurred_t1p1": thinned.view_as(ratio),
    }
    for name, found in expected.items():
        assert torch.equal(found if i in (0, 2) else found.T, g[name]), name


def test_a_matte_in_eight_bits_is_refused(golden):
    g = golden("eval/boundary", "recall_uint8_mask_pitfall")
    with pytest.raises(DataError, match="divide by 255"):
        boundary_recall(g.pred[None, None], g.target_mask[None, None])
    with pytest.raises(DataError, match="divide by 255"):
        boundary_recall(g.pred[None, None], g.target_mask[None, None].float())
    as_published = boundary_recall(g.pred[None, None], g.target_mask[None, None] > 0.1)
    assert_close(as_published, g.SI_boundary_Recall.view(1), rtol=1e-5, atol=1e-6)
    at_each = boundary.matte_recall(g.pred[None, None], g.target_mask[None, None] > 0.1)[0]
    assert_close(at_each, g.recall_per_t, rtol=1e-5, atol=1e-6)


def test_pairs_that_touch_a_hole_count_nowhere():
    depth = torch.ones(1, 1, 8, 8)
    depth[..., 4:] = 2
    other = depth.clone()
    other[..., 2, 2] = 9  # a false edge, but where nothing is known
    known = torch.ones_like(depth, dtype=torch.bool)
    known[..., 2, 2] = False
    score = boundary_f1(depth, depth)
    assert boundary_f1(other, depth) < score
    assert_close(boundary_f1(other, depth, known), score)


def test_a_run_of_steps_counts_once_and_where_it_is_steepest():
    depth = 1 / torch.tensor([1.0, 1.0, 1.3, 2.0, 2.6, 2.6]).view(1, 1, 1, 6)
    for steepest, found in ((2, 0.25), (1, 0.0), (3, 0.0)):  # one of four directions has an outline
        matte = torch.arange(6).view(1, 1, 1, 6) > steepest
        assert boundary_recall(depth, matte).item() == pytest.approx(found)


def test_images_do_not_touch_each_other():
    pred, gt = torch.rand(2, 3, 1, 9, 7) + 0.2
    together = boundary_f1(pred, gt)
    assert_close(together, torch.cat([boundary_f1(pred[[i]], gt[[i]]) for i in range(3)]))


def test_affine_maps_get_a_zero():
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert_close(boundary.with_zero(x, Kind.affine_depth), x + 0.1)
    inverse = 1 / boundary.with_zero(x, Kind.affine_disparity)
    assert_close(inverse.min() / inverse.max(), torch.tensor(0.01))
    assert_close(
        boundary.with_zero(x + 3, Kind.affine_disparity), 1 / (x + 3)
    )  # far enough from zero already
    assert torch.equal(boundary.with_zero(x, Kind.metric_depth), x)
    with pytest.raises(KindError):
        boundary.with_zero(x, Kind.normals)
