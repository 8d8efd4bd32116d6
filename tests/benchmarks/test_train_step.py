"""The protocol of benchmarks/train_step.py, in small."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def train_step():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import train_step

        yield train_step
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_both_sides_have_the_same_loss_and_gradients(train_step, tmp_path):
    losses = {}
    for side in ("ours", "authors"):
        unet, autoencoder, _ = train_step.networks("tiny", torch.float32, "cpu")
        text = torch.ones(1, 77, 32)
        total = train_step.SIDES[side](unet, autoencoder, text)(train_step.batch(32, 48))
        total.backward()
        train_step._write(unet, tmp_path / f"{side}.bin")
        losses[side] = total.item()
    assert losses["ours"] == pytest.approx(losses["authors"], rel=1e-5)
    assert 0 <= train_step.difference(tmp_path) < 1e-4


@pytest.mark.slow
def test_what_is_planned_is_what_is_run(train_step):
    """The recipe of the plan: Adafactor, one picture of that size, on gradients that are there."""
    args = argparse.Namespace(size="tiny", picture=[64, 48])
    recipe = train_step.settings(args)
    unet, _, _ = train_step.networks("tiny", torch.float32, "cpu")
    plan = train_step.planned(args)
    assert (recipe.optimiser.name, recipe.batch.size) == ("adafactor", 1)
    assert plan.gradients == sum(4 * p.numel() for p in unet.parameters())
    assert 0 < plan.optimiser < 2 * plan.gradients
