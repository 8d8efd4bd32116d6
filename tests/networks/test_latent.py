"""Pictures to latents and back, whatever the autoencoder."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch.testing import assert_close

from leadline import weights
from leadline.networks import latent
from leadline.networks.space_to_depth import SpaceToDepth

ALL = {"kl": tiny.AUTOENCODER, "tiny": tiny.TINY_AUTOENCODER, "blocks": tiny.BLOCKS}


@pytest.fixture(params=ALL)
def autoencoder(request):
    return weights.build(ALL[request.param]).eval()


def test_factor_is_what_encoding_shrinks_by(autoencoder):
    factor = latent.factor(autoencoder)
    z = latent.encode(autoencoder, torch.rand(2, 3, 32, 48) * 2 - 1)
    assert z.shape[2:] == (32 // factor, 48 // factor)
    assert latent.decode(autoencoder, z).shape == (2, 3, 32, 48)


def test_encoding_is_the_same_each_time(autoencoder):
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(latent.encode(autoencoder, x), latent.encode(autoencoder, x))


def test_latents_are_scaled_by_the_configured_factor():
    plain = weights.build(tiny.AUTOENCODER | {"scaling_factor": 1.0}).eval()
    scaled = weights.build(tiny.AUTOENCODER).eval()
    x = torch.rand(1, 3, 16, 16)
    z = latent.encode(scaled, x)
    assert_close(z, latent.encode(plain, x) * 0.18215)
    assert_close(latent.decode(scaled, z), latent.decode(plain, z / 0.18215))


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_blocks_lose_nothing(factor):
    x = torch.rand(2, 3, 16, 24)
    network = SpaceToDepth(factor=factor)
    z = network.encode(x)
    assert z.shape == (2, 3 * factor**2, 16 // factor, 24 // factor)
    assert torch.equal(network.decode(z), x)


def test_blocks_decode_single_channels_too():
    assert SpaceToDepth(factor=4).decode(torch.rand(1, 16, 3, 5)).shape == (1, 1, 12, 20)


@pytest.mark.parametrize(
    ("unet", "autoencoder", "expected"),
    [
        (tiny.UNET, tiny.AUTOENCODER, 1),  # any size: skips carry theirs, odd rows are dropped
        (tiny.PLAIN_UNET, tiny.BLOCKS, 8),
        (tiny.PLAIN_UNET | {"in_channels": 4, "out_channels": 4}, tiny.AUTOENCODER, 16),
    ],
)
def test_multiple_is_the_least_that_runs(unet, autoencoder, expected):
    autoencoder, unet = weights.build(autoencoder), weights.build(unet)
    text = [torch.zeros(1, 2, 24)] if "cross_attention_dim" in unet.config else []

    @torch.inference_mode()
    def run(side):
        latents = latent.encode(autoencoder, torch.zeros(1, 3, side, 2 * side)).shape[2:]
        z = unet(torch.zeros(1, unet.config.in_channels, *latents), 1, *text).sample
        latent.decode(autoencoder, z)

    assert latent.multiple(autoencoder, unet) == expected
    run(5 * expected if expected > 1 else 17)
    if expected > 1:
        with pytest.raises(RuntimeError):
            run(5 * expected // 2)
