"""Layers of an autoencoder on one image, a few rows at a time, and onto memory that is there already.

A band of rows is normalised, activated and convolved while it is in the processor's cache; what comes out
takes the place of rows that nobody reads any more. Group norms need the statistics of the whole map first, so
that every map is read twice. Maps are [1,C,H,W], channels last; `band_bytes` is about what one band takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from leadline.networks import upsample, winograd

LAYOUTS = {"cpu": torch.channels_last}  # of maps whose moments are wanted: GPUs take contiguous ones alone
Fill = Callable[[Tensor, Tensor], object]  # rows of a map, and where what is made of them goes


def windows(x: Tensor, rows: int, fill: Fill) -> Iterator[tuple[int, int, Tensor]]:
    """What a 3x3 convolution reads, band by band: first row, last row + 1, and [1,C,rows + 2,W].

    `fill` makes the window's rows out of the map's, each once; rows beyond the map are zeros. Of x [1,C,H,W]
    only rows after the band are read later, so that results may take the place of the band's own.
    """
    _, channels, height, width = x.shape
    window, read = _blank(x, channels, min(rows, height) + 2, width), 0
    window[:, :, 0] = 0
    for first in range(0, height, rows):
        last = min(first + rows, height)
        ahead = min(last + 1, height)  # one row of the next band
        fill(x[:, :, read:ahead], window[:, :, read - first + 1 : ahead - first + 1])
        if last == height:
            window[:, :, height - first + 1] = 0
        yield first, last, window[:, :, : last - first + 2]
        window[:, :, :2] = window[:, :, last - first : last - first + 2].clone()
        read = ahead


def residual_blocks(blocks: Iterable[Any], x: Tensor, *, band_bytes: int) -> Tensor:
    """One block after the other, [1,C,H,W] -> [1,O,H,W]; x is overwritten."""
    spare = None
    for block in blocks:
        if is_plain(block):
            x, spare = residual_block(block, x, spare, band_bytes)
        else:
            x, spare = block(x, None), None
    return x


def residual_block(
    block: ResnetBlock2D, x: Tensor, spare: Tensor | None, band_bytes: int
) -> tuple[Tensor, Tensor]:
    """[1,C,H,W] -> the result [1,O,H,W], and a map of its size that is free again. x is overwritten."""
    channels = block.conv1.out_channels
    spread = winograd.SPREAD if winograd.pays(block.conv2, x) else 1
    rows = _rows(x, spread * (x.shape[1] + channels), band_bytes)
    out, h = _places(block, x, spare)
    conv1, conv2 = _convolution(block.conv1, x), _convolution(block.conv2, h)
    for first, last, window in windows(x, rows, normalised(block.norm1, x, rows)):
        if block.conv_shortcut is not None:  # first: h may take the place of the rows that it reads
            out[:, :, first:last] = block.conv_shortcut(x[:, :, first:last])
        h[:, :, first:last] = conv1(window)
    for first, last, window in windows(h, rows, normalised(block.norm2, h, rows)):
        out[:, :, first:last].add_(conv2(window))
    return out, h


def _convolution(conv: nn.Conv2d, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Of windows [1,C,rows + 2,W] of a map x [1,C,H,W] -> [1,O,rows,W]."""
    if winograd.pays(conv, x):
        return winograd.convolution(conv)
    return lambda window: F.conv2d(window, conv.weight, conv.bias, padding=(0, 1))


def _places(block: ResnetBlock2D, x: Tensor, spare: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where a block's result and the map in its middle go: onto its input as far as they fit."""
    channels = block.conv1.out_channels
    if x.shape[1] >= 2 * channels and block.conv_shortcut is not None:
        return x[:, channels : 2 * channels], x[:, :channels]
    if spare is None or spare.shape[1] != channels:
        spare = _blank(x, channels, *x.shape[2:])
    return x if block.conv_shortcut is None else _blank(x, channels, *x.shape[2:]), spare


def halve(module: Downsample2D, x: Tensor, *, band_bytes: int) -> Tensor:
    """[1,C,H,W] -> [1,O,H//2,W//2]: a 3x3 convolution at every other pixel, zeros below and to the right."""
    conv, height = module.conv, x.shape[2]
    out = _blank(x, conv.out_channels, height // 2, x.shape[3] // 2)
    rows = _rows(x, 2 * x.shape[1] + conv.out_channels, band_bytes)
    for first in range(0, out.shape[2], rows):
        last = min(first + rows, out.shape[2])
        below = max(0, 2 * last + 1 - height)
        band = F.pad(x[:, :, 2 * first : 2 * last + 1], (0, 1, 0, below))
        out[:, :, first:last] = F.conv2d(band, conv.weight, conv.bias, stride=2)
    return out


def double(module: Upsample2D, x: Tensor, *, band_bytes: int) -> Tensor:
    """[1,C,H,W] -> [1,O,2H,2W]: doubled, then a 3x3 convolution."""
    if not upsample.pays(x):
        plain: Tensor = module(x)
        return plain
    conv, width = module.conv, x.shape[3]
    out = _blank(x, conv.out_channels, 2 * x.shape[2], 2 * width)
    kernels = list(upsample.phases(conv.weight))
    rows = _rows(x, x.shape[1] + 4 * conv.out_channels, band_bytes)
    for first, last, window in windows(x, rows, lambda band, place: place.copy_(band)):
        for row, column, kernel in kernels:
            seen = window[:, :, row : row + last - first + 1]
            y = F.conv2d(seen, kernel, conv.bias, padding=(0, 1))  # one column too many
            out[:, :, 2 * first + row : 2 * last : 2, column::2] = y[..., column : column + width]
    return out


def head(norm: nn.GroupNorm, weight: Tensor, bias: Tensor, x: Tensor, *, band_bytes: int) -> Tensor:
    """[1,C,H,W] -> [1,O,H,W]: the last norm, activation and convolution."""
    out = _blank(x, len(weight), *x.shape[2:])
    rows = _rows(x, x.shape[1] + len(weight), band_bytes)
    for first, last, window in windows(x, rows, normalised(norm, x, rows)):
        out[:, :, first:last] = F.conv2d(window, weight, bias, padding=(0, 1))
    return out


def normalised(norm: nn.GroupNorm, x: Tensor, rows: int) -> Fill:
    """Group norm with the statistics of the whole map x [1,C,H,W], then SiLU, for any of its rows."""
    mean, variance = _moments(norm, x, rows)
    each = x.shape[1] // norm.num_groups
    scale = (variance + norm.eps).rsqrt().repeat_interleave(each) * norm.weight.double()
    shift = norm.bias.double() - mean.repeat_interleave(each) * scale
    scale, shift = (y.float().view(1, -1, 1, 1) for y in (scale, shift))

    def fill(band: Tensor, place: Tensor) -> None:
        torch.addcmul(shift, band, scale, out=place)
        F.silu(place, inplace=True)

    return fill


def _moments(norm: nn.GroupNorm, x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each group of the map, [G] in float64, from those of its bands."""
    bands = torch.split(x, rows, dim=2)
    share, means, variances = torch.empty(
        3, len(bands), norm.num_groups, dtype=torch.float64, device=x.device
    )
    for i, band in enumerate(bands):
        size = band.numel() // band.shape[1]
        # torch's quickest moments; what it normalises on the way is not used
        band = band.float().contiguous(memory_format=LAYOUTS.get(x.device.type, torch.contiguous_format))
        _, mean, rstd = torch.native_group_norm(
            band, None, None, 1, band.shape[1], size, norm.num_groups, norm.eps
        )
        share[i] = size / (x.shape[2] * x.shape[3])
        means[i], variances[i] = mean[0], rstd[0].double() ** -2 - norm.eps
    whole = (share * means).sum(0)
    return whole, (share * (variances + (means - whole) ** 2)).sum(0)


def is_plain(block: nn.Module) -> bool:
    """Whether it is norm, SiLU, convolution, twice, and a shortcut, with nothing between."""
    return (
        type(block) is ResnetBlock2D
        and isinstance(block.nonlinearity, nn.SiLU)
        and isinstance(block.norm1, nn.GroupNorm)
        and block.time_emb_proj is None
        and block.time_embedding_norm != "scale_shift"  # without a time, all others add nothing
        and block.upsample is block.downsample is None
        and block.output_scale_factor == 1
    )


def halves(module: Any) -> bool:
    """Whether it is one convolution with zeros below and to the right alone."""
    plain = type(module) is Downsample2D and module.use_conv and module.norm is None
    return plain and bool(module.padding == 0)


def _blank(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    shape = (1, channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _rows(x: Tensor, channels: int, band_bytes: int) -> int:
    """How many rows of so many channels make a band: an even number."""
    return 2 * max(1, band_bytes // (2 * channels * x.shape[3] * x.element_size()))
