"""A tiny model with random weights, photographs to predict, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from leadline import cli
from leadline.methods import marigold
from leadline.methods.e2e_ft import E2EFT, Config

UNET = {
    "_class_name": "UNet2DModel",
    "in_channels": 12,
    "out_channels": 12,
    "block_out_channels": [8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "norm_num_groups": 4,
    "add_attention": False,
}
LATENT = {"_class_name": "SpaceToDepth", "factor": 2}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a disparity model of random weights that works at 32 pixels."""
    return _save(tmp_path_factory.mktemp("models") / "tiny", target="disparity")


@pytest.fixture(scope="session")
def tiny_normals(tmp_path_factory) -> Path:
    """The same for normals."""
    return _save(tmp_path_factory.mktemp("models") / "tiny-normals", target="normals")


@pytest.fixture(scope="session")
def tiny_sampler(tmp_path_factory) -> Path:
    """The same for a depth model that denoises from noise."""
    folder = tmp_path_factory.mktemp("models") / "tiny-sampler"
    sampler = marigold.Config(
        unet=UNET | {"in_channels": 24}, autoencoder=LATENT, size={"processing_res": 32}
    )
    marigold.Marigold.random(sampler).save(folder)
    return folder


def _save(folder: Path, **config: object) -> Path:
    sizes = {"processing_res": 32}
    E2EFT.random(Config(noise="none", unet=UNET, autoencoder=LATENT, size=sizes, **config)).save(folder)
    return folder


class Ran(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str
    raw: bytes  # out as it was written, for pipes


@pytest.fixture
def run(capsysbinary) -> Callable[..., Ran]:
    """`run("predict", path, "--seed", 3)` in this process."""

    def call(*words: object) -> Ran:
        capsysbinary.readouterr()
        code = cli.main([str(word) for word in words])
        out, err = capsysbinary.readouterr()
        return Ran(code, out.decode(errors="replace"), err.decode(), out)

    return call


def save_photo(file: Path, size: tuple[int, int] = (40, 30), seed: int = 0) -> Path:
    """A small colourful picture, width x height, in the format of its suffix."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def photo(tmp_path) -> Path:
    return save_photo(tmp_path / "photos" / "photo.jpg")
