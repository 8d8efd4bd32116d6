"""What GeoWizard adds to Stable Diffusion's networks: two latents that see each other, a switcher that says
which is which, and what the UNet is told of the picture.

The batch of a UNet holds each picture twice: rows 0 to B-1 are depth, rows B to 2B-1 normals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leadline.errors import UsageError, WeightsError, did_you_mean
from leadline.networks import latent

DOMAINS = ("indoor", "outdoor", "object")
GEOMETRIES = ((0.0, 1.0), (1.0, 0.0))  # codes of depth and of normals
WIDTHS = {"v1": 10, "v2": 4}  # of a class vector: with the domain in it, or the geometry alone
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class JointAttention:
    """Self-attention of a picture's two rows to the tokens of both. Rows i and B+i are of one picture."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Tokens [2B,S,C] -> the same, as diffusers calls its processors."""
        if len(hidden_states) % 2:
            raise UsageError(f"{len(hidden_states)} rows are no pairs of depth and normals: give both")
        rows, tokens = hidden_states.shape[:2]
        q, k, v = (to(hidden_states) for to in (attn.to_q, attn.to_k, attn.to_v))  # [2B,S,C]
        k, v = (torch.cat(x.chunk(2), dim=1).repeat(2, 1, 1) for x in (k, v))  # [2B,2S,C]
        q, k, v = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))  # [2B,heads,.,c]
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, tokens, -1)
        out: Tensor = attn.to_out[1](attn.to_out[0](seen))
        return out


def self_attentions(unet: nn.Module) -> list[Any]:
    """Those of all transformer blocks, 16 in the published networks."""
    return [module for name, module in unet.named_modules() if name.endswith(".attn1")]


def join(unet: nn.Module) -> None:
    """Let depth and normals see each other. It is a part of the model, on every device: the authors' program
    does so only where xformers runs, and gives other numbers elsewhere without a word.
    """
    for attention in self_attentions(unet):
        attention.set_processor(JointAttention())


def check_joint(unet: nn.Module) -> None:
    """Raises UsageError where something has taken the joint attention out again."""
    for attention in self_attentions(unet):
        if not isinstance(attention.processor, JointAttention):
            found = type(attention.processor).__name__
            raise UsageError(
                f"the UNet's self-attention was replaced by {found}, so that depth and normals do not see "
                "each other: leave its attention as it was loaded"
            )


def class_vectors(domains: Sequence[str], width: int = WIDTHS["v1"]) -> Tensor:
    """What the switcher says to the rows of these pictures, [2B,width]: the geometry, and if there is room
    the domain, as sines and then cosines of their codes.

    >>> [round(x, 4) for x in class_vectors(["indoor"], 4).tolist()[0]]
    [0.0, 0.8415, 1.0, 0.5403]
    """
    geometry = torch.tensor(GEOMETRIES).repeat_interleave(len(domains), dim=0)  # [2B,2]
    parts = [geometry.sin(), geometry.cos()]
    if width == WIDTHS["v1"]:
        domain = torch.eye(len(DOMAINS))[domain_numbers(domains)].repeat(2, 1)  # [2B,3]
        parts += [domain.sin(), domain.cos()]
    return torch.cat(parts, dim=1)


def domain_numbers(domains: Sequence[str]) -> list[int]:
    """Raises UsageError for a domain that GeoWizard does not know.

    >>> domain_numbers(["object", "indoor"])
    [2, 0]
    """
    for domain in domains:
        if domain not in DOMAINS:
            raise UsageError(f"domain {domain!r} is unknown: {did_you_mean(domain, DOMAINS)}")
    return [DOMAINS.index(domain) for domain in domains]


class ImageEncoder(nn.Module):
    """CLIP's vision tower: one token that says what a picture shows. `clip` is transformers'
    CLIPVisionModelWithProjection.
    """

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    @property
    def width(self) -> int:
        """Channels of the token."""
        config: Any = self.clip.config
        return int(config.projection_dim)

    def forward(self, rgb: Tensor) -> Tensor:
        """RGB [B,3,h,w] in [-1,1] -> [B,1,C], not of unit length. The picture is squeezed to a square, and
        prepared in float32 whatever the weights have.
        """
        config: Any = self.clip.config
        side = config.image_size
        x = (rgb.float() + 1) / 2
        x = F.interpolate(x, (side, side), mode="bicubic", align_corners=False, antialias=True)
        mean, deviation = (x.new_tensor(y).view(1, 3, 1, 1) for y in (CLIP_MEAN, CLIP_DEVIATION))
        x = ((x - mean) / deviation).to(next(self.clip.parameters()).dtype)
        return cast(Tensor, self.clip(pixel_values=x).image_embeds)[:, None]


def check(unet: nn.Module, autoencoder: nn.Module, context: int, version: str) -> None:
    """Raises WeightsError unless they are parts of one GeoWizard: a UNet that reads a picture's latent and
    one of geometry, class vectors of the version's width, and a context of so many channels.
    """
    config, channels = cast(Any, unet).config, latent.channels(autoencoder)
    wanted = {
        "in_channels": 2 * channels,
        "out_channels": channels,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": WIDTHS[version],
        "cross_attention_dim": context,
    }
    for key, value in wanted.items():
        if (found := config.get(key)) != value:
            raise WeightsError(
                f"the UNet's {key} is {found}, GeoWizard {version} with these parts has {value}: "
                "use the parts of one model, and the version that it is"
            )


def output(unet: nn.Module, seen: Tensor, t: Tensor | int, context: Tensor, classes: Tensor) -> Tensor:
    """What the UNet says to latents [2B,2C,h,w] at t (one for all, or [2B]), the context [2B,N,C] and class
    vectors [2B,width].
    """
    context, classes = context.to(seen), classes.to(seen)
    out: Tensor = unet(seen, t, encoder_hidden_states=context, class_labels=classes).sample
    return out
