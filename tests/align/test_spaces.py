"""Fits in each space, and the whole chain of a benchmark: align, clip, measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from leadline import align, metrics
from leadline.errors import UsageError

DISPARITY = ["disparity", "disparity_nonpositive_pred", "disparity_gt_holes", "disparity_far_kitti"]


@pytest.mark.parametrize("case", ["nyu", "kitti", "eth3d", "scannet", "diode"])
def test_the_chain_of_a_benchmark_gives_marigolds_numbers(case, golden):
    g = _case(golden("eval/chain", case))
    near, far = g["min_max"].tolist()
    found = align.depths(g["pred"], g["gt"], g["mask"], max_res=_limit(g))
    assert_close(found.scale.item(), g["scale"].item(), rtol=1e-5, atol=1e-6)
    assert_close(found.shift.item(), g["shift"].item(), rtol=1e-5, atol=1e-6)
    depth = align.clip(found.depth_m, near, far)
    assert_close(depth, g["final_depth"], rtol=1e-5, atol=1e-5)
    numbers = torch.cat(list(metrics.every(depth, g["gt"], g["mask"]).values()))
    assert_close(numbers, g["metrics"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", DISPARITY)
def test_disparity_gives_marigolds_numbers(case, golden):
    g = _case(golden("eval/alignment", case))
    near, far = g["min_max"].tolist()
    found = align.depths(g["pred_disparity"], g["gt"], g["mask"], space="disparity", positive_only=True)
    assert_close(found.scale.item(), g["scale"].item(), rtol=1e-5, atol=1e-6)
    assert_close(found.shift.item(), g["shift"].item(), rtol=1e-5, atol=1e-6)
    depth = align.clip(found.depth_m, near, far)
    assert_close(depth, g["depth_clipped"], rtol=1e-5, atol=1e-5)
    numbers = torch.cat(list(metrics.every(depth, g["gt"], g["mask"]).values()))
    assert_close(numbers, g["metrics_marigold"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["depth_maxres16", "depth_maxres64_noop"])
def test_a_limited_resolution_leaves_out_columns(case, golden):
    g = _case(golden("eval/alignment", case))
    found = align.depths(g["pred"], g["gt"], g["mask"], max_res=_limit(g))
    assert_close(found.scale.item(), g["scale"].item(), rtol=1e-5, atol=1e-6)
    assert_close(found.depth_m, g["aligned"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["24x32_to_16", "100x200_to_64", "4032x6048_to_1024", "4032x6048_to_768"])
def test_columns_are_picked_as_the_reference_does(case, golden):
    height, width, limit = (int(number) for number in case.replace("_to_", "x").split("x"))
    columns = torch.arange(float(width)).expand(1, 1, height, width)
    found = align.subsample(columns, limit)
    expected = golden("eval/alignment", "maxres_columns")[case]
    assert found.shape == (1, 1, height, len(expected))
    assert torch.equal(found[0, 0, 0].int(), expected)
    assert align.subsample(columns, limit, "both").shape[-2] == int(height * limit / width)


@pytest.mark.parametrize("space", ["log", "loglog"])
def test_logarithms_match_the_reference(space, golden):
    g = _case(golden("eval/alignment", space))
    found = align.depths(g["pred"], g["gt"], g["mask"], space=space)
    assert_close(found.scale.item(), g["scale"].item(), rtol=1e-5, atol=1e-6)
    assert_close(found.depth_m, g["depth"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cap", [10, 80, 4])
def test_a_cap_on_disparity_gives_midas_numbers(cap, golden):
    g = _case(golden("eval/disparity_cap"))
    found = align.depths(g["pred_disparity"], g["gt"], g["mask"], space="disparity", farthest_m=cap)
    assert_close(found.scale.item(), g["scale"].item(), rtol=1e-5, atol=1e-6)
    assert_close(found.depth_m, g[f"cap{cap}/depth"], rtol=1e-5, atol=1e-5)
    names = ["absrel", "delta1", "outside1"]
    numbers = torch.cat(list(metrics.every(found.depth_m, g["gt"], g["mask"], names).values()))
    stored = torch.cat(
        [g[f"cap{cap}/{name}"].view(1) for name in ("absrel", "delta1", "delta_gt_1.25_percent")]
    )
    assert_close(numbers, stored.double(), rtol=1e-5, atol=1e-6)


def test_a_cap_at_the_largest_known_depth_gives_moges_map(golden):
    g = _case(golden("eval/disparity_cap"))
    farthest = torch.where(g["mask"], g["gt"], 0).amax(dim=(1, 2, 3), keepdim=True)
    found = align.depths(g["pred_disparity"], g["gt"], g["mask"], space="disparity", farthest_m=farthest)
    assert_close(found.depth_m, g["clamp_min_gt_disparity/depth"], rtol=1e-5, atol=1e-5)


def test_a_range_of_known_depths_gives_geowizards_fit(golden):
    g = _case(golden("eval/disparity_cap"))
    scale, shift = align.fit(g["pred_disparity"], g["gt"], (g["gt"] > 0) & (g["gt"] < 6))
    found = torch.cat([scale.flatten(), shift.flatten()]).double()
    assert_close(found, g["polyfit_clip6/scale_shift"], rtol=1e-5, atol=1e-6)


def test_fits_in_disparity_match_the_metric_reference(golden):
    g = golden("metricgold/alignment")
    for known in ("clean", "outliers"):
        maps = [g[x][None, None] for x in ("pred_disp_f64", f"gt_{known}_f64", "valid")]
        found = align.depths(*maps, space="disparity")
        line = torch.cat([found.scale.flatten(), found.shift.flatten()])
        assert_close(line, g[f"ls_disp_{known}_f64"], rtol=0, atol=1e-8)


def test_zoedepths_clip_of_what_is_no_depth_matches_the_reference(golden):
    g = golden("metricgold/metric_eval")
    depth = align.clip(g.pred_nyu_f64, 1e-3, 10, missing="near")[None, None]
    valid = (g.gt_nyu_f64 > 1e-3) & (g.gt_nyu_f64 < 10)
    assert torch.equal(valid, g.valid_nyu)
    names = [{"abs_rel": "absrel", "sq_rel": "sqrel"}.get(name, name) for name in g["metric_names"].tolist()]
    found = metrics.every(depth, g.gt_nyu_f64[None, None], valid[None, None], names)
    assert_close(torch.cat(list(found.values())), g.metrics_nyu_full_f64, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", ["depth", "disparity", "log", "loglog"])
@pytest.mark.parametrize("method", [name for name in align.METHODS if name not in align.ONE_NUMBER])
def test_every_method_works_in_every_space_and_sees_valid_pixels_only(space, method):
    pred, known = torch.rand(2, 2, 1, 6, 7, dtype=torch.float64) + 0.5
    valid = torch.rand(2, 1, 6, 7) > 0.2
    spoiled = align.depths(pred, known.where(valid, torch.nan), valid, space=space, method=method)
    assert_close(spoiled, align.depths(pred, known, valid, space=space, method=method))
    assert spoiled.depth_m.isfinite().all()


@pytest.mark.parametrize("method", align.ONE_NUMBER)
def test_a_scale_alone_is_fitted_to_depth_or_disparity_not_to_logarithms(method):
    depth, valid = torch.rand(1, 1, 6, 7) + 0.5, torch.ones(1, 1, 6, 7, dtype=torch.bool)
    assert_close(align.depths(3 * depth, depth, valid, method=method).depth_m, depth)
    inverse = align.depths(3 / depth, depth, valid, space="disparity", method=method)
    assert_close(inverse.depth_m, depth)
    with pytest.raises(UsageError, match="fits a scale alone"):
        align.depths(depth, depth, valid, space="log", method=method)


def test_unknown_words_are_refused():
    maps = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool)
    with pytest.raises(UsageError, match="did you mean 'disparity'"):
        align.depths(*maps, space="disparities")
    with pytest.raises(UsageError, match="did you mean 'trimmed'"):
        align.depths(*maps, method="trimed")
    with pytest.raises(UsageError, match="columns"):
        align.subsample(maps[0], 1, "rows")


def _case(g):
    return {key: g[key][None, None] if g[key].dim() == 2 else g[key] for key in g if g[key].dtype != np.str_}


def _limit(g):
    return None if g["max_res"].item() < 0 else int(g["max_res"])
