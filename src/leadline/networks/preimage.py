"""The preimage of a picture: what a diffusion UNet's decoder reads and attends to (PrimeDepth, Sec. 3.2).

Part i belongs to decoder block i, counted in the order in which they run:

    F_i  features: the block's input, which is the output before it and the encoder's skip
    A_i  attention: maps of the transformers that made these two, per head 64 of pixels and 77 of tokens

Attention to pixels has a value per pair of them. It is averaged over 8x8 regions of the keys, which is
linear: what attention gives when the regions' weights P stand in the place of the values. So no array of
all pairs ever exists. The UNet runs here block by block, and no further than to the last block's input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline.errors import WeightsError

SIDE = 8  # regions along a side
REGIONS = SIDE**2
CHUNK_BYTES = 16 * 2**20  # of the probabilities of tokens, at a time


@dataclass(frozen=True)
class Maps:
    """Which maps of attention are part of the preimage. tokens: of the text."""

    pixels: bool = True
    tokens: int = 77

    @property
    def per_head(self) -> int:
        """Channels of one head's maps."""
        return REGIONS * self.pixels + self.tokens


@dataclass(frozen=True)
class Block:
    """A decoder block. heads: of the transformers whose maps are in A_i, the encoder's last."""

    features: int  # channels of F_i
    heads: tuple[int, ...]
    width: int  # channels that it gives
    attends: bool  # has a transformer
    head_width: int  # of the UNet's attention
    doubles: bool  # upsamples what it gives


class Part(NamedTuple):
    """Of the preimage. size: of what the block gives (h, w), after its upsampling."""

    features: Tensor  # F_i [B,C,h,w]
    attention: Tensor | None  # A_i [B,C,h,w]
    size: tuple[int, int]


def blocks(unet: nn.Module) -> list[Block]:
    """The decoder's blocks. Raises WeightsError for a UNet of another build than Stable Diffusion's."""
    model: Any = unet
    if not _covered(model):
        raise WeightsError(
            f"{type(unet).__name__} has no preimage that can be taken: a UNet2DConditionModel with one "
            "transformer block per attention, as Stable Diffusion 2's, is needed"
        )
    encoder = [0]  # heads by output
    for block in model.down_blocks:
        encoder += [_heads(transformer) for _, transformer in _layers(block)]
        encoder += [0] * len(block.downsamplers or ())
    before, found = _heads(model.mid_block.attentions[0]), []
    head_width = model.mid_block.attentions[0].transformer_blocks[0].attn1.inner_dim // before
    for resnet, transformer, upsampler in _decoder(model):
        heads = tuple(n for n in (before, encoder.pop()) if n)
        shape = (resnet.in_channels, heads, resnet.out_channels, transformer is not None, head_width)
        found.append(Block(*shape, upsampler is not None))
        before = _heads(transformer)
    return found


def parts(unet: nn.Module, x: Tensor, emb: Tensor, text: Tensor, maps: Maps) -> Iterator[Part]:
    """The preimage of a latent x [B,4,h,w], part by part, with the text [B,N,C] and the embedded timestep.

    Each is made when it is asked for and kept no longer than the UNet needs it. Gradients do not pass.
    """
    model: Any = unet
    h = model.conv_in(x)
    skips: list[tuple[Tensor, Tensor | None]] = [(h, None)]
    for block in model.down_blocks:
        for resnet, transformer in _layers(block):
            h, unit = _attended(transformer, resnet(h, emb), text, maps)
            skips.append((h, unit))
        for downsampler in block.downsamplers or ():
            h = downsampler(h)
            skips.append((h, None))
    first, last = model.mid_block.resnets
    h, unit = _attended(model.mid_block.attentions[0], first(h, emb), text, maps)
    h = last(h, emb)
    for resnet, transformer, upsampler in _decoder(model):
        skip, own = skips.pop()
        features, units = torch.cat([h, skip], dim=1), [unit, own]
        size = _size(skips[-1][0] if upsampler is not None and skips else features)
        del h, skip, unit, own  # whoever asked alone keeps the maps
        yield Part(features, _beside(units, _size(features)), size)
        if not skips:
            return
        h = resnet(features, emb)
        del features
        h, unit = _attended(transformer, h, text, maps)
        h = h if upsampler is None else upsampler(h, size)


def attend(transformer: nn.Module, x: Tensor, text: Tensor, maps: Maps) -> tuple[Tensor, Tensor | None]:
    """A transformer's output [B,C,h,w], and its maps [B,heads*per_head,h,w]: of pixels, then of tokens."""
    model: Any = transformer
    block, (batch, _, height, width) = model.transformer_blocks[0], x.shape
    y = _tokens(model.norm(x))  # [B,h*w,C]
    y = model.proj_in(y) if model.use_linear_projection else _tokens(model.proj_in(_map(y, height, width)))
    heads = block.attn1.heads
    unit = y.new_empty(batch, height * width, heads * maps.per_head) if maps.per_head else None
    middle = heads * REGIONS * maps.pixels
    seen = unit[..., :middle] if unit is not None and maps.pixels else None
    y = y + pixels(block.attn1, block.norm1(y), height, width, seen)
    read = unit[..., middle:] if unit is not None and maps.tokens else None
    y = y + tokens(block.attn2, block.norm2(y), text, read)
    y = y + block.ff(block.norm3(y))
    if model.use_linear_projection:
        out = _map(model.proj_out(y), height, width)
    else:
        out = model.proj_out(_map(y, height, width))
    return out + x, None if unit is None else _map(unit, height, width)


def pixels(attention: Any, y: Tensor, height: int, width: int, place: Tensor | None) -> Tensor:
    """Eq. 1: self-attention of pixels y [B,h*w,C]; its pooled maps go to `place` [B,h*w,heads*64], if wanted.

    Code: a map is the softmax over the keys, averaged over regions, divided by the largest of each head.
    """
    heads, v = attention.heads, _split(attention.to_v(y), attention.heads)
    if place is None:
        q, k = (_split(layer(y), heads) for layer in (attention.to_q, attention.to_k))
        return _out(attention, F.scaled_dot_product_attention(q, k, v))
    kind, layers = _exact(y), (attention.to_q, attention.to_k)
    with torch.autocast(y.device.type, enabled=False):
        q, k = (_split(F.linear(y.to(kind), layer.weight.to(kind)), heads) for layer in layers)
        out, pooled = attention_and_maps(q, k, v.to(kind), height, width)
    place.copy_(pooled.transpose(1, 2).flatten(2))
    return _out(attention, out.to(y.dtype))


def attention_and_maps(q: Tensor, k: Tensor, v: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Queries, keys, values [B,heads,h*w,d] -> what attention gives, and its maps [B,heads,h*w,64] in [0,1].

    One pass with the values [v | P]: queries and keys are padded with zeros to their width, as fused kernels
    want one width.
    """
    d, size = q.shape[-1], height * width
    regions = pooling(height, width).to(v.device)
    if v.dtype != torch.float32:
        regions = regions * size  # clear of numbers too small; the maximum takes it out again
    both = torch.cat([v, regions.to(v.dtype).expand(*v.shape[:2], -1, -1)], dim=-1)
    q, k = (F.pad(x, (0, REGIONS)) for x in (q, k))
    out = F.scaled_dot_product_attention(q, k, both, scale=d**-0.5)
    pooled = out[..., d:].float()
    return out[..., :d], pooled / pooled.amax(dim=(2, 3), keepdim=True)


def pooling(height: int, width: int) -> Tensor:
    """P [h*w,64]: each pixel's weight in each of the 8x8 regions, as the authors' code pools.

    >>> pooling(16, 24).shape
    torch.Size([384, 64])
    """
    both = np.einsum("ih,jw->hwij", axis(height), axis(width)).reshape(-1, REGIONS)
    return torch.tensor(both, dtype=torch.float32)


@lru_cache(maxsize=64)
def axis(n: int) -> NDArray[np.float64]:
    """Weights [8,n] of n pixels along an axis in its 8 regions.

    Code: enlarged to the next multiple of 8 (always, by 8 if it is one), pooled by n // 8, what is left over
    dropped, and brought to 8 if need be.

    >>> axis(64).sum(axis=1).round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    kernel = max(1, n // SIDE)
    enlarged = _resizing(n, n + SIDE - n % SIDE)
    count = len(enlarged) // kernel
    pooled = enlarged[: count * kernel].reshape(count, kernel, n).mean(axis=1)
    made: NDArray[np.float64] = _resizing(count, SIDE) @ pooled
    return made


def _resizing(old: int, new: int) -> NDArray[np.float64]:
    """Weights [new,old] of linear interpolation between pixel centres, as torch has it."""
    place = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0)
    below = place.astype(int)
    weights = np.zeros((new, old))
    weights[np.arange(new), below] = 1 - (place - below)
    weights[np.arange(new), np.minimum(below + 1, old - 1)] += place - below
    return weights


def tokens(attention: Any, y: Tensor, text: Tensor, place: Tensor | None) -> Tensor:
    """Eq. 2: attention of pixels y [B,h*w,C] to a text [B,N,C]; maps go to `place` [B,h*w,heads*N] if
    wanted.
    """
    heads = attention.heads
    k, v = (_split(layer(text), heads) for layer in (attention.to_k, attention.to_v))
    if place is None:
        return _out(attention, F.scaled_dot_product_attention(_split(attention.to_q(y), heads), k, v))
    k = k.float().transpose(2, 3)  # [B,heads,d,N]; before they are scaled, scores may exceed float16
    out = torch.empty_like(y)
    some = max(1, CHUNK_BYTES // (4 * len(y) * place.shape[2]))
    for first in range(0, y.shape[1], some):
        rows = slice(first, first + some)
        q = _split(attention.to_q(y[:, rows]), heads).float()
        probability = torch.softmax((q @ k).float() * q.shape[-1] ** -0.5, dim=-1)  # [B,heads,c,N]
        place[:, rows] = probability.transpose(1, 2).flatten(2)
        out[:, rows] = _out(attention, probability.to(v.dtype) @ v)
    return out


def principal(maps: Tensor) -> Tensor:
    """Three principal components of a picture's maps [B,C,h,w], stretched to [-1,1], [B,3,h,w]: Fig. 10.

    Their signs are made those of their largest entries.
    """
    centred = maps.flatten(2) - maps.flatten(2).mean(dim=2, keepdim=True)  # [B,C,N]
    vectors = torch.linalg.eigh(centred @ centred.mT).eigenvectors[..., -3:].flip(2)  # [B,C,3]
    x = vectors.mT @ centred  # [B,3,N]
    x = x * x.gather(2, x.abs().argmax(dim=2, keepdim=True)).sign()
    low, high = x.amin(dim=2, keepdim=True), x.amax(dim=2, keepdim=True)
    shown = torch.where(high > low, (x - low) / torch.where(high > low, high - low, 1), 0)
    return (2 * shown - 1).view(len(maps), 3, *maps.shape[2:])


def _attended(
    transformer: nn.Module | None, h: Tensor, text: Tensor, maps: Maps
) -> tuple[Tensor, Tensor | None]:
    return (h, None) if transformer is None else attend(transformer, h, text, maps)


def _beside(units: list[Tensor | None], size: tuple[int, int]) -> Tensor | None:
    """Maps of the block before, at the size of the encoder's, and of the encoder; the list is emptied."""
    own, unit = units.pop(), units.pop()
    if unit is not None and _size(unit) != size:
        unit = F.interpolate(unit, size, mode="bilinear", align_corners=False)
    if unit is None or own is None:
        return own if unit is None else unit
    return torch.cat([unit, own], dim=1)


def _layers(block: Any) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """Residual blocks with their transformers."""
    transformers = getattr(block, "attentions", None) or [None] * len(block.resnets)
    return zip(block.resnets, transformers, strict=True)


def _decoder(unet: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Residual block, transformer and upsampler of each decoder block."""
    for block in unet.up_blocks:
        for j, (resnet, transformer) in enumerate(_layers(block)):
            last = j == len(block.resnets) - 1 and block.upsamplers
            yield resnet, transformer, block.upsamplers[0] if last else None


def _covered(unet: Any) -> bool:
    if type(unet) is not UNet2DConditionModel or getattr(unet.mid_block, "attentions", None) is None:
        return False
    groups = [unet.mid_block, *unet.down_blocks, *unet.up_blocks]
    transformers = [t for group in groups for t in getattr(group, "attentions", None) or ()]
    added = ("class_embedding", "add_embedding", "encoder_hid_proj", "time_embed_act")
    return (
        len(unet.mid_block.attentions) == 1
        and all(isinstance(t, Transformer2DModel) and len(t.transformer_blocks) == 1 for t in transformers)
        and all(getattr(unet, name, None) is None for name in added)
        and not unet.config.center_input_sample
    )


def _heads(transformer: Any) -> int:
    return 0 if transformer is None else int(transformer.transformer_blocks[0].attn1.heads)


def _exact(y: Tensor) -> torch.dtype:
    """In which scores are computed: bfloat16 would move maps by up to a hundredth."""
    on_gpu = y.device.type == "cuda"
    return torch.float16 if on_gpu and y.dtype != torch.float32 else torch.float32


def _out(attention: Any, y: Tensor) -> Tensor:
    """[B,heads,N,d] -> [B,N,C], projected."""
    out: Tensor = attention.to_out[0](y.transpose(1, 2).flatten(2))
    return out


def _split(x: Tensor, heads: int) -> Tensor:
    """[B,N,C] -> [B,heads,N,C/heads]."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _tokens(x: Tensor) -> Tensor:
    """[B,C,h,w] -> [B,h*w,C]."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _map(y: Tensor, height: int, width: int) -> Tensor:
    """[B,h*w,C] -> [B,C,h,w], channels last."""
    return y.reshape(len(y), height, width, -1).permute(0, 3, 1, 2)


def _size(x: Tensor) -> tuple[int, int]:
    return int(x.shape[2]), int(x.shape[3])
