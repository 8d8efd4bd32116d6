"""Depth Anything in small: the published networks for pictures of 70x70, made in milliseconds."""

from __future__ import annotations

from typing import Any

import tiny
import torch
from authors_depth_anything import Authors

from leadline.cards import Card
from leadline.methods.depth_anything import Config, DepthAnything
from leadline.prediction import Kind

NETWORK: dict[str, Any] = {
    "backbone_config": {
        "hidden_size": 16,
        "num_hidden_layers": 5,
        "num_attention_heads": 2,
        "image_size": 70,
        "out_indices": [1, 2, 4, 5],
    },
    "reassemble_hidden_size": 16,
    "neck_hidden_sizes": [6, 8, 12, 16],
    "fusion_hidden_size": 8,
    "head_hidden_size": 4,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "v1": {"version": 1},
    "v2": {},
    "indoor": {"max_depth_m": 20},
    "outdoor": {"max_depth_m": 80},
}


def made(**options: Any) -> DepthAnything:
    """A model with weights by name, for pictures of 28 pixels."""
    model = DepthAnything.random(Config(**{"network": NETWORK, "size": {"processing_res": 28}, **options}))
    tiny.fill(model.network, "")
    return model.eval()


def authors(max_depth: float | None = None) -> Authors:
    """The same network, as its authors wrote it."""
    network = Authors(16, 2, 5, 25, [6, 8, 12, 16], 8, 4, [0, 1, 3, 4], max_depth)
    tiny.fill(network, "")
    return network.eval()


def card(**config: Any) -> Card:
    """What a folder without a card is said to be."""
    kind = Kind.metric_depth if "max_depth_m" in config else Kind.affine_disparity
    return Card(name="given", method="depth-anything", kind=kind, config={"network": NETWORK, **config})


def pictures(count: int = 2, height: int = 28, width: int = 42) -> torch.Tensor:
    return torch.rand(count, 3, height, width) * 2 - 1


@torch.inference_mode()
def output(model: DepthAnything, rgb: torch.Tensor) -> torch.Tensor:
    (value,) = model(rgb).values()
    return value
