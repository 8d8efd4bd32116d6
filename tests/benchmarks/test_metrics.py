"""The two sides of the evaluation step's benchmark are what they claim to be, and agree."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "metrics.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("metrics_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_marigolds_side_gives_marigolds_numbers(benchmark):
    benchmark.check_marigold()


def test_both_sides_agree_on_a_frame(benchmark, capsys):
    figures = benchmark.compare(share=0.05, rounds=1)
    assert figures["max_difference"] < 1e-6
    assert len(capsys.readouterr().out.splitlines()) == 10
