"""The method that a recipe names, with random weights or with those it starts from."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from leadline import documents
from leadline.errors import UsageError, nearest
from leadline.recipe import Recipe


def method(recipe: Recipe) -> nn.Module:
    """The network of a recipe; the same seed gives the same random weights.

    A method's module has a `Config` beside its class; `model` in the recipe is that. UsageError for an
    unknown method, DocumentError for an unknown key under `model`.
    """
    from leadline.methods import METHODS

    if recipe.method not in METHODS:
        close = nearest(recipe.method, METHODS)
        hint = f"did you mean {close!r}?" if close else f"known are {', '.join(METHODS)}"
        raise UsageError(f"method {recipe.method!r} is unknown: {hint}")
    path, _, name = METHODS[recipe.method].partition(":")
    module = importlib.import_module(path)
    factory: Any = getattr(module, name)
    made: nn.Module
    if recipe.start:
        from leadline import weights

        made = factory.load(weights.find(recipe.start))
    else:
        made = factory.random(documents.validate(recipe.model, module.Config, "recipe: model"), recipe.seed)
    return made
