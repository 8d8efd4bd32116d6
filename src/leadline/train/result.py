"""From a training to a model folder: the averaged weights, and a card that says where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from leadline import cards
from leadline import recipe as recipes
from leadline.cards.readme import readme
from leadline.errors import TrainError
from leadline.recipe import Recipe
from leadline.save import write_bytes
from leadline.train import build, checkpoint, teach


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
    """The method as it is, with its card completed: name, data and length of the training."""
    taught = recipe.self_training
    data = ", ".join(
        entry.set or key for key, entry in recipe.data.items() if key != teach.ENTRY or not taught
    )
    data += f", photographs labelled by {taught.teacher}" if taught else ""
    before = f"{method.card.training_data}; then " if recipe.start else ""
    method.card = method.card.model_copy(
        update={
            "name": name,
            "training_data": before + data,
            "made_with": f"leadline train: {step} steps of the recipe's {recipe.total_steps}",
        }
    )
    method.save(folder, fp16=fp16)
    if (folder / "card.yaml").exists():  # methods of tests have none
        write_bytes(folder / "README.md", readme(cards.read(folder / "card.yaml")).encode())
    return folder


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
