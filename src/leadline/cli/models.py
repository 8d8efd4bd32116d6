"""`leadline models`: what there is, and what a model's card says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli import ui
from leadline.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from leadline.cards import Card

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(no_args_is_help=True, help="The models: what they predict, and on what terms.")


@app.command("list")
def list_models(json_report: Json = False) -> None:
    """List the models by name."""
    from leadline import cards

    known = [cards.get(name) for name in cards.names()]
    if json_report:
        ui.report({card.name: _facts(card) for card in known})
        return
    rows = [(c.name, c.kind.value, _size(c), _place(c), c.licence) for c in known]
    ui.table(("name", "predicts", "parameters", "weights", "licence"), rows)


@app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name, hub id, or folder.", show_default=False)],
    json_report: Json = False,
) -> None:
    """Show all that is known about a model."""
    card = card_of(name)
    if json_report:
        ui.report(_facts(card))
        return
    for key, value in _facts(card).items():
        if value not in (None, "", {}, []):
            print(f"{key.replace('_', ' ')}: {_words(value)}")


def card_of(name: str) -> Card:
    """The card of a model by name, hub id or folder. Raises UsageError that names the nearest one."""
    from leadline import cards

    folder = Path(name)
    if (folder / "card.yaml").is_file():
        return cards.read(folder / "card.yaml")
    try:
        return cards.get(name)
    except WeightsError as error:
        if folder.is_dir():
            problem = f"{name} has no card.yaml: a folder that Leadline has saved is needed here"
            raise UsageError(problem) from None
        raise UsageError(str(error)) from None


def _facts(card: Card) -> dict[str, Any]:
    return {**card.model_dump(mode="json"), "weights": _place(card)}


def _place(card: Card) -> str:
    from leadline import cards

    if cards.is_bundled(card.name):
        return "bundled"
    return f"huggingface.co/{card.hub.id}" if card.hub else "own folder"


def _size(card: Card) -> str:
    return f"{card.parameters / 1e6:.3g} M" if card.parameters else "unknown"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
