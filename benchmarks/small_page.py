"""The page docs/small_scale.md, from the figures that benchmarks/small_scale.py has stored.

Every table and every verdict is computed here from figures per image; intervals are bootstraps over images.
What the page says of a finding follows from the interval of the difference of two models on the same images,
and from nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leadline import save
from leadline.train import pictures

ROUNDS, SEED = 4000, 0  # of the bootstrap
Results = Mapping[str, dict[str, Any]]  # model -> its file
STEPS = (1, 2, 4, 10, 50)
UNITS = {"absrel": "AbsRel", "delta1": "delta1", "degrees": "mean angle, degrees", "psnr": "PSNR, dB"}
UNITS |= {"range_error": "mean error, share of the range", "roughness": "roughness", "deviation": "deviation"}


@dataclass(frozen=True)
class Finding:
    """Something that the paper says of two models: the first has the smaller `metric`."""

    says: str
    where: str  # in the paper
    better: tuple[str, str]  # model, label of its figures
    worse: tuple[str, str]
    metric: str = "absrel"


ONE = "one step"
FINDINGS = (
    Finding(
        "One step with trailing timesteps beats one with leading ones",
        "Tab. 1",
        ("marigold", "trailing 1"),
        ("marigold", "leading 1"),
    ),
    Finding(
        "One trailing step is no worse than 50",
        "Tab. 1",
        ("marigold", "trailing 1"),
        ("marigold", "trailing 50"),
    ),
    Finding(
        "An ensemble of 10 improves 10 steps",
        "Tab. 1",
        ("marigold", "trailing 10 x10"),
        ("marigold", "trailing 10"),
    ),
    Finding(
        "Over 50 steps pixels change less with trailing than with leading ones",
        "Fig. 2b",
        ("marigold", "spread trailing"),
        ("marigold", "spread leading"),
        "deviation",
    ),
    Finding(
        "Fine-tuning Marigold end to end improves it",
        "Tab. 5",
        ("e2e-marigold", ONE),
        ("marigold", "trailing 50"),
    ),
    Finding(
        "Fine-tuning the prior directly beats Marigold",
        "Tab. 5",
        ("e2e-prior", ONE),
        ("marigold", "trailing 50"),
    ),
    Finding(
        "Fine-tuning the prior directly is no worse than by way of Marigold",
        "Tab. 5",
        ("e2e-prior", ONE),
        ("e2e-marigold", ONE),
    ),
    Finding(
        "The prior helps: random weights end up worse", "control", ("e2e-prior", ONE), ("e2e-random", ONE)
    ),
    *(
        Finding(
            f"From {start}, zeros beat {noise}",
            "Tab. 4",
            (f"e2e-{start}", ONE),
            (f"e2e-{start}-{noise}", ONE),
        )
        for start in ("prior", "marigold")
        for noise in ("gaussian", "pyramid")
    ),
    Finding(
        "A decoder that is tuned too brings nothing",
        "Tab. A-2",
        ("e2e-marigold", ONE),
        ("e2e-marigold-tuned", ONE),
    ),
    Finding(
        "Normals: fine-tuning end to end beats Marigold's in 50 steps",
        "Tab. 2",
        ("e2e-normals", ONE),
        ("marigold-normals", "trailing 50"),
        "degrees",
    ),
    Finding(
        "Normals: the prior directly is no worse than by way of Marigold",
        "Tab. 2",
        ("e2e-normals-prior", ONE),
        ("e2e-normals", ONE),
        "degrees",
    ),
)
INTRODUCTION = """# The paper at small scale

```shell
python benchmarks/small_scale.py            # this page, from the stored figures
python benchmarks/small_scale.py --retrain  # and all trainings behind it
```

`--retrain` renders the scenes, too. Photographs it wants in `runs/textures` first: pictures whose terms allow
any use, here 133 of CC0, the public domain, Unsplash and Kodak's sampler.

[E2E-FT](papers/e2e_ft.md) asks what a depth model owes to its diffusion prior and to its noise. Here its
questions are asked again, of networks that are a hundred times smaller than Stable Diffusion and were trained
for minutes, on rendered scenes. So this page does not repeat the paper's numbers; it shows which of its
findings do not need the scale, and that every training behind them can be run from the recipes
`recipes/small-*.yaml`. It is written by the command above: tables and verdicts follow from the figures.

Figures are means over {images} held-out scenes of {height}x{width} pixels (height x width), of a seed that no
training has; in brackets the 95 % interval of a bootstrap over images. It says how far other scenes would
move a figure, not how far another training would: each model was trained once. Depth is fitted to the truth
by scale and shift.
"""


def build(results: Path, docs: Path) -> dict[str, Any]:
    """Write the page and its pictures; the means and the verdicts, for the last line of the command."""
    found = {
        file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("*.json"))
    }
    _curves(found, docs / "images" / "small_scale" / "steps.png")
    text = "\n".join(page(found, docs))
    with save.atomic(docs / "small_scale.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    means = {
        name: {label: {m: float(np.mean(v)) for m, v in own.items()} for label, own in one["figures"].items()}
        for name, one in found.items()
    }
    return {"means": means, "findings": {f.says: verdict(f, found) for f in FINDINGS}}


def page(found: Results, docs: Path) -> Iterator[str]:
    """The lines of the page, of whatever is there."""
    some: dict[str, Any] = next(iter(found.values()), {"images": 0, "size": [0, 0]})
    yield INTRODUCTION.format(images=some["images"], height=some["size"][0], width=some["size"][1])
    yield "## What holds\n"
    yield from table(("the paper says", "where", "difference", "here"), map(tuple, findings(found)))
    yield "\nThe difference is the second model's figure less the first's: above 0 the first is better.\n"
    yield "## What was trained\n"
    rows = [
        (f"`{n}`", _from(x), str(x["steps"]), str(x["pictures"]), f"{x['hours']:.2f}")
        for n, x in found.items()
    ]
    yield from table(("model", "from", "steps", "pictures", "hours"), rows)
    yield "\nHours are of one processor core, which had other work beside it.\n"
    for title, names in SECTIONS.items():
        present = [name for name in names if name in found]
        if present:
            yield f"## {title}\n"
            yield from section(present, found, docs)


def _from(found: Mapping[str, Any]) -> str:
    """What a training started from; a network that its changes describe has random weights."""
    start: str = found["start"] or "random weights"
    described = any(change.startswith("model.unet=") for change in found["changes"])
    return f"random weights, latents of {start}" if described else start


SECTIONS = {
    "The latent space": ["vae"],
    "The prior's own samples (Fig. A-1)": ["prior"],
    "Marigold, step by step (Tab. 1, Fig. 5, Fig. 2b)": ["marigold", "marigold-normals"],
    "One step, end to end (Tab. 5)": ["e2e-marigold", "e2e-prior", "e2e-random"],
    "Noise (Tab. 4) and decoder (Tab. A-2)": [
        "e2e-prior-gaussian",
        "e2e-prior-pyramid",
        "e2e-marigold-gaussian",
        "e2e-marigold-pyramid",
        "e2e-marigold-tuned",
    ],
    "Normals (Tab. 2)": ["e2e-normals", "e2e-normals-prior"],
}
CAPTIONS = {
    "vae": "Pairs of a scene and its round trip.",
    "prior": "A row for each way: leading, then trailing timesteps, 1, 2, 4, 10 and 50 of them.",
    "marigold": "Photograph, truth, one leading step, 50 leading, one trailing, 50 trailing. Far is bright.",
}


def section(names: Sequence[str], found: Results, docs: Path) -> Iterator[str]:
    """The figures of some models, and what they look like."""
    metrics = sorted({m for name in names for own in found[name]["figures"].values() for m in own})
    rows = []
    for name in names:
        for label, own in found[name]["figures"].items():
            cells = [interval(own[m]) if m in own else "" for m in metrics]
            rows.append((f"`{name}`", label, *cells))
    yield from table(("model", "", *(UNITS[m] for m in metrics)), rows)
    yield ""
    if "marigold" in names and (docs / "images" / "small_scale" / "steps.png").is_file():
        yield "![AbsRel over steps, leading and trailing](images/small_scale/steps.png)\n"
    for name in names:
        if (docs / "images" / "small_scale" / f"{name}.png").is_file():
            yield f"![{name}](images/small_scale/{name}.png)\n"
            yield f"`{name}`. {CAPTIONS.get(name, 'Photograph, truth, prediction. Far is bright.')}\n"


def findings(found: Results) -> Iterator[tuple[str, str, str, str]]:
    for one in FINDINGS:
        difference = _difference(one, found)
        words = "" if difference is None else interval(difference)
        yield one.says, one.where, words, verdict(one, found)


def verdict(one: Finding, found: Results) -> str:
    """`holds` or `does not hold` where the interval of the difference lies on one side of 0. What is only
    said to be no worse holds unless it is worse.
    """
    difference = _difference(one, found)
    if difference is None:
        return "not trained yet"
    low, high = bootstrap(difference)
    if high < 0:
        return "does not hold"
    if low > 0 or "no worse" in one.says or "brings nothing" in one.says:
        return "holds"
    return "undecided"


def _difference(one: Finding, found: Results) -> list[float] | None:
    """Per image, how much larger the figure of the model is that should be worse; None if one is missing."""
    try:
        better, worse = (
            np.array(found[model]["figures"][label][one.metric]) for model, label in (one.better, one.worse)
        )
    except KeyError:
        return None
    return [float(x) for x in worse - better]


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """Where the mean lies in 95 % of the draws, with replacement, of as many images.

    >>> bootstrap([1.0, 1.0, 1.0])
    (1.0, 1.0)
    """
    x = np.asarray(values, np.float64)
    drawn = x[np.random.default_rng(SEED).integers(0, len(x), (ROUNDS, len(x)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def interval(values: Sequence[float]) -> str:
    """Mean and interval in words, three digits.

    >>> interval([0.5, 0.5])
    '0.5 [0.5, 0.5]'
    """
    low, high = bootstrap(values)
    return f"{float(np.mean(values)):.3g} [{low:.3g}, {high:.3g}]"


def table(heading: Sequence[str], rows: Any) -> Iterator[str]:
    yield "| " + " | ".join(heading) + " |"
    yield "|" + "---|" * len(heading)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _curves(found: Results, file: Path) -> None:
    """AbsRel of Marigold over the number of steps."""
    if "marigold" not in found:
        return
    figures = found["marigold"]["figures"]
    members = {label.partition(" x")[2] for label in figures if " x" in label}
    ways = ["leading {}", "trailing {}", *(f"trailing {{}} x{count}" for count in sorted(members))]
    series = {
        way.replace(" {}", ""): [
            (float(n), float(np.mean(figures[way.format(n)]["absrel"])))
            for n in STEPS
            if way.format(n) in figures
        ]
        for way in ways
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with save.atomic(file) as temporary:
        Image.fromarray(pictures.panel("AbsRel over steps", series)).save(temporary, "PNG")
