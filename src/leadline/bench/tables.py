"""The forms of a benchmark: the papers' tables of seconds (PrimeDepth, Table 4; FiffDepth, Table 3), and what
the seconds and the memory are made of.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from leadline.errors import UsageError, did_you_mean
from leadline.report.render import environment

Document = Mapping[str, Any]
FIELDS = (
    *("model", "size", "device", "dtype", "steps", "ensemble_size", "part"),
    *("median_s", "p95_s", "peak_mib", "beyond_weights_mib", "error"),
)
PARTS = ("read", "pre", "network", "post", "write", "total")


class Grid(NamedTuple):
    """Rows of text below headings."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def render(document: Document, out: str | Path) -> str:
    """A benchmark in the form that the suffix of `out` names. Raises UsageError for an unknown one."""
    form = Path(out).suffix.lower()
    if form not in FORMATS:
        raise UsageError(f"{out}: no benchmark ends in {form!r}: {did_you_mean(form, FORMATS)}")
    return FORMATS[form](document)


def grids(document: Document) -> list[Grid]:
    """Seconds per picture for every device and precision, then the parts and the memory of all cells."""
    good = [cell for cell in document["cells"] if "error" not in cell]
    settings = dict.fromkeys((cell["device"], cell["dtype"]) for cell in good)
    times = [_seconds([c for c in good if (c["device"], c["dtype"]) == own], *own) for own in settings]
    return times + ([_parts(good)] if good else [])


def machine(document: Document) -> str:
    """What was measured on, in a line."""
    own = document["machine"]
    if not own:
        return "nothing was measured"
    device = own.get("gpu") or f"{own['processor']}, {own['threads']} threads of {own['cores']} cores"
    return f"{device}; torch {own['versions']['torch']}, leadline {own['versions']['leadline']}"


def _seconds(cells: list[dict[str, Any]], device: str, dtype: str) -> Grid:
    """Median seconds per picture without its file, models side by side, each with its factor to the first."""
    models = list(dict.fromkeys(_label(cell) for cell in cells))
    found = {(_size(cell), _label(cell)): cell["seconds"]["predict"]["median"] for cell in cells}
    sizes = list(dict.fromkeys(size for size, _ in found))
    title = f"Seconds per picture, decoded to predicted, {device}, {dtype}"
    if len(sizes) == 1:
        row = [_number(found[sizes[0], model]) for model in models]
        return Grid(f"{title}, {sizes[0]}", ["Method", *models], [["Time (s)", *row]])
    first, *others = models
    headings = ["Resolution", first]
    for other in others:
        headings += [other, f"{other} : {first}"]
    rows = []
    for size in sizes:
        own = [_number(found.get((size, first)))]
        for other in others:
            a, b = found.get((size, first)), found.get((size, other))
            own += [_number(b), f"{b / a:.1f}" if a and b else ""]
        rows.append([size, *own])
    return Grid(title, headings, rows)


def _parts(cells: Iterable[dict[str, Any]]) -> Grid:
    headings = [
        "Model",
        "Size",
        "On",
        "Load",
        *(part.capitalize() for part in PARTS),
        "p95",
        "Peak",
        "Beyond weights",
    ]
    rows = []
    for cell in cells:
        seconds, memory = cell["seconds"], cell["memory_mib"]
        medians = [_number(seconds[part]["median"]) for part in PARTS]
        where = f"{cell['device']} {cell['dtype']}"
        times = [_number(cell["load_s"]), *medians, _number(seconds["total"]["p95"])]
        held = ["" if memory[key] is None else f"{memory[key]:.0f}" for key in ("peak", "beyond_weights")]
        rows.append([_label(cell), _size(cell), where, *times, *held])
    return Grid("Seconds (medians) and memory (MiB) of the parts", headings, rows)


def _markdown(document: Document) -> str:
    return environment().get_template("bench.md.j2").render(**_words(document))


def _latex(document: Document) -> str:
    return environment(latex=True).get_template("bench.tex.j2").render(**_words(document))


def _words(document: Document) -> dict[str, Any]:
    failed = [
        f"{_label(cell)}, {_size(cell)}: {cell['error']}" for cell in document["cells"] if "error" in cell
    ]
    return {"grids": grids(document), "machine": machine(document), "failed": failed}


def _csv(document: Document) -> str:
    text = io.StringIO()
    rows = csv.DictWriter(text, FIELDS, lineterminator="\n", restval="", extrasaction="ignore")
    rows.writeheader()
    for cell in document["cells"]:
        about = cell | {"size": _size(cell)}
        if "error" in cell:
            rows.writerow(about)
            continue
        rows.writerow(about | {"part": "load", "median_s": cell["load_s"]})
        held = {f"{key}_mib": cell["memory_mib"][key] for key in ("peak", "beyond_weights")}
        for part, own in cell["seconds"].items():
            memory = held if part == "total" else {}
            rows.writerow(about | memory | {"part": part, "median_s": own["median"], "p95_s": own["p95"]})
    return text.getvalue()


def _json(document: Document) -> str:
    return json.dumps(document, indent=1) + "\n"


FORMATS: dict[str, Callable[[Document], str]] = {
    ".json": _json,
    ".md": _markdown,
    ".tex": _latex,
    ".csv": _csv,
}


def _label(cell: Mapping[str, Any]) -> str:
    """The model, with the choices that were made for it."""
    choices = [
        f"{cell['steps']} steps" if cell["steps"] else "",
        f"×{cell['ensemble_size']}" if cell["ensemble_size"] else "",
    ]
    return " ".join([cell["model"], *filter(None, choices)])


def _size(cell: Mapping[str, Any]) -> str:
    return f"{cell['width']}x{cell['height']}"


def _number(seconds: float | None) -> str:
    """With three digits that count.

    >>> _number(0.012345), _number(12.345), _number(123.4)
    ('0.0123', '12.3', '123')
    """
    return "" if seconds is None else f"{seconds:#.3g}".rstrip(".")
