"""The dry run: what a step holds is counted without holding it, and which card it fits."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import tiny
import tiny_primedepth
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import training

from leadline import recipe as recipes
from leadline.cli import main
from leadline.data.sample import Batch
from leadline.errors import DataError, WeightsError
from leadline.methods.e2e_ft import E2EFT, Config
from leadline.methods.marigold import Config as MarigoldConfig
from leadline.methods.marigold import Marigold
from leadline.train import memory, optimise, plan, randomness

RECIPES = Path(__file__).parents[2] / "recipes"
AUTOENCODER = tiny.AUTOENCODER | {"block_out_channels": [8, 16, 32, 32]}


def tiny_recipe(*overrides: str) -> recipes.Recipe:
    text = "{method: e2e-ft, data: {scenes: {sizes: [[128, 160]]}}, optimiser: {lr: 1e-3}, steps: 6}"
    return recipes.load(text, overrides)


def end_to_end(recipe: recipes.Recipe) -> E2EFT:
    config = Config(unet=tiny.UNET, autoencoder=AUTOENCODER, **recipe.model)
    return E2EFT.random(config, 0, torch.randn(1, 2, 24))


def denoising(recipe: recipes.Recipe) -> Marigold:
    config = MarigoldConfig(unet=tiny.UNET, autoencoder=AUTOENCODER, **recipe.model)
    return Marigold.random(config, 0, torch.randn(1, 2, 24))


@pytest.mark.parametrize(
    ("make", "overrides"),
    [(end_to_end, ["model.checkpoint_unet=true"]), (denoising, ["batch={size: 1, accumulate: 2}"])],
)
def test_an_imagined_step_holds_what_a_real_one_does(make, overrides):
    recipe = tiny_recipe(*overrides)
    method = make(recipe).train()
    depth = 1 + torch.rand(recipe.batch.size, 1, 128, 160)
    count, accumulate = recipe.batch.size, recipe.batch.accumulate
    batch = Batch(torch.rand(count, 3, 128, 160), depth > 0, depth, None, [None] * count, [""] * count)
    trained = [p for p in method.parameters() if p.requires_grad]
    if accumulate > 1:
        for p in trained:
            p.grad = torch.zeros_like(p)
    with memory.Peak() as peak:
        method.loss(batch, randomness.generator(0)).total.backward()
    found = memory.need(recipe, make)
    held = peak.most + (found.gradients if accumulate > 1 else 0)
    assert found.gradients == sum(4 * p.numel() for p in trained)
    assert held > found.gradients  # else the comparison says nothing
    assert found.activations + found.gradients == pytest.approx(held, rel=0.05)


def test_states_are_as_large_as_said():
    for name in ("adamw", "adafactor"):
        layer = torch.nn.Conv2d(6, 8, 3)
        optimiser = optimise.optimiser(layer, recipes.Optimiser(name=name, lr=1e-3))
        layer(torch.rand(1, 6, 4, 4)).sum().backward()
        optimiser.step()
        states = [x for state in optimiser.state.values() for x in state.values() if x.dim() > 0]
        said = sum(optimise.state_bytes(name, p.shape) for p in layer.parameters())
        assert sum(4 * x.numel() for x in states) == said


def test_each_rung_of_the_ladder_takes_less_and_says_how():
    recipe = tiny_recipe("model.checkpoint_unet=true", "ema.decay=0.9", "data.scenes.sizes=[[64, 64]]")
    made = plan.plan(recipe, lambda _: training.Straight())
    assert [rung.changes[-1:] for rung in made.rungs] == [
        (),
        ("model.checkpoint_autoencoder=true",),
        ("batch={size: 1, accumulate: 2}",),
        ("optimiser.name=adamw8bit",),
        ("optimiser.name=adafactor",),
    ]
    needs = [rung.need for rung in made.rungs]
    trained, frozen = needs[0].parameters["layers"]
    assert (needs[0].optimiser, needs[0].average, frozen) == (8 * trained, 4 * trained, 0)
    assert needs[2].activations < 0.6 * needs[0].activations  # one picture in place of two
    assert needs[4].optimiser < needs[0].optimiser
    assert (made.steps, made.pictures) == (6, 12)
    changed = recipes.load(recipe.model_dump_json(), made.rungs[-1].changes)
    assert (changed.optimiser.name, changed.batch.accumulate) == ("adafactor", 2)


def test_a_card_keeps_some_memory_for_itself():
    need = memory.Need(*(12 * memory.GIB // 6,) * 6, parameters={}, multiple=1)
    assert need.total == 10 * memory.GIB
    rung = plan.Rung((), need)
    assert [size for size in plan.CARDS_GB if rung.fits(size)] == [12, 16, 24, 48, 80]
    assert not rung.fits(11)


def test_the_command_prints_it_and_trains_nothing(tmp_path, capsys):
    run = tmp_path / "run"
    small = ["data.scenes.sizes=[[16, 24]]", "model.checkpoint_unet=true", "batch.size=1"]
    words = [str(RECIPES / "tiny.yaml"), *small, "optimiser.name=adafactor", "--run", str(run), "--dry-run"]
    assert main(["train", *words]) == 0
    said = capsys.readouterr().out
    assert "data scenes: 256 pictures at 24x16, 100% of the batches, 0.39 passes" in said
    assert "unet: 0.68 M parameters trained, 0.00 M frozen" in said
    assert "12 16 24 48 80   the recipe" in said
    assert main(["train", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memory"][0]["cards_gb"] == [12, 16, 24, 48, 80]
    assert not run.exists()


def test_pictures_of_their_own_size_count_at_that_size():
    recipe = tiny_recipe("data={uneven: {set: uneven, options: {count: 3}}}", "batch.size=1")
    made = plan.plan(recipe, lambda _: training.Straight())
    assert made.data[0].sizes == ((8, 14),)  # the widest
    sized = tiny_recipe("data={ramps: {sizes: [[8, 14]]}}", "batch.size=1")
    wide = plan.plan(sized, lambda _: training.Straight())
    assert made.rungs[0].need.activations == wide.rungs[0].need.activations
    assert memory.largest(recipe, 2, {})[0] == (480, 640)


def test_turns_alternate_whatever_their_ratios():
    sets = {
        "a": "{set: ramps, ratio: 3, turn: x}",
        "b": "{set: ramps, turn: x}",
        "c": "{set: ramps, turn: y}",
    }
    recipe = tiny_recipe("data={" + ", ".join(f"{name}: {words}" for name, words in sets.items()) + "}")
    made = plan.plan(recipe, lambda _: training.Straight())
    assert [data.share for data in made.data] == [0.375, 0.125, 0.5]


def test_mistakes_are_told_as_before_a_training(tmp_path):
    with pytest.raises(DataError, match="median depth"):
        plan.plan(tiny_recipe("data={wrong: {set: ramps, options: {unit: 1000.0}}}"), end_to_end)


def test_a_method_that_asks_for_the_camera_is_counted_too():
    unet = tiny.PLAIN_UNET | {"in_channels": 24, "out_channels": 12}
    text = {
        "method": "metricgold",
        "model": {
            "codec": "log",
            "near_m": 0.1,
            "far_m": 80.0,
            "camera": "canonical_width",
            "unet": unet,
            "autoencoder": tiny.BLOCKS | {"factor": 2},
        },
        "data": {"scenes": {"sizes": [[16, 24]]}},
        "optimiser": {"lr": 1e-3},
        "steps": 1,
    }
    assert memory.need(recipes.load(str(text))).activations > 0


def test_memory_is_planned_before_gigabytes_are_fetched():
    """Of Stable Diffusion 2 the sizes are known: parameters as published, and what Adam keeps of them."""
    words = ["data={scenes: {sizes: [[64, 64]]}}", "batch={size: 1}"]
    chosen = recipes.load(RECIPES / "e2e_ft_depth.yaml", words)
    found = memory.need(chosen)
    assert found.of_stable_diffusion
    assert found.parameters["unet"] == (865_922_244, 0)
    assert found.parameters["autoencoder"] == (0, 83_653_863)
    assert found.optimiser == 2 * found.gradients
    with pytest.raises(WeightsError):
        memory.need(chosen.model_copy(update={"start": "depth-anything-v2-small"}))


def test_primedepths_need_is_counted_and_leaves_no_imagined_array_behind():
    text = {
        "method": "primedepth",
        "model": tiny_primedepth.SMALL | {"classes": 150},
        "data": {"scenes": {"sizes": [[16, 24]]}},
        "optimiser": {"lr": 1e-3},
        "steps": 1,
    }
    found = memory.need(recipes.load(str(text)))
    assert found.parameters["unet"][0] == found.parameters["autoencoder"][0] == 0
    assert found.parameters["refiner"][0] > 0
    assert found.activations > 0
    model, rgb = tiny_primedepth.small(), torch.zeros(1, 3, 16, 24)
    with torch.inference_mode():
        assert model(rgb, generators=[torch.Generator()])["disparity"].isfinite().all()
