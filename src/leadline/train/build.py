"""The method that a recipe names, with random weights or with those it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import nn

from leadline import cards, documents, methods
from leadline.cards import Card, Ingredient
from leadline.prediction import Kind
from leadline.recipe import Recipe

if TYPE_CHECKING:
    from pydantic import BaseModel


def method(recipe: Recipe) -> nn.Module:
    """The network of a recipe; the same seed gives the same random weights.

    `model` is the method's Config; beside a `start` it holds what shall differ from that model's own. The
    start is any model on this machine, found as `leadline.load` finds it, or a prior (`cards.PRIORS`); `card`
    says what a folder is.
    UsageError for an unknown method, DocumentError for an unknown key, WeightsError if the start is not
    there.
    """
    kind, config = methods.get(recipe.method)
    if recipe.start:
        folder, found = home(recipe)
        own = isinstance(found, Card) and found.method == recipe.method
        card = (
            _start(found, recipe.method, config)
            if isinstance(found, Card)
            else _of_prior(found, recipe.method)
        )
        begin = None if own else getattr(kind, "begin", None)
        if begin:
            made = begin(folder, card, seed=recipe.seed, **recipe.model)
        else:
            made = kind.load(folder, card, **recipe.model)
    else:
        made = kind.random(documents.validate(recipe.model, config, "recipe: model"), recipe.seed)
    if recipe.defaults:
        made.card = made.card.model_copy(update={"defaults": recipe.defaults})
        if getattr(made, "steps", None) is not None:  # else there is one
            made.steps, made.members = recipe.defaults.steps, recipe.defaults.ensemble
    return cast(nn.Module, made)


def home(recipe: Recipe) -> tuple[Path, Card | Ingredient]:
    """The folder of what a recipe starts from, and what it is. Raises WeightsError if it is not on this
    machine.
    """
    from leadline import weights  # diffusers takes seconds to import

    assert recipe.start is not None
    prior = cards.PRIORS.get((recipe.card or recipe.start).partition("@")[0])
    return (weights.find(recipe.start), prior) if prior else weights.obtain(recipe.start, recipe.card)


def _of_prior(prior: Ingredient, method: str) -> Card:
    """The card of what becomes of a prior; its kind is known when it is saved."""
    return Card(
        name=prior.name,
        method=method,
        kind=Kind.affine_depth,
        config={"widen": True},
        licence=prior.licence,
        terms=f"derived from {prior.name}: {prior.terms}",
        training_data=prior.training_data,
    )


def _start(card: Card, method: str, config: type[BaseModel]) -> Card:
    """The card of a model that is going to be trained: no published one any more.

    One of another method gives what both Configs hold, such as its target.
    """
    of_another = card.config | {"widen": True}
    shared = {key: value for key, value in of_another.items() if key in config.model_fields}
    own = card.config if card.method == method else shared
    return card.model_copy(update={"method": method, "config": own, "hub": None})
