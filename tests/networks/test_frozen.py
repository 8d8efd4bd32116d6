"""Gradients through a frozen decoder: diffusers' own, in less memory."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor

from leadline import weights
from leadline.methods.e2e_ft import E2EFT, Config
from leadline.networks import frozen, latent
from leadline.train.memory import Peak

AUTOENCODER = tiny.AUTOENCODER | {"block_out_channels": [8, 16, 32, 32], "layers_per_block": 2}


@pytest.fixture
def autoencoder():
    return weights.build(AUTOENCODER, seed=2).requires_grad_(False)


def picture_and_gradient(decode, z: Tensor) -> tuple[Tensor, Tensor]:
    z = z.clone().requires_grad_()
    picture = decode(z)
    (picture * torch.linspace(-1, 1, picture.numel()).view_as(picture)).sum().backward()
    return picture.detach(), z.grad


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_picture_and_gradient_are_those_of_the_plain_decoder(autoencoder, recompute, layout):
    autoencoder.to(memory_format=layout)
    z = torch.randn(2, 4, 5, 7)
    expected = picture_and_gradient(lambda z: latent.decode(autoencoder, z), z)
    found = picture_and_gradient(lambda z: frozen.decode(autoencoder, z, recompute=recompute), z)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected[1].abs().max().item())


@pytest.mark.parametrize("recompute", [False, True])
def test_autocast_gives_the_plain_decoders_gradient(autoencoder, recompute):
    z = torch.randn(1, 4, 5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        expected = picture_and_gradient(lambda z: latent.decode(autoencoder, z), z)
        found = picture_and_gradient(lambda z: frozen.decode(autoencoder, z, recompute=recompute), z)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03 * expected[1].abs().max().item())


def test_it_holds_a_third_and_recomputed_less(autoencoder):
    def most(decode) -> int:
        with Peak() as peak:
            picture_and_gradient(decode, z)
        return peak.most

    z = torch.randn(1, 4, 16, 16)
    plain = most(lambda z: latent.decode(autoencoder, z))
    kept = most(lambda z: frozen.decode(autoencoder, z))
    recomputed = most(lambda z: frozen.decode(autoencoder, z, recompute=True))
    assert kept < 0.45 * plain
    assert recomputed < 0.9 * kept


def test_a_trained_autoencoder_and_other_kinds_are_not_covered(autoencoder):
    assert frozen.covers(autoencoder)
    assert not frozen.covers(autoencoder.requires_grad_(True))
    assert not frozen.covers(weights.build(tiny.BLOCKS, seed=2).requires_grad_(False))


@pytest.mark.parametrize("checkpoint", [False, True])
def test_an_end_to_end_model_trains_through_it(checkpoint, monkeypatch):
    """The UNet's gradients are those of the plain decoder; prediction does not go through it."""
    config = Config(
        unet=tiny.UNET, autoencoder=AUTOENCODER, checkpoint_unet=True, checkpoint_autoencoder=checkpoint
    )
    model = E2EFT.random(config, 0, torch.randn(1, 2, 24)).train()
    rgb = torch.rand(1, 3, 32, 48) * 2 - 1

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(rgb)["depth"].square().mean().backward()
        return [p.grad.clone() for p in model.unet.parameters()]

    found = gradients()
    monkeypatch.setattr(frozen, "covers", lambda _: False)
    expected = gradients()
    assert any(g.abs().max() > 0 for g in expected)
    largest = max(g.abs().max().item() for g in expected)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * largest)
    with torch.no_grad():
        monkeypatch.undo()
        monkeypatch.setattr(frozen, "_residual", None)
        model(rgb)
