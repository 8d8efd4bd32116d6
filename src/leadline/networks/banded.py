"""An AutoencoderKL in row bands: diffusers' numbers in less time and a fraction of its memory.

The maps at a picture's own size dominate: 128 channels of 576x768 in float32 take 226 MB, and a residual
block of diffusers holds half a dozen of them at once. Here it holds two (leadline.networks.bands). Upsampling
takes four small convolutions (leadline.networks.upsample), and convolutions of many channels on processors
are matrix products (leadline.networks.winograd). One image at a time; no gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import Decoder, DecoderOutput
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UNetMidBlock2D, UpDecoderBlock2D
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from leadline import devices
from leadline.networks import bands, upsample

BAND_BYTES = 16 * 2**20  # as large as caches are; larger bands gain nothing on a processor
Step = Callable[[Tensor], Tensor]


def specialise_autoencoder(
    vae: nn.Module, *, mean_channels: bool = False, band_bytes: int = BAND_BYTES
) -> nn.Module:
    """An AutoencoderKL for prediction, called through `leadline.networks.latent`; another is left as it is.

    Weights are shared, and laid out anew in place (channels last). mean_channels: pictures have one channel,
    the mean of the three. band_bytes: what one band may take beside the maps themselves. On "mps", which has
    no float64, in which norms are summed, it is left as it is.
    """
    can = type(vae) is AutoencoderKL and covers(vae.decoder)
    return Banded(vae, mean_channels, band_bytes) if can else vae


class Banded(nn.Module):
    """What `specialise_autoencoder` makes of an AutoencoderKL."""

    def __init__(self, vae: AutoencoderKL, mean_channels: bool, band_bytes: int) -> None:
        super().__init__()
        self.vae = vae.to(memory_format=torch.channels_last)
        self.mean_channels, self.band_bytes = mean_channels, band_bytes

    @property
    def config(self) -> Any:
        """The configuration of the autoencoder that this one stands for."""
        return self.vae.config

    @apply_forward_hook  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def encode(self, x: Tensor) -> AutoencoderTinyOutput:
        """Pictures [B,3,H,W] in [-1,1] -> `.latents` [B,C,h,w], the mean of the code, not scaled."""
        return AutoencoderTinyOutput(latents=self._codes(x).chunk(2, dim=1)[0])

    @apply_forward_hook  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def moments(self, x: Tensor) -> Tensor:
        """Pictures [B,3,H,W] in [-1,1] -> mean and logarithm of the variance of the code [B,2C,h,w]."""
        return self._codes(x)

    def _codes(self, x: Tensor) -> Tensor:
        steps = [*self._encoder(), self.vae.quant_conv or nn.Identity()]
        return torch.cat([_through(steps, image) for image in torch.split(x, 1)])

    @apply_forward_hook  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def decode(self, z: Tensor) -> DecoderOutput:
        """Latents [B,C,h,w], not scaled -> `.sample` [B,3 or 1,H,W], nominally in [-1,1], not clipped."""
        decoder = decoder_steps(self.vae.decoder, self.mean_channels, self.band_bytes)
        steps = [self.vae.post_quant_conv or nn.Identity(), *decoder]
        return DecoderOutput(sample=torch.cat([_through(steps, latent) for latent in torch.split(z, 1)]))

    def _encoder(self) -> Iterator[Step]:
        encoder = self.vae.encoder
        yield encoder.conv_in
        for block in encoder.down_blocks:
            if type(block) is DownEncoderBlock2D:
                yield partial(bands.residual_blocks, block.resnets, band_bytes=self.band_bytes)
                for module in block.downsamplers or ():
                    covered = bands.halves(module)
                    yield partial(bands.halve, module, band_bytes=self.band_bytes) if covered else module
            else:
                yield block
        yield from _middle(encoder.mid_block, self.band_bytes)
        yield _head(encoder, encoder.conv_out.weight, encoder.conv_out.bias, self.band_bytes)


def covers(decoder: object) -> bool:
    """Whether it is an AutoencoderKL's decoder, or one of its build, on a device that has float64."""
    return isinstance(decoder, Decoder) and next(decoder.parameters()).device.type != "mps"


class Head(nn.Module):
    """A decoder alone, an AutoencoderKL's or one of its build, in row bands; weights are shared and laid out
    anew in place (channels last).
    """

    def __init__(self, decoder: nn.Module, *, mean_channels: bool = False) -> None:
        super().__init__()
        self.decoder = decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean_channels = mean_channels

    @torch.no_grad()
    def forward(self, z: Tensor) -> Tensor:
        """Latents [B,C,h,w] -> pictures, of one channel with the mean of them if so asked."""
        steps = list(decoder_steps(self.decoder, self.mean_channels, BAND_BYTES))
        return torch.cat([_through(steps, latent) for latent in torch.split(z, 1)])


def decoder_steps(coder: nn.Module, mean_channels: bool, band_bytes: int) -> Iterator[Step]:
    """A decoder, layer by layer."""
    decoder: Any = coder
    yield decoder.conv_in
    yield from _middle(decoder.mid_block, band_bytes)
    for block in decoder.up_blocks:
        if type(block) is UpDecoderBlock2D:
            yield partial(bands.residual_blocks, block.resnets, band_bytes=band_bytes)
            for module in block.upsamplers or ():
                yield _compact  # its double-sized memory goes before the next level's comes
                covered = upsample.covers(module)
                yield partial(bands.double, module, band_bytes=band_bytes) if covered else module
        else:
            yield block
    weight, bias = decoder.conv_out.weight, decoder.conv_out.bias
    if mean_channels:
        weight, bias = weight.mean(0, keepdim=True), bias.mean(0, keepdim=True)
    yield _head(decoder, weight, bias, band_bytes)


def _middle(block: UNetMidBlock2D, band_bytes: int) -> Iterator[Step]:
    yield partial(bands.residual_blocks, block.resnets[:1], band_bytes=band_bytes)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        if attention is not None:
            yield attention
        yield partial(bands.residual_blocks, [resnet], band_bytes=band_bytes)


def _head(coder: Any, weight: Tensor, bias: Tensor, band_bytes: int) -> Step:
    return partial(bands.head, coder.conv_norm_out, weight, bias, band_bytes=band_bytes)


def _through(steps: list[Step], x: Tensor) -> Tensor:
    """One step after the other, and no name for a map that has been used."""
    x = x.contiguous(memory_format=torch.channels_last)
    for step in steps:
        devices.give_back_freed_memory()
        x = step(x)
    return x


def _compact(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
