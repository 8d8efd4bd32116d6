"""benchmarks/tiles.py on a model whose figures are known."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline import scenes
from leadline.prediction import Kind, Prediction

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def tiles(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("tiles", None)
    import tiles

    yield tiles
    sys.modules.pop("tiles")


class Knowing:
    """It knows the depth of every scene, and is flat when asked for tiles."""

    def __init__(self, known):
        self.known = known

    def __call__(self, rgb, tile=0, **options):
        depth = self.known(rgb).clamp(max=80)[0].numpy()
        return Prediction(np.full_like(depth, 5) + 1e-3 * depth if tile else depth, Kind.affine_depth)


def test_a_model_that_knows_the_depth_is_perfect(tiles, monkeypatch, capsys):
    drawn, draw = {}, scenes.render

    def render(seed, size):
        drawn[seed] = draw(seed=seed % 7, size=size)
        return drawn[seed]

    def known(rgb):
        return next(scene.depth for scene in drawn.values() if scene.rgb is rgb)

    monkeypatch.setattr(tiles.scenes, "render", render)
    monkeypatch.setattr(tiles.leadline, "load", lambda name, device: Knowing(known))
    monkeypatch.setattr(sys, "argv", ["tiles.py", "--size", "64", "--scenes", "2"])
    tiles.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["size"] == 64
    for way in ("whole", "at_once", "tiles"):  # a straight line of the depth is fitted back to it
        assert figures[f"{way}_delta1"] > 0.999
        assert figures[f"{way}_boundary_f1"] > 0.8  # a scene without steep edges counts as 0


def test_edges_are_where_depth_jumps(tiles):
    depth = torch.ones(1, 1, 30, 40)
    depth[..., 20:] = 2
    assert tiles.edges(depth)[0, 0, 15].nonzero().flatten().tolist() == list(range(16, 24))
    assert not tiles.edges(torch.ones(1, 1, 30, 40)).any()
