"""The bundled latent space `latents`: what survives the round trip, and what its card promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline import cards
from leadline.methods.autoencoder import Autoencoder, depth_picture
from leadline.networks import latent
from leadline.scenes import analytic

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def latents():
    return Autoencoder.load(cards.BUNDLED / "latents").eval()


def round_trip(latents, x):
    with torch.inference_mode():
        return latents(x)["picture"]


def test_it_is_small_and_free(latents):
    folder = cards.BUNDLED / "latents"
    assert latents.card.licence == "Apache-2.0"
    assert latents.card.parameters == sum(p.numel() for p in latents.parameters())
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 6_000_000


def test_a_photograph_survives(latents):
    picture = Image.open(ROOT / "examples" / "china.jpg").resize((192, 128))
    x = torch.from_numpy(np.asarray(picture).copy()).movedim(-1, 0)[None] / 127.5 - 1
    psnr = 10 * torch.log10(4 / (round_trip(latents, x) - x).square().mean())
    assert psnr > 22


def test_depth_survives_within_a_few_percent_of_its_range(latents):
    scene = analytic.scene("stairs", (96, 128))
    depth, valid = scene.depth[None], scene.valid[None]
    x, known = depth_picture(depth, valid, 0.02, 0.98)
    error = (round_trip(latents, x).mean(dim=1, keepdim=True) - x[:, :1]).abs() / 2
    assert error[known].mean() < 0.03


def test_latents_have_about_the_deviation_of_a_standard_normal(latents):
    scene = analytic.scene("stairs", (96, 128))
    with torch.inference_mode():
        z = latent.encode(latents.autoencoder, scene.rgb[None] * 2 - 1)
    assert 0.3 < z.square().mean().sqrt() < 3
