"""What is drawn of results: box plots per category, and figures against steps and ensemble size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from leadline.report.compare import main_figures
from leadline.report.load import Result
from leadline.report.tables import Line, Table, factor, heading

REACH = 1.5  # whiskers end at the last value within so many box lengths (Tukey)
CHOICES = {"steps": "Steps", "ensemble_size": "Ensemble size"}


class Five(NamedTuple):
    """Of values: where the whiskers end, the quartiles, the median; and how many there are."""

    low: float
    first: float
    median: float
    third: float
    high: float
    pictures: int


class Boxes(NamedTuple):
    """Box plots (PrimeDepth, Figure 5). categories: name -> label of a line -> its pictures' values."""

    title: str
    axis: str
    labels: list[str]
    categories: dict[str, dict[str, Five]]


class Point(NamedTuple):
    """A figure and its interval."""

    x: int
    y: float
    low: float
    high: float


class Curves(NamedTuple):
    """A figure against a choice (E2E-FT, Figure 5). series: label -> points, x rising."""

    title: str
    x_axis: str
    y_axis: str
    series: dict[str, list[Point]]


def five(values: Iterable[float]) -> Five:
    """What a box plot shows of values, of which there is at least one.

    >>> five([1, 2, 3, 4, 100])
    Five(low=1.0, first=2.0, median=3.0, third=4.0, high=4.0, pictures=5)
    """
    array = np.array(sorted(values), np.float64)
    first, median, third = np.quantile(array, [0.25, 0.5, 0.75]).tolist()
    reach = REACH * (third - first)
    inner = array[(array >= first - reach) & (array <= third + reach)]
    return Five(float(inner[0]), first, median, third, float(inner[-1]), len(array))


def boxes(table: Table) -> Boxes | None:
    """The first figure of a table, picture by picture, for each category of a data set, or the set itself."""
    lines = [line for line in table.ours if any(result.records for result in line.results)]
    if not lines:
        return None
    metric = main_figures(lines[0].results[0])[0]
    categories: dict[str, dict[str, Five]] = {}
    for line in lines:
        for name, values in _by_category(line, metric).items():
            categories.setdefault(name, {})[line_label(line)] = five(
                factor(metric) * value for value in values
            )
    column = next(column for column in table.columns if column.metric == metric)
    axis = f"{column.heading}{f' ({column.unit})' if column.unit else ''}, each picture"
    return Boxes(table.title, axis, [line_label(line) for line in lines], categories)


def curves(table: Table) -> list[Curves]:
    """Each column of a table against steps, and against ensemble size, where a model has several of them."""
    found = []
    for choice, other in (("steps", "ensemble_size"), ("ensemble_size", "steps")):
        for column in table.columns:
            series: dict[str, list[Point]] = {}
            for line in table.ours:
                point = _point(line, column.data, column.metric, choice)
                if point is not None:
                    held = next(iter(line.results)).own(other)
                    words = f", {CHOICES[other].lower()} {held}" if held is not None else ""
                    series.setdefault(f"{_model(line)}{words}", []).append(point)
            several = {label: sorted(points) for label, points in series.items() if len(points) > 1}
            if several:
                unit = f" ({column.unit})" if column.unit else ""
                title = f"{column.data}: {heading(column.metric)} against {CHOICES[choice].lower()}"
                found.append(Curves(title, CHOICES[choice], column.heading + unit, several))
    return found


def line_label(line: Line) -> str:
    """A line's label, with its steps and members where it has a choice."""
    steps = f"{line.steps} step{'s' * (line.steps > 1)}" if line.steps else ""
    choices = [steps, f"×{line.ensemble}" if line.ensemble else ""]
    words = " ".join(filter(None, choices))
    return f"{line.label}, {words}" if words else line.label


def _by_category(line: Line, metric: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for result in line.results:
        for record in result.records:
            name = f"{result.data}: {record.group}" if record.group else result.data
            found.setdefault(name, []).append(record.values[metric])
    return found


def _point(line: Line, data: str, metric: str, choice: str) -> Point | None:
    result = _of(line.results, data)
    x = result.own(choice) if result else None
    if result is None or x is None or metric not in result.figures:
        return None
    figure = result.figures[metric]
    ends = (factor(metric) * figure.get(end, figure["value"]) for end in ("value", "low", "high"))
    return Point(int(x), *ends)


def _model(line: Line) -> str:
    """The model's own name: lines of one network, called differently, make one curve."""
    return str(line.results[0].own("name") or line.label)


def _of(results: Sequence[Result], data: str) -> Result | None:
    return next((result for result in results if result.data == data), None)
