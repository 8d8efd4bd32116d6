"""Oracles and average ranks, on the tables of the paper that has both."""

from __future__ import annotations

import pytest

from leadline.errors import DataError
from leadline.evaluate.combine import average_ranks, oracle
from leadline.metrics import Scores

# PrimeDepth (Zavadski et al. 2024), Tables 1 and 2 as printed: delta1 and AbsRel in percent per data set,
# then the average rank. Oracles have none.
TABLE_1 = {
    "MiDaS": ([63.0, 23.6, 88.5, 11.1, 75.2, 18.4], 8.0),
    "LeReS": ([78.4, 14.9, 91.6, 9.0, 77.7, 17.1], 6.5),
    "Omnidata": ([83.5, 14.9, 94.5, 7.4, 77.8, 16.6], 5.7),
    "DPT": ([90.1, 10.0, 90.3, 9.8, 94.6, 7.8], 4.7),
    "HDN": ([86.7, 11.5, 94.8, 6.9, 83.3, 12.1], 4.5),
    "Marigold": ([91.6, 9.9, 96.4, 5.5, 96.0, 6.5], 2.3),
    "Depth Anything": ([94.7, 7.6, 98.1, 4.3, 88.2, 12.7], 2.2),
    "PrimeDepth": ([93.7, 7.9, 96.6, 5.8, 96.7, 6.8], 2.0),
}
TABLE_2 = {
    "Depth Anything": ([94.6, 8.0, 98.0, 4.3, 98.1, 5.6, 76.9, 20.7, 81.9, 14.5], 1.9),
    "Marigold": ([91.6, 10.0, 96.4, 5.5, 96.5, 6.0, 56.6, 27.2, 64.0, 24.1], 4.3),
    "PrimeDepth w/o pre-training": ([91.2, 9.5, 91.8, 9.0, 95.1, 8.2, 71.6, 20.3, 73.9, 18.5], 4.4),
    "PrimeDepth": ([93.7, 7.9, 96.6, 5.8, 96.7, 6.8, 76.2, 20.1, 79.2, 15.8], 3.0),
    "Pixel-wise-Average": ([95.3, 7.3, 97.7, 4.6, 98.1, 5.5, 77.7, 19.4, 81.6, 14.3], 1.3),
}
SETS = ["kitti", "nyuv2", "eth3d", "rabbitai", "nuscenes-c"]


@pytest.mark.parametrize("table", [TABLE_1, TABLE_2], ids=["Table 1", "Table 2"])
def test_average_ranks_are_the_printed_ones(table):
    columns = [(data, metric) for data in SETS for metric in ("delta1", "absrel")]
    figures = {
        method: {column: value / 100 for column, value in zip(columns, row, strict=False)}
        for method, (row, _) in table.items()
    }
    ranks = average_ranks(figures)
    assert {method: round(rank, 1) for method, rank in ranks.items()} == {
        method: rank for method, (_, rank) in table.items()
    }


def test_ranks_are_of_what_is_printed():
    column = ("nyuv2", "absrel")
    assert average_ranks({"a": {column: 0.05541}, "b": {column: 0.05543}}) == {"a": 1, "b": 1}
    assert average_ranks({"a": {column: 0.0551}, "b": {column: 0.0543}}) == {"a": 2, "b": 1}


def test_only_columns_that_all_have_are_ranked():
    both, one = ("nyuv2", "delta1"), ("kitti", "delta1")
    ranks = average_ranks({"a": {both: 0.9, one: 0.1}, "b": {both: 0.8}})
    assert ranks == {"a": 1, "b": 2}
    assert average_ranks({"a": {one: 0.9}, "b": {both: 0.8}}) == {}


def scores(**values: tuple[float, float]) -> Scores:
    """By the picture's name: absrel and delta1."""
    found = Scores()
    for place, (name, (absrel, delta1)) in enumerate(values.items()):
        found.add(place, name, {"absrel": absrel, "delta1": delta1})
    return found


def test_an_oracle_takes_the_best_of_each_picture_and_metric():
    a = scores(x=(0.1, 0.7), y=(0.3, 0.9), z=(0.2, 0.5))
    b = scores(x=(0.2, 0.8), y=(0.1, 0.8), z=(0.2, 0.9))
    best = oracle({"a": a, "b": b})
    assert [dict(row.values) for row in best.scores.in_order] == [
        {"absrel": 0.1, "delta1": 0.8},
        {"absrel": 0.1, "delta1": 0.9},
        {"absrel": 0.2, "delta1": 0.9},
    ]
    third = 100 / 3
    assert best.shares["absrel"] == pytest.approx({"a": 2 * third, "b": third})  # z is equal: the first's
    assert best.shares["delta1"] == pytest.approx({"a": third, "b": 2 * third})


def test_an_oracle_needs_pictures_that_all_have():
    a, b = scores(x=(0.1, 0.7), y=(0.2, 0.7)), scores(x=(0.2, 0.6))
    assert len(oracle({"a": a, "b": b}).scores.rows) == 1
    with pytest.raises(DataError, match="no picture has values of all"):
        oracle({"a": a, "b": Scores()})
