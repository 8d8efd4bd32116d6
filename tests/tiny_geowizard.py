"""GeoWizard in small, with the weights of the stored arrays: they follow from the published names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from leadline import weights
from leadline.cards import Card, Defaults
from leadline.methods.geowizard import Config, GeoWizard
from leadline.networks.geowizard import ImageEncoder
from leadline.prediction import Kind

GOLDEN = Path(__file__).parent / "golden" / "geowizard"
UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    **json.loads((GOLDEN / "tiny_unet.json").read_text())["config"],
}
UNET_V2 = UNET | {"cross_attention_dim": 24, "projection_class_embeddings_input_dim": 4}
AUTOENCODER: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [8, 16, 16, 16],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "sample_size": 64,
}
CLIP: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "projection_dim": 12,
    "hidden_act": "quick_gelu",
}
E2E: dict[str, Any] = {"objective": "e2e", "noise": "zeros", "compat": "geowizard-e2e-ft"}


def fill(network: nn.Module, prefix: str) -> nn.Module:
    """Weights by name, as `tiny.named`, which halves one of them."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            x = tiny.named(prefix + name, tuple(tensor.shape))
            tensor.copy_(2 * x if prefix + name == "vae.decoder.conv_out.weight" else x)
    return network.eval()


def clip() -> nn.Module:
    """CLIP's vision tower."""
    return fill(CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP)), "image_encoder.")


def published(defaults: Defaults | None = None, **options: Any) -> GeoWizard:
    """A model in the published layout, with the weights of the stored arrays where it is a v1."""
    config = Config(**options)
    first = config.version == "v1"
    unet = fill(weights.build(UNET if first else UNET_V2), "")
    autoencoder = fill(weights.build(AUTOENCODER), "vae.")
    encoder = ImageEncoder(clip()) if first else None
    texts = None if first else tiny.fixed("domain_texts", 3, 4, 24)
    kind = Kind.normals if config.target == "normals" else Kind.affine_depth
    card = Card(name="tiny", method="geowizard", kind=kind, defaults=defaults or Defaults(steps=2))
    return GeoWizard(config, unet, autoencoder, None, encoder, texts, card).eval()
