"""What papers print: every figure of their tables, with its source and what the model was trained on.

One file per paper. The figures are as printed: nothing is computed, rounded or corrected; remarks say where
papers contradict each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from leadline import documents

HERE = Path(__file__).parent
PAPERS = ("e2e_ft", "primedepth", "fiffdepth")
TRAIN_SETS = "train_sets"
WORDS = {  # how training sets are called, where that is not the name of the data set itself
    "nyuv2": r"\bNYU",
    "kitti": r"(?<!Virtual )\bKITTI",
    "vkitti2": r"\bVirtual KITTI|\bVKITTI",
    "nuscenes-c": r"\bnuScenes",
    "ibims": r"\biBims",
    "am2k": r"\bAM-?2k",
    "p3m10k": r"\bP3M",
    "dis5k": r"\bDIS-?5k",
    "da2k": r"\bDA-?2k",
    "sunrgbd": r"\bSUN",
    "scenes": r"\bleadline\.scenes\b",
}


class Part(BaseModel):
    """Of a published table: it cannot be changed, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(Part):
    """A line of a table. values: one per column; None where the paper has none."""

    method: str
    steps: int | None = None
    ensemble: int | None = None
    train: str | None = None  # a key of train_sets.yaml
    note: str = ""
    values: tuple[float | int | None, ...]


class Printed(Part):
    """A table. columns: a data set, or a size in pixels, and its metrics. protocol: by which it was made."""

    table: str
    title: str
    protocol: str
    remark: str = ""
    columns: tuple[tuple[str, ...], ...]
    rows: tuple[Row, ...] = Field(min_length=1)

    @property
    def names(self) -> list[tuple[str, str]]:
        """(data set, metric) of every column."""
        return [(data, metric) for data, *metrics in self.columns for metric in metrics]

    @model_validator(mode="after")
    def _complete(self) -> Printed:
        for row in self.rows:
            if len(row.values) != len(self.names):
                raise ValueError(f"{row.method} has {len(row.values)} values for {len(self.names)} columns")
        return self


class Paper(Part):
    """A paper's tables."""

    paper: str
    source: str
    tables: tuple[Printed, ...]


class Published(NamedTuple):
    """A line of a paper's table, with where it stands. figures: those that are printed."""

    paper: Paper
    table: Printed
    row: Row
    figures: dict[tuple[str, str], float | int]

    @property
    def source(self) -> str:
        """Paper and table."""
        return f"{self.paper.paper}, {self.table.table}"

    @property
    def train_sets(self) -> str:
        """What the model was trained on."""
        return train_sets().get(self.row.train or "", "unknown")


@cache
def papers() -> tuple[Paper, ...]:
    """All papers.

    >>> [len(paper.tables) for paper in papers()]
    [9, 4, 3]
    """
    return tuple(documents.load(HERE / f"{name}.yaml", Paper) for name in PAPERS)


@cache
def train_sets() -> dict[str, str]:
    """Key -> what a model was trained on."""
    return documents.parse(HERE / f"{TRAIN_SETS}.yaml")


def rows() -> Iterator[Published]:
    """Every line of every table."""
    for paper in papers():
        for table in paper.tables:
            for row in table.rows:
                pairs = zip(table.names, row.values, strict=True)
                yield Published(paper, table, row, {name: x for name, x in pairs if x is not None})


def in_domain(data: str, train_sets: str) -> bool | None:
    """Whether a data set is among those that a model was trained on; None if these are unknown.

    >>> in_domain("kitti", "Hypersim, Virtual KITTI 2"), in_domain("vkitti2", "Hypersim, Virtual KITTI 2")
    (False, True)
    >>> in_domain("nyuv2", "unknown") is None
    True
    """
    name = data.removesuffix("-normals").removesuffix("-indoor").removesuffix("-outdoor")
    if re.search(WORDS.get(name, rf"\b{re.escape(name)}\b"), train_sets, re.IGNORECASE):
        return True
    known = not re.search(r"unknown|not known|does not name|do not name", train_sets)
    return False if known else None
