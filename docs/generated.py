"""What pages take from other files, so that no fact is written twice. Comments like these, alone on a line:

    <!-- cards: small marigold-* -->                models by name: where they differ, what they share
    <!-- licences -->                               all models, by licence
    <!-- results: one_step* time_ratio -->          figures of the files docs/results/one_step*.json
    <!-- protocol: marigold -->                     what a protocol does, and on which data sets

are replaced when the site is built. What a card does not hold is left out, and so are results that are not
there. A result is a file {"command": ..., "machine": ..., "figures": the last line that a benchmark printed};
figures by size are a row each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from leadline import cards, protocols
from leadline.cards import Card
from leadline.protocols import Rule

RESULTS = Path(__file__).parent / "results"
MARKER = re.compile(r"^<!-- (\w+)(?:: (.*))? -->$", re.MULTILINE)
AXES = {
    "opencv": "x right, y down, z forward",
    "opengl": "x right, y up, z towards the viewer",
    "e2e_ft": "x left, y up, z towards the viewer",
}
FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {  # of benchmarks: heading, and how to write one
    "import_s": ("import, s", "{:.2g}".format),
    "load_s": ("load, s", "{:.2g}".format),
    "first_image_s": ("first picture, s", "{:.2g}".format),
    "image_s": ("each further one, s", "{:.2g}".format),
    "peak_mib": ("peak memory, MiB", "{:.0f}".format),
    "time_ratio": ("time, the other's = 1", "{:.2f}".format),
    "memory_ratio": ("memory beyond the weights, the other's = 1", "{:.2f}".format),
    "speed_ratio": ("our speed, Marigold's = 1", "{:.1f}".format),
    "dense_speed_ratio": ("with every pixel known", "{:.1f}".format),
    "max_difference": ("largest difference", "{:.0e}".format),
    "formulas_difference": ("formulas", "{:.0e}".format),
    "average_difference": ("averages", "{:.0%}".format),
    "range_difference": ("range", "{:.0%}".format),
    "space_difference": ("space", "{:.0%}".format),
    "flat_difference": ("flat prediction", "{:.0%}".format),
    "share_of_peak": ("share of the machine's matrix rate", "{:.0%}".format),
    "scenes_normals": ("scenes: the network, degrees", "{:.1f}".format),
    "scenes_d2nt": ("computed from depth", "{:.1f}".format),
    "scenes_ratio": ("ratio", "{:.2f}".format),
    "room_normals": ("living room: the network, degrees", "{:.1f}".format),
    "room_d2nt": ("computed from depth", "{:.1f}".format),
    "room_ratio": ("ratio", "{:.2f}".format),
    "size": ("long side, px", "{}".format),
    "whole_delta1": ("within 25 %: whole", "{:.1%}".format),
    "at_once_delta1": ("at once", "{:.1%}".format),
    "tiles_delta1": ("in tiles", "{:.1%}".format),
    "whole_boundary_f1": ("boundary F1: whole", "{:.2%}".format),
    "at_once_boundary_f1": ("at once", "{:.2%}".format),
    "tiles_boundary_f1": ("in tiles", "{:.2%}".format),
    "whole_seconds": ("seconds: whole", "{:.2f}".format),
    "at_once_seconds": ("at once", "{:.2f}".format),
    "tiles_seconds": ("in tiles", "{:.2f}".format),
    "peak_gib": ("our whole process, GiB", "{:.1f}".format),
    "plain_overhead": ("plain engine", "{:.1%}".format),
    "ray_overhead": ("Ray, one worker", "{:.1%}".format),
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this for each page. Raises LookupError for a marker that means nothing."""
    return MARKER.sub(_replacement, markdown)


def _replacement(marker: re.Match[str]) -> str:
    makers: dict[str, Callable[..., str]] = {
        "cards": models,
        "licences": licences,
        "results": results,
        "protocol": protocol,
    }
    if marker[1] not in makers:
        raise LookupError(f"{marker[0]}: not one of {', '.join(makers)}")
    return makers[marker[1]](*(marker[2] or "").split())


def models(*patterns: str) -> str:
    """The models with these names, in this order: a table of the short facts in which they differ, and a list
    of those that they share and of the long ones."""
    chosen = _named(patterns)
    facts = {fact: [read(card) for card in chosen] for fact, read in SHORT.items()}
    columns = [fact for fact, values in facts.items() if len(set(values)) > 1]
    rows = [[_name(card), *(facts[fact][i] for fact in columns)] for i, card in enumerate(chosen)]
    table = [*_table(["Name (`-m`)", *columns], rows), ""] if columns else []
    rest = [fact for fact in (SHORT | LONG) if fact not in columns]
    return "\n".join([*table, *(line for fact in rest for line in _lines(fact, chosen))])


def licences() -> str:
    """All models, by licence and further terms."""
    held: dict[tuple[str, str], list[str]] = {}
    for card in map(cards.get, cards.names()):
        held.setdefault((card.licence, card.terms), []).append(f"`{card.name}`")
    rows = [[licence, ", ".join(names), terms] for (licence, terms), names in sorted(held.items())]
    return "\n".join(_table(["Licence", "Models", "Terms"], rows))


def results(files: str, *wanted: str) -> str:
    """A table of the wanted figures in the results of these names, and the commands that measure them."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob(f"{files}.json"))]
    if not found:
        return ""
    headings, writers = zip(*(FIGURES[name] for name in wanted), strict=True)
    rows = [
        [*map(_written, writers, (figures[name] for name in wanted)), one["machine"]]
        for one in found
        for figures in _by_size(one["figures"])
    ]
    commands = dict.fromkeys(f"`{one['command']}`" for one in found)
    return "\n".join([*_table([*headings, "on"], rows), "", f"Measured with {', '.join(commands)}."])


def _by_size(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """A row each where a benchmark has figures of several sizes."""
    sizes = [{"size": int(size), **own} for size, own in figures.items() if isinstance(own, dict)]
    return sizes or [figures]


def _written(write: Callable[[float], str], value: float | None) -> str:
    return "" if value is None else write(value)


def protocol(name: str) -> str:
    """What a protocol does to predictions, and a row for each of its data sets."""
    rules = protocols.load(name)
    aligned = [f"`{kind}` {', '.join(spaces)}" for kind, spaces in rules.align.items()]
    facts = {
        "Measures": rules.summary,
        "Align": "; ".join(aligned),
        "Figures": ", ".join(rules.metrics),
        "Mean over": rules.reduction,
        "Seed": str(rules.seed),
        "Hash": f"`{rules.hash[:12]}`, version {rules.version}",
    }
    rows = [[f"`{data}`", *_rule(rule)] for data, rule in rules.sets.items()]
    headings = ["Data set", "List", "Depths, m", "Crop, box", "Clip, m", "Works at"]
    kept = [i for i, _ in enumerate(headings) if any(row[i] for row in rows)]
    table = _table([headings[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return "\n".join([*(f"- **{fact}**: {value}" for fact, value in facts.items()), "", *table])


def _rule(rule: Rule) -> list[str]:
    """The cells of a data set: list, range, crop and box, clip, resolution."""
    listing = rule.list and f"{rule.list.samples}, `{rule.list.sha256[:12]}`"
    cut = [rule.crop, rule.resize and "x".join(map(str, rule.resize)), rule.box]
    works_at = {None: "", 0: "own size"}.get(rule.processing_res, f"{rule.processing_res} px")
    return [listing or "", _limits(rule.range), ", ".join(filter(None, cut)), _limits(rule.clip), works_at]


def _limits(limits: tuple[float, float | None] | str | None) -> str:
    if limits is None or isinstance(limits, str):
        return {None: "", "truth": "the truth's own"}[limits]
    near, far = limits
    return f"{near:g} to {far:g}" if far is not None else f"over {near:g}"


def _named(patterns: Iterable[str]) -> list[Card]:
    chosen: dict[str, Card] = {}
    for pattern in patterns:
        matching = [cards.get(name) for name in cards.names() if fnmatchcase(name, pattern)]
        if not matching:
            raise LookupError(f"no card is named {pattern}")
        chosen |= {card.name: card for card in sorted(matching, key=lambda card: card.parameters or 0)}
    return list(chosen.values())


def _table(headings: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]


def _name(card: Card) -> str:
    link = card.hub and f"<br><small>[{card.hub.id}](https://huggingface.co/{card.hub.id})</small>"
    return f"`{card.name}`{link or ''}"


def _lines(fact: str, chosen: list[Card]) -> list[str]:
    """A fact in a list: once if all share it, else by model."""
    values = {card.name: (SHORT | LONG)[fact](card) for card in chosen}
    if len(set(values.values())) == 1:
        return [f"- **{fact}**: {value}" for value in set(values.values()) if value]
    names = {value: [f"`{name}`" for name in values if values[name] == value] for value in values.values()}
    return [f"- **{fact}**", *(f"    - {', '.join(of)}: {value}" for value, of in names.items() if value)]


def _parameters(card: Card) -> str:
    if not card.parameters:
        return ""
    size = 4 * card.parameters / 1e6
    memory = f"{size / 1e3:.1f} GB" if size >= 1e3 else f"{size:.0f} MB"
    return f"{card.millions}, {memory} as float32"


def _by_default(card: Card) -> str:
    steps, members = card.defaults.steps, card.defaults.ensemble
    return f"{steps} step{'s' * (steps > 1)}" + f", {members} members" * (members > 1)


def _works_at(card: Card) -> str:
    pixels, edge = card.size_rule.get("processing_res"), card.size_rule.get("edge")
    return f"{pixels} px{f' ({edge} edge)' if edge else ''}" if pixels else ""


def _on_disk(card: Card) -> str:
    if not cards.is_bundled(card.name):
        return ""
    size = sum(file.stat().st_size for file in (cards.BUNDLED / card.name).rglob("*") if file.is_file())
    return f"{size / 1e6:.0f} MB, in the package"


SHORT: dict[str, Callable[[Card], str]] = {
    "Kind": lambda card: f"`{card.kind}`",
    "Parameters": _parameters,
    "On disk": _on_disk,
    "Works at": _works_at,
    "By default": _by_default,
    "Licence": lambda card: card.licence,
}
LONG: dict[str, Callable[[Card], str]] = {
    "Axes of the network": lambda card: AXES[card.frame] if card.frame else "",
    "Terms": lambda card: card.terms,
    "Trained on": lambda card: card.training_data,
    "For": lambda card: card.intended_use,
    "Limits": lambda card: card.limits,
    "Made with": lambda card: card.made_with,
}
