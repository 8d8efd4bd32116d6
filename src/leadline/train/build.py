"""The method that a recipe names, with random weights or with those it starts from."""

from __future__ import annotations

from typing import cast

from torch import nn

from leadline import documents, methods
from leadline.recipe import Recipe


def method(recipe: Recipe) -> nn.Module:
    """The network of a recipe; the same seed gives the same random weights.

    `model` is the method's Config; beside a `start` it holds what shall differ from that model's own.
    UsageError for an unknown method, DocumentError for an unknown key, WeightsError if the start is not
    there.
    """
    kind, config = methods.get(recipe.method)
    if recipe.start:
        from leadline import weights  # diffusers takes seconds to import

        made = kind.load(weights.find(recipe.start), **recipe.model)
    else:
        made = kind.random(documents.validate(recipe.model, config, "recipe: model"), recipe.seed)
    return cast(nn.Module, made)
