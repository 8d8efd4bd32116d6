"""PrimeDepth in small, with the weights of the stored arrays: they follow from the published names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.methods.primedepth import Config, PrimeDepth
from leadline.networks import primedepth as folders
from leadline.prediction import Kind

GOLDEN = Path(__file__).parent / "golden" / "primedepth"
UNET: dict[str, Any] = {  # of the stored arrays
    **folders.SD_UNET,
    "block_out_channels": [32, 64, 128, 128],
    "cross_attention_dim": 24,
    "attention_head_dim": [4, 8, 16, 16],
}
AUTOENCODER: dict[str, Any] = {
    **folders.SD_AUTOENCODER,
    "block_out_channels": [32, 32, 64, 512],
    "layers_per_block": 1,
}
TEXT: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "max_position_embeddings": 77,
    "vocab_size": 8,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
VOCABULARY = {"!": 0, "a": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4, "<|startoftext|>": 5, "<|endoftext|>": 6}
BUILD = folders.Build(UNET, AUTOENCODER, TEXT)
CONFIG: dict[str, Any] = {"refiner_channels": 64, "classes": 7, "text_layers": 3, "text_layer": "last"}
SMALL: dict[str, Any] = {  # for milliseconds: two levels, one residual block each
    "unet": {
        **folders.SD_UNET,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "cross_attention_dim": 12,
        "attention_head_dim": [2, 4],
    },
    "autoencoder": {
        **folders.SD_AUTOENCODER,
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    "text_tokens": 2,
    "refiner_channels": 16,
    "classes": 5,
    "size": {"multiple": 4},
}


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """One weight, by its published name."""
    v = _uniform(name, shape)
    v = 0.1 * v + name.endswith("weight") if len(shape) == 1 else v * np.sqrt(3 / np.prod(shape[1:]))
    return torch.from_numpy(v.astype(np.float32))


def fixed(name: str, *shape: int) -> Tensor:
    """An input, by its name."""
    return torch.from_numpy((_uniform(name, shape) * np.sqrt(3)).astype(np.float32))


def _uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return 2 * np.random.default_rng(seed).random(shape) - 1


def listed() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tiny checkpoint, as its authors' code has them."""
    for line in (GOLDEN / "tiny_keys.tsv").read_text().splitlines()[1:]:
        name, _, shape = line.partition("\t")
        yield name, tuple(map(int, shape.split("x")))


@cache
def checkpoint() -> dict[str, Tensor]:
    """The whole state dict; the autoencoder's decoder, which the authors' tiny model lacks, is made up."""
    state = {name: weight(name, shape) for name, shape in listed()}
    for name, x in list(state.items()):
        if name.startswith("labeller.depth_predictor."):
            new = name.replace("labeller.depth_predictor.", "first_stage_model.decoder.")
            state[new] = weight(new, (512, 4, 3, 3) if "conv_in.weight" in new else tuple(x.shape))
    for name, shape in (("weight", (4, 4, 1, 1)), ("bias", (4,))):
        new = f"first_stage_model.post_quant_conv.{name}"
        state[new] = weight(new, shape)
    return state


def text_encoder(layers: int = 3) -> dict[str, Tensor]:
    """OpenCLIP's weights, in small."""
    width, inner = TEXT["hidden_size"], TEXT["intermediate_size"]
    shapes = {
        "token_embedding.weight": (8, width),
        "positional_embedding": (77, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    for i in range(layers):
        block = f"transformer.resblocks.{i}"
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
        linear = {"mlp.c_fc": (inner, width), "mlp.c_proj": (width, inner), "attn.out_proj": (width, width)}
        for name, shape in linear.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width)}
        shapes |= {f"{block}.attn.in_proj_bias": (3 * width,)}
    return {f"cond_stage_model.model.{name}": weight(name, shape) for name, shape in shapes.items()}


def card(**config: Any) -> Card:
    return Card(name="tiny", method="primedepth", kind=Kind.affine_disparity, config=CONFIG | config)


def folder(home: Path, context: Tensor | None = None) -> Path:
    """The converted checkpoint, with that text for the empty one."""
    save_file(checkpoint() | text_encoder(), home / "tiny.safetensors")
    words = home / "words" / "tokenizer"
    words.mkdir(parents=True)
    (words / "vocab.json").write_text(json.dumps(VOCABULARY))
    (words / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    folders.convert(home / "tiny.safetensors", home / "model", card(), base=home / "words", build=BUILD)
    if context is not None:
        save_file({"empty_text": context}, home / "model" / "empty_text.safetensors")
    return home / "model"


def stored(home: Path, **options: Any) -> PrimeDepth:
    """The model of the stored arrays."""
    return PrimeDepth.load(folder(home), card(), **options)


def small(seed: int = 0, alive: bool = True, **options: Any) -> PrimeDepth:
    """A model with random weights; `alive`: none of them are zero as they are at a training's start."""
    made = PrimeDepth.random(Config(**{**SMALL, **options}), seed)
    if alive:
        generator = torch.Generator().manual_seed(seed)
        for p in made.refiner.parameters():
            if not p.any():
                p.data = 0.1 * torch.randn(p.shape, generator=generator)
    return made.eval()


def thinned(x: Tensor, most: int = 3000) -> Tensor:
    """As large arrays are stored."""
    return x if x.numel() <= most else x.flatten()[:: -(-x.numel() // most)]


def batch(count: int = 2, height: int = 16, width: int = 24, seed: int = 0) -> Batch:
    """Random pictures with depth and five classes, a tenth of them unknown."""
    g = torch.Generator().manual_seed(seed)
    shape = (count, 1, height, width)
    classes = torch.randint(5, (count, height, width), generator=g)
    unknown = torch.rand(count, height, width, generator=g) < 0.1
    return Batch(
        rgb=torch.rand(count, 3, height, width, generator=g) * 2 - 1,
        valid=torch.rand(shape, generator=g) > 0.1,
        depth_m=torch.rand(shape, generator=g) * 9 + 1,
        normals=None,
        cameras=[None] * count,
        names=[str(i) for i in range(count)],
        classes=torch.where(unknown, -1, classes),
    )
