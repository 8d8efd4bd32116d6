"""The small prior: its objective, its samples, and the methods that start from it."""

from __future__ import annotations

import pytest
import tiny
import torch
from tiny import seeded
from torch.testing import assert_close

from leadline import noise, recipe
from leadline.errors import UsageError, WeightsError
from leadline.methods.autoencoder import Autoencoder
from leadline.methods.autoencoder import Config as Latents
from leadline.methods.latent_diffusion import Config, LatentDiffusion
from leadline.networks import latent
from leadline.train import build

UNET = tiny.UNET | {"in_channels": 4}


@pytest.fixture(scope="module")
def prior() -> LatentDiffusion:
    return LatentDiffusion.random(Config(unet=UNET, autoencoder=tiny.TINY_AUTOENCODER, steps=3)).eval()


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "prior"
    prior.save(path)
    return path


def started(method, start, **model):
    text = {"method": method, "start": str(start), "model": model, "data": {"scenes": 1}, "steps": 1}
    return build.method(recipe.load(str({"optimiser": {"lr": 1e-3}} | text)))


def test_pictures_follow_from_their_own_noise_alone(prior):
    rgb = torch.rand(3, 3, 16, 24) * 2 - 1
    with torch.inference_mode():
        together = prior(rgb, generators=seeded(0, 1, 2))["picture"]
        alone = prior(-rgb[:1], generators=seeded(1))["picture"]  # what is given says the size alone
    assert together.shape == (3, 3, 16, 24)
    assert together.abs().max() <= 1
    assert_close(together[1:2], alone, rtol=0, atol=1e-5)


def test_leading_and_trailing_steps_draw_different_pictures(prior):
    z_T = torch.randn(1, 4, 8, 12, generator=seeded(0)[0])
    leading, trailing = (prior.draw(z_T, 2, spacing) for spacing in ("leading", "trailing"))
    assert (leading - trailing).abs().max() > 1e-3


def test_a_perfect_network_would_cost_nothing_and_draw_what_it_knows(prior, monkeypatch):
    """With v as it should be for one known latent: the loss is 0, and denoising ends at that latent."""
    batch = tiny.batch(2, 16, 24)
    with torch.no_grad():
        z_0 = latent.encode(prior.autoencoder, batch.rgb)

    def right(z, t):
        t = torch.as_tensor(t).expand(len(z))
        signal, level = prior.schedule._levels(z, t)
        return prior.schedule.target(z_0, (z - signal * z_0) / level, t)

    monkeypatch.setattr(prior, "output", right)
    assert prior.loss(batch, seeded(0)[0]).total < 1e-8
    z_T = noise.like(z_0, "gaussian", seeded(1, 2))
    drawn, wanted = prior.draw(z_T, 10), latent.decode(prior.autoencoder, z_0).detach().clamp(-1, 1)
    assert (drawn - wanted).abs().max() < 0.05  # the last step leaves the first noise level


def test_training_wants_noise(prior):
    with pytest.raises(UsageError, match="pass a generator"):
        prior.loss(tiny.batch())


def test_only_the_unet_is_trained(prior):
    trained = {name.partition(".")[0] for name, p in prior.named_parameters() if p.requires_grad}
    assert trained == {"unet"}


def test_it_starts_from_latents_alone(tmp_path):
    Autoencoder.random(Latents(autoencoder=tiny.TINY_AUTOENCODER)).save(tmp_path / "latents")
    made = started("latent-diffusion", tmp_path / "latents", unet=UNET, random_seed=3)
    other = started("latent-diffusion", tmp_path / "latents", unet=UNET, random_seed=4)
    assert made.schedule.prediction_type == "v_prediction"
    assert not torch.equal(made.unet.conv_in.weight, other.unet.conv_in.weight)
    assert torch.equal(made.empty_text, other.empty_text)
    with pytest.raises(WeightsError, match=r"unet/config\.json: cannot be read"):
        started("latent-diffusion", tmp_path / "latents")


@pytest.mark.parametrize("method", ["marigold", "e2e-ft"])
def test_methods_of_two_latents_start_from_it(prior, folder, method):
    made = started(method, folder)
    assert made.unet.config.in_channels == 8
    assert_close(made.unet.conv_in.weight[:, :4], prior.unet.conv_in.weight / 2)
    assert torch.equal(made.unet.conv_in.bias, prior.unet.conv_in.bias)
    assert torch.equal(made.empty_text, prior.empty_text[:, : made.empty_text.shape[1]])
    assert made.loss(tiny.batch(), seeded(0)[0]).total.isfinite()


def test_the_bias_is_shared_as_the_authors_code_does_if_told_so(prior, folder):
    made = started("e2e-ft", folder, share_bias=True)
    assert torch.equal(made.unet.conv_in.bias, prior.unet.conv_in.bias / 2)


def test_random_weights_take_the_place_of_the_priors_as_a_control(prior, folder):
    made = started("e2e-ft", folder, unet=UNET, random_seed=5)
    assert made.unet.config.in_channels == 8
    assert not torch.equal(made.unet.conv_out.weight, prior.unet.conv_out.weight)
    for own, its in zip(made.autoencoder.parameters(), prior.autoencoder.parameters(), strict=True):
        assert torch.equal(own, its)


def test_one_pass_over_the_picture_alone_needs_no_second_latent(folder):
    assert started("e2e-ft", folder, noise="none").unet.config.in_channels == 4
