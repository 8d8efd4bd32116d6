"""What a run leaves: `results.json` with everything, and a table of pictures per job. docs/evaluation.md says
what each entry means.

All is computed from the ledgers, in the order of the data set: any number of processes, killed and started
again anywhere, leave the same file, but for what stands under "machine".
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leadline import save
from leadline.errors import SaveError
from leadline.evaluate import figures
from leadline.evaluate.combine import average_ranks, oracle
from leadline.evaluate.ledger import Ledger
from leadline.evaluate.plan import Combination, Job
from leadline.metrics import normals
from leadline.metrics.summary import Scores

SCHEMA = 1  # rises when an entry changes its meaning
NAME = "results.json"
TABLE = "per_sample_metrics.csv"  # Marigold's name
EVERY = frozenset(  # what no entry lacks
    ("model", "data", "protocol", "protocol_hash", "members", "measure", "reduction", "rank", "figures")
)

Entry = dict[str, Any]
Measured = Sequence[tuple[Job, Ledger]]


def write(out: Path, measured: Measured, combinations: Iterable[Combination] = ()) -> dict[str, Any]:
    """Write the tables and `results.json` of finished jobs. What it holds of other jobs stays.

    Raises SaveError.
    """
    for job, ledger in measured:
        save.write_bytes(job.folder(out) / TABLE, _table(job, ledger).encode("utf-8"))
    entries = [_entry(job, ledger, out) for job, ledger in measured]
    for one in combinations:
        entries += _oracles(one, measured) if one.kind == "oracle" else []
    before = read(out) if (out / NAME).exists() else {"protocols": {}, "results": []}
    own = {_key(entry) for entry in entries}
    entries = [entry for entry in before["results"] if _key(entry) not in own] + entries
    rules = {part.rules.hash: part.rules for job, _ in measured for part in job.parts}
    document = {
        "schema": SCHEMA,
        "protocols": before["protocols"] | {key: one.document() for key, one in rules.items()},
        "results": entries,
        "ranks": _ranks(entries),
    }
    save.write_bytes(out / NAME, (json.dumps(document, indent=1) + "\n").encode())
    return document


def read(out: Path) -> dict[str, Any]:
    """The `results.json` of a run. Raises SaveError if there is none, a damaged one, or of a newer form."""
    path = out / NAME
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = document["schema"]
    except OSError as error:
        raise SaveError(f"{path}: {error.strerror}: give the folder of a finished run") from None
    except (ValueError, TypeError, KeyError):
        raise _damaged(path) from None
    if schema != SCHEMA:
        raise SaveError(f"{path}: of form {schema}, {SCHEMA} is known here: update leadline, or run again")
    if not _is_whole(document):
        raise _damaged(path)
    return document


def without_machine(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part that is the same on every run: no times, memory and devices."""
    entries = [{k: v for k, v in entry.items() if k != "machine"} for entry in document["results"]]
    return {**document, "results": entries}


def _is_whole(document: Mapping[str, Any]) -> bool:
    """Whether what others read of a document is there."""
    entries = document.get("results")
    return (
        isinstance(document.get("protocols"), dict)
        and isinstance(entries, list)
        and all(isinstance(entry, dict) and entry.keys() >= EVERY for entry in entries)
    )


def _damaged(path: Path) -> SaveError:
    return SaveError(f"{path}: damaged: delete it and run again")


def _entry(job: Job, ledger: Ledger, out: Path) -> Entry:
    scores, rules = ledger.scores(), job.rules
    records = [ledger.records[place] for place in sorted(ledger.records)]
    return {
        "model": job.label,
        "data": job.data.name,
        "protocol": rules.name,
        "protocol_hash": rules.hash,
        "combination": "average" if len(job.parts) > 1 else None,
        "members": [part.contender.label for part in job.parts],
        "train_sets": [part.contender.trained_on for part in job.parts],
        "alignment": [list(part.rules.spaces(part.contender.kind)) for part in job.parts],
        "measure": rules.measure,
        "reduction": rules.reduction,
        "rank": list(rules.rank),
        "treatment": job.rule.model_dump(mode="json", exclude={"list"}, exclude_none=True),
        "settings": ledger.settings,
        "pictures": len(scores.rows),
        "skipped": [[one.name, one.skipped] for one in records if one.skipped],
        "failed": [[one.name, one.failed] for one in records if one.failed],
        "reversed": [one.name for one in records if one.reversed],
        "figures": _pooled(job, ledger) if job.pooled else _means(job, scores),
        "groups": {} if job.pooled else _groups(job, ledger),
        "table": (job.folder(out) / TABLE).relative_to(out).as_posix(),
        "machine": _machine(ledger),
    }


def _means(job: Job, scores: Scores) -> dict[str, Entry]:
    """Figure -> value, and the interval in which it would lie for other pictures of this kind."""
    within = scores.intervals()
    found = {name: _figure(name, value, job) for name, value in scores.means().items()}
    for name, (low, high) in within.items():
        found[name] |= {"low": low, "high": high}
    return found


def _pooled(job: Job, ledger: Ledger) -> dict[str, Entry]:
    found = normals.summary(ledger.errors())
    usable = {name: found[name] for name in job.rules.metrics if math.isfinite(found[name])}
    return {name: _figure(name, value, job) for name, value in usable.items()}


def _figure(name: str, value: float, job: Job) -> Entry:
    unit = figures.unit(name, job.rules.measure)
    return {"value": value, "unit": unit, "higher_is_better": figures.higher_is_better(name)}


def _groups(job: Job, ledger: Ledger) -> dict[str, Entry]:
    """Group -> its number of pictures, its figures, and the quartiles of its pictures' values."""
    found = {}
    for group in sorted({record.group for record in ledger.records.values()} - {""}):
        scores = ledger.scores(group)
        rows = scores.in_order
        quartiles = {
            name: np.quantile([row.values[name] for row in rows], [0.25, 0.5, 0.75]).tolist()
            for name in (rows[0].values if rows else ())
        }
        own = {name: _figure(name, value, job) for name, value in scores.means().items()}
        for name in own:
            own[name]["quartiles"] = quartiles[name]
        found[group] = {"pictures": len(rows), "figures": own}
    return found


def _oracles(combination: Combination, measured: Measured) -> list[Entry]:
    """One per data set: the best of the members, picture by picture."""
    found = []
    for data in dict.fromkeys(job.data.name for job, _ in measured):
        own = {job.label: (job, ledger) for job, ledger in measured if job.data.name == data}
        members = [own[label] for label in combination.members]
        best = oracle({label: own[label][1].scores() for label in combination.members})
        job = members[0][0]
        found.append(
            {
                "model": combination.label,
                "data": data,
                "protocol": job.rules.name,
                "protocol_hash": job.rules.hash,
                "combination": "oracle",
                "members": list(combination.members),
                "train_sets": [own[label][0].parts[0].contender.trained_on for label in combination.members],
                "alignment": [list(one.rules.spaces(one.parts[0].contender.kind)) for one, _ in members],
                "measure": job.rules.measure,
                "reduction": job.rules.reduction,
                "rank": [],
                "pictures": len(best.scores.rows),
                "figures": _means(job, best.scores),
                "shares": best.shares,
            }
        )
    return found


def _ranks(entries: Iterable[Entry]) -> dict[str, dict[str, float]]:
    """What is measured -> model -> its average rank, where there are several models. Oracles stand apart."""
    tables: dict[str, dict[str, dict[tuple[str, str], float]]] = {}
    for entry in entries:
        own = {name: entry["figures"][name]["value"] for name in entry["rank"] if name in entry["figures"]}
        if own:
            row = tables.setdefault(entry["measure"], {}).setdefault(entry["model"], {})
            row |= {(entry["data"], name): value for name, value in own.items()}
    return {measure: average_ranks(table) for measure, table in tables.items() if len(table) > 1}


def _machine(ledger: Ledger) -> Entry:
    seconds = [r.seconds for r in ledger.records.values() if r.seconds is not None]
    if not seconds:
        return {"processes": ledger.processes}
    median, late = np.quantile(seconds, [0.5, 0.95]).tolist()
    times = {
        "median": median,
        "mean": math.fsum(seconds) / len(seconds),
        "p95": late,
        "pictures": len(seconds),
    }
    return {"seconds_per_picture": times, "processes": ledger.processes}


def _table(job: Job, ledger: Ledger) -> str:
    """Figures picture by picture, in the order of the list, in the form of Marigold's scripts."""
    rows = ledger.scores().in_order
    names = list(rows[0].values) if rows else list(job.rules.metrics)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["filename", *(figures.column(name, job.rules.measure) for name in names)])
    for place in sorted(ledger.records):
        record = ledger.records[place]
        if record.values:
            file = record.file if job.rules.measure == "depth" else record.name  # as Marigold's two scripts
            table.writerow([file, *(repr(record.values[name]) for name in names)])
    return text.getvalue()


def _key(entry: Entry) -> tuple[str, str, str]:
    return entry["model"], entry["data"], entry["protocol"]
