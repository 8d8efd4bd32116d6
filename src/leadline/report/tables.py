"""Tables: columns, lines and cells, how figures are printed, and the tables of the papers as they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from leadline.evaluate import figures
from leadline.report import published
from leadline.report.load import Result
from leadline.report.published import Published

HEADINGS = {
    "absrel": "AbsRel",
    "sqrel": "SqRel",
    "rmse": "RMSE",
    "rmse_log": "RMSE log",
    "irmse": "iRMSE",
    "silog": "SILog",
    "boundary_f1": "F1",
    "boundary_recall": "recall",
    "average_rank": "rank",
    "delta1_share": "share by δ1",
    "absrel_share": "share by AbsRel",
}
IN_DOMAIN, OTHER_PROTOCOL, FEWER = "in-domain", "other protocol", "fewer pictures"  # marks of cells and lines

Name = tuple[str, str]  # data set, metric


class Column(NamedTuple):
    """data: the set. pictures: how many it has. published: whether these are the published list's."""

    data: str
    metric: str
    unit: str
    higher_is_better: bool
    pictures: int
    published: bool | None

    @property
    def name(self) -> Name:
        return self.data, self.metric

    @property
    def heading(self) -> str:
        """The metric, and which way is better."""
        return f"{heading(self.metric)} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Cell:
    """A figure in the unit of its column. value: as it is printed. exact: as measured here; low, high: of its
    interval. place: 1 best, 2 second best.
    """

    value: float
    text: str
    exact: float | None = None
    low: float | None = None
    high: float | None = None
    place: int | None = None
    marks: tuple[str, ...] = ()

    @property
    def interval(self) -> str:
        """Its ends, with as many decimals as the figure; empty if it is not known."""
        if self.low is None or self.high is None:
            return ""
        decimals = len(self.text.partition(".")[2])
        return f"{self.low:.{decimals}f}–{self.high:.{decimals}f}"


@dataclass(frozen=True)
class Line:
    """A model, or a line of a paper. rank: its mean over all columns. source: empty for ours."""

    label: str
    protocol: str
    alignment: str
    train_sets: str
    cells: dict[Name, Cell]
    steps: int | None = None
    ensemble: int | None = None
    rank: float | None = None
    source: str = ""
    note: str = ""
    is_oracle: bool = False
    marks: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()


@dataclass
class Table:
    """Lines that compare. about: by which protocols. columns: in the order of the runs. lines: ours, then
    what is published.
    """

    title: str
    about: str
    columns: list[Column]
    lines: list[Line]
    notes: list[str] = field(default_factory=list)

    @property
    def ours(self) -> list[Line]:
        """Lines that were measured here."""
        return [line for line in self.lines if not line.source]

    @property
    def published(self) -> list[Line]:
        """Lines of papers."""
        return [line for line in self.lines if line.source]

    @property
    def data(self) -> dict[str, list[Column]]:
        """The columns by data set."""
        found: dict[str, list[Column]] = {}
        for column in self.columns:
            found.setdefault(column.data, []).append(column)
        return found

    @property
    def legend(self) -> list[str]:
        """What its marks mean, and its notes."""
        marks = {mark for line in self.lines for cell in line.cells.values() for mark in cell.marks}
        places = any(cell.place for line in self.ours for cell in line.cells.values())
        beside = bool(self.published and self.ours)
        known = {
            "Bold: best of the lines measured here; underlined: second best.": places,
            "† In-domain: the model was trained on this data set. All others are zero-shot as far as their "
            "training sets are known.": IN_DOMAIN in marks,
            "Published lines are as printed; they take no part in places and ranks.": beside,
            "* By another protocol than the lines above.": any(line.marks for line in self.lines),
            "‡ Not known to be the published list of pictures, or not all of it: published figures may be of "
            "others.": any(map(self.doubtful, self.data)),
            "§ Over fewer pictures than the column has.": FEWER in marks,
        }
        return [words for words, holds in known.items() if holds] + self.notes

    def doubtful(self, data: str) -> bool:
        """Whether published figures of a set stand beside ours, which may be of other pictures."""
        own = self.data[data]
        beside = any(column.name in line.cells for line in self.published for column in own)
        return bool(self.ours) and beside and not own[0].published

    def has(self, what: str) -> bool:
        """Whether any line has it: 'rank', 'steps', 'alignment' ..."""
        return any(getattr(line, what) not in (None, "", ()) for line in self.lines)


def heading(metric: str) -> str:
    """A metric as tables call it.

    >>> heading("delta1"), heading("absrel@median"), heading("within11.25")
    ('δ1', 'AbsRel (median)', '< 11.25°')
    """
    own, _, space = metric.partition("@")
    if own.startswith("within"):
        own = f"< {own.removeprefix('within')}°"
    own = HEADINGS.get(own, own.replace("delta", "δ"))
    return f"{own} ({space})" if space else own


def text(metric: str, value: float) -> str:
    """A figure, in the unit of its column, with the decimals that the papers' tables have.

    >>> text("absrel", 9.04), text("boundary_f1", 0.42), text("sqrel", 0.0123)
    ('9.0', '0.420', '0.012')
    """
    own = figures.base(metric)
    decimals = 1 if own.startswith(figures.PERCENT) else figures.DECIMALS.get(own, 1)
    return f"{value:.{decimals}f}"


def factor(metric: str) -> int:
    """From a share of 1, as results hold it, to the unit of columns."""
    return 100 if metric.startswith(figures.PERCENT) else 1


def unit(metric: str, measure: str = "") -> str:
    """Of a column.

    >>> unit("absrel", "depth"), unit("within5", "normals"), unit("rmse", "depth"), unit("seconds")
    ('%', '%', 'm', 's')
    """
    if metric.startswith((*figures.PERCENT, "within")):
        return "%"
    if metric in ("seconds", "mean") and not measure:
        return {"seconds": "s", "mean": "°"}[metric]
    return figures.unit(metric, measure).replace("degrees", "°")


def printed_line(one: Published) -> Line:
    """A line of a paper's table as it stands there."""
    cells = {}
    for name, value in one.figures.items():
        marks = (IN_DOMAIN,) if published.in_domain(name[0], one.train_sets) else ()
        cells[name] = Cell(float(value), str(value), marks=marks)
    return Line(
        one.row.method,
        one.table.protocol,
        "",
        one.train_sets,
        cells,
        one.row.steps,
        one.row.ensemble,
        source=one.source,
        note=one.row.note,
    )


def printed_tables() -> list[Table]:
    """All tables of the papers, as they stand there."""
    found = []
    for paper in published.papers():
        for table in paper.tables:
            columns = [
                Column(data, metric, unit(metric), figures.higher_is_better(metric), 0, None)
                for data, metric in table.names
            ]
            lines = [printed_line(one) for one in published.rows() if one.table is table]
            title = f"{paper.paper}, {table.table}: {table.title}"
            found.append(Table(title, f"protocol {table.protocol}", columns, lines, _sentence(table.remark)))
    return found


def _sentence(words: str) -> list[str]:
    return [f"{words[0].upper()}{words[1:]}."] if words else []
