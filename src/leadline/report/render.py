"""A report from its parts, and the four forms that it is written in."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from leadline import __version__, documents, save
from leadline.errors import UsageError, did_you_mean
from leadline.evaluate.sources import Source
from leadline.report import compare, load, pictures, plots, published, svg
from leadline.report.load import Result
from leadline.report.pictures import Gallery
from leadline.report.plots import Boxes, Curves
from leadline.report.spread import Request, Spread, draw
from leadline.report.tables import Line, Table, printed_tables

Beside = Literal[
    "none", "beside", "all"
]  # which published figures: none, those of our columns, all tables too
BESIDE: tuple[Beside, ...] = ("none", "beside", "all")
FIELDS = (  # of CSV: a line per figure
    *("source", "table", "model", "train_sets", "in_domain", "protocol", "alignment", "steps", "ensemble"),
    *("data", "pictures", "published_list", "metric", "unit", "value", "low", "high", "note"),
)
WORDS = {True: "yes", False: "no", None: "unknown"}
LATEX_MARKS: dict[str, Any] = {
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "block_start_string": "<%",
    "block_end_string": "%>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}
TEX = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"$<$", ">": r"$>$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "δ": r"$\delta$",
        "°": r"$^\circ$", "×": r"$\times$", "–": "--",
    }
)  # fmt: skip


@dataclass
class Section:
    """Results that compare, from all sides. group: they themselves."""

    table: Table
    group: list[Result]
    details: list[Table]
    boxes: Boxes | None
    curves: list[Curves]
    galleries: list[Gallery] = field(default_factory=list)


@dataclass
class Report:
    """Everything that a report shows. runs: folder -> what it was made with. printed: tables of papers."""

    title: str
    sections: list[Section]
    printed: list[Table]
    runs: dict[str, list[dict[str, Any]]]
    protocols: dict[str, str]
    spread: Spread | None = None
    made_with: str = f"leadline {__version__}"

    @property
    def sets(self) -> list[str]:
        """Names of the data sets."""
        return list(dict.fromkeys(one.data for section in self.sections for one in section.group))

    @property
    def models(self) -> list[str]:
        """Names of the models and combinations."""
        return list(dict.fromkeys(one.model for section in self.sections for one in section.group))

    @property
    def published(self) -> int:
        """How many lines of papers stand beside ours."""
        return sum(len(section.table.published) for section in self.sections)


def write(
    runs: Iterable[str | Path],
    out: str | Path,
    *,
    title: str = "Evaluation",
    published: Beside = "beside",
    data: Mapping[str, Source] | None = None,
    shots: int = 3,
    spread: Request | None = None,
) -> list[str]:
    """Write the report of some runs; the suffix of `out` says in which form.

    published: which figures of papers stand in it; without runs, all. data: where data sets lie, to show the
    best and the worst `shots` pictures of each model on them (HTML). spread: a photograph whose prediction is
    shown over its steps (HTML). Returns in a line each what cannot be shown, and why.

    Raises SaveError for what is no run, UsageError for an unknown form, and what loading the model of
    `spread` raises.
    """
    path = Path(out)
    form = path.suffix.lower()
    if form not in FORMATS:
        raise UsageError(f"{path.name}: no report ends in {form!r}: {did_you_mean(form, FORMATS)}")
    results = load.read(runs)
    report = build(results, title, published if results else "all")
    missing: list[str] = []
    if form == ".html":
        for section in report.sections:
            section.galleries, lost = pictures.galleries(section.group, data or {}, shots)
            missing += lost
        report.spread = draw(spread) if spread else None
    save.write_bytes(path, FORMATS[form](report).encode())
    return missing


def build(results: list[Result], title: str, beside: Beside = "beside") -> Report:
    """The parts of a report, without photographs."""
    groups = compare.groups(results)
    tables = compare.compare(results, beside != "none")
    sections = [
        Section(table, group, compare.details(group), plots.boxes(table), plots.curves(table))
        for table, group in zip(tables, groups, strict=True)
    ]
    rules = {result.protocol: documents.to_yaml(result.rules) for result in results if result.rules}
    return Report(title, sections, printed_tables() if beside == "all" else [], _runs(results), rules)


def _runs(results: Iterable[Result]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        here = found.setdefault(result.run.name or str(result.run), [])
        here += [one for one in result.entry.get("machine", {}).get("processes", []) if one not in here]
    return found


def html(report: Report) -> str:
    """One file: style, figures, photographs and the few lines of script are in it."""
    return environment(html=True).get_template("report.html.j2").render(report=report)


def markdown(report: Report) -> str:
    """Tables, and the quartiles that the HTML draws."""
    return environment().get_template("report.md.j2").render(report=report)


def latex(report: Report) -> str:
    """Tables in the style of booktabs, to be put into a paper; line by line readable."""
    return environment(latex=True).get_template("report.tex.j2").render(report=report)


def table_of_all(report: Report) -> str:
    """CSV, a line per figure: ours with all their digits, published ones as printed."""
    text = io.StringIO()
    rows = csv.DictWriter(text, FIELDS, lineterminator="\n", restval="")
    rows.writeheader()
    for section in report.sections:
        for table in section.details:
            rows.writerows(_records(table, table.lines))
        rows.writerows(_ranks(section.table))
        rows.writerows(_records(section.table, section.table.published))
    for table in report.printed:
        rows.writerows(_records(table, table.lines))
    return text.getvalue()


FORMATS: dict[str, Callable[[Report], str]] = {
    ".html": html,
    ".md": markdown,
    ".tex": latex,
    ".csv": table_of_all,
}


def _records(table: Table, lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    for line in lines:
        for column in table.columns:
            cell = line.cells.get(column.name)
            if cell is None:
                continue
            figure: dict[str, Any] = {
                "data": column.data,
                "metric": column.metric,
                "unit": column.unit,
                "in_domain": WORDS[published.in_domain(column.data, line.train_sets)],
                "value": cell.text if line.source else f"{cell.exact:.10g}",
            }
            if not line.source:
                figure |= {"pictures": column.pictures, "published_list": WORDS[column.published]}
            if cell.low is not None and cell.high is not None:
                figure |= {"low": f"{cell.low:.10g}", "high": f"{cell.high:.10g}"}
            yield _about(table, line) | figure


def _ranks(table: Table) -> Iterator[dict[str, Any]]:
    for line in table.ours:
        if line.rank is not None:
            yield _about(table, line) | {
                "data": "all",
                "metric": "average_rank",
                "value": f"{line.rank:.10g}",
            }


def _about(table: Table, line: Line) -> dict[str, Any]:
    keys = ("train_sets", "protocol", "alignment", "steps", "ensemble", "note")
    own = {key: getattr(line, key) for key in keys if getattr(line, key) is not None}
    return {"source": line.source or "measured", "table": table.title, "model": line.label, **own}


def _plain(words: object) -> str:
    """Text in a cell of Markdown."""
    return re.sub(r"([|*_<`\\])", r"\\\1", str(words))


def environment(*, html: bool = False, latex: bool = False) -> Environment:
    """The templates of reports and benchmarks. latex: with marks that LaTeX does not use."""
    made = Environment(
        loader=PackageLoader("leadline.report"),
        undefined=StrictUndefined,
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **(LATEX_MARKS if latex else {}),
    )
    made.filters |= {"tex": lambda words: str(words).translate(TEX), "md": _plain}
    made.globals.update(box_plot=svg.box_plot, curve_plot=svg.curve_plot)
    return made
