"""PrimeDepth's checkpoint as its authors publish it: one file with everything, in LDM's names.

    model.diffusion_model.*    Stable Diffusion 2.1's UNet       first_stage_model.*       its autoencoder
    cond_stage_model.model.*   OpenCLIP's text transformer       labeller.*                what they trained

Text and Stable Diffusion's parts may be absent. What else lies in it (tables of the schedule, averages) is
left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from leadline.errors import WeightsError
from leadline.weights import ldm
from leadline.weights.state import State, grouped, open_state

PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text": "cond_stage_model.model.",
    "own": "labeller.",
}
TABLES = re.compile(  # of the schedule: they follow from constants
    r"(sqrt_|log_)?(one_minus_|recipm1_|recip_)?(alphas_cumprod(_prev)?|betas)|posterior_\w+|logvar|"
    r"model_ema\..*|scale_factor"
)
UNUSED = ("text_projection", "logit_scale", "attn_mask")  # of OpenCLIP's text transformer


class Checkpoint(NamedTuple):
    """Weights by our names, of every part that the file holds; empty where it has none.

    own: "refiner.*", "depth_head.*", "segmentation_head.*".
    """

    own: State
    unet: State
    vae: State
    text: State
    text_layers: int


def read(file: Path) -> Checkpoint:
    """A checkpoint, its numbers read when they are used. No code in it is run, whatever it holds.

    Raises WeightsError where it is damaged, or holds weights that belong to nothing.
    """
    state = open_state(file, nested=True)
    parts = {name: _below(state, prefix) for name, prefix in PREFIXES.items()}
    if not parts["own"]:
        found = grouped(list(state)) or "nothing"
        raise WeightsError(f"{file}: holds {found}, and no labeller.*: it is no checkpoint of PrimeDepth")
    rest = [n for n in state if not n.startswith(tuple(PREFIXES.values())) and not TABLES.fullmatch(n)]
    if rest:
        raise WeightsError(f"{file}: {len(rest)} unexpected: {grouped(rest)}: use the published file")
    words = {name: x for name, x in parts["text"].items() if name not in UNUSED}
    return Checkpoint(
        {own_name(name): _linear(name, x) for name, x in parts["own"].items()},
        {ldm.unet_name(name): x for name, x in parts["unet"].items()},
        ldm.coder(parts["vae"]),
        ldm.text(words),
        ldm.layers(words),
    )


def own_name(name: str) -> str:
    """A weight of what the authors trained, by our name.

    >>> own_name("convs_merge.3.weight"), own_name("refiner.output_blocks.8.2.conv.bias")
    ('refiner.fusion.3.merge.weight', 'refiner.blocks.8.upsampler.conv.bias')
    """
    if found := re.fullmatch(r"convs_(feature|attention|merge)s?\.(\d+)\.(.*)", name):
        kind = {"feature": "features"}.get(found[1], found[1])
        return f"refiner.fusion.{found[2]}.{kind}.{found[3]}"
    if found := re.fullmatch(r"refiner\.output_blocks\.(\d+)\.(\d)\.(.*)", name):
        doubles = found[2] != "0" and found[3].startswith("conv.")
        kind = "upsampler" if doubles else "resnet" if found[2] == "0" else "attention"
        inner = ldm.residual_name(found[3]) if kind == "resnet" else found[3]
        return f"refiner.blocks.{found[1]}.{kind}.{inner}"
    name = re.sub(r"^refiner\.out\.0\.", "refiner.norm_out.", name)
    name = re.sub(r"^refiner\.out\.2\.", "refiner.conv_out.", name)
    for theirs, ours in (("depth_predictor.", "depth_head."), ("label_predictor.", "segmentation_head.")):
        if name.startswith(theirs):
            return ours + ldm.coder_name(name.removeprefix(theirs))
    return name


def _below(state: Mapping[str, Tensor], prefix: str) -> State:
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}


def _linear(name: str, x: Tensor) -> Tensor:
    """Attention in the heads is a convolution of single pixels there."""
    return x.flatten(1) if ".attn_1." in name and x.dim() == 4 else x
