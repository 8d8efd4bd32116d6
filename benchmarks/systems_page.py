"""The pages docs/small_REPORT.md, from the figures that benchmarks/small_systems.py has stored.

As on the page of benchmarks/small_scale.py, every table and verdict is computed from figures per frame, and
what is said of two models follows from the interval of their difference on the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import systems_measure
from small_page import bootstrap, interval, table

from leadline.train.run import write

Results = Mapping[str, dict[str, Any]]  # model -> its file
REAL = ("nyu", "kitti", "livingroom", "laser")
UNITS = {
    "delta1": "delta1",
    "absrel": "AbsRel",
    "boundary_f1": "boundary F1",
    "log_bias": "bias of ln median",
    "log_error": "its size",
    "absrel_original": "AbsRel, the picture's autoencoder",
}
ORACLE = "the better of primedepth and small"
SMALLER, EDGES = ("absrel", "log_error"), "boundary_f1"  # the former are better when smaller


@dataclass(frozen=True)
class Question:
    """Whether the first model is better than the second by a metric, on frames of a label."""

    asks: str
    better: tuple[str, str]  # model, label; "real" stands for all real frames
    worse: tuple[str, str]
    metric: str = "absrel"


def _both(asks: str, better: str, worse: str, metric: str = "absrel", tail: str = "") -> tuple[Question, ...]:
    """The same question of scenes and of real frames."""
    return tuple(
        Question(f"{asks}, {where}", (better, where + tail), (worse, where + tail), metric)
        for where in ("scenes", "real")
    )


QUESTIONS: dict[str, tuple[Question, ...]] = {
    "fiffdepth": (
        *_both("The teacher beats the student that it never taught", "small", "fiffdepth-no-teacher"),
        *_both("The teacher helps", "fiffdepth", "fiffdepth-no-teacher"),
        *_both("The filter is better than teaching d_0 itself", "fiffdepth", "fiffdepth-teacher-at-0"),
        *_both("Keeping a trajectory helps", "fiffdepth", "fiffdepth-no-trajectory"),
        *_both("A blend of picture and depth is better than pictures", "fiffdepth", "fiffdepth-images"),
        *(
            Question(
                f"Boundaries are sharper {asks}", ("fiffdepth", "scenes"), (worse, "scenes"), "boundary_f1"
            )
            for asks, worse in (
                ("than without a trajectory", "fiffdepth-no-trajectory"),
                ("than with the teacher at d_0", "fiffdepth-teacher-at-0"),
                ("than with pictures alone on the trajectory", "fiffdepth-images"),
                ("than without a teacher", "fiffdepth-no-teacher"),
                ("than the teacher's", "small"),
            )
        ),
        Question(
            "d_0 is sharper than its filter",
            ("fiffdepth", "scenes"),
            ("fiffdepth", "scenes, filtered"),
            EDGES,
        ),
    ),
    "metricgold": (
        *_both("The logarithm is better than the linear law", "metricgold", "metricgold-linear"),
        *_both("An autoencoder for depth helps", "metricgold", "metricgold-original-vae"),
        *_both("One step is better than diffusion", "metricgold", "metricgold-diffusion"),
        *_both("Knowing the camera helps", "metricgold", "metricgold-no-camera"),
        *_both("Research data help", "metricgold-research", "metricgold"),
        Question(
            "20 known points make the bundled affine model better, real",
            ("small", "real, 20 points"),
            ("metricgold", "real"),
        ),
    ),
    "primedepth": (
        *_both("A loss of pixels is better than one of latents", "primedepth", "primedepth-latent"),
        *_both("Classes help depth", "primedepth", "primedepth-no-segmentation"),
        *_both("Maps of attention help", "primedepth-no-segmentation", "primedepth-no-attention"),
        *_both("Features help", "primedepth-no-segmentation", "primedepth-no-features"),
        *_both(
            "Fusion stage by stage is better than all at once",
            "primedepth-no-segmentation",
            "primedepth-block",
        ),
        *_both("Labelled photographs before the scenes help", "primedepth-two-stages", "primedepth"),
        *_both("PrimeDepth is better than the bundled model", "primedepth", "small"),
        *_both("The average of both is better than the bundled model", "primedepth+small", "small"),
        *_both("The better of both, frame by frame, is better than the bundled model", ORACLE, "small"),
    ),
    "leakage": _both(
        "Without signal at the last level the scale is less wrong",
        "metricgold-cured",
        "metricgold-leaking",
        "log_error",
    ),
}
EXTRA = {  # models that no question names
    "metricgold": ("metricgold-vae", "metricgold-vae-linear", "metric"),
    "leakage": ("metricgold-vae",),
    "primedepth": ("small-primedepth-labels",),
}
INTRODUCTIONS = {
    "fiffdepth": """# FiffDepth at small scale

```shell
python benchmarks/small_systems.py fiffdepth            # this page, from the stored figures
python benchmarks/small_systems.py fiffdepth --retrain  # and all trainings behind it
```

The ablations of [FiffDepth](papers/fiffdepth.md)'s Figure 7, whose figures were not published: the prior is a
hundred times smaller than Stable Diffusion, the teacher is the bundled model, trainings take minutes.
`fiffdepth-no-teacher` sees two batches of scenes where others see one of scenes and one of photographs. Depth
is fitted to the truth by scale and shift; "20 points" fits to so many known ones, which then do not count.
The spectrum says how much power the filter leaves in each octave that a network of 96 pixels has, in dB, the
finest last; boundaries are soft in all of them, for the same reason.
""",
    "metricgold": """# MetricGold at small scale

```shell
python benchmarks/small_systems.py metricgold            # this page, from the stored figures
python benchmarks/small_systems.py metricgold --retrain  # and all trainings behind it
```

What the parts of [MetricGold](papers/metricgold.md) are worth, whose paper has no table: the prior is a
hundred times smaller than Stable Diffusion, trainings take minutes, on rendered scenes. Metres are taken as
they are; "one factor" is what is left when the scale of each frame is mended; `small` is the bundled affine
model, fitted to the truth or to 20 known points. `metric` is the model in the package, trained longer on
larger pictures; `metricgold-research` has also seen 156 real frames of three places, none of them a test's,
whose terms allow research alone.
""",
    "primedepth": """# PrimeDepth at small scale

```shell
python benchmarks/small_systems.py primedepth            # this page, from the stored figures
python benchmarks/small_systems.py primedepth --retrain  # and all trainings behind it
```

The rows of [PrimeDepth](papers/primedepth.md)'s Table 3, and the question of its Table 2: whether it and a
data-driven model complement each other. The prior is a hundred times smaller than Stable Diffusion and has no
text; trainings take minutes, on rendered scenes with their classes, as the photographs at hand have none: so
all variants are trained on truth, where the paper's are trained on labels. `primedepth-two-stages` has seen
photographs first, with the bundled model's word for their depth.
""",
    "leakage": """# Scale leakage

```shell
python benchmarks/small_systems.py leakage            # this page, from the stored figures
python benchmarks/small_systems.py leakage --retrain  # and the trainings behind it
```

Stable Diffusion's last noise level holds 7 % of the truth, whose mean is the scale of a scene: a network can
read it in training, and finds the middle of the range in a prediction, which starts from nothing but noise
([MetricGold](papers/metricgold.md)). Two trainings differ in that level alone. The bias is the predicted
logarithmic median less the true one; a positive one is too far.
""",
}


def build(report: str, results: Path, docs: Path) -> dict[str, Any]:
    """Write the page; the means and the answers, for the last line of the command."""
    found = pooled(with_oracle(systems_measure.load(results)))
    pair = "images/fiffdepth_pair.png"
    lines = page(report, found, pair if (docs / pair).is_file() else "")
    write(docs / f"small_{report}.md", "\n".join(lines) + "\n")
    names = [name for name in _names(report) if name in found]
    means = {name: _means(found[name]["figures"]) for name in names}
    return {"means": means, "answers": {q.asks: answer(q, found) for q in QUESTIONS[report]}}


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


def pooled(found: Results) -> Results:
    """With the label "real", all real frames in one row, beside that of each set."""
    for one in found.values():
        figures = one["figures"]
        for tail in sorted({label.removeprefix("nyu") for label in figures if label.startswith("nyu")}):
            parts = [figures[name + tail] for name in REAL if name + tail in figures]
            together = {m: [x for part in parts for x in part[m]] for m in parts[0]}
            figures["real" + tail] = together
    return found


def _names(report: str) -> list[str]:
    """Models of a report in the order of its questions."""
    pairs = [side for q in QUESTIONS[report] for side in (q.better[0], q.worse[0])]
    return [*dict.fromkeys(pairs), *EXTRA.get(report, ())]


def page(report: str, found: Results, pair: str = "") -> Iterator[str]:
    """The lines of the page, of whatever is there."""
    yield INTRODUCTIONS[report]
    yield "In brackets is the 95 % interval of a bootstrap over frames: it says how far other frames would"
    yield "move a figure, not how far another training would, as each model was trained once.\n"
    yield "## What the figures say\n"
    yield from table(
        ("question", "metric", "difference", "answer"),
        [(q.asks, UNITS[q.metric], difference_words(q, found), answer(q, found)) for q in QUESTIONS[report]],
    )
    yield "\nThe difference is by how much the first is better: above 0 the answer is yes.\n"
    names = [name for name in _names(report) if name in found]
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


def figures(own: Mapping[str, Mapping[str, list[float]]]) -> Iterator[str]:
    """A row for each label."""
    metrics = [m for m in UNITS if any(m in values for values in own.values())]
    octaves = sorted({m for values in own.values() for m in values} - set(UNITS))
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


def answer(q: Question, found: Results) -> str:
    """`yes` or `no` where the interval of the difference lies on one side of 0."""
    values = difference(q, found)
    if values is None:
        return "not measured yet"
    low, high = bootstrap(values)
    return "yes" if low > 0 else "no" if high < 0 else "undecided"


def difference_words(q: Question, found: Results) -> str:
    values = difference(q, found)
    return "" if values is None else interval(values)


def difference(q: Question, found: Results) -> list[float] | None:
    """Per frame, by how much the first model is better; None if one is missing."""
    try:
        first, second = (np.array(found[m]["figures"][label][q.metric]) for m, label in (q.better, q.worse))
    except KeyError:
        return None
    return [float(x) for x in (second - first if q.metric in SMALLER else first - second)]
