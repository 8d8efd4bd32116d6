"""Parts are one model's, or they are refused before they run."""

from __future__ import annotations

import pytest
import tiny
import torch

from leadline import weights
from leadline.errors import WeightsError
from leadline.methods.e2e_ft import E2EFT, Config
from leadline.networks import stable_diffusion


def check(unet=None, autoencoder=None, text=(2, 24), **wanted):
    parts = weights.build(tiny.UNET | (unet or {})), weights.build(autoencoder or tiny.AUTOENCODER)
    stable_diffusion.check(*parts, text and torch.zeros(1, *text), **({"latents": 2, "tokens": 2} | wanted))


def test_parts_of_one_model_pass():
    check()
    check(text=(77, 24), tokens=77)
    check({"in_channels": 4}, latents=1)
    check({"in_channels": 12}, latents=3)
    check(autoencoder=tiny.TINY_AUTOENCODER)
    stable_diffusion.check(
        weights.build(tiny.PLAIN_UNET), weights.build(tiny.BLOCKS), None, latents=1, tokens=2
    )


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ({"latents": 1}, "makes 4 channels of 8, with latents of 4 channels it must make 4 of 4"),
        ({"autoencoder": tiny.BLOCKS}, "with latents of 48 channels it must make 48 of 96"),
        ({"text": None}, "has 0 tokens, this UNet needs 2"),
        ({"tokens": 77}, "has 2 tokens, this UNet needs 77"),
        ({"text": (2, 16)}, "has 16 channels, this UNet reads 24"),
        ({"unet": {"cross_attention_dim": (24, 32)}}, "has 24 channels, this UNet reads 24 and 32"),
        ({"unet": {"encoder_hid_dim": 8, "encoder_hid_dim_type": "text_proj"}}, "sets encoder_hid_dim_type"),
    ],
)
def test_parts_of_several_models_are_named(parts, found):
    with pytest.raises(WeightsError, match=found) as error:
        check(**parts)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{"unet": tiny.AUTOENCODER}, {"autoencoder": tiny.UNET}])
def test_networks_in_each_others_place_are_not_built(options):
    config = Config(**{"unet": tiny.UNET, "autoencoder": tiny.AUTOENCODER} | options)
    with pytest.raises(WeightsError, match="network class '.*' belongs elsewhere: known are"):
        E2EFT.random(config)
