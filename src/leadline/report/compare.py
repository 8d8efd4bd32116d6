"""Results -> tables in which every column compares: the same pictures, pixels and reduction in each cell.

What is measured otherwise goes into another table. What was only aligned otherwise, as each kind of
prediction has to be, stays beside it, and every line says how. Published figures follow ours and take no part
in best, second best and rank: they were measured on the papers' machines, by the papers' programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from leadline.evaluate.combine import average_ranks
from leadline.report import published
from leadline.report.load import Result
from leadline.report.tables import (
    FEWER,
    IN_DOMAIN,
    OTHER_PROTOCOL,
    Cell,
    Column,
    Line,
    Name,
    Table,
    factor,
    heading,
    printed_line,
    text,
    unit,
)

TITLES = {
    "depth": "Depth",
    "normals": "Normals",
    "boundary-f1": "Boundaries of depth",
    "boundary-recall": "Boundaries of mattes",
    "order": "Order of points",
}


def compare(results: Sequence[Result], beside: bool = True) -> list[Table]:
    """Tables of the figures that count in ranks. beside: with the published lines that have such figures."""
    return [_table(group, beside=beside) for group in groups(results)]


def details(group: Sequence[Result]) -> list[Table]:
    """All figures, a table for each data set."""
    sets = dict.fromkeys(result.data for result in group)
    return [_table([r for r in group if r.data == data], every=True) for data in sets]


def groups(results: Iterable[Result]) -> list[list[Result]]:
    """Results of one protocol together, and of others that measure the same on a data set they share."""
    found: list[list[Result]] = []
    for result in results:
        fitting = [group for group in found if _fits(result, group)]
        same = [group for group in fitting if any(_hash(one) == _hash(result) for one in group)]
        sharing = [group for group in fitting if any(one.data == result.data for one in group)]
        if same or sharing:
            (same or sharing)[0].append(result)
        else:
            found.append([result])
    return found


def _fits(result: Result, group: Sequence[Result]) -> bool:
    here = (one.what == result.what for one in group if one.data == result.data)
    return group[0].how == result.how and all(here)


def _hash(result: Result) -> str:
    return str(result.entry["protocol_hash"])


def main_figures(result: Result) -> list[str]:
    """Those that count in ranks, or the first two."""
    rank = result.entry.get("rank") or result.rules.get("rank") or ()
    chosen = [name for name in rank if name in result.figures]
    return chosen or list(result.figures)[:2]


def _table(group: Sequence[Result], *, every: bool = False, beside: bool = False) -> Table:
    columns = _columns(group, every)
    names = {column.name for column in columns}
    lines = [_line(results, names) for results in _rows(group)]
    lines = _placed(_named(lines), columns)
    lines = lines if every else _ranked(lines)
    if beside:
        own = {result.data for result in group if result.is_of_its_name}
        named = [column for column in columns if column.data in own]
        lines += _published(named, {line.protocol.split()[0] for line in lines})
    sets = dict.fromkeys(result.data for result in group)
    title = f"{TITLES.get(group[0].entry['measure'], 'Figures')} on {', '.join(sets)}"
    protocols = dict.fromkeys(f"{one.protocol} ({_hash(one)[:8]})" for one in group)
    about = f"protocol{'s' * (len(protocols) > 1)} {', '.join(protocols)}"
    return Table(title, about, columns, lines, _notes(group))


def _columns(group: Sequence[Result], every: bool) -> list[Column]:
    found: dict[Name, Column] = {}
    for result in group:
        names = list(result.figures) if every else main_figures(result)
        for name in names:
            figure = result.figures[name]
            own_unit = unit(name, result.entry["measure"])
            total = int(result.settings.get("pictures") or result.entry["pictures"])
            key = result.data, name
            found.setdefault(
                key, Column(*key, own_unit, figure["higher_is_better"], total, _is_published(result))
            )
    sets = list(dict.fromkeys(result.data for result in group))
    return sorted(found.values(), key=lambda column: sets.index(column.data))


def _is_published(result: Result) -> bool | None:
    """Whether all pictures of the published list were measured, and no others; None if there is no list."""
    listing = result.rules.get("sets", {}).get(result.data, {}).get("list")
    if listing is None:
        return None
    return bool(result.settings.get("published_list")) and result.settings["pictures"] == listing["samples"]


def _rows(group: Sequence[Result]) -> list[list[Result]]:
    """Results of one model with one set of choices, together: a line of a table."""
    rows: list[list[Result]] = []
    for result in group:
        fitting = [
            row
            for row in rows
            if _identity(row[0]) == _identity(result) and all(r.data != result.data for r in row)
        ]
        if fitting:
            fitting[0].append(result)
        else:
            rows.append([result])
    return rows


def _identity(result: Result) -> tuple[object, ...]:
    keys = ("name", "weights", "revision", "preset", "dtype", "steps", "ensemble_size", "folder")
    made_of = (tuple(one.get(key) for key in keys) for one in result.models)
    return (result.model, result.protocol, _hash(result), *made_of)


def _line(results: Sequence[Result], names: set[Name]) -> Line:
    first = results[0]
    cells = {
        (result.data, name): _cell(name, figure, result)
        for result in results
        for name, figure in result.figures.items()
        if (result.data, name) in names
    }
    return Line(
        first.model,
        first.protocol,
        " + ".join(dict.fromkeys(", ".join(own) for own in first.entry["alignment"])),
        first.train_sets,
        cells,
        first.own("steps"),
        first.own("ensemble_size"),
        note=_shares(first) if first.is_oracle else "",
        is_oracle=first.is_oracle,
        results=tuple(results),
    )


def _cell(name: str, figure: dict[str, float], result: Result) -> Cell:
    exact = factor(name) * figure["value"]
    low, high = (factor(name) * figure[end] if end in figure else None for end in ("low", "high"))
    marks = []
    if published.in_domain(result.data, result.train_sets):
        marks.append(IN_DOMAIN)
    if result.entry["pictures"] < (result.settings.get("pictures") or 0):
        marks.append(FEWER)
    return Cell(float(text(name, exact)), text(name, exact), exact, low, high, marks=tuple(marks))


def _shares(result: Result) -> str:
    """How often an oracle took which model, by the first of its figures."""
    shares: dict[str, dict[str, float]] = result.entry.get("shares", {})
    name = next((name for name in main_figures(result) if name in shares), None)
    if name is None:
        return ""
    return f"by {heading(name)}: " + ", ".join(
        f"{model} {share:.0f} %" for model, share in shares[name].items()
    )


def _named(lines: list[Line]) -> list[Line]:
    """Lines of one name say in which run they are, where their steps and members do not tell them apart."""
    seen = Counter((line.label, line.steps, line.ensemble) for line in lines)
    return [
        replace(line, label=f"{line.label} ({line.results[0].run.name})")
        if seen[line.label, line.steps, line.ensemble] > 1
        else line
        for line in lines
    ]


def _ranked(lines: list[Line]) -> list[Line]:
    """Average ranks as PrimeDepth's tables have them; oracles take no part."""
    table = {
        str(i): {
            (result.data, name): result.figures[name]["value"]
            for result in line.results
            for name in result.figures
            if (result.data, name) in line.cells
        }
        for i, line in enumerate(lines)
        if not line.is_oracle
    }
    ranks = average_ranks(table) if len(table) > 1 else {}
    return [replace(line, rank=ranks.get(str(i))) for i, line in enumerate(lines)]


def _placed(lines: list[Line], columns: Iterable[Column]) -> list[Line]:
    """Mark the best and second best of each column, as printed; equal figures share the place."""
    cells = [dict(line.cells) for line in lines]
    for column in columns:
        own = {
            i: line.cells[column.name].value
            for i, line in enumerate(lines)
            if column.name in line.cells and not line.is_oracle
        }
        order = sorted(set(own.values()), reverse=column.higher_is_better)[:2]
        for i, value in own.items():
            if len(own) > 1 and value in order:
                cell = cells[i][column.name]
                cells[i][column.name] = replace(cell, place=1 + order.index(value))
    return [replace(line, cells=own_cells) for line, own_cells in zip(lines, cells, strict=True)]


def _published(columns: Sequence[Column], protocols: set[str]) -> list[Line]:
    """Lines of papers that have any of the columns. What a paper prints twice stands here once."""
    found: dict[object, Line] = {}
    for one in published.rows():
        line = printed_line(one)
        cells = {column.name: line.cells[column.name] for column in columns if column.name in line.cells}
        key = one.paper.paper, one.row.train, *sorted(one.figures.items())
        if cells and key in found:
            found[key] = replace(found[key], source=f"{found[key].source}, {one.table.table}")
        elif cells:
            marks = () if one.table.protocol in protocols else (OTHER_PROTOCOL,)
            found[key] = replace(line, cells=cells, marks=marks)
    return list(found.values())


def _notes(group: Sequence[Result]) -> list[str]:
    notes = []
    protocols = dict.fromkeys(result.protocol for result in group)
    if len(protocols) > 1:
        notes.append(
            f"Lines follow different protocols ({', '.join(protocols)}): the same pictures and pixels, "
            "aligned as each kind of prediction has to be."
        )
    measured = [result for result in group if not result.is_oracle]
    without = {one: len(one.entry["skipped"]) + len(one.entry["failed"]) for one in measured}
    against = {one: len(one.entry["reversed"]) for one in measured}
    if any(without.values()):
        mistakes = sum(len(one.entry["failed"]) for one in measured)
        notes.append(f"Pictures without figures, {mistakes} of them by a mistake: {_counts(without)}.")
    if any(against.values()):
        notes.append(
            "Predictions that run against the truth, whose fit has a negative scale; they count: "
            f"{_counts(against)}."
        )
    return notes


def _counts(found: Mapping[Result, int]) -> str:
    return ", ".join(f"{one.model} on {one.data} {count}" for one, count in found.items() if count)
