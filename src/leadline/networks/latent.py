"""One way to call every autoencoder: pictures in [-1,1] <-> the latents that a diffusion network knows."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from leadline.networks.space_to_depth import SpaceToDepth


def encode(autoencoder: nn.Module, x: Tensor) -> Tensor:
    """Pictures [B,3,H,W] in [-1,1] -> scaled latents [B,C,h,w]; the mean of a variational code, never a
    sample.

    Sides that are no multiple of `factor(autoencoder)` lose their remainder at the bottom and right
    (AutoencoderKL).
    """
    model: Any = autoencoder
    code = model.encode(x)
    latents: Tensor
    if isinstance(autoencoder, SpaceToDepth):
        latents = code
    else:
        mean = code.latent_dist.mode() if hasattr(code, "latent_dist") else code.latents
        latents = mean * model.config.scaling_factor
    return latents


def decode(autoencoder: nn.Module, z: Tensor) -> Tensor:
    """Scaled latents [B,C,h,w] -> pictures [B,3,H,W], nominally in [-1,1], not clipped; gradients pass."""
    model: Any = autoencoder
    picture: Tensor
    if isinstance(autoencoder, SpaceToDepth):
        picture = model.decode(z)
    else:
        picture = model.decode(z / model.config.scaling_factor).sample
    return picture


def factor(autoencoder: nn.Module) -> int:
    """How many pixels one latent pixel covers along a side."""
    model: Any = autoencoder
    if isinstance(autoencoder, SpaceToDepth):
        return int(model.factor)
    return int(2 ** (len(model.config.block_out_channels) - 1))


def multiple(autoencoder: nn.Module, unet: nn.Module) -> int:
    """What the sides of a picture must be multiples of for these networks to run.

    diffusers' conditional UNet passes on the sizes of its skips and takes any latent; its plain UNet2DModel
    does not.
    """
    model: Any = unet
    halvings = 0 if hasattr(model.config, "cross_attention_dim") else len(model.config.block_out_channels) - 1
    strict = isinstance(autoencoder, SpaceToDepth) or halvings
    return factor(autoencoder) * 2**halvings if strict else 1
