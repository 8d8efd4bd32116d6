"""Every objective: a training that is taken up again ends where an undisturbed one does, bit for bit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_primedepth
import torch
import yaml

from leadline import recipe, weights
from leadline.data import DATASETS
from leadline.data.sample import Sample
from leadline.data.scenes import Scenes
from leadline.prediction import Kind
from leadline.train import train

BLOCKS = tiny.BLOCKS | {"factor": 2}
UNET = tiny.PLAIN_UNET | {"in_channels": 12, "out_channels": 12, "block_out_channels": [8, 16]}
VAE = tiny.AUTOENCODER | {
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [8],
}
RANGE = {"codec": "log", "near_m": 0.1, "far_m": 80.0}
SCENES = {"options": {"seed": 4, "count": 9, "kind": "room"}, "sizes": [[16, 24]]}
METHODS = {
    "e2e-ft": {
        "model": {"unet": UNET, "autoencoder": BLOCKS, "noise": "none"},
        "data": {"scenes": SCENES},
    },
    "marigold": {
        "model": {"unet": UNET | {"in_channels": 24}, "autoencoder": BLOCKS},
        "data": {"scenes": SCENES},
    },
    "latent-diffusion": {
        "model": {"unet": UNET, "autoencoder": BLOCKS},
        "data": {"scenes": SCENES},
    },
    "autoencoder": {
        "model": {"autoencoder": tiny.TINY_AUTOENCODER},
        "data": {"scenes": SCENES},
    },
    "primedepth": {
        "model": tiny_primedepth.SMALL | {"classes": 150},
        "data": {"scenes": SCENES},
    },
    "fiffdepth": {
        "model": {"unet": UNET, "autoencoder": BLOCKS},
        "data": {
            "scenes": {**SCENES, "turn": "synthetic"},
            "said": {"turn": "real", "sizes": [[16, 24]]},
        },
    },
    "metricgold": {
        "model": RANGE | {"unet": UNET | {"in_channels": 24}, "autoencoder": BLOCKS, "camera": "fov"},
        "data": {"scenes": SCENES},
    },
    "metricgold one step": {
        "model": RANGE | {"unet": UNET | {"in_channels": 24}, "autoencoder": BLOCKS, "objective": "one_step"},
        "data": {"scenes": SCENES},
    },
    "metricgold autoencoder": {
        "model": RANGE
        | {
            "unet": UNET | {"in_channels": 8, "out_channels": 4},
            "autoencoder": VAE,
            "stage": "vae",
            "depth_vae": "paper",
        },
        "data": {"scenes": SCENES},
    },
}


class Said:
    """Pictures of which another model has said a disparity."""

    def __init__(self) -> None:
        self.scenes = Scenes(seed=5, count=5, size=(16, 24), kind="room")

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Sample:
        scene = self.scenes[index]
        said = (2 / scene.depth_m).astype(np.float32)
        return replace(scene, depth_m=None, normals=None, pseudo=said, pseudo_kind=Kind.affine_disparity)


DATASETS["said"] = f"{__name__}:Said"


def recipe_of(name: str, steps: int) -> recipe.Recipe:
    common = {
        "method": name.partition(" ")[0],
        "optimiser": {"lr": 1e-3},
        "batch": {"size": 2, "accumulate": 2},
        "ema": {"decay": 0.9},
        "stages": {"first": {"steps": 2}, "second": {"steps": steps - 2}},
        "every": {"checkpoint": 2, "validate": 0, "sample": 0},
        "workers": 0,
        "threads": 1,
        "device": "cpu",
    }
    return recipe.load(yaml.safe_dump(common | METHODS[name]))


@pytest.mark.parametrize("name", METHODS)
def test_interrupted_equals_uninterrupted(name: str, tmp_path: Path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe_of(name, 4), whole)
    train(recipe_of(name, 3), parts)
    shutil.rmtree(parts / "checkpoints/00000003")  # as though it had been killed in the third step
    assert train(recipe_of(name, 4), parts).step == 4
    one, other = (
        {
            str(path.relative_to(run)): weights.load_state(path)
            for path in (run / "model").rglob("*.safetensors")
        }
        for run in (whole, parts)
    )
    assert one
    assert one.keys() == other.keys()
    for name, state in one.items():
        assert state.keys() == other[name].keys()
        assert all(torch.equal(x, other[name][key]) for key, x in state.items()), name
