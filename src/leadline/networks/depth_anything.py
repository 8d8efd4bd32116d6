"""Depth Anything's networks through transformers, from its folders and from the authors' own files.

Weights have three sets of names: the authors', those of the folders published in transformers' layout, and
those that transformers gives them in memory today. All are brought to the second, and saved by them, so that
any version reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from leadline import weights
from leadline.errors import WeightsError, did_you_mean, printable
from leadline.save.files import atomic

Encoder = Literal["small", "base", "large"]
FILE = "model.safetensors"  # transformers' name for a network's weights


class Sizes(NamedTuple):
    """What grows with the encoder."""

    width: int  # of its tokens
    heads: int
    layers: int
    channels: tuple[int, int, int, int]  # of the four maps that the head makes of its tokens
    features: int  # of the head
    taps: tuple[int, int, int, int]  # V2: after which layers the head reads, counted from 1


SIZES: dict[Encoder, Sizes] = {
    "small": Sizes(384, 6, 12, (48, 96, 192, 384), 64, (3, 6, 9, 12)),
    "base": Sizes(768, 12, 12, (96, 192, 384, 768), 128, (3, 6, 9, 12)),
    "large": Sizes(1024, 16, 24, (256, 512, 1024, 1024), 256, (5, 12, 18, 24)),
}
# Options that a folder may set. Others are left out: some would make transformers fetch another network.
BACKBONE = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "mlp_ratio", "hidden_act", "layer_norm_eps",
    "image_size", "patch_size", "num_channels", "qkv_bias", "layerscale_value", "out_indices", "out_features",
    "apply_layernorm", "reshape_hidden_states", "use_mask_token",
)  # fmt: skip
HEAD = (
    "patch_size", "reassemble_hidden_size", "reassemble_factors", "neck_hidden_sizes", "fusion_hidden_size",
    "head_in_index", "head_hidden_size", "depth_estimation_type", "max_depth",
)  # fmt: skip

RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # transformers in memory
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    # the authors' encoder
    (r"^pretrained\.blocks\.", "backbone.encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"^pretrained\.norm\.", "backbone.layernorm."),
    (r"^pretrained\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"^pretrained\.patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"^pretrained\.", "backbone.embeddings."),
    # the authors' head, whose fusion stages count from the finest map, transformers' from the coarsest
    (r"^depth_head\.projects\.(\d)\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"^depth_head\.resize_layers\.(\d)\.", r"neck.reassemble_stage.layers.\1.resize."),
    (r"^depth_head\.scratch\.layer(\d)_rn\.", lambda m: f"neck.convs.{int(m[1]) - 1}."),
    (r"^depth_head\.scratch\.refinenet(\d)\.", lambda m: f"neck.fusion_stage.layers.{4 - int(m[1])}."),
    (r"\.resConfUnit([12])\.conv([12])\.", r".residual_layer\1.convolution\2."),
    (r"\.out_conv\.", ".projection."),
    (r"^depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
)


def architecture(
    encoder: Encoder = "small", version: Literal[1, 2] = 2, max_depth_m: int | None = None
) -> dict[str, Any]:
    """The configuration of a published network, as in its config.json. Version 1 reads the last four layers.

    >>> architecture("base")["backbone_config"]["out_indices"], architecture("base", 1)["fusion_hidden_size"]
    ([3, 6, 9, 12], 128)
    """
    sizes = SIZES[encoder]
    taps = sizes.taps if version == 2 else range(sizes.layers - 3, sizes.layers + 1)
    return {
        "model_type": "depth_anything",
        "backbone_config": {
            "model_type": "dinov2",
            "hidden_size": sizes.width,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "image_size": 518,
            "out_indices": list(taps),
            "reshape_hidden_states": False,
        },
        "reassemble_hidden_size": sizes.width,
        "neck_hidden_sizes": list(sizes.channels),
        "fusion_hidden_size": sizes.features,
        "depth_estimation_type": "metric" if max_depth_m else "relative",
        "max_depth": max_depth_m or 1,
    }


def build(config: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """A network with random weights from such a configuration; the caller's random state is left as it was.

    Raises WeightsError for an unknown option or an impossible configuration.
    """
    _refuse_unknown(config, HEAD)
    _refuse_unknown(config.get("backbone_config", {}), BACKBONE)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _from_config(config)


def load(folder: Path, fallback: Mapping[str, Any]) -> nn.Module:
    """The network of a folder in float32, ready for prediction.

    transformers' layout describes itself in config.json; for the authors' files (one .pth) the configuration
    is `fallback`. Raises WeightsError where files are missing, damaged or belong to another network.
    """
    with torch.device("meta"):  # no time is spent on weights that are replaced at once
        network = _from_config(_stored_config(folder) or fallback)
    expected = {published_name(name): (name, x) for name, x in network.state_dict().items()}
    state = weights.load_fitting(
        _weights_files(folder), {name: x for name, (_, x) in expected.items()}, folder, to_published
    )
    network.load_state_dict({expected[name][0]: x for name, x in state.items()}, assign=True)
    return network.eval()


def save(network: nn.Module, folder: Path, *, fp16: bool = False) -> None:
    """Write config.json and model.safetensors as transformers does; it reads them back too."""
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = network.config
    config.architectures = [type(network).__name__]
    with atomic(folder / "config.json") as temporary:
        temporary.write_text(config.to_json_string(), encoding="utf-8")
    state = {published_name(name): x for name, x in network.state_dict().items()}
    weights.save_state(state, folder / FILE, fp16=fp16)


def patch(network: nn.Module) -> int:
    """Pixels that one token covers along a side: the sides of a picture must be multiples of it."""
    config: Any = network.config
    return int(config.patch_size)


def max_depth_m(network: nn.Module) -> int | None:
    """The depth at which a metric network's range ends; None for a relative one."""
    config: Any = network.config
    return int(config.max_depth) if config.depth_estimation_type == "metric" else None


def published_name(name: str) -> str:
    """The name of a weight in the published folders.

    >>> published_name("depth_head.scratch.refinenet4.resConfUnit1.conv2.bias")
    'neck.fusion_stage.layers.0.residual_layer1.convolution2.bias'
    """
    for pattern, new in RENAMES:
        name = re.sub(pattern, new, name)
    return name


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by their published names; the authors' joint query, key and value become three."""
    split: dict[str, Tensor] = {}
    for name, x in state.items():
        if ".attn.qkv." in name and x.dim() and len(x) % 3 == 0:
            parts = zip(("query", "key", "value"), x.chunk(3), strict=True)
            split |= {name.replace(".attn.qkv.", f".attention.attention.{part}."): y for part, y in parts}
        else:
            split[name] = x
    return {published_name(name): x for name, x in split.items()}


def _from_config(config: Mapping[str, Any]) -> nn.Module:
    backbone = config.get("backbone_config")
    backbone = backbone if isinstance(backbone, Mapping) else {}
    found = backbone.get("model_type")
    if config.get("model_type") != "depth_anything" or found != "dinov2":
        raise WeightsError(
            f"config.json describes {config.get('model_type')!r} on {found!r}, "
            "'depth_anything' on 'dinov2' is needed: use the files of a Depth Anything model"
        )
    own = {key: config[key] for key in HEAD if config.get(key) is not None}  # published ones hold nulls
    inner = {key: backbone[key] for key in BACKBONE if backbone.get(key) is not None}
    weights.check_plausible({**own, **inner}, "config.json")
    try:
        made = DepthAnythingConfig(**own, backbone_config=Dinov2Config(**inner))
        return cast(nn.Module, DepthAnythingForDepthEstimation(made))
    except Exception as error:  # a stranger's numbers can fail in any way there is
        reason = printable(str(error))[:200]
        raise WeightsError(f"Depth Anything cannot be built from this configuration: {reason}") from None


def _stored_config(folder: Path) -> dict[str, Any] | None:
    """config.json, if it is transformers': files beside the authors' weights may have that name too."""
    file = folder / "config.json"
    config = weights.read_json(file) if file.is_file() else {}
    return config if "model_type" in config else None


def _weights_files(folder: Path) -> list[Path]:
    """Weights in any form of transformers' layout, or else the authors' file."""
    authors = [path for path in sorted(folder.glob("*.pth")) if path.is_file()]
    try:
        return weights.weights_files(folder)
    except WeightsError:
        if len(authors) == 1:
            return authors
        raise WeightsError(
            f"{folder}: {len(authors)} .pth files, and no other weights or not all shards of them: "
            f"{FILE} or one .pth is needed"
        ) from None


def _refuse_unknown(config: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in config.keys() - {*known, "model_type", "backbone_config"}:
        hint = did_you_mean(key, known)
        raise WeightsError(f"Depth Anything's network has no option {key!r}: {hint}")
