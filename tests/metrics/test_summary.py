"""Sums over data sets: the digits of one process from many, nothing counted twice, nothing lost."""

from __future__ import annotations

import math
import pickle
import random

import numpy as np
import pytest

from leadline.errors import DataError, ShapeError
from leadline.metrics import Pool, Scores


def _scores(places):
    scores = Scores()
    for place in places:
        value = random.Random(place).lognormvariate(0, 9)
        scores.add(place, f"{place}.png", {"a": value, "b": math.nan if place == 5 else -value / 3})
    return scores


def test_shards_in_any_order_give_the_digits_of_one_process():
    whole, places = _scores(range(100)), list(range(100))
    random.Random(0).shuffle(places)
    parts = [_scores(places[start::7]) for start in range(7)]
    together = Scores()
    for part in pickle.loads(pickle.dumps(parts)):
        together.merge(part)
    assert together.means() == whole.means()
    assert together.intervals() == whole.intervals()
    assert [row.name for row in together.in_order] == [row.name for row in whole.in_order]
    assert together.skipped == {5: ("5.png", "b is nan")}


def test_an_image_scored_twice_is_refused():
    with pytest.raises(DataError, match=r"3\.png.*twice"):
        _scores([1, 3]).merge(_scores([3]))
    with pytest.raises(DataError, match="twice"):
        _scores([5]).merge(_scores([5]))


def test_images_with_other_metrics_are_refused():
    scores = _scores([1])
    scores.add(2, "2.png", {"a": 1.0})
    with pytest.raises(DataError, match=r"2\.png has a, 1\.png has a, b"):
        scores.means()


def test_weights_pool_by_count():
    scores = Scores()
    scores.add(0, "x", {"correct": 0.5}, weight=2)
    scores.add(1, "y", {"correct": 1.0}, weight=6)
    scores.add(2, "z", {"correct": 1.0}, weight=0)  # has no pairs
    assert scores.means() == {"correct": 0.875}
    assert scores.skipped == {2: ("z", "weight is 0")}


def test_nothing_scored_has_no_figures():
    assert Scores().means() == {}
    assert _scores([1]).intervals() == {}


def test_intervals_have_the_width_that_theory_gives():
    scores, values = Scores(), np.random.default_rng(1).normal(3, 2, 400)
    for place, value in enumerate(values):
        scores.add(place, str(place), {"x": value})
    low, high = scores.intervals(resamples=4000)["x"]
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert scores.intervals(resamples=4000)["x"] == (low, high)
    assert scores.intervals(seed=1)["x"] != scores.intervals(seed=2)["x"]


def test_intervals_draw_images_not_pixels():
    scores = Scores()
    for place, (value, weight) in enumerate([(0.0, 1000), (1.0, 1), (1.0, 1)]):
        scores.add(place, str(place), {"x": value}, weight)
    low, high = scores.intervals()["x"]
    assert low == 0
    assert high == 1  # without the heavy image


@pytest.mark.parametrize("waiting", [1, 100, 1 << 22])
def test_a_pool_knows_what_its_values_know(waiting, monkeypatch):
    monkeypatch.setattr(Pool, "WAITING", waiting)
    values = np.random.default_rng(0).gamma(2, 9, 1000).astype(np.float32).round(1)
    whole, left, right = Pool(), Pool(), Pool()
    whole.add(values)
    for part in np.split(values, 20)[:10]:
        left.add(part)
    for part in np.split(values, 20)[10:]:
        right.add(part)
    right.merge(pickle.loads(pickle.dumps(left)))
    for pool in (whole, right):
        assert len(pool) == 1000
        assert pool.median() == np.median(values)
        assert pool.mean() == pytest.approx(values.astype(float).mean(), rel=1e-12)
        assert pool.rms() == pytest.approx(np.sqrt((values.astype(float) ** 2).mean()), rel=1e-12)
        assert pool.share_below(11.25) == (values < 11.25).mean()
        assert pool.share_below(float(values[0])) == (values < values[0]).mean()  # strictly
    assert (right.mean(), right.rms()) == (whole.mean(), whole.rms())  # to the digit


def test_the_median_of_an_even_number_lies_between_the_middle_two():
    pool = Pool()
    pool.add([1.0, 2.0, 4.0, 9.0])
    assert pool.median() == 3.0


def test_a_pools_memory_follows_its_distinct_values():
    pool = Pool()
    for _ in range(50):
        pool.add(np.arange(1000, dtype=np.float32))
    assert len(pool) == 50_000
    assert pool._values.size == 1000


def test_a_pool_refuses_what_is_no_number():
    pool = Pool()
    with pytest.raises(DataError, match="not finite"):
        pool.add([1.0, np.nan])
    with pytest.raises(ShapeError, match="int64"):
        pool.add(np.arange(3))
    assert math.isnan(pool.mean())
    assert math.isnan(pool.median())
    assert math.isnan(pool.share_below(1))
