"""PrimeDepth, FiffDepth and MetricGold at small scale: what their parts are worth, asked of models that two
cores can train.

    python benchmarks/small_systems.py fiffdepth            build its page from the stored figures
    python benchmarks/small_systems.py metricgold
    python benchmarks/small_systems.py leakage
    python benchmarks/small_systems.py primedepth
    python benchmarks/small_systems.py fiffdepth --retrain  train, measure, build: hours; resumable
    python benchmarks/small_systems.py fiffdepth --measure  measure what is trained, then build the page
    python benchmarks/small_systems.py fiffdepth --commands print the trainings, one command a line, in order

--retrain first renders what is missing of the scenes in runs/mixed and runs/streets. Photographs whose terms
allow it may lie in runs/textures: scenes get some of them as textures, and fiffdepth and primedepth want them
labelled by the bundled depth model, in runs/labelled and runs/labels. metricgold's variant on research data
has its frames from --data, and is left out without. Every training is a recipe of recipes/ with the changes
listed here, in a run folder of its own name. Figures per frame go to
docs/results/small_systems/NAME.json, the page to docs/small_REPORT.md.
--data adds real test frames, the folder that holds kitti/ and rgbd_indoor/. The last line is one JSON object:
the means of all figures, and what they say of each question.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import frames
import numpy as np
import small_measure
import small_scale
import systems_measure
import systems_page
from small_scale import RECIPES, Training, finished, pictures

import leadline
from leadline import documents, save
from leadline import label as labels
from leadline.errors import LeadlineError, UsageError, did_you_mean
from leadline.train.run import write

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "small_systems"
PAIR, PHOTOGRAPH = ROOT / "docs" / "images" / "fiffdepth_pair.png", ROOT / "examples" / "china.jpg"
BUNDLED = "small"  # the depth model that teaches, and that twenty known points turn into metres
METRES = "metric"  # the bundled model of MetricGold, trained longer
RESEARCH = "metricgold-research"  # beside what is trained on scenes alone
AVERAGE = "primedepth+small"  # of PrimeDepth and the bundled model, as the paper's Table 2 averages models


def without_photographs() -> str:
    """The data of the recipe but for them, as an override."""
    data = documents.parse(RECIPES / "small-fiffdepth.yaml")["data"]
    return f"data={json.dumps({name: entry for name, entry in data.items() if name != 'photographs'})}"


KINDS = ("image", "depth")
PLAIN = ("model.objective=diffusion", "model.camera=none", "model.far_m=80")  # the paper's
FROM_PRIOR, NO_CLASSES = "start=prior", "model.segmentation=none"
NO_ATTENTION = ("model.self_attention=false", "model.cross_attention=false")


def _variant(name: str, *changes: str) -> Training:
    """A row of PrimeDepth's Table 3, without the first stage."""
    return Training(name, "small-primedepth", None, (FROM_PRIOR, *changes))


REPORTS: dict[str, tuple[Training, ...]] = {
    "fiffdepth": (
        Training("fiffdepth", "small-fiffdepth"),
        Training("fiffdepth-images", "small-fiffdepth", None, ("model.gamma=1",)),  # Fig. 7
        Training("fiffdepth-no-trajectory", "small-fiffdepth", None, ("model.lambda_k=0",)),
        Training("fiffdepth-no-teacher", "small-fiffdepth", None, (without_photographs(),)),
        Training("fiffdepth-teacher-at-0", "small-fiffdepth", None, ("model.teacher_step=0",)),
    ),
    "metricgold": (
        Training("metricgold-vae", "small-metricgold-vae"),
        Training("metricgold", "small-metricgold", "metricgold-vae"),
        Training("metricgold-no-camera", "small-metricgold", "metricgold-vae", ("model.camera=none",)),
        Training("metricgold-vae-linear", "small-metricgold-vae", None, ("model.codec=linear",)),
        Training("metricgold-linear", "small-metricgold", "metricgold-vae-linear", ("model.codec=linear",)),
        Training("metricgold-original-vae", "small-metricgold", None, ("start=prior",)),
        Training(
            "metricgold-diffusion", "small-metricgold", "metricgold-vae", ("model.objective=diffusion",)
        ),
        Training(RESEARCH, "small-metricgold-research", "metricgold-vae"),
    ),
    "primedepth": (
        _variant("primedepth"),  # Tab. 3: V.Full
        _variant("primedepth-latent", "model.loss=latent"),
        _variant("primedepth-no-segmentation", NO_CLASSES),
        _variant("primedepth-no-attention", NO_CLASSES, *NO_ATTENTION),
        _variant("primedepth-no-features", NO_CLASSES, "model.features=false"),
        _variant("primedepth-block", NO_CLASSES, "model.fusion=block"),
        Training("small-primedepth-labels", "small-primedepth-labels"),
        Training("primedepth-two-stages", "small-primedepth", "small-primedepth-labels"),
    ),
    "leakage": (
        Training("metricgold-vae", "small-metricgold-vae"),
        Training("metricgold-cured", "small-metricgold", "metricgold-vae", PLAIN),
        Training(
            "metricgold-leaking", "small-metricgold", "metricgold-vae", (*PLAIN, "model.zero_snr=false")
        ),
    ),
}


def chosen(report: str, names: Sequence[str]) -> list[Training]:
    """The trainings of a report, or those of these names. Raises UsageError for an unknown name."""
    known = {training.name: training for training in REPORTS[report]}
    for name in names:
        if name not in known:
            raise UsageError(f"training {name!r} is unknown: {did_you_mean(name, known)}")
    return [training for training in REPORTS[report] if not names or training.name in names]


def _wanted_photographs(runs: Path) -> Path:
    """The folder that holds them, else UsageError."""
    if not pictures(runs / "textures"):
        raise UsageError(f"{runs / 'textures'} holds no photographs for the teacher to label: put some there")
    return runs / "textures"


def label(photographs: Path, folder: Path) -> None:
    """What the bundled model says of photographs, as a folder of pairs; what is there is left alone."""
    model = leadline.load(BUNDLED, device="cpu")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "pseudo").mkdir(exist_ok=True)
    for path in pictures(photographs):
        name = "__".join(path.relative_to(photographs).parts)  # of one folder, no two alike
        said = folder / "pseudo" / f"{name}.npy"
        if not said.exists():
            (folder / "images" / f"{name}{path.suffix}").write_bytes(path.read_bytes())
            with save.atomic(said) as temporary, temporary.open("wb") as file:
                np.save(file, model(path).values.astype(np.float16))
    write(folder / "pairs.yaml", f"pseudo_kind: {model.kind}\n")


def research(data: Path, folder: Path) -> None:
    """Real frames that no test holds, as a table of pairs with their cameras."""
    rows = []
    for which in (s for s in frames.SETS if s.split == "train"):
        (folder / which.name).mkdir(parents=True, exist_ok=True)
        for frame, originals in zip(frames.real(data, which), frames.files(data, which), strict=True):
            names = [f"{which.name}/{kind}_{path.name}" for kind, path in zip(KINDS, originals, strict=True)]
            for name, path in zip(names, originals, strict=True):
                (folder / name).write_bytes(path.read_bytes())
            camera = frame.camera
            lens = (camera.fx, camera.fy, camera.cx, camera.cy) if camera else ("",) * 4
            rows.append((*names, 1 / which.unit, *lens, which.name))
    with save.atomic(folder / "pairs.csv") as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([(*KINDS, "scale", "fx", "fy", "cx", "cy", "group"), *rows])


def stages(
    report: str, wanted: Sequence[Training], runs: Path, *, retrain: bool, data: Path | None, images: int
) -> Iterator[tuple[str, str]]:
    """What there is to do, one at a time, done when the next is asked for."""
    if retrain:
        yield from _data([t for t in wanted if not finished(t.name, runs)], runs, data)
    for training in wanted:
        new = retrain and not finished(training.name, runs)
        if new and training.name == RESEARCH and not _researched(runs):
            yield "leaving out, for want of --data,", RESEARCH
            continue
        if new:
            yield "training", training.name
            small_scale.train(training, runs)
        if finished(training.name, runs) and (not retrain or new or not stored(training.name)):
            yield "measuring", training.name
            found = systems_measure.measure(runs / training.name, data, images)
            keep(training.name, found | {"start": training.start, "changes": list(training.changes)})
            if training.name == "fiffdepth":
                systems_measure.pair(runs / training.name, PHOTOGRAPH, PAIR)
    if report == "primedepth" and finished("primedepth", runs) and not (retrain and stored(AVERAGE)):
        yield "measuring", AVERAGE
        keep(AVERAGE, systems_measure.average((str(runs / "primedepth" / "model"), BUNDLED), data, images))
    for name in (BUNDLED, METRES) if report == "metricgold" else (BUNDLED,):
        if not retrain or not stored(name):
            yield "measuring", name
            keep(name, systems_measure.bundled(name, data, images))


def _data(todo: Sequence[Training], runs: Path, data: Path | None) -> Iterator[tuple[str, str]]:
    """What these trainings learn of, where it is missing."""
    names = {name for training in todo for name in small_scale.reads(training, runs)}
    yield from small_scale.scenes(names, runs)
    if "labelled" in names and not (runs / "labelled" / "pairs.yaml").exists():
        yield "labelling photographs", BUNDLED
        label(_wanted_photographs(runs), runs / "labelled")
    if "labels" in names and not any((runs / "labels").glob("*.tar")):
        yield "labelling photographs", BUNDLED
        labels.label([_wanted_photographs(runs)], runs / "labels", labels.Order(depth=BUNDLED))
    if "research" in names and data and not _researched(runs):
        yield "collecting frames", RESEARCH
        research(data, runs / "research")


def _researched(runs: Path) -> bool:
    return (runs / "research" / "pairs.csv").exists()


def keep(name: str, found: systems_measure.Results) -> None:
    """As JSON, five digits."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    write(RESULTS / f"{name}.json", json.dumps({"name": name} | small_measure.rounded(found)) + "\n")


def stored(name: str) -> bool:
    """Whether its figures are there."""
    return (RESULTS / f"{name}.json").is_file()


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    about = __doc__ or ""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", choices=list(REPORTS))
    parser.add_argument("--retrain", action="store_true", help="run or resume what is not trained yet")
    parser.add_argument("--measure", action="store_true", help="measure the trained models anew")
    parser.add_argument("--commands", action="store_true", help="print the trainings and do nothing")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may be repeated")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    parser.add_argument("--data", type=Path, help="folder that holds kitti/ and rgbd_indoor/")
    parser.add_argument("--images", type=int, default=48, help="held-out scenes")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    args = arguments(words)
    logging.getLogger("leadline").setLevel(logging.ERROR)  # what is assumed of each frame, fits that are poor
    wanted = chosen(args.report, args.only)
    if args.commands:
        for training in wanted:
            print(shlex.join(["leadline", *small_scale.command(training, args.runs, Path("recipes"))]))
        return
    if args.retrain or args.measure:
        todo = stages(
            args.report, wanted, args.runs, retrain=args.retrain, data=args.data, images=args.images
        )
        for what, name in todo:
            print(f"{what} {name}", flush=True)
    print(json.dumps(systems_page.build(args.report, RESULTS, ROOT / "docs")))


if __name__ == "__main__":
    try:
        main()
    except LeadlineError as error:
        sys.exit(f"error: {error}")
