"""From a training to a model folder: the averaged weights, and a card that says where they come from."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from leadline import cards, weights
from leadline import recipe as recipes
from leadline.cards.readme import readme
from leadline.errors import TrainError, WeightsError
from leadline.recipe import Recipe
from leadline.save import write_bytes
from leadline.train import build, checkpoint, teach

log = logging.getLogger(__name__)
WORDS = {  # folders of diffusers' pipelines, and the classes of what is in them
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}


def export(
    run: Path | str, folder: Path | str, step: int | Literal["last", "best"] = "last", *, fp16: bool = False
) -> Path:
    """Save the model of one of a run's checkpoints, also while the run goes on. Returns the folder.

    `best` is the checkpoint at the lowest validation loss (without validation: the last).
    Raises TrainError if the run has no such checkpoint.
    """
    run = Path(run)
    recipe = recipes.load(run / "recipe.yaml")
    state = checkpoint.load(run / "checkpoints", _choose(run / "checkpoints", step))
    method: Any = build.method(recipe)
    method.load_state_dict(state["weights"] | state["average"], strict=False)
    return save(method, Path(folder), recipe, state["step"], run.name, fp16=fp16)


def save(method: Any, folder: Path, recipe: Recipe, step: int, name: str, *, fp16: bool = False) -> Path:
    """The method as it is, with a card of its own: what it was made from, how, and on what terms."""
    method.card = method.card.model_copy(update=_facts(method, recipe, step) | {"name": name})
    method.save(folder, fp16=fp16)
    if recipe.start:
        try:
            _keep_words(build.home(recipe)[0], folder)
        except (WeightsError, OSError) as error:  # the model is whole without them
            log.warning("%s: without text encoder and tokenizer of %s: %s", folder, recipe.start, error)
    if (folder / "card.yaml").exists():  # methods of tests have none
        write_bytes(folder / "README.md", readme(cards.read(folder / "card.yaml")).encode())
    return folder


def _facts(method: Any, recipe: Recipe, step: int) -> dict[str, Any]:
    """What its training says of a model. What its start was good for, and how good, no longer holds."""
    start, taught = method.card, recipe.self_training
    data = ", ".join(
        entry.set or key for key, entry in recipe.data.items() if key != teach.ENTRY or not taught
    )
    data += f", photographs labelled by {taught.teacher}" if taught else ""
    before = f"{start.training_data}; then " if recipe.start else ""
    origin = start.name if recipe.start else "random weights"
    return {
        "summary": f"{str(method.kind).replace('_', ' ')} by {recipe.method}, trained from {origin}",
        "training_data": before + data,
        "made_with": f"leadline train: {step} steps of the recipe's {recipe.total_steps}",
        "licence": recipe.licence or start.licence,
        "terms": "; ".join(filter(None, (start.terms, recipe.terms))),
        "intended_use": "",
        "limits": "",
        "results": {},
    }


def _keep_words(start: Path, folder: Path) -> None:
    """Text encoder and tokenizer of what the training started from, where diffusers' pipelines want them:
    links, if both folders are on one disk.
    """
    index_file = folder / "model_index.json"
    if not index_file.exists() or not all((start / name).is_dir() for name in WORDS):
        return
    index = weights.read_json(index_file)
    if not set(WORDS) <= index.keys():
        return
    for name in WORDS:
        shutil.copytree(start / name, folder / name, dirs_exist_ok=True, copy_function=_link)
    write_bytes(index_file, (json.dumps(index | WORDS, indent=2) + "\n").encode())


def _link(source: str, target: str) -> None:
    """A hard link to a file, or a copy of it."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def _choose(checkpoints: Path, step: int | Literal["last", "best"]) -> int:
    there = checkpoint.steps(checkpoints)
    if not there:
        raise TrainError(f"{checkpoints} holds no complete checkpoint: train first")
    if step == "best":
        step = checkpoint.facts(checkpoints, there[-1])["best"].get("step", "last")
    wanted = there[-1] if step == "last" else step
    if wanted not in there:
        known = ", ".join(map(str, there))
        raise TrainError(f"{checkpoints} has no checkpoint of step {wanted}: choose from {known}")
    return wanted
