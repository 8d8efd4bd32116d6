"""A small autoencoder that begins as a shrinking and enlarging of pictures."""

from __future__ import annotations

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from leadline import weights
from leadline.errors import WeightsError
from leadline.networks import latent
from leadline.networks.resampling import start_as_resampling


@pytest.fixture(scope="module")
def network():
    made = weights.build(tiny.TINY_AUTOENCODER)
    start_as_resampling(made)
    return made


def test_its_latents_are_the_small_picture(network):
    x = torch.rand(2, 3, 16, 24) * 2 - 1
    kernel = torch.outer(*[torch.tensor([1.0, 2.0, 1.0]) / 4] * 2).expand(3, 1, 3, 3)
    with torch.inference_mode():
        z = latent.encode(network, x)
    small = F.conv2d(F.pad(x, (1, 1, 1, 1), value=-1), kernel, stride=2, groups=3)  # black around it
    assert_close(z[:, :3], small)


def test_plain_colours_come_back(network):
    x = torch.tensor([0.5, -0.25, 0.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    with torch.inference_mode():
        again = latent.decode(network, latent.encode(network, x))
    assert_close(again[..., 6:10, 6:10], x[..., 6:10, 6:10], rtol=0, atol=0.02)  # latents are bent a little


def test_every_weight_that_matters_can_learn(network):
    x = torch.rand(2, 3, 16, 24) * 2 - 1
    (latent.decode(network, latent.encode(network, x)) - x).square().mean().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None]
    assert not still


def test_other_networks_are_refused():
    with pytest.raises(WeightsError, match="use AutoencoderTiny"):
        start_as_resampling(weights.build(tiny.BLOCKS))
