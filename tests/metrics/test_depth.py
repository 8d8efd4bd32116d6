"""Depth metrics against Marigold's, ZoeDepth's and Depth Anything V2's, and what they must not see."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch.testing import assert_close

from leadline import metrics
from leadline.errors import ShapeError, UsageError
from leadline.metrics import depth

USUAL = list(depth.MARIGOLD_NAMES)
CASES = [
    "a",
    "b_allvalid",
    "c_gtzero_invalid",
    "d_gtnan_invalid",
    "e_onepixel",
    "f_perfect",
    "h_pred_at_1e-6",
]
ZOEDEPTH = {
    "a1": "delta1",
    "a2": "delta2",
    "a3": "delta3",
    "abs_rel": "absrel",
    "log_10": "log10",
    "sq_rel": "sqrel",
}
DEPTH_ANYTHING = ZOEDEPTH | {"d1": "delta1", "d2": "delta2", "d3": "delta3", "silog": "silog_half"}
WITH_OTHERS = [*CASES[:3], *CASES[4:], "j_scaled_1.5"]


@pytest.mark.parametrize("case", [*CASES, "g_empty_mask"])
def test_metrics_match_the_reference(case, golden):
    found = torch.cat([getattr(metrics, name)(*_maps(golden, case)) for name in USUAL])
    expected = golden("eval/depth_metrics", case).marigold.double()
    assert_close(found[:-1], expected[:-1], rtol=1e-5, atol=1e-6, equal_nan=True)
    assert_close(found[-1], expected[-1], rtol=1e-5, atol=1e-3, equal_nan=True)  # silog, in per cent


@pytest.mark.parametrize("case", ["i_ratio_1.25", "j_scaled_1.5"])
def test_a_constant_ratio_matches_reference_where_it_has_a_number(case, golden):
    found = torch.cat(list(metrics.every(*_maps(golden, case)).values()))
    expected = golden("eval/depth_metrics", case).marigold.double()
    rounding = [USUAL.index("silog"), *([USUAL.index("delta1")] if case.startswith("i") else [])]
    kept = [i for i in range(10) if i not in rounding]  # delta1 of exactly 1.25 is decided by rounding
    assert_close(found[kept], expected[kept], rtol=1e-5, atol=1e-6)
    assert found[USUAL.index("silog")] < 1e-4  # the released code returns NaN


@pytest.mark.parametrize(("program", "names"), [("zoedepth", ZOEDEPTH), ("dav2_metric", DEPTH_ANYTHING)])
@pytest.mark.parametrize("case", WITH_OTHERS)
def test_other_programs_metrics_are_ours_under_other_names(case, program, names, golden):
    theirs = golden("eval/depth_metrics")[f"{program}_names"].tolist()
    ours = [names.get(name, name) for name in theirs]
    found = torch.cat(list(metrics.every(*_maps(golden, case), ours).values()))
    assert_close(found, golden("eval/depth_metrics", case)[program], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("program", "names"), [("zoedepth", ZOEDEPTH), ("dav2_metric", DEPTH_ANYTHING)])
def test_so_they_are_where_rounding_decides_about_delta1(program, names, golden):
    theirs = golden("eval/depth_metrics")[f"{program}_names"].tolist()
    g = dict(zip(theirs, golden("eval/depth_metrics", "i_ratio_1.25")[program].tolist(), strict=True))
    ours = {name: names.get(name, name) for name in theirs}
    found = metrics.every(*_maps(golden, "i_ratio_1.25"), ours.values())
    for name in g.keys() - {"a1", "d1"}:
        assert found[ours[name]].item() == pytest.approx(g[name], rel=1e-5, abs=1e-5), name


def test_metric_matches_reference_in_float64(golden):
    g = golden("metricgold/metric_eval")
    names = [{"abs_rel": "absrel", "sq_rel": "sqrel"}.get(name, name) for name in g["metric_names"].tolist()]
    for mask in ("kitti_garg", "kitti_eigen"):
        maps = [x[None, None] for x in (g.pred_kitti_f64.clamp(1e-3, 80), g.gt_kitti_f64, g[f"valid_{mask}"])]
        found = torch.cat(list(metrics.every(*maps, names).values()))
        assert_close(found, g[f"metrics_{mask}_f64"], rtol=1e-9, atol=1e-9)


def test_names_of_marigolds_files_are_in_the_order_of_its_columns(golden):
    for file in ("depth_metrics", "chain"):
        names = golden(f"eval/{file}")["metric_names"].tolist()
        assert names == list(depth.MARIGOLD_NAMES.values())


def test_a_data_sets_figure_is_the_mean_of_its_images(golden):
    scores, g = metrics.Scores(), golden("eval/depth_metrics", "aggregate")
    for place, case in enumerate(g["case_order"].tolist()):
        values = metrics.every(*_maps(golden, case))
        scores.add(place, case, {name: x.item() for name, x in values.items()})
    found = torch.tensor(list(scores.means().values()), dtype=torch.float64)
    assert_close(found[:-1], g.mean_of_images[:-1], rtol=1e-5, atol=1e-6)  # the last, silog, is NaN there
    together = [
        torch.cat([_maps(golden, case)[i] for case in g["case_order"].tolist()], -1) for i in range(3)
    ]
    pooled = metrics.absrel(*together).item()
    assert pooled == pytest.approx(g.absrel_pooled_pixels_contrast.item(), rel=1e-5)
    assert pooled != pytest.approx(scores.means()["absrel"], rel=1e-2)


def test_one_pass_gives_the_numbers_of_the_single_functions():
    pred, target = torch.rand(2, 3, 1, 6, 7) + 0.5
    valid = torch.rand(3, 1, 6, 7) > 0.3
    for name, found in metrics.every(pred, target, valid, [*USUAL, "silog_half", "outside1"]).items():
        assert torch.equal(found, getattr(metrics, name)(pred, target, valid)), name


def test_pixels_are_looked_at_block_by_block(monkeypatch):
    pred, target = torch.rand(2, 1, 1, 20, 30) + 0.5
    valid = torch.rand(1, 1, 20, 30) > 0.3
    whole = metrics.every(pred, target, valid)
    monkeypatch.setattr(depth, "BLOCK", 7)
    assert_close(metrics.every(pred, target, valid), whole, rtol=1e-12, atol=1e-12)


def test_images_do_not_touch_each_other():
    pred, target = torch.rand(2, 3, 1, 6, 7) + 0.5
    valid = torch.rand(3, 1, 6, 7) > 0.3
    valid[1] = False
    alone = [metrics.every(pred[[i]], target[[i]], valid[[i]]) for i in range(3)]
    for name, found in metrics.every(pred, target, valid).items():
        assert found.isnan().tolist() == [False, True, False]
        assert_close(found, torch.cat([one[name] for one in alone]), equal_nan=True)


@pytest.mark.parametrize("poison", [0.0, -1.0, torch.nan, torch.inf])
def test_pixels_outside_the_mask_do_not_leak(poison):
    pred, target = torch.rand(2, 1, 1, 6, 7) + 0.5
    valid = torch.rand(1, 1, 6, 7) > 0.3
    spoiled = metrics.every(pred.where(valid, poison), target.where(valid, poison), valid)
    assert_close(spoiled, metrics.every(pred, target, valid))


@pytest.mark.parametrize("poison", [0.0, -1.0, torch.nan, torch.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_a_pixel_that_cannot_be_scored_leaves_its_image_without_a_score(poison, which):
    maps = torch.ones(2, 2, 1, 4, 4)
    maps[which, 0, 0, 1, 1] = poison
    for found in metrics.every(*maps, torch.ones(2, 1, 4, 4, dtype=torch.bool)).values():
        assert found.isnan().tolist() == [True, False]


def test_maps_of_other_sizes_and_unknown_names_are_refused():
    one, ok = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    with pytest.raises(ShapeError, match="pred"):
        metrics.absrel(one[..., :3], one, ok)
    with pytest.raises(UsageError, match="did you mean 'absrel'"):
        metrics.every(one, one, ok, ["abs_rel"])


def test_metrics_show_the_parameters_that_they_take():
    assert list(inspect.signature(metrics.rmse).parameters) == ["pred", "target", "valid"]
    assert metrics.rmse.__doc__.startswith("Root of the mean")


def _maps(golden, case):
    g = golden("eval/depth_metrics", case)
    return [g[key][None, None] for key in ("pred", "gt", "mask")]
