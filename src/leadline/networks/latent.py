"""One way to call every autoencoder: pictures in [-1,1] <-> the latents a diffusion network was trained on."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from leadline.networks.space_to_depth import SpaceToDepth


def encode(autoencoder: nn.Module, x: Tensor) -> Tensor:
    """Pictures [B,3,H,W] in [-1,1] -> scaled latents [B,C,h,w]. Always the mean of a variational code,
    never a sample.

    Sides that are no multiple of `factor(autoencoder)` lose their remainder at the bottom and right
    (AutoencoderKL).
    """
    if isinstance(autoencoder, SpaceToDepth):
        return autoencoder.encode(x)
    code = autoencoder.encode(x)  # type: ignore[operator]
    mean = code.latent_dist.mode() if hasattr(code, "latent_dist") else code.latents
    return cast(Tensor, mean * autoencoder.config.scaling_factor)  # type: ignore[union-attr]


def decode(autoencoder: nn.Module, z: Tensor) -> Tensor:
    """Scaled latents [B,C,h,w] -> pictures [B,3,H,W], nominally in [-1,1] and not clipped; gradients pass."""
    if isinstance(autoencoder, SpaceToDepth):
        return autoencoder.decode(z)
    return cast(Tensor, autoencoder.decode(z / autoencoder.config.scaling_factor).sample)  # type: ignore[operator,union-attr]


def factor(autoencoder: nn.Module) -> int:
    """How many pixels one latent pixel covers along a side."""
    if isinstance(autoencoder, SpaceToDepth):
        return autoencoder.factor
    return int(2 ** (len(autoencoder.config.block_out_channels) - 1))  # type: ignore[arg-type,union-attr]
