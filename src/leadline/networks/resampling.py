"""A good start for a small autoencoder: it begins as a plain shrinking and enlarging of pictures, and learns
the rest. From common random weights it learns brightness first and, in a short training, nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import Tensor, nn

from leadline.errors import WeightsError

COLOURS = 3
BINOMIAL = torch.tensor([1.0, 2.0, 1.0]) / 4


@torch.no_grad()
def start_as_resampling(autoencoder: nn.Module) -> None:
    """Changes an AutoencoderTiny so that its first three channels carry the colours all the way, halved and
    doubled in size; its residual blocks start as the identity (Zhang et al., Fixup). All other weights stay
    random. The first three channels of a latent are the colours of the small picture, in [-1,1].

    Raises WeightsError for a network of another kind, or with fewer than three channels.
    """
    model: Any = autoencoder
    if not isinstance(autoencoder, AutoencoderTiny):
        found = type(autoencoder).__name__
        raise WeightsError(f"{found} cannot start as a resampling: use AutoencoderTiny, or leave it out")
    first, *halving, to_latent = _convolutions(model.encoder.layers)
    from_latent, *doubling, last = _convolutions(model.decoder.layers)
    if min(to_latent.out_channels, first.out_channels) < COLOURS:
        raise WeightsError(f"a resampling needs {COLOURS} channels: widen the latent or the blocks")
    for block in model.modules():
        if isinstance(block, AutoencoderTinyBlock):
            nn.init.zeros_(block.conv[-1].weight)
            nn.init.zeros_(block.conv[-1].bias)
    point = torch.zeros(3, 3)
    point[1, 1] = 1
    carry(first, point)  # diffusers' encoder begins with pictures in [0,1] ...
    for convolution in halving:
        carry(convolution, torch.outer(BINOMIAL, BINOMIAL))
    carry(to_latent, 2 * point, -1.0)  # ... which become [-1,1]
    carry(from_latent, point / 2, 0.5)  # and back, since the blocks let nothing below 0 pass
    for convolution in doubling:
        carry(convolution, point)
    carry(last, point)


def carry(convolution: nn.Conv2d, kernel: Tensor, bias: float = 0.0) -> None:
    """The first three channels become those before, filtered, plus a number; nothing else reaches them."""
    convolution.weight[:COLOURS] = 0
    for channel in range(COLOURS):
        convolution.weight[channel, channel] = kernel
    if convolution.bias is not None:
        convolution.bias[:COLOURS] = bias


def _convolutions(layers: nn.Sequential) -> list[nn.Conv2d]:
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]
