"""Run folders as `leadline eval` leaves them, with drawn figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leadline import cards, protocols
from leadline.evaluate import figures
from leadline.evaluate.sources import safe
from leadline.metrics.summary import Scores

GROUPS = ("Day Sunny", "Night", "Night Rain")


def facts(name: str, **settings: Any) -> dict[str, Any]:
    """Of a model, as results hold them."""
    own = {
        "name": name,
        "kind": "affine_depth",
        "revision": None,
        "weights": f"{name}-1",
        "preset": "leadline",
    }
    own |= {"dtype": "float32", "processing_res": 0, "steps": None, "ensemble_size": None, "seed": 1}
    return own | settings


def result(
    run: Path,
    model: str,
    data: str,
    absrel: float,
    *,
    protocol: str = "marigold",
    changes: Sequence[str] = (),
    pictures: int = 12,
    grouped: bool = False,
    skipped: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """One entry, and its pictures' records in the run; absrel is what the drawn values lie around."""
    rules = protocols.load(protocol, changes)
    random = np.random.default_rng(len(model) + int(1000 * absrel))
    scores, lines = Scores(), []
    for place in range(skipped, pictures):
        error = float(absrel * random.lognormal(0, 0.25))
        drawn = {"absrel": error, "delta1": max(0.0, 1 - 2.2 * error), "rmse": 8 * error, "silog": 90 * error}
        values = {name: drawn[name] for name in drawn if name in rules.metrics}
        scores.add(place, f"{place}.png", values)
        group = {"group": GROUPS[place % 3]} if grouped else {}
        lines.append({"place": place, "name": f"{place}.png", "values": values, "seconds": 0.1, **group})
    entry = {
        "model": model,
        "data": data,
        "protocol": rules.name,
        "protocol_hash": rules.hash,
        "combination": None,
        "members": [model],
        "train_sets": [cards.get(model).training_data if cards.has(model) else "unknown"],
        "alignment": [list(next(iter(rules.align.values())))],
        "measure": rules.measure,
        "reduction": rules.reduction,
        "rank": list(rules.rank),
        "treatment": rules.rule(data).model_dump(mode="json", exclude={"list"}, exclude_none=True),
        "settings": {
            "protocols": [rules.hash],
            "models": [facts(settings.pop("name", model), **settings)],
            "data": data,
            "published_list": False,
            "pictures": pictures,
            "rows_sha256": f"{data}-{pictures}",
        },
        "pictures": len(lines),
        "skipped": [[f"{place}.png", "no pixel counts"] for place in range(skipped)],
        "failed": [],
        "reversed": [],
        "figures": _figures(scores, rules.measure),
        "machine": {"processes": [{"python": "3.11", "command": ["leadline", "eval", "-m", model]}]},
    }
    _records(run / safe(model) / f"{safe(data)}.{rules.name}", lines)
    return {"entry": entry, "rules": rules}


def oracle(run: Path, members: Sequence[str], data: str, absrel: float, **more: Any) -> dict[str, Any]:
    """An oracle of some models of the run."""
    made = result(run, f"oracle:{'+'.join(members)}", data, absrel, **more)
    entry = made["entry"]
    del entry["settings"], entry["treatment"]
    shares = {member: 100 / len(members) for member in members}
    entry |= {"combination": "oracle", "members": list(members), "shares": {"delta1": shares}, "rank": []}
    return made


def save(run: Path, made: Sequence[Mapping[str, Any]]) -> Path:
    """Write the `results.json` of a run."""
    run.mkdir(parents=True, exist_ok=True)
    document = {
        "schema": 1,
        "protocols": {one["rules"].hash: one["rules"].document() for one in made},
        "results": [one["entry"] for one in made],
        "ranks": {},
    }
    (run / "results.json").write_text(json.dumps(document))
    return run


def _figures(scores: Scores, measure: str) -> dict[str, dict[str, Any]]:
    within = scores.intervals(resamples=50)
    return {
        name: {
            "value": value,
            "unit": figures.unit(name, measure),
            "higher_is_better": figures.higher_is_better(name),
            "low": within[name][0],
            "high": within[name][1],
        }
        for name, value in scores.means().items()
    }


def _records(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(line) for line in [{"settings": {}}, *lines])
    (folder / "records-1-of-1.jsonl").write_text(text + "\n")
