"""One picture's figures: align, clip, measure, as each protocol says."""

from __future__ import annotations

from dataclasses import replace

import measured
import numpy as np
import pytest
import torch

from leadline import protocols
from leadline.data.sample import Sample
from leadline.errors import DataError, KindError, ShapeError
from leadline.evaluate.figures import higher_is_better
from leadline.evaluate.score import UnmeasurableError, score
from leadline.prediction import Kind
from leadline.protocols import Rule, load

CASES = [(name, kind) for name in protocols.NAMES for kind in load(name).align]
BEST = {"within": 100, "delta": 1, "accuracy": 1, "boundary": 1}


def rule_of(protocol) -> Rule:
    """Of a data set without boxes, which are of larger pictures."""
    return protocol.rule("folder" if "folder" in protocol.sets else next(iter(protocol.sets)))


def measure(values, kind, protocol="marigold", sample=None, rule=None, **changes) -> dict[str, float]:
    protocol = load(protocol) if isinstance(protocol, str) else protocol
    rule = (rule or rule_of(protocol)).model_copy(update=changes)
    return score([measured.predicted(values, kind)], sample or measured.scene(), protocol, rule).values


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_perfect_prediction_scores_perfectly(name, kind):
    values = measure(measured.perfect(measured.scene(), kind), kind, name)
    main = {key: value for key, value in values.items() if "@" not in key}
    assert list(main) == list(load(name).metrics)
    for key, value in values.items():
        best = next((best for word, best in BEST.items() if key.startswith(word)), 0)
        rounding = 0.02 if kind is Kind.normals else 1e-3  # degrees: an arccosine in float32
        assert value == pytest.approx(best, abs=rounding), key


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_constant_prediction_fails(name, kind):
    shape = (*measured.SIZE, 3) if kind is Kind.normals else measured.SIZE
    values = measure(np.full(shape, 0.6), kind, name)
    good = measure(measured.perfect(measured.scene(), kind), kind, name)
    for key in load(name).rank:
        assert higher_is_better(key) == (good[key] > values[key])
        assert values[key] < 0.9 * good[key] if higher_is_better(key) else values[key] > good[key] + 0.2


@pytest.mark.parametrize("case", ["nyu", "kitti", "eth3d", "scannet", "diode"])
def test_the_chain_gives_marigolds_numbers(case, golden):
    g = golden("eval/chain", case)
    gt, mask, pred = (g[key].numpy() for key in ("gt", "mask", "pred"))
    near, far = g.min_max.tolist()
    res = int(g.max_res)
    rule = Rule(clip=(near, far if np.isfinite(far) else None), max_res=res if res > 0 else None)
    sample = Sample(np.zeros((*gt.shape, 3), np.uint8), mask, gt.astype(np.float32))
    found = measure(pred, Kind.affine_depth, sample=sample, rule=rule)
    torch.testing.assert_close(torch.tensor(list(found.values())), g.metrics.double(), rtol=1e-5, atol=1e-6,
                               check_dtype=False)  # fmt: skip


@pytest.mark.parametrize("case", ["disparity", "disparity_nonpositive_pred"])
def test_disparity_is_fitted_floored_inverted_and_clipped_in_this_order(case, golden):
    g = golden("eval/alignment", case)
    near, far = g.min_max.tolist()
    sample = Sample(np.zeros((*g.gt.shape, 3), np.uint8), g.mask.numpy(), g.gt.float().numpy())
    found = measure(
        g.pred_disparity.numpy(), Kind.affine_disparity, "marigold-disparity", sample, Rule(clip=(near, far))
    )
    wanted = g.metrics_marigold.double()
    torch.testing.assert_close(
        torch.tensor(list(found.values())), wanted, rtol=1e-5, atol=1e-6, check_dtype=False
    )


def test_the_range_is_open_on_both_sides():
    sample = measured.scene()
    sample = replace(sample, depth_m=np.where(sample.valid, np.float32(5), np.float32(0)))
    sample.depth_m[5, 5], sample.depth_m[6, 6] = 1, 10
    pred = np.full(measured.SIZE, 5.0)
    for limits, expected in [((1, 10), 0), ((0.9, 10), 0.05), ((1, 10.1), 0.05)]:
        values = measure(pred, Kind.metric_depth, "metric", sample, range=limits)
        assert (values["rmse"] > expected) == (expected > 0)


def test_a_box_keeps_what_is_inside():
    sample, rule = measured.scene(), Rule(range=(0, None), box="garg")
    pred = np.where(np.arange(measured.SIZE[0])[:, None] < 8, 9, sample.depth_m)  # wrong above Garg's box
    assert measure(pred, Kind.metric_depth, "metric", sample, rule)["absrel"] == 0
    assert measure(pred, Kind.metric_depth, "metric", sample, rule, box=None)["absrel"] > 0.1


def test_metric_depth_is_reported_as_it_is_and_beside_it_what_a_scale_would_mend():
    twice = 2 * measured.scene().depth_m
    values = measure(twice, Kind.metric_depth, "metric")
    assert values["absrel"] == pytest.approx(1)
    assert values["absrel@median"] == pytest.approx(0, abs=1e-6)
    shifted = measure(twice + 3, Kind.metric_depth, "metric")
    assert shifted["absrel@median"] > 0.05
    assert shifted["absrel@depth"] == pytest.approx(0, abs=1e-5)


def test_a_fit_that_runs_against_the_truth_is_kept_and_said():
    sample, protocol = measured.scene(), load("marigold")
    pred = measured.perfect(sample, Kind.affine_depth)
    for values, against in [(pred, False), (1 - pred, True)]:
        found = score([measured.predicted(values, Kind.affine_depth)], sample, protocol, rule_of(protocol))
        assert found.values["delta1"] == 1
        assert found.reversed is against


def test_zoedepth_takes_what_is_not_finite_for_the_ends_of_the_range():
    sample = measured.scene()
    pred = sample.depth_m.copy()
    pred[10, 10], pred[11, 11] = np.nan, np.inf
    rule = Rule(range=(1e-3, 80))
    clipped = pred.copy()
    clipped[10, 10], clipped[11, 11] = 1e-3, 80
    assert measure(pred, Kind.metric_depth, "zoedepth-metric", sample, rule) == measure(
        clipped, Kind.metric_depth, "zoedepth-metric", sample, rule
    )


@pytest.mark.parametrize("name", ["marigold", "boundary-f1", "boundary-recall", "metric"])
def test_other_protocols_leave_such_pictures_out(name):
    kind = Kind.metric_depth if name == "metric" else Kind.affine_depth
    pred = measured.perfect(measured.scene(), kind)
    pred[10, 10] = np.nan
    with pytest.raises(UnmeasurableError, match="not finite at 1 of"):
        measure(pred, kind, name)


def test_what_does_not_count_is_not_looked_at():
    sample = measured.scene()
    pred = measured.perfect(sample, Kind.affine_depth)
    spoiled = np.where(sample.valid, pred, np.nan)
    depth = np.where(sample.valid, sample.depth_m, np.inf).astype(np.float32)
    assert measure(spoiled, Kind.affine_depth, sample=replace(sample, depth_m=depth)) == measure(
        pred, Kind.affine_depth, sample=sample
    )


@pytest.mark.parametrize(
    ("name", "kind", "without"),
    [
        ("marigold", Kind.affine_depth, {"valid": np.zeros(measured.SIZE, bool)}),
        ("dsine-normals", Kind.normals, {"valid": np.zeros(measured.SIZE, bool)}),
        ("boundary-recall", Kind.affine_depth, {"matte": np.zeros(measured.SIZE, bool)}),
        ("da2k", Kind.affine_depth, {"pairs": np.zeros((0, 2, 2), int)}),
    ],
)
def test_a_picture_with_nothing_to_measure_is_left_out(name, kind, without):
    with pytest.raises(UnmeasurableError):
        measure(measured.perfect(measured.scene(), kind), kind, name, replace(measured.scene(), **without))


@pytest.mark.parametrize(
    ("name", "field"),
    [("marigold", "depth_m"), ("boundary-recall", "matte"), ("da2k", "pairs"), ("boundary-f1", "depth_m")],
)
def test_a_data_set_without_what_is_measured_is_a_mistake(name, field):
    with pytest.raises(DataError, match="choose another"):
        measure(np.ones(measured.SIZE), Kind.affine_depth, name, replace(measured.scene(), **{field: None}))


def test_predictions_of_another_size_are_a_mistake():
    with pytest.raises(ShapeError, match="24x31 pixels, the picture 24x32: predict"):
        measure(np.ones((24, 31)), Kind.affine_depth)


@pytest.mark.parametrize("name", protocols.NAMES)
def test_kinds_that_a_protocol_cannot_score_are_refused(name):
    protocol = load(name)
    for kind in {Kind.affine_depth, Kind.affine_disparity, Kind.metric_depth, Kind.normals} - set(
        protocol.align
    ):
        with pytest.raises(KindError, match="does not score"):
            measure(measured.perfect(measured.scene(), kind), kind, name)


def test_all_pixels_of_normals_are_kept_where_they_are_pooled():
    protocol = load("dsine-normals")
    sample = measured.scene()
    found = score([measured.predicted(sample.normals, Kind.normals)], sample, protocol, Rule())
    assert len(found.errors) == sample.valid.sum()
    each = load("marigold-normals")
    assert score([measured.predicted(sample.normals, Kind.normals)], sample, each, Rule()).errors is None


def test_marigold_rounds_the_figures_of_each_picture_of_normals():
    pred = measured.guess_normals(measured.scene().rgb)
    exact = measure(pred, Kind.normals, "dsine-normals")
    rounded = measure(pred, Kind.normals, "marigold-normals")
    assert rounded == {key: round(exact[key], 4) for key in rounded}
    assert rounded["mean"] != exact["mean"]


def test_pairs_weigh_as_many_as_they_are():
    sample, protocol = measured.scene(), load("da2k")
    found = score([measured.predicted(sample.depth_m, Kind.metric_depth)], sample, protocol, Rule())
    assert found.weight == len(sample.pairs)
    other = score([measured.predicted(1 / sample.depth_m, Kind.affine_disparity)], sample, protocol, Rule())
    assert other == found


def test_boundaries_of_metric_depth_depend_on_no_scale():
    sample = measured.scene()
    noisy = sample.depth_m + 0.3 * measured.guess(sample.rgb)
    for name in ("boundary-f1", "boundary-recall"):
        one = measure(noisy, Kind.metric_depth, name)
        assert measure(20 * noisy, Kind.metric_depth, name) == pytest.approx(one)


class TestAverages:
    """Each is aligned in its own space, then disparities are averaged."""

    def test_the_mean_of_perfect_predictions_is_perfect(self):
        sample, protocol = measured.scene(), load("primedepth")
        both = [
            measured.predicted(measured.perfect(sample, kind), kind)
            for kind in (Kind.affine_depth, Kind.affine_disparity)
        ]
        assert score(both, sample, protocol, rule_of(protocol)).values["absrel"] == pytest.approx(0, abs=1e-4)

    def test_disparities_are_averaged_after_alignment(self):
        sample = measured.scene()
        rule = Rule(range=(1e-3, 80))
        two = [sample.depth_m * 2, sample.depth_m * 4]
        protocol = load("metric", ["align.metric_depth=none"])
        found = score([measured.predicted(x, Kind.metric_depth) for x in two], sample, protocol, rule)
        wanted = measure(sample.depth_m / ((1 / 2 + 1 / 4) / 2), Kind.metric_depth, protocol, sample, rule)
        assert found.values == pytest.approx(wanted, abs=1e-5)

    @pytest.mark.parametrize(("name", "kind"), [("da2k", Kind.affine_depth), ("dsine-normals", Kind.normals)])
    def test_without_known_depths_there_is_none(self, name, kind):
        sample = measured.scene()
        one = measured.predicted(measured.perfect(sample, kind), kind)
        with pytest.raises(KindError, match="no average is defined"):
            score([one, one], sample, load(name), Rule())
