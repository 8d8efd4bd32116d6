"""Training through a decoder that is itself not trained: diffusers' gradients in a third of its memory.

The loss of an end-to-end model reaches its UNet through the autoencoder's decoder. torch keeps every map in
it that a weight's gradient would need, six for each residual block; of frozen weights no gradient is wanted,
and two maps suffice:

    a convolution           keeps nothing: the gradient of its input needs the weights alone
    a norm with activation  keeps its input, and computes itself again, which costs next to nothing

With `recompute` a residual block keeps its input alone, and its first convolution is computed again.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.unets.unet_2d_blocks import UpDecoderBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn.grad import conv2d_input
from torch.utils.checkpoint import checkpoint

from leadline import devices
from leadline.networks import latent, upsample
from leadline.networks.bands import is_plain

PORTIONS = 4  # of a map, in the backward pass of a norm


def covers(autoencoder: nn.Module) -> bool:
    """Whether it is an AutoencoderKL of the usual blocks, and frozen."""
    if type(autoencoder) is not AutoencoderKL or any(p.requires_grad for p in autoencoder.parameters()):
        return False
    blocks = cast(Any, autoencoder.decoder).up_blocks
    return all(type(block) is UpDecoderBlock2D and all(map(is_plain, block.resnets)) for block in blocks)


def decode(autoencoder: nn.Module, z: Tensor, *, recompute: bool = False) -> Tensor:
    """`latent.decode`; where gradients are kept and the autoencoder is covered, with the same picture and the
    same gradient in less memory, but for rounding.
    """
    if not (torch.is_grad_enabled() and covers(autoencoder)):
        return latent.decode(autoencoder, z)
    vae = cast(Any, autoencoder)
    z = z / vae.config.scaling_factor
    decoder = vae.decoder
    if z.device.type == "cpu":
        devices.give_back_freed_memory()  # what the UNet has left, in pieces that these maps do not fit into
    x = decoder.conv_in(z if vae.post_quant_conv is None else vae.post_quant_conv(z))
    x = decoder.mid_block(x, None)  # an eighth of the picture's size
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = checkpoint(_residual, resnet, x, use_reentrant=False) if recompute else _residual(resnet, x)
        for module in block.upsamplers or ():
            x = _double(module, x)
    picture: Tensor = _convolve(decoder.conv_out, _activate(decoder.conv_norm_out, x))
    return picture


def _residual(block: Any, x: Tensor) -> Tensor:
    h = _convolve(block.conv1, _activate(block.norm1, x))
    h = _convolve(block.conv2, _activate(block.norm2, h))
    return h + (x if block.conv_shortcut is None else _convolve(block.conv_shortcut, x))


def _double(module: Upsample2D, x: Tensor) -> Tensor:
    if not upsample.covers(module):
        plain: Tensor = module(x)
        return plain
    return _convolve(cast(nn.Conv2d, module.conv), F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return cast(Tensor, _Convolution.apply(x, conv))  # type: ignore[no-untyped-call]


def _activate(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    return cast(Tensor, _Activation.apply(x, norm))  # type: ignore[no-untyped-call]


class _Convolution(torch.autograd.Function):
    """A convolution with frozen weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: nn.Conv2d) -> Tensor:
        ctx.conv, ctx.shape, ctx.type = conv, x.shape, x.dtype
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,), conv = grads, ctx.conv
        weight = conv.weight.to(grad.dtype)  # as autocast had it
        own = conv2d_input(ctx.shape, weight, grad, conv.stride, conv.padding)  # type: ignore[no-untyped-call]
        return own.to(ctx.type), None


class _Activation(torch.autograd.Function):
    """Group norm with frozen weights, then SiLU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: nn.GroupNorm) -> Tensor:
        ctx.save_for_backward(x)
        normal = norm(x)
        ctx.norm, ctx.type = norm, normal.dtype
        return F.silu(normal, inplace=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,), (grad,), norm = ctx.saved_tensors, grads, ctx.norm
        own = torch.empty_like(x)
        channels, groups = norm.num_channels // norm.num_groups, norm.num_groups
        some = -(-groups // PORTIONS)  # groups know nothing of each other: a few at a time take less memory
        for first in range(0, groups, some):
            part = slice(first * channels, (first + some) * channels)
            last = min(first + some, groups) - first
            scale, shift = (y[part].to(ctx.type) for y in (norm.weight, norm.bias))  # types as autocast's
            own[:, part] = _gradient(x[:, part].to(ctx.type), grad[:, part], scale, shift, last, norm.eps)
        return own, None


def _gradient(x: Tensor, grad: Tensor, scale: Tensor, shift: Tensor, groups: int, eps: float) -> Tensor:
    """Of the input x [B,C,H,W] of group norm and SiLU, with that of their output."""
    x, grad = x.contiguous(), grad.contiguous()  # what the kernels below expect, and do not check
    size = len(x), x.shape[1], x.shape[2] * x.shape[3], groups
    normal, mean, rstd = torch.native_group_norm(x, scale, shift, *size, eps)
    grad = torch.ops.aten.silu_backward(grad, normal)
    mask = [True, False, False]
    own: Tensor = torch.ops.aten.native_group_norm_backward(grad, x, mean, rstd, scale, *size, mask)[0]
    return own
