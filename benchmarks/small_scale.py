"""The E2E-FT paper at small scale: its questions, asked of models that two processor cores can train.

    python benchmarks/small_scale.py                      build the page from the stored figures
    python benchmarks/small_scale.py --commands           print the trainings, one command a line, in order
    python benchmarks/small_scale.py --retrain            train, measure, build: hours; resumable
    python benchmarks/small_scale.py --retrain --only e2e-prior --only e2e-random
    python benchmarks/small_scale.py --measure            measure what is trained, then build the page

--retrain first renders what is missing of the scenes in runs/mixed and runs/streets. Photographs whose terms
allow it have to lie in runs/textures before: the first two trainings read them, and they are the textures of
the scenes. Every training is a recipe of recipes/ with
the changes listed here, in a run folder of its own name. Figures of each model, per image, go to
docs/results/small_scale/NAME.json, the page to docs/small_scale.md. Held-out scenes have a seed that no
training has. The last line is one JSON object: means of all figures, and what they say of each finding.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import small_measure
import small_page

from leadline import documents, recipe
from leadline.errors import LeadlineError, UsageError, did_you_mean

ROOT = Path(__file__).parents[1]
RECIPES, RESULTS = ROOT / "recipes", ROOT / "docs" / "results" / "small_scale"
PICTURES = ROOT / "docs" / "images" / "small_scale"


@dataclass(frozen=True)
class Training:
    """A recipe by its name, the training whose model it starts from, and what differs from the recipe."""

    name: str
    recipe: str
    start: str | None = None
    changes: tuple[str, ...] = ()


def random_unet() -> str:
    """The prior's network with random weights, as an override: the control."""
    unet = documents.parse(RECIPES / "small-prior.yaml")["model"]["unet"]
    return f"model.unet={json.dumps(unet)}"


NORMALS = "model.target=normals"
TRAININGS = (
    Training("vae", "small-latents"),
    Training("prior", "small-prior"),  # from the bundled latents
    Training("marigold", "small-marigold", "prior"),  # Tab. 1, Fig. 5, Fig. A-3
    Training("e2e-marigold", "small-e2e", "marigold"),  # Tab. 5: the two starts, and the control
    Training("e2e-prior", "small-e2e", "prior"),
    Training("e2e-random", "small-e2e", "prior", (random_unet(),)),
    Training("marigold-normals", "small-marigold", "prior", (NORMALS,)),  # Tab. 2
    Training("e2e-normals", "small-e2e", "marigold-normals", (NORMALS,)),
    Training("e2e-normals-prior", "small-e2e", "prior", (NORMALS,)),
    Training("e2e-prior-gaussian", "small-e2e", "prior", ("model.noise=gaussian",)),  # Tab. 4
    Training("e2e-prior-pyramid", "small-e2e", "prior", ("model.noise=pyramid",)),
    Training("e2e-marigold-gaussian", "small-e2e", "marigold", ("model.noise=gaussian",)),
    Training("e2e-marigold-pyramid", "small-e2e", "marigold", ("model.noise=pyramid",)),
    Training("e2e-marigold-tuned", "small-e2e", "marigold", ("model.train_autoencoder=decoder",)),  # Tab. A-2
)
SCENES: dict[str, tuple[int, tuple[str, ...]]] = {  # how many, and of which
    "mixed": (2784, ("--seed", "1")),
    "streets": (900, ("--seed", "5", "--kind", "street", "--size", "128x320")),
}
BY_NAME = {training.name: training for training in TRAININGS}


def chosen(names: Sequence[str]) -> list[Training]:
    """Those of these names in their order; all without any. Raises UsageError for an unknown name."""
    for name in names:
        if name not in BY_NAME:
            raise UsageError(f"training {name!r} is unknown: {did_you_mean(name, BY_NAME)}")
    return [training for training in TRAININGS if not names or training.name in names]


def command(training: Training, runs: Path, recipes: Path = RECIPES) -> list[str]:
    """Words after `leadline` that run or resume a training."""
    words = ["train", str(recipes / f"{training.recipe}.yaml"), "--run", str(runs / training.name)]
    start = [f"start={runs / training.start / 'model'}"] if training.start else []
    return [*words, *start, *training.changes]


def reads(training: Training, runs: Path) -> set[str]:
    """The folders in runs/ that its recipe has data in."""
    _, file, _, _, *overrides = command(training, runs)
    entries = recipe.load(Path(file), overrides).data.values()
    return {Path(entry.options["path"]).parts[1] for entry in entries}


def scenes(names: Collection[str], runs: Path) -> Iterator[tuple[str, str]]:
    """Render those of `SCENES` that are wanted and not all there."""
    for name in SCENES.keys() & set(names):
        if len(list((runs / name).rglob("*.npz"))) < SCENES[name][0]:
            yield "rendering", name
            render(name, runs)


def render(name: str, runs: Path) -> None:
    """Scenes, on all cores; those that are there stay. Raises UsageError if it is stopped."""
    count, kind = SCENES[name]
    words = ["data", "synth", str(runs / name), "--count", str(count), *kind]
    if pictures(runs / "textures"):
        words += ["--textures", str(runs / "textures")]
    if subprocess.run([sys.executable, "-m", "leadline", *words], check=False).returncode:
        raise UsageError(
            f"rendering {runs / name} did not end, the line above says why: give the same command to go on, "
            "or other --runs"
        )


def pictures(folder: Path) -> list[Path]:
    """All below it, in order."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def finished(name: str, runs: Path) -> bool:
    """Whether a training has ended and left its model."""
    return (runs / name / "model" / "card.yaml").is_file()


def train(training: Training, runs: Path) -> None:
    """Run or resume it in its own process. Raises UsageError if it, or what it starts from, did not end."""
    if training.start and not finished(training.start, runs):
        raise UsageError(f"{training.name} starts from {training.start}: train that first")
    done = subprocess.run([sys.executable, "-m", "leadline", *command(training, runs)], check=False)
    if done.returncode or not finished(training.name, runs):
        raise UsageError(f"training {training.name} was stopped: the same command goes on from there")


def measure(training: Training, runs: Path, images: int) -> None:
    """Write the figures of a finished training's model."""
    figures = small_measure.measure(training.name, runs / training.name, runs / "held_out", images)
    own = documents.parse(RECIPES / f"{training.recipe}.yaml").get("start")
    figures |= {"start": training.start or own, "changes": list(training.changes)}
    small_measure.store(figures, RESULTS / f"{training.name}.json")
    PICTURES.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(runs / training.name / "sheet.png", PICTURES / f"{training.name}.png")


def stages(
    wanted: Sequence[Training], runs: Path, *, retrain: bool, images: int
) -> Iterator[tuple[str, str]]:
    """What there is to do, one at a time, done when the next is asked for."""
    todo = [training for training in wanted if retrain and not finished(training.name, runs)]
    yield from scenes({name for training in todo for name in reads(training, runs)}, runs)
    for training in wanted:
        new = training in todo
        if new:
            yield "training", training.name
            train(training, runs)
        if finished(training.name, runs) and (not retrain or new or not stored(training)):
            yield "measuring", training.name
            measure(training, runs, images)


def stored(training: Training) -> bool:
    return (RESULTS / f"{training.name}.json").is_file()


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    about = __doc__ or ""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrain", action="store_true", help="run or resume what is not trained yet")
    parser.add_argument("--measure", action="store_true", help="measure the trained models anew")
    parser.add_argument("--commands", action="store_true", help="print the trainings and do nothing")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may be repeated")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    parser.add_argument("--images", type=int, default=48, help="held-out scenes")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    args = arguments(words)
    wanted = chosen(args.only)
    if args.commands:
        for training in wanted:
            print(shlex.join(["leadline", *command(training, args.runs, Path("recipes"))]))
        return
    if args.retrain or args.measure:
        for what, name in stages(wanted, args.runs, retrain=args.retrain, images=args.images):
            print(f"{what} {name}", flush=True)
    print(json.dumps(small_page.build(RESULTS, ROOT / "docs")))


if __name__ == "__main__":
    try:
        main()
    except LeadlineError as error:
        sys.exit(f"error: {error}")
