"""Recipes: what is refused, what is filled in, and that the shipped ones are valid."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from leadline import documents, recipe
from leadline.errors import DocumentError
from leadline.recipe import Recipe

ROOT = Path(__file__).parents[1]
BASE = {"method": "e2e-ft", "data": {"scenes": 1}, "optimiser": {"lr": 1e-3}, "steps": 10}


def load(*overrides: str, **changes: object) -> Recipe:
    return recipe.load(yaml.safe_dump({**BASE, **changes}), overrides)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid(path):
    assert recipe.load(path).total_steps > 0


def test_a_number_is_short_for_a_ratio():
    data = load(data={"hypersim": 0.9, "vkitti2": {"ratio": 0.1}}).data
    assert [(name, entry.ratio) for name, entry in data.items()] == [("hypersim", 0.9), ("vkitti2", 0.1)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stepz": 3}, ["stepz", "'steps'"]),
        ({"optimiser": {"lr": 1, "weigth_decay": 0}}, ["optimiser.weigth_decay", "'weight_decay'"]),
        ({"data": {"scenes": {"ratios": 1}}}, ["data.scenes.ratios", "'ratio'"]),
        ({"data": {"scenes": {"augment": {"flips": 1}}}}, ["augment.flips", "'flip'"]),
        ({"data": {}}, ["data"]),
        ({"data": {"scenes": -1}}, ["data.scenes.ratio", "greater than 0"]),
        ({"optimiser": {}}, ["optimiser.lr", "required"]),
        ({"optimiser": {"lr": "fast"}}, ["optimiser.lr", "'fast'"]),
        ({"optimiser": {"lr": 1, "groups": {"(": {}}}}, ["no regular expression"]),
        ({"steps": None}, ["steps or stages"]),
        ({"stages": {"a": {"steps": 1}}}, ["steps or stages"]),
        ({"data": {"scenes": {"sizes": [[8, 8]], "size_weights": [1, 2]}}}, ["2 values for 1 sizes"]),
        ({"schedule": {"decay": "linear"}}, ["schedule.decay", "'exponential'"]),
        ({"precision": "float8"}, ["precision", "'bfloat16'"]),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(changes, words):
    with pytest.raises(DocumentError) as caught:
        load(**changes)
    message = str(caught.value)
    assert "\n" not in message
    assert [w for w in words if w not in message] == []


def test_every_value_can_be_overridden():
    changed = load(
        "optimiser.lr=3e-5",
        "data.scenes.sizes=[[48, 64]]",
        "stages.fine.steps=7",
        "steps=null",
        "every.validate=5",
        data={"scenes": {}},
    )
    assert changed.optimiser.lr == 3e-5
    assert changed.data["scenes"].sizes == ((48, 64),)
    assert (changed.total_steps, changed.every.validate_) == (7, 5)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_resolved_recipe_reads_back_equal(path):
    resolved = recipe.load(path)
    assert recipe.load(documents.dump(resolved)) == resolved
