"""The benchmark of labelling runs, and its last line has the figures by their names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "label.py"


@pytest.mark.slow
def test_the_last_line_is_the_overhead_of_each_engine():
    options = ["--photographs", "2", "--per-shard", "1", "--rounds", "1", "--without-ray"]
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == ["plain_overhead", "ray_overhead"]
    assert isinstance(figures["plain_overhead"], float)
    assert figures["ray_overhead"] is None
