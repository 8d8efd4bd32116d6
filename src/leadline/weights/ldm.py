"""Names of weights in the checkpoints of Stable Diffusion's own code (LDM), and what they are here.

LDM numbers the blocks of a UNet in the order in which they run, diffusers by level; a level has three of them
in Stable Diffusion's UNets. Text encoders in such checkpoints are OpenCLIP's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

State = dict[str, Tensor]
PER_LEVEL = 3  # blocks of a UNet's level: two residual ones and a change of size; three on the way up
Rules = tuple[tuple[str, str], ...]

RESIDUAL: Rules = (
    (r"in_layers\.0", "norm1"),
    (r"in_layers\.2", "conv1"),
    (r"emb_layers\.1", "time_emb_proj"),
    (r"out_layers\.0", "norm2"),
    (r"out_layers\.3", "conv2"),
    (r"skip_connection", "conv_shortcut"),
)
TOP: Rules = (
    (r"time_embed\.0", "time_embedding.linear_1"),
    (r"time_embed\.2", "time_embedding.linear_2"),
    (r"input_blocks\.0\.0", "conv_in"),
    (r"out\.0", "conv_norm_out"),
    (r"out\.2", "conv_out"),
    (r"middle_block\.0", "mid_block.resnets.0"),
    (r"middle_block\.1", "mid_block.attentions.0"),
    (r"middle_block\.2", "mid_block.resnets.1"),
)
CODER: Rules = (
    (r"down\.(\d+)\.block\.", r"down_blocks.\1.resnets."),
    (r"down\.(\d+)\.downsample\.", r"down_blocks.\1.downsamplers.0."),
    (r"mid\.block_1\.", "mid_block.resnets.0."),
    (r"mid\.block_2\.", "mid_block.resnets.1."),
    (r"mid\.attn_1\.norm\.", "mid_block.attentions.0.group_norm."),
    (r"mid\.attn_1\.(q|k|v)\.", r"mid_block.attentions.0.to_\1."),
    (r"mid\.attn_1\.proj_out\.", "mid_block.attentions.0.to_out.0."),
    (r"norm_out\.", "conv_norm_out."),
    (r"nin_shortcut\.", "conv_shortcut."),
)
TEXT: Rules = (
    (r"^token_embedding\.", "embeddings.token_embedding."),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_final\.", "final_layer_norm."),
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.ln_(1|2)\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
)


def unet_name(name: str) -> str:
    """A weight of the UNet, by diffusers' name.

    >>> unet_name("input_blocks.4.0.in_layers.2.weight"), unet_name("output_blocks.5.2.conv.bias")
    ('down_blocks.1.resnets.0.conv1.weight', 'up_blocks.1.upsamplers.0.conv.bias')
    """
    if found := re.fullmatch(r"input_blocks\.(\d+)\.(\d)\.(.*)", name):
        level, place = divmod(int(found[1]) - 1, PER_LEVEL)
        if level >= 0:
            kind = {"0": "resnets", "1": "attentions"}.get(found[2], found[2])
            inner = found[3].removeprefix("op.")
            halves = inner != found[3]
            name = f"down_blocks.{level}." + (
                f"downsamplers.0.conv.{inner}" if halves else f"{kind}.{place}.{found[3]}"
            )
    elif found := re.fullmatch(r"output_blocks\.(\d+)\.(\d)\.(.*)", name):
        level, place = divmod(int(found[1]), PER_LEVEL)
        kind = "resnets" if found[2] == "0" else "attentions"
        doubles = found[2] != "0" and found[3].startswith("conv.")
        where = "upsamplers.0" if doubles else f"{kind}.{place}"
        name = f"up_blocks.{level}.{where}.{found[3]}"
    return _by(TOP + RESIDUAL, name)


def coder_name(name: str, levels: int = 4) -> str:
    """A weight of the autoencoder, or of one half of it without its prefix, by diffusers' name.

    >>> coder_name("decoder.up.3.block.0.conv1.weight")
    'decoder.up_blocks.0.resnets.0.conv1.weight'
    """

    def turn(found: re.Match[str]) -> str:  # LDM counts from the finest level
        kind = {"block.": "resnets.", "upsample.": "upsamplers.0."}[found[2]]
        return f"up_blocks.{levels - 1 - int(found[1])}.{kind}"

    return _by(CODER, re.sub(r"\bup\.(\d+)\.(block\.|upsample\.)", turn, name))


def coder(state: Mapping[str, Tensor], levels: int = 4) -> State:
    """An autoencoder's weights; its attention, convolutions of single pixels, becomes linear."""
    named = {coder_name(name, levels): x for name, x in state.items()}
    return {name: x.flatten(1) if _is_attention(name, x) else x for name, x in named.items()}


def text(state: Mapping[str, Tensor]) -> State:
    """OpenCLIP's text transformer by transformers' names; joint query, key and value become three."""
    made: State = {}
    for name, x in state.items():
        new = _by(TEXT, name)
        if found := re.fullmatch(r"(.*)\.attn\.in_proj_(weight|bias)", new):
            for part, y in zip("qkv", x.chunk(3), strict=True):
                made[f"{found[1]}.self_attn.{part}_proj.{found[2]}"] = y
        else:
            made[new] = x
    return made


def residual_name(name: str) -> str:
    """Inside one block of a UNet: diffusers' name.

    >>> residual_name("out_layers.3.weight")
    'conv2.weight'
    """
    return _by(RESIDUAL, name)


def layers(state: Mapping[str, Any]) -> int:
    """How many layers OpenCLIP's text transformer has."""
    found = (re.match(r"transformer\.resblocks\.(\d+)\.", name) for name in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _is_attention(name: str, x: Tensor) -> bool:
    return ".attentions." in name and name.endswith(".weight") and x.dim() == 4


def _by(rules: Rules, name: str) -> str:
    for pattern, new in rules:
        name = re.sub(pattern if pattern[0] in r"\^" else rf"(?<![^.]){pattern}", new, name)
    return name
