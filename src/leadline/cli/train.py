"""`leadline train`: a recipe, with overrides, in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leadline.cli import ui
from leadline.cli.options import Json, NoProgress
from leadline.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from leadline.recipe import Recipe


def train(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE", help="YAML file.", exists=True, dir_okay=False, show_default=False),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Such as optimiser.lr=3e-5.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="Folder of the run. [default: runs/RECIPE]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on from the newest checkpoint in the folder.")
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Data, parameters, memory by card, steps, time; no training."),
    ] = False,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="ID", help="Upload the finished model, as someone/my-depth.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="A repository made for it is public.")] = False,
    json_report: Json = False,
    quiet: NoProgress = False,
) -> int:
    """Train a model by a recipe. Ctrl-C and SIGTERM save and stop; the same command goes on."""
    for word in overrides or []:
        if "=" not in word:
            raise UsageError(f"{word!r} after the recipe: an override 'key.path=value' is wanted there")
    from leadline.recipe import load

    folder = run or Path("runs") / recipe.stem
    try:
        document = load(recipe, overrides or [])
    except DocumentError as error:  # here the document is the command
        raise UsageError(str(error)) from None
    if dry_run:
        return _plan(document, json_report)
    if push_to_hub:
        from leadline.hub import upload

        upload.check_id(push_to_hub)
    from leadline.train import train as run_recipe
    from leadline.train.display import Live, Silent

    outcome = run_recipe(document, folder, resume=resume, display=Silent() if quiet else Live())
    code = 0 if outcome.finished or outcome.signal == "SIGTERM" else ui.INTERRUPTED
    if not outcome.main:  # one of several processes says it, and uploads
        return code
    ui.say(outcome.message, quiet)
    if push_to_hub and outcome.model:
        ui.say(f"pushed: {upload.push(outcome.model, push_to_hub, private=not public)}")
    model = str(outcome.model) if outcome.model else None
    if json_report:
        ui.report({"run": str(folder), "step": outcome.step, "finished": outcome.finished, "model": model})
    elif model:
        ui.paths([model])
    return code


def _plan(recipe: Recipe, json_report: bool) -> int:
    from leadline.train import plan

    planned = plan.plan(recipe)
    if json_report:
        ui.report(plan.facts(planned))
    else:
        print("\n".join(plan.lines(planned)))
    return 0
