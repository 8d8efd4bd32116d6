"""A diffusion UNet used with one timestep and one text: what depends on nothing else is computed once.

    time embedding           -> part of the biases of the residual blocks
    attention to the text    -> two tokens: a sigmoid of a linear map; otherwise constant keys and values
    channels that hold zeros -> not read
    nearest x2, then 3x3     -> four 2x2 convolutions (leadline.networks.upsample)

All of it is exact: the output differs from the UNet's by rounding. Each module is replaced alone, and one
that is not of the expected form stays as it is. The autoencoder's part is `leadline.networks.banded`.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from leadline.errors import UsageError
from leadline.networks import upsample


@torch.no_grad()
def specialise_unet(unet: nn.Module, t: int, text: Tensor, *, zero_channels: int = 0) -> OneStep:
    """A UNet for timestep t and text [1,N,C] alone, called like the UNet itself; for prediction only.

    The last `zero_channels` input channels are known to hold zeros. The UNet stays as it is and shares its
    weights: moved to another device or type, both move; what was folded away is freed when the UNet is.
    """
    twin: Any = _twin(unet)
    embedding = time_embedding(twin, t) if _is_plain(twin) else None
    for name, module in list(twin.named_modules()):
        if isinstance(module, ResnetBlock2D) and embedding is not None and _adds_time(module):
            twin.set_submodule(name, Timeless(module, embedding))
        elif isinstance(module, Attention) and embedding is not None and _reads_text(module):
            kind = TwoTokens if text.shape[1] == 2 else ConstantText
            twin.set_submodule(name, kind(module, text.to(module.to_k.weight)))
        elif upsample.covers(module):
            twin.set_submodule(name, upsample.Doubling(module))
    if zero_channels and not twin.config.center_input_sample:
        twin.conv_in = FirstChannels(twin.conv_in, twin.conv_in.in_channels - zero_channels)
    return OneStep(twin, t, text)


class OneStep(nn.Module):
    """What `specialise_unet` returns. Raises UsageError when called with another timestep or text."""

    text: Tensor

    def __init__(self, unet: nn.Module, t: int, text: Tensor) -> None:
        super().__init__()
        self.unet, self.t = unet, t
        self.register_buffer("text", text.detach(), persistent=False)

    @property
    def config(self) -> Any:
        """The configuration of the UNet that this one stands for."""
        return self.unet.config

    def forward(
        self, sample: Tensor, timestep: Tensor | float | None = None, text: Tensor | None = None
    ) -> UNet2DConditionOutput:
        """[B,C,h,w] -> `.sample` [B,O,h,w]; timestep and text may be left out."""
        if timestep is not None and int(timestep) != self.t:
            raise UsageError(
                f"timestep {int(timestep)} asked of a UNet specialised for {self.t}: use the plain one"
            )
        own = self.text.to(sample.dtype).expand(len(sample), -1, -1)
        if text is not None and not torch.equal(text.expand(len(sample), -1, -1), own.to(text.dtype)):
            raise UsageError("another text asked of a UNet specialised for one: use the plain UNet")
        return self.unet(sample, self.t, own)


class Timeless(nn.Module):
    """A residual block whose time embedding has become part of its first bias."""

    def __init__(self, block: ResnetBlock2D, embedding: Tensor) -> None:
        super().__init__()
        active = embedding if block.skip_time_act else block.nonlinearity(embedding)
        shift = block.time_emb_proj(active)[0]  # [O]
        block.conv1.bias = nn.Parameter(block.conv1.bias + shift, requires_grad=False)
        block.time_emb_proj = None
        self.block = block

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        """[B,C,h,w] -> [B,O,h,w]; the embedding passed along is not looked at."""
        out: Tensor = self.block(x, None)
        return out


class TwoTokens(nn.Module):
    """Attention to two constant tokens: linear, sigmoid, linear, with one number per head between them.

    A softmax of two numbers is a sigmoid of their difference, so with queries q, keys k_1, k_2 and values
    v_1, v_2 of width d each head gives v_2 + sigma(q.(k_1 - k_2) / sqrt(d)) (v_1 - v_2).
    """

    def __init__(self, attention: Attention, text: Tensor) -> None:
        super().__init__()
        query, out = attention.to_q, attention.to_out[0]
        k, v = (_split(x, attention.heads)[0].double() for x in (attention.to_k(text), attention.to_v(text)))
        key, value = (k[:, 0] - k[:, 1]) * k.shape[-1] ** -0.5, v[:, 0] - v[:, 1]  # [heads,d]
        to_q, to_out = query.weight.double(), out.weight.double()
        bias = 0 if query.bias is None else (query.bias.double().view_as(key) * key).sum(1)
        self.gate = _linear(torch.einsum("hdc,hd->hc", to_q.unflatten(0, key.shape), key), bias, query)
        rest = to_out @ v[:, 1].flatten() + (0 if out.bias is None else out.bias.double())
        self.out = _linear(torch.einsum("ohd,hd->oh", to_out.unflatten(1, value.shape), value), rest, out)

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Pixels [B,h*w,C] -> what the text adds to them, of the same shape."""
        out: Tensor = self.out(self.gate(x).sigmoid_())
        return out


class ConstantText(nn.Module):
    """Attention to any number of constant tokens: their keys and values are computed once."""

    keys: Tensor
    values: Tensor

    def __init__(self, attention: Attention, text: Tensor) -> None:
        super().__init__()
        self.to_q, self.to_out, self.heads = attention.to_q, attention.to_out[0], attention.heads
        self.register_buffer("keys", _split(attention.to_k(text), self.heads), persistent=False)
        self.register_buffer("values", _split(attention.to_v(text), self.heads), persistent=False)

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Pixels [B,h*w,C] -> what the text adds to them, of the same shape."""
        q = _split(self.to_q(x), self.heads)  # [B,heads,h*w,d]
        k, v = (y.expand(len(x), -1, -1, -1) for y in (self.keys, self.values))
        out: Tensor = self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class FirstChannels(nn.Module):
    """A convolution that reads only the first `channels` of its input: the others are zeros."""

    def __init__(self, conv: nn.Conv2d, channels: int) -> None:
        super().__init__()
        self.conv, self.channels = conv, channels
        conv.weight = nn.Parameter(conv.weight[:, :channels].clone(), requires_grad=False)
        conv.in_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,O,h,w]."""
        out: Tensor = self.conv(x[:, : self.channels])
        return out


def _twin(unet: nn.Module) -> nn.Module:
    """The same modules again, with the very same parameters and buffers."""
    shared = {id(x): x for x in itertools.chain(unet.parameters(), unet.buffers())}
    return copy.deepcopy(unet, shared)


def _is_plain(unet: Any) -> bool:
    """Whether timestep and text reach the blocks with nothing added to them on the way."""
    added = ("class_embedding", "add_embedding", "encoder_hid_proj")
    return all(getattr(unet, name, None) is None for name in added)


def time_embedding(unet: nn.Module, t: int) -> Tensor:
    """What the UNet's blocks know of the timestep, [1,D]."""
    model: Any = unet
    weight = next(model.time_embedding.parameters())
    waves = model.time_proj(torch.tensor([t], device=weight.device)).to(weight)
    embedding: Tensor = model.time_embedding(waves)
    return embedding if model.time_embed_act is None else model.time_embed_act(embedding)


def _adds_time(block: ResnetBlock2D) -> bool:
    return block.time_embedding_norm == "default" and block.time_emb_proj is not None


def _reads_text(attention: Attention) -> bool:
    """Whether it is the common cross attention, without norms or shortcuts of its own."""
    norms = ("group_norm", "spatial_norm", "norm_cross", "norm_q", "norm_k")
    return (
        type(attention.processor) is AttnProcessor2_0
        and attention.is_cross_attention
        and not attention.residual_connection
        and attention.rescale_output_factor == 1
        and not any(getattr(attention, name, None) for name in norms)
    )


def _split(x: Tensor, heads: int) -> Tensor:
    """[B,N,C] -> [B,heads,N,C/heads]."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _linear(weight: Tensor, bias: Tensor | float, like: nn.Linear) -> nn.Linear:
    """A linear map with these weights, in the type and on the device of another one."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    offset = torch.as_tensor(bias).to(weight).expand(len(weight))
    layer.weight = nn.Parameter(weight.to(like.weight), requires_grad=False)
    layer.bias = nn.Parameter(offset.to(like.weight), requires_grad=False)
    return layer
