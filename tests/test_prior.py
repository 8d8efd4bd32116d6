"""The bundled prior: what its card promises, and that it has learnt what pictures look like."""

from __future__ import annotations

import pytest
import torch

from leadline import cards, weights
from leadline.data.sample import collate
from leadline.data.scenes import Scenes
from leadline.methods.latent_diffusion import LatentDiffusion


@pytest.fixture(scope="module")
def prior():
    return LatentDiffusion.load(cards.BUNDLED / "prior").eval()


def test_it_is_small_and_free(prior):
    folder = cards.BUNDLED / "prior"
    assert prior.card.licence == "Apache-2.0"
    assert prior.card.parameters == sum(p.numel() for p in prior.parameters())
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 25_000_000


def test_its_latents_are_the_bundled_ones():
    own, bundled = (
        weights.load_state(cards.BUNDLED / name / "vae" / weights.FILE) for name in ("prior", "latents")
    )
    assert own.keys() == bundled.keys()
    assert all(torch.equal(own[key], bundled[key]) for key in own)


@torch.inference_mode()
def test_it_knows_what_is_noise_in_scenes_it_never_saw(prior):
    """Saying nothing costs about 1: the mean square of v."""
    batch = collate([Scenes(seed=2, count=6, size=(72, 96))[i] for i in range(6)])
    loss = prior.loss(batch, torch.Generator().manual_seed(0)).total
    assert loss < 0.6


@torch.inference_mode()
def test_it_draws_pictures_from_the_first_trailing_step_and_noise_from_the_first_leading_one(prior):
    """The flaw that E2E-FT found: neighbours differ little in a picture, and as much as any in noise."""
    z_T = torch.randn((4, 4, 18, 24), generator=torch.Generator().manual_seed(0))

    def roughness(spacing, steps):
        picture = prior.draw(z_T, steps, spacing)
        return picture.diff(dim=-1).abs().mean() / picture.std()

    assert roughness("leading", 1) > 4 * roughness("trailing", 1)
    assert roughness("leading", 1) > 2 * roughness("trailing", 10)
