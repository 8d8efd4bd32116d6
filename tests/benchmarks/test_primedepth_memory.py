"""The protocol of benchmarks/primedepth_memory.py, in small."""

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import primedepth_memory

        yield primedepth_memory
    finally:
        sys.path.remove(str(BENCHMARKS))


@torch.inference_mode()
def test_both_sides_have_the_same_weights_and_give_the_same_depth(script):
    rgb = torch.rand(1, 3, 64, 80) * 2 - 1
    ours, theirs = (side(script.model("tiny"))(rgb) for side in script.SIDES.values())
    assert ours.abs().max() > 0.01
    assert (ours - theirs).abs().max() < 1e-4 * (theirs.max() - theirs.min())


def test_their_bytes_can_be_computed_and_hold_all_pairs_of_pixels(script):
    """Of 64x64 pixels with one head, and their enlarged copy."""
    assert script.computed(512, "tiny")["bytes"] > 4 * 4096 * (64**2 + 72**2)
