"""Frames written as pairs are measured as `bundled.py` measures them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.data.sets import open_set
from leadline.prediction import Kind
from leadline.protocols import load

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import pairs

    return pairs


def test_a_set_becomes_a_folder_of_pairs_and_a_rule(pairs, tmp_path):
    which = pairs.FrameSet("room", "test", "room/*.png", 1, 1000, 10, eigen_crop=True)
    (tmp_path / "room").mkdir()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (480, 640, 3), np.uint8)).save(tmp_path / "room" / "a.jpg")
    depth = random.integers(0, 12_000, (480, 640), np.uint16)
    Image.fromarray(depth).save(tmp_path / "room" / "a.png")
    assert pairs.write(tmp_path, which, tmp_path / "out") == 1
    (frame,) = pairs.frames.real(tmp_path, which)
    sample = open_set("folder", tmp_path / "out" / "room")[0]
    np.testing.assert_array_equal(sample.rgb, frame.rgb)
    np.testing.assert_array_equal(sample.valid, frame.valid)
    np.testing.assert_array_equal(sample.depth_m[sample.valid], frame.depth_m[frame.valid])
    assert not sample.valid[:45].any()
    file = tmp_path / "frames.yaml"
    file.write_text(pairs.protocol([which]))
    protocol = load(file)
    assert protocol.rule("room").range == (1e-3, 10)
    assert protocol.spaces(Kind.affine_disparity) == ("disparity",)
