"""Several models taken together: per picture the best of them, and where each stands on average.

Both are PrimeDepth's (Sec. 4.2): the image oracle of its Table 2, the average rank of its Tables 1 to 3. The
mean of predictions, its third, is made where predictions are scored (`leadline.evaluate.score`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

from leadline.errors import DataError
from leadline.evaluate.figures import higher_is_better, printed
from leadline.metrics.summary import Scores

Column = TypeVar("Column", bound=Hashable)


class Oracle(NamedTuple):
    """The best model's value of each picture and metric, and how often each model had it."""

    scores: Scores
    shares: dict[str, dict[str, float]]  # metric -> model -> percent of the pictures


def oracle(members: Mapping[str, Scores]) -> Oracle:
    """Per picture and metric the best value that any of the models has: a bound that none reaches alone.

    Pictures count that all models have values for. Of equal values the first model's is taken. Raises
    DataError if there is no such picture.
    """
    places = sorted(set.intersection(*(set(scores.rows) for scores in members.values())))
    if not places:
        raise DataError(f"oracle of {', '.join(members)}: no picture has values of all: run them on one set")
    rows = [{label: scores.rows[place] for label, scores in members.items()} for place in places]
    metrics = list(next(iter(rows[0].values())).values)
    best = Scores()
    wins = {metric: dict.fromkeys(members, 0) for metric in metrics}
    for place, row in zip(places, rows, strict=True):
        values = {}
        for metric in metrics:
            own = {label: one.values[metric] for label, one in row.items()}
            winner = (max if higher_is_better(metric) else min)(own, key=own.__getitem__)
            wins[metric][winner] += 1
            values[metric] = own[winner]
        first = next(iter(row.values()))
        best.add(place, first.name, values, first.weight)
    share = 100 / len(places)
    return Oracle(best, {m: {label: n * share for label, n in won.items()} for m, won in wins.items()})


def average_ranks(table: Mapping[str, Mapping[tuple[str, str], float]]) -> dict[str, float]:
    """Model -> (data set, metric) -> figure, to model -> its mean rank over all columns, 1 is best.

    Figures are compared as they are printed; equal ones share the better rank (1, 2, 2, 4). Columns count
    that all models have.

    >>> average_ranks({"a": {("x", "delta1"): 0.9}, "b": {("x", "delta1"): 0.8}, "c": {("x", "delta1"): 0.8}})
    {'a': 1.0, 'b': 2.0, 'c': 2.0}
    """
    if not table:
        return {}
    columns = [c for c in next(iter(table.values())) if all(c in row for row in table.values())]
    ranks: dict[str, list[int]] = {label: [] for label in table}
    for column in columns:
        sign = -1 if higher_is_better(column[1]) else 1
        own = {label: sign * printed(column[1], row[column]) for label, row in table.items()}
        for label, value in own.items():
            ranks[label].append(1 + sum(other < value for other in own.values()))
    return {label: math.fsum(row) / len(row) for label, row in ranks.items() if row}
