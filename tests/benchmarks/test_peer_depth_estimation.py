"""The other package's figures, where it is installed: formulas agree, and the rest differs as explained."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

pytest.importorskip("depth_estimation", reason="needs pip install --no-deps depth-estimation==0.1.3")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peer_depth_estimation.py"


@pytest.fixture(scope="module")
def blocks():
    spec = importlib.util.spec_from_file_location("peer_depth_estimation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.blocks()


def test_formulas_agree(blocks):
    mine, peer = blocks["formulas"]
    assert peer == pytest.approx(mine, rel=1e-6)


def test_only_the_package_scores_a_picture_without_known_pixels(blocks):
    mine, peer = blocks["empty"]
    assert mine == {}
    assert peer["abs_rel"] == 0  # as if perfect


def test_a_model_of_disparity_is_ruined_by_a_line_in_depth(blocks):
    mine, peer = blocks["space"]
    assert mine["abs_rel"] < 0.3 < peer["abs_rel"]
    assert not math.isnan(peer["rmse_log"])
