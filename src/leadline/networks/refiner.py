"""PrimeDepth's own networks: fusion modules, the refiner of half the decoder's width, and heads.

The refiner copies the block list of a UNet's decoder (Sec. 3.3). Block i reads what the block before gave and
what fusion module i makes of part i of the preimage, so that it can run while the preimage is being made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.models.autoencoders.vae import Decoder, DecoderTiny
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from leadline.errors import WeightsError
from leadline.networks.one_step import time_embedding
from leadline.networks.preimage import Block, Maps, Part, attend, parts

EPS = 1e-5  # code: of norms in autoencoder and heads too, where Stable Diffusion has 1e-6
GROUPS = 32
Watch = Callable[[str, Tensor], object]  # name and value of what was made
Keep = Callable[[Any], object]


@dataclass(frozen=True)
class Plan:
    """What a refiner is made of. fusion "block": all parts at one size, read at once (as VPD does)."""

    maps: Maps = Maps()
    features: bool = True  # whether feature maps are part of the preimage
    fusion: Literal["staged", "block"] = "staged"
    ratio: float = 0.5  # widths, beside the UNet's
    channels: int = 512  # given to the heads


class Fusion(nn.Module):
    """Fig. 2: a part of the preimage in fewer channels, by convolutions of single pixels."""

    def __init__(self, block: Block, plan: Plan) -> None:
        super().__init__()
        each = plan.maps.per_head
        read, own = block.features * plan.features, int(plan.ratio * block.features) * plan.features
        seen, map_channels = each * sum(block.heads), int(plan.ratio * each * max(block.heads, default=0))
        self.features = nn.Conv2d(read, own, 1) if own else None
        self.attention = nn.Conv2d(seen, map_channels, 1) if map_channels else None
        self.channels = own + map_channels
        self.merge = nn.Conv2d(self.channels, self.channels, 1) if self.channels else None

    def forward(self, part: Part, watch: Watch | None = None) -> Tensor | None:
        """[B,C,h,w] each -> [B,channels,h,w]."""
        made = []
        for name, conv in (("features", self.features), ("attention", self.attention)):
            if conv is not None:
                made.append(conv(getattr(part, name)))
                tell(watch, name, made[-1])
        return None if self.merge is None else self.merge(torch.cat(made, dim=1))


class RefinerBlock(nn.Module):
    """A block of the decoder, narrower."""

    def __init__(self, block: Block, plan: Plan, inputs: int, embedded: int, text: int) -> None:
        super().__init__()
        width = int(plan.ratio * block.width)
        self.resnet = ResnetBlock2D(
            in_channels=inputs,
            out_channels=width,
            temb_channels=embedded,
            groups=divisor(inputs, GROUPS),
            groups_out=divisor(width, GROUPS),
            eps=EPS,
        )
        self.attention = _transformer(width, block, text) if block.attends else None
        self.upsampler = Upsample2D(width, use_conv=True) if block.doubles else None

    def forward(
        self, x: Tensor, emb: Tensor, text: Tensor, size: tuple[int, int], keep: Keep | None = None
    ) -> Tensor:
        """[B,C,h,w] -> [B,width,*size]. keep: gets its maps of attention [B,heads*64,h,w]."""
        h: Tensor = self.resnet(x, emb)
        if self.attention is not None and keep is not None:
            h, maps = attend(self.attention, h, text, Maps(tokens=0))
            keep(maps)
        elif self.attention is not None:
            (h,) = self.attention(h, encoder_hidden_states=text, return_dict=False)
        return h if self.upsampler is None else self.upsampler(h, size)


class Refiner(nn.Module):
    """From the preimage to the map that the heads read. embedded, text: channels of the UNet's conditions."""

    def __init__(self, decoder: Sequence[Block], plan: Plan, embedded: int, text: int) -> None:
        super().__init__()
        self.plan, self.recompute = plan, False
        fusions = [Fusion(block, plan) for block in decoder]
        self.fusion = nn.ModuleList(fusions)
        self.first = 0 if plan.fusion == "staged" else _second_stage(decoder)
        before, made = 0, []
        if plan.fusion == "block":
            before = int(plan.ratio * decoder[self.first].width)
            self.aggregate = nn.Conv2d(sum(fusion.channels for fusion in fusions), before, 1)
        for block, fusion in list(zip(decoder, fusions, strict=True))[self.first :]:
            inputs = before + (fusion.channels if plan.fusion == "staged" else 0)
            made.append(RefinerBlock(block, plan, inputs, embedded, text))
            before = int(plan.ratio * block.width)
        self.blocks = nn.ModuleList(made)
        looking = [i for i, block in enumerate(made) if block.attention is not None]
        self.last_look = looking[-1] if looking else None  # the last block that has attention
        self.norm_out = nn.GroupNorm(divisor(before, GROUPS), before, eps=EPS)
        self.conv_out = nn.Conv2d(before, plan.channels, 3, padding=1)
        self._start_at_zero()

    def forward(
        self,
        preimage: Iterable[Part],
        emb: Tensor,
        text: Tensor,
        watch: Watch | None = None,
        keep: Keep | None = None,
    ) -> Tensor:
        """Parts in turn, the embedded timestep [1,D], the text [B,N,C] -> [B,channels,h,w].

        watch: called with every stage's name and value, such as "merge_03". keep: gets the last maps of
        attention [B,heads*64,h,w].
        """
        if self.plan.fusion == "block":
            h = self._at_once(preimage, emb, text, keep)
        else:
            h = self._in_stages(preimage, emb, text, watch, keep)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        tell(watch, "refiner_out", out)
        return out

    def _in_stages(
        self,
        preimage: Iterable[Part],
        emb: Tensor,
        text: Tensor,
        watch: Watch | None,
        keep: Keep | None,
    ) -> Tensor:
        h: Tensor | None = None
        for i, part in enumerate(preimage):
            tell(watch, f"feat_in_{i:02}", part.features)
            tell(watch, f"attn_in_{i:02}", part.attention)
            merged, size = self.fusion[i](part, watch and _named(watch, i)), part.size
            del part  # its memory, before the block needs some
            tell(watch, f"merge_{i:02}", merged)
            x = [y for y in (h, merged) if y is not None]
            read = torch.cat(x, dim=1) if len(x) > 1 else x[0]
            del x, merged
            h = self._run(i, read, emb, text, size, keep)
            del read
            tell(watch, f"refiner_{i:02}", h)
        assert h is not None
        return h

    def _at_once(self, preimage: Iterable[Part], emb: Tensor, text: Tensor, keep: Keep | None) -> Tensor:
        """App. D: every part brought to the size of the second stage, then one block of all of them."""
        made, sizes = [], []
        for fusion, part in zip(self.fusion, preimage, strict=True):
            sizes.append((part.features.shape[2:], part.size))
            merged = fusion(part)
            del part
            if merged is not None:
                made.append(merged)
        size = sizes[self.first][0]
        same = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in made]
        h: Tensor = self.aggregate(torch.cat(same, dim=1))
        for i, (_, after) in enumerate(sizes[self.first :]):
            h = self._run(i, h, emb, text, after, keep)
        return h

    def _run(self, i: int, *inputs: Any) -> Tensor:
        block = self.blocks[i]
        inputs = (*inputs[:-1], inputs[-1] if i == self.last_look else None)
        if self.recompute and torch.is_grad_enabled():
            again: Tensor = checkpoint(block, *inputs, use_reentrant=False)
            return again
        out: Tensor = block(*inputs)
        return out

    def _start_at_zero(self) -> None:
        """Code: what ends a residual branch, and the last convolution, begin as nothing."""
        for module in self.modules():
            if isinstance(module, ResnetBlock2D):
                _clear(module.conv2)
            elif isinstance(module, Transformer2DModel):
                _clear(module.proj_out)
        _clear(self.conv_out)


class Interleaved(nn.Module):
    """A frozen UNet and the refiner that runs while it does: one network for whoever moves networks about."""

    def __init__(self, unet: nn.Module, refiner: Refiner) -> None:
        super().__init__()
        self.unet, self.refiner = unet, refiner

    def forward(
        self, x: Tensor, t: int, text: Tensor, watch: Watch | None = None, keep: Keep | None = None
    ) -> Tensor:
        """A latent [B,C,h,w] at timestep t and a text [B,N,C] -> the refiner's map. No gradient passes
        through the UNet.
        """
        with torch.no_grad():
            emb = time_embedding(self.unet, t)
        taken = torch.no_grad()(parts) if torch.is_grad_enabled() else parts
        preimage = taken(self.unet, x.detach(), emb, text, self.refiner.plan.maps)
        refined: Tensor = self.refiner(preimage, emb, text, watch, keep)
        return refined


def head(autoencoder: nn.Module, inputs: int, outputs: int) -> nn.Module:
    """A copy of an autoencoder's decoder that reads and gives other channels (Sec. 3.3).

    Weights whose shapes agree are the autoencoder's, the others random. Raises WeightsError for one whose
    decoder is none of diffusers' two.
    """
    model: Any = autoencoder
    config = model.config
    made: nn.Module
    if isinstance(autoencoder, AutoencoderKL):
        names = ("up_block_types", "block_out_channels", "layers_per_block", "norm_num_groups")
        options = {name: config[name] for name in (*names, "mid_block_add_attention")}
        made = Decoder(in_channels=inputs, out_channels=outputs, **options)
    elif isinstance(autoencoder, AutoencoderTiny):
        made = DecoderTiny(
            in_channels=inputs,
            out_channels=outputs,
            num_blocks=config.num_decoder_blocks,
            block_out_channels=config.decoder_block_out_channels,
            upsampling_scaling_factor=config.upsampling_scaling_factor,
            act_fn=config.act_fn,
            upsample_fn=config.upsample_fn,
        )
    else:
        name = type(autoencoder).__name__
        raise WeightsError(f"{name} has no decoder that could be a head: AutoencoderKL or AutoencoderTiny")
    own = made.state_dict()
    alike = {k: x for k, x in model.decoder.state_dict().items() if k in own and x.shape == own[k].shape}
    if not next(made.parameters()).is_meta:
        made.load_state_dict(alike, strict=False)
    return set_eps(made)


def recompute(head: nn.Module | None) -> None:
    """A head computes its activations again in the backward pass. One without blocks has few anyway."""
    decoder: Any = head
    if hasattr(decoder, "gradient_checkpointing"):
        decoder.gradient_checkpointing = True
        decoder._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


def set_eps(network: nn.Module, eps: float = EPS) -> nn.Module:
    """The network, its group norms with another epsilon."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.eps = eps
    return network


def divisor(number: int, most: int) -> int:
    """The largest divisor that is no larger than `most`.

    >>> divisor(2690, 32), divisor(160, 64)
    (10, 40)
    """
    return next(n for n in range(min(number, most), 0, -1) if number % n == 0)


def _transformer(width: int, block: Block, text: int) -> Transformer2DModel:
    each = divisor(width, min(width, block.head_width))
    return Transformer2DModel(
        width // each,
        each,
        in_channels=width,
        norm_num_groups=divisor(width, GROUPS),
        cross_attention_dim=text,
        use_linear_projection=True,
    )


def _second_stage(decoder: Sequence[Block]) -> int:
    """The first block of the last but one resolution: the second of four, counted from the finest."""
    starts = [0, *(i + 1 for i, block in enumerate(decoder[:-1]) if block.doubles)]
    return starts[-2] if len(starts) > 1 else 0


def _named(watch: Watch, i: int) -> Watch:
    names = {"features": f"feat_conv_{i:02}", "attention": f"attn_conv_{i:02}"}
    return lambda name, value: watch(names[name], value)


def tell(watch: Watch | None, name: str, value: Tensor | None) -> None:
    """A stage to whoever watches."""
    if watch is not None and value is not None:
        watch(name, value)


def _clear(layer: Any) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
