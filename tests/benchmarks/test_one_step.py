"""The protocol of benchmarks/one_step.py, in small."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers: diffusers' pipeline imports it")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def one_step():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import one_step

        yield one_step
    finally:
        sys.path.remove(str(BENCHMARKS))


@torch.inference_mode()
def test_both_sides_have_the_same_weights_and_give_the_same_depth(one_step):
    rgb = torch.rand(1, 3, 64, 48)
    depths = {}
    for name, side in one_step.SIDES.items():
        depths[name] = side(*one_step.networks("tiny", torch.float32, "cpu"))(rgb)
    span = depths["diffusers"].max() - depths["diffusers"].min()
    assert span > 0.01
    assert (depths["ours"] - depths["diffusers"]).abs().max() < 1e-4 * span


@torch.inference_mode()
def test_flops_are_those_of_products_convolutions_and_attention(one_step):
    a, x, kernel = torch.rand(8, 8), torch.rand(1, 4, 6, 6), torch.rand(2, 4, 3, 3)
    q = torch.rand(1, 2, 5, 4)
    assert one_step.flops(lambda: a @ a) == 2 * 8**3
    assert one_step.flops(lambda: torch.conv2d(x, kernel)) == 2 * 4 * 4 * 2 * 4 * 9
    attention = torch.nn.functional.scaled_dot_product_attention
    assert one_step.flops(lambda: attention(q, q, q)) == 2 * 2 * 2 * 5 * 5 * 4


def test_memory_sees_what_came_and_went(one_step):
    memory = one_step.Memory("cpu")
    torch.ones(16 * 2**20 // 4)
    assert 15 * 2**20 < memory.peak() < 64 * 2**20


def test_the_last_line_holds_ratios_of_best_times_and_highest_peaks(one_step, capsys):
    def turn(seconds, mib):
        return {"seconds": seconds, "bytes": mib, "flops": 6, "rate": 4}

    turns = {"ours": [turn(3, 10), turn(2, 20)], "diffusers": [turn(4, 80), turn(5, 60)]}
    depths = {"ours": np.array([0.0, 0.5]), "diffusers": np.array([0.0, 0.4])}
    assert one_step.compare(turns, depths) == pytest.approx(
        {"time_ratio": 0.5, "memory_ratio": 0.25, "max_difference": 0.25, "share_of_peak": 0.75}
    )
    assert "matrix rate" in capsys.readouterr().out
