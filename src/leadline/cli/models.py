"""`leadline models`: what there is, what a model's card says, and its weights on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli import ui
from leadline.cli.options import Json
from leadline.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from leadline.cards import Card

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
    for key, value in _given(_facts(card)).items():
        print(f"{key.replace('_', ' ')}: {_words(value)}")


@app.command()
def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name or hub id, @ and a revision.", show_default=False)
    ],
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the weights, where it exists: fp16.")
    ] = None,
) -> None:
    """Fetch a model's weights, check them against their hashes, and print their folder.

    What is on this machine already is checked too, and mended. HF_HOME says where, HF_ENDPOINT from whom.
    """
    from leadline import cards, hub

    check(name)
    short = name.partition("@")[0]
    if known := cards.get(short) if cards.has(short) else cards.ingredient(short):
        ui.say(f"{known.name}: licence {known.licence}; {known.terms or 'no further terms'}")
    ui.paths([hub.find(name, download=True, refresh=True, variant=variant)])


def card_of(name: str) -> Card:
    """The card of a model by name, hub id or folder. Raises UsageError that names the nearest one."""
    from leadline import cards, hub

    own, short = Path(name) / "card.yaml", name.partition("@")[0]
    if own.is_file() and name not in cards.names():  # as in finding it, names go first
        return cards.read(own)
    try:
        return cards.get(short) if cards.has(short) else hub.card_of(name, hub.find(name))
    except WeightsError as error:
        raise UsageError(str(error)) from None


def check(name: str, card: str | None = None) -> None:
    """Raises UsageError if no model can have this name; whether the hub has it, only the hub knows.

    card: what the user says that a folder is, as the name of a model or a YAML file.
    """
    from leadline import cards, hub

    try:
        known = not Path(name).is_dir() and hub.repository(name)
    except WeightsError as error:
        raise UsageError(str(error)) from None
    short = name.partition("@")[0]
    if card is None and (not known or cards.has(short)) and not cards.ingredient(short):
        card_of(name)
    elif card is not None and not Path(card).is_file():
        card_of(card)


def _facts(card: Card) -> dict[str, Any]:
    return {**card.model_dump(mode="json"), "weights": _place(card)}


def _place(card: Card) -> str:
    from leadline import cards, hub

    if cards.is_bundled(card.name):
        return "bundled"
    if not card.hub:
        return "own folder"
    return "on this machine" if hub.complete(card.hub) else f"huggingface.co/{card.hub.id}"


def _size(card: Card) -> str:
    return card.millions or "unknown"


def _given(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value not in (None, "", {}, [])}


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in _given(value).items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
