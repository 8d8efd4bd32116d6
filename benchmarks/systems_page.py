"""The pages docs/small_REPORT.md, from the figures that benchmarks/small_systems.py has stored.

As on the page of benchmarks/small_scale.py, every table and verdict is computed from figures per frame, and
what is said of two models follows from the interval of their difference on the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import systems_measure
from small_page import ROUNDS, SEED, bootstrap, interval, table
from systems_measure import MEMBERS
from systems_questions import EDGES, EXTRA, INTRODUCTIONS, ORACLE, QUESTIONS, READINGS, Question

from leadline.train.run import write

Results = Mapping[str, dict[str, Any]]  # model -> its file
HOLDS, FAILS = "Holds, where the figures decide", "Does not hold, where they decide"
TOO_LOW = "Too low in both to be compared"
KINDS = (HOLDS, FAILS, "Depends on the frames", "Undecided", TOO_LOW, "Not measured")
FEWEST = 8  # frames of a set that gets an answer: the bootstrap of fewer is too sure of itself
SOFT = 0.05  # boundary F1 below which two networks are both soft, and not compared
SETS = ("livingroom", "kitti", "nyu", "scenes")  # that questions are asked of: real frames first
UNITS = {
    "delta1": "delta1",
    "absrel": "AbsRel",
    "boundary_f1": "boundary F1",
    "log_bias": "bias of ln median",
    "log_error": "its size",
    "absrel_original": "AbsRel, the picture's autoencoder",
}
SMALLER = ("absrel", "log_error")  # better when smaller


def build(report: str, results: Path, docs: Path) -> dict[str, Any]:
    """Write the page; the means and the answers, for the last line of the command."""
    found = with_oracle(systems_measure.load(results))
    pair = "images/fiffdepth_pair.png"
    lines = page(report, found, pair if (docs / pair).is_file() else "")
    write(docs / f"small_{report}.md", "\n".join(lines) + "\n")
    names = [name for name in _names(report) if name in found]
    means = {name: _means(found[name]["figures"]) for name in names}
    return {"means": means, "answers": {q.asks: answers(q, found) for q in QUESTIONS[report]}}


def _means(figures: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, float]]:
    return {label: {m: float(np.mean(v)) for m, v in own.items()} for label, own in figures.items()}


def with_oracle(found: Results) -> Results:
    """With the better of PrimeDepth and the bundled model, metric by metric and frame by frame."""
    if not {"primedepth", "small"} <= found.keys():
        return found
    one, other = (found[name]["figures"] for name in ("primedepth", "small"))
    best: dict[str, dict[str, list[float]]] = {}
    for label in (label for label in one if label in other):
        for metric in (metric for metric in one[label] if metric in other[label]):
            better = min if metric in SMALLER else max
            pairs = zip(one[label][metric], other[label][metric], strict=True)
            best.setdefault(label, {})[metric] = [better(pair) for pair in pairs]
    return {**found, ORACLE: {"figures": best}}


def _names(report: str) -> list[str]:
    """Models of a report in the order of its questions."""
    pairs = [name for q in QUESTIONS[report] for name in (q.better, q.worse)]
    return [*dict.fromkeys(pairs), *EXTRA.get(report, ())]


def page(report: str, found: Results, pair: str = "") -> Iterator[str]:
    """The lines of the page, of whatever is there."""
    yield INTRODUCTIONS[report]
    yield "In brackets is the 95 % interval of a bootstrap over frames: how far other frames of the same"
    yield "place would move a figure, not how far another training would, as each model was trained once."
    yield f"The frames of `livingroom` are of one room. Sets of fewer than {FEWEST} frames get no answer."
    yield "Of two models alike, one set in twenty gets one all the same, and of eight frames one in eight.\n"
    yield "## What the figures say\n"
    yield from asked(report, found)
    yield from reading(report, found)
    names = [name for name in _names(report) if name in found]
    if report == "leakage":
        yield from followed(found)
    trained = [name for name in names if "steps" in found[name]]
    if trained:
        yield "## What was trained\n"
        rows = [
            (f"`{n}`", *(f"{found[n][key]:g}" for key in ("steps", "pictures", "hours"))) for n in trained
        ]
        yield from table(("model", "steps", "pictures", "hours"), rows)
        yield "\nHours are of one processor core, which had other work beside it.\n"
    if report == "fiffdepth" and pair:
        yield "## The pair\n"
        yield f"![A photograph, its depth, and the depth through the filter]({pair})\n"
    for name in names:
        yield f"## `{name}`\n"
        yield from figures(found[name]["figures"])
        yield ""


def followed(found: Results) -> Iterator[str]:
    """How far the predicted scale goes with the true one, over all scenes, and how much farther in the first
    of the report's models.
    """
    question = QUESTIONS["leakage"][0]
    rows = []
    for label in ("scenes", f"scenes x{MEMBERS}"):
        drawn = {}
        for name in (question.better, question.worse):
            own = found.get(name, {}).get("figures", {}).get(label, {})
            if "log_truth" in own:
                drawn[name] = _slopes(own)
                rows.append((f"`{name}`", label, _spread(drawn[name]), interval(own["log_bias"])))
        if len(drawn) == 2:
            first, second = drawn.values()
            rows.append(("by how much more", label, _spread(first - second), ""))
    if rows:
        yield "Of the logarithmic median, over held-out scenes:\n"
        yield from table(("model", "frames", "slope of the predicted over the true one", "bias"), rows)
        yield "\nA slope of 1 says that the scale of a scene is seen; 0, that all scenes get the same.\n"


def _slopes(own: Mapping[str, list[float]]) -> np.ndarray:
    """Least squares over the frames, and then over each of many draws of as many frames."""
    truth, bias = (np.array(own[metric]) for metric in ("log_truth", "log_bias"))
    drawn = np.random.default_rng(SEED).integers(0, len(truth), (ROUNDS, len(truth)))
    chosen = np.concatenate([np.arange(len(truth))[None], drawn])
    x, y = truth[chosen], (truth + bias)[chosen]
    x = x - x.mean(axis=1, keepdims=True)
    return (x * y).sum(axis=1) / np.maximum((x * x).sum(axis=1), 1e-12)


def _spread(slopes: np.ndarray) -> str:
    """The first, and where 95 % of the others lie."""
    low, high = np.percentile(slopes[1:], [2.5, 97.5])
    return f"{slopes[0]:.3g} [{low:.3g}, {high:.3g}]"


def figures(own: Mapping[str, Mapping[str, list[float]]]) -> Iterator[str]:
    """A row for each label."""
    metrics = [m for m in UNITS if any(m in values for values in own.values())]
    octaves = sorted({m for values in own.values() for m in values if m.startswith("octave")})
    rows = [
        (
            label,
            str(len(next(iter(values.values())))),
            *(interval(values[m]) if m in values else "" for m in metrics),
        )
        for label, values in own.items()
        if not set(values) & set(octaves)
    ]
    yield from table(("frames", "count", *(UNITS[m] for m in metrics)), rows)
    spectra = {label: values for label, values in own.items() if set(values) & set(octaves)}
    if spectra:
        yield ""
        yield from table(
            ("frames", *octaves),
            [
                (label, *(f"{np.mean(values[o]):+.1f} dB" for o in octaves))
                for label, values in spectra.items()
            ],
        )


def asked(report: str, found: Results) -> Iterator[str]:
    """Every question, of every set of frames."""
    rows = [
        (_capital(q.asks), UNITS[q.metric], *(_cell(q, name, found) for name in SETS))
        for q in QUESTIONS[report]
    ]
    yield from table(("question", "metric", *SETS), rows)
    yield "\nThe numbers say by how much the first is better: above 0 the answer is yes.\n"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _cell(q: Question, name: str, found: Results) -> str:
    values = difference(q, name, found)
    return "" if values is None else f"{interval(values)} {answers(q, found).get(name, '')}".rstrip()


def reading(report: str, found: Results) -> Iterator[str]:
    """In words: what holds, what does not, what is open; and how good the networks are at all."""
    yield "## How to read it\n"
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for q in QUESTIONS[report]:
        given = answers(q, found)
        yes, no = ([name for name in given if given[name] == word] for word in ("yes", "no"))
        if yes and no:
            kinds["Depends on the frames"].append(f"{q.asks} ({_on(yes)}, not {_on(no)})")
        elif yes or no:
            open_ones = [name for name in given if given[name] == "undecided"]
            more = f"; undecided {_on(open_ones)}" if open_ones else ""
            kinds[HOLDS if yes else FAILS].append(f"{q.asks} ({_on(yes or no)}{more})")
        else:
            open_kind = "Undecided" if "undecided" in given.values() else TOO_LOW
            kinds[open_kind if given else "Not measured"].append(q.asks)
    for kind, claims in kinds.items():
        if claims:
            yield f"- **{kind}**: {'; '.join(claims)}."
    yield ""
    yield READINGS[report]
    yield from overview(report, found)


def _on(names: Sequence[str]) -> str:
    return "on " + ", ".join(names)


def overview(report: str, found: Results) -> Iterator[str]:
    """delta1 and AbsRel of every model in one table."""
    rows = []
    for name in (name for name in _names(report) if name in found):
        cells = [_two(found[name]["figures"].get(one, {})) for one in SETS]
        if any(cells):
            rows.append((f"`{name}`", *cells))
    if rows:
        yield "Means of delta1 / AbsRel:\n"
        yield from table(("model", *SETS), rows)
        yield ""


def _two(figures: Mapping[str, list[float]]) -> str:
    both = [figures[m] for m in ("delta1", "absrel") if m in figures]
    return " / ".join(f"{np.mean(values):.3f}" for values in both) if len(both) == 2 else ""


def answers(q: Question, found: Results) -> dict[str, str]:
    """Set of frames -> answer, where both models are measured on enough of them."""
    values = {name: difference(q, name, found) for name in SETS}
    return {
        name: "too low" if _soft(q, name, found) else answer(x)
        for name, x in values.items()
        if x is not None and len(x) >= FEWEST
    }


def _soft(q: Question, name: str, found: Results) -> bool:
    """Whether neither model has boundaries to speak of."""
    sides = zip((q.better, q.worse), q.tails, strict=True)
    return q.metric == EDGES and all(np.mean(found[m]["figures"][name + t][EDGES]) < SOFT for m, t in sides)


def answer(values: Sequence[float]) -> str:
    """`yes` or `no` where the interval of the difference lies on one side of 0."""
    low, high = bootstrap(values)
    return "yes" if low > 0 else "no" if high < 0 else "undecided"


def difference(q: Question, name: str, found: Results) -> list[float] | None:
    """Per frame of a set, by how much the first model is better; None if one is missing, or was measured on
    other frames.
    """
    sides = zip((q.better, q.worse), q.tails, strict=True)
    try:
        first, second = (np.array(found[m]["figures"][name + tail][q.metric]) for m, tail in sides)
    except KeyError:
        return None
    if len(first) != len(second):
        return None
    return [float(x) for x in (second - first if q.metric in SMALLER else first - second)]
