"""Runs of `leadline eval` as plain results: a model, or several together, on a data set by a protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from leadline.errors import UsageError
from leadline.evaluate import results
from leadline.evaluate.ledger import Record
from leadline.evaluate.sources import safe
from leadline.save import journal

UNKNOWN = "unknown"
PIXELS = ("crop", "resize", "range", "box", "clip", "max_res", "max_res_mode")  # of a rule: what is measured
HOW = ("mirror", "input", "not_finite", "decimals")  # of a protocol: what else figures depend on


@dataclass(frozen=True, eq=False)
class Result:
    """One entry of a run's `results.json`.

    entry: as it stands there; what an oracle's leaves out is its first member's. rules: the content of its
    protocol. models: what it is made of, with the settings of each.
    """

    run: Path
    entry: dict[str, Any]
    rules: dict[str, Any]
    models: list[dict[str, Any]]

    @property
    def model(self) -> str:
        """The name by which it was measured."""
        return str(self.entry["model"])

    @property
    def data(self) -> str:
        """The data set."""
        return str(self.entry["data"])

    @property
    def is_of_its_name(self) -> bool:
        """Whether it is the data set of that name, not one's own pictures that a protocol calls so."""
        return bool(self.entry["treatment"].get("data", self.data) == self.data)

    @property
    def protocol(self) -> str:
        """Name and version."""
        return f"{self.rules.get('name', self.entry['protocol'])} {self.rules.get('version', '')}".strip()

    @property
    def settings(self) -> dict[str, Any]:
        """What its figures depend on."""
        return dict(self.entry["settings"])

    @property
    def is_oracle(self) -> bool:
        """Whether it is the best of others, picture by picture."""
        return self.entry.get("combination") == "oracle"

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Name -> value, unit, higher_is_better, and low and high where they are known."""
        found: dict[str, dict[str, Any]] = self.entry["figures"]
        return found

    def own(self, key: str) -> Any:
        """A setting of its model; None if there are several models, or none."""
        return self.models[0].get(key) if len(self.models) == 1 else None

    @property
    def how(self) -> tuple[Any, ...]:
        """What may not differ in one table, whatever the data set."""
        treated = (repr(self.rules.get(key)) for key in HOW)
        return (self.entry["measure"], self.entry["reduction"], *treated)

    @property
    def what(self) -> tuple[Any, ...]:
        """The pictures and pixels that are measured: figures compare where these are equal."""
        rule = self.entry["treatment"]
        return (self.settings.get("rows_sha256"), *(repr(rule.get(key)) for key in PIXELS))

    @property
    def train_sets(self) -> str:
        """What its models were trained on, by their cards."""
        return "; ".join(dict.fromkeys(self.entry.get("train_sets", []))) or UNKNOWN

    @property
    def records_folder(self) -> Path:
        """Where its pictures' records lie."""
        name = f"{safe(self.data)}.{safe(self.entry['protocol'])}"
        return self.run / safe(self.model) / name

    @cached_property
    def records(self) -> list[Record]:
        """Its pictures that have figures, in the order of the list; none of an oracle. Raises SaveError."""
        found: dict[int, Record] = {}
        for path in sorted(self.records_folder.glob("records-*.jsonl")):
            for line in journal.read(path):
                if line.get("values"):
                    found.setdefault(line["place"], Record(**line))
        return [found[place] for place in sorted(found)]


def read(runs: Iterable[str | Path]) -> list[Result]:
    """All results of runs: folders, or their `results.json`.

    Raises SaveError for what is no run, UsageError for one that is given twice.
    """
    found: list[Result] = []
    for path in map(Path, runs):
        folder = path.parent if path.name == results.NAME else path
        if any(folder.resolve() == one.run.resolve() for one in found):
            raise UsageError(f"{folder} is given twice: name each run once")
        found += _of(folder)
    return found


def _of(folder: Path) -> list[Result]:
    document = results.read(folder)
    own = {(e["model"], e["data"]): e for e in document["results"] if e.get("combination") != "oracle"}
    found = []
    for entry in document["results"]:
        labels = entry["members"] if entry.get("combination") == "oracle" else [entry["model"]]
        parts = [own.get((label, entry["data"]), {}) for label in labels]
        models = [facts for part in parts for facts in part.get("settings", {}).get("models", [])]
        rules = document["protocols"].get(entry["protocol_hash"], {})
        whole = {"settings": {}, "treatment": {}} | parts[0] | entry
        found.append(Result(folder, whole, rules, models))
    return found
