"""Networks of the published layouts, small enough for milliseconds; their weights follow from their names."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline import weights
from leadline.data.sample import Batch
from leadline.methods.e2e_ft import E2EFT, Config

UNET: dict[str, Any] = {  # as Stable Diffusion 2's, with 8 input channels
    "_class_name": "UNet2DConditionModel",
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 24,
    "attention_head_dim": [2, 4],
    "use_linear_projection": True,
}
AUTOENCODER: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [8, 8, 16, 16],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 0.18215,
}
PLAIN_UNET: dict[str, Any] = {  # no text, RGB only, for blocks of 4x4 pixels
    "_class_name": "UNet2DModel",
    "in_channels": 48,
    "out_channels": 48,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
BLOCKS: dict[str, Any] = {"_class_name": "SpaceToDepth", "factor": 4}
TINY_AUTOENCODER: dict[str, Any] = {
    "_class_name": "AutoencoderTiny",
    "encoder_block_out_channels": [8, 8],
    "decoder_block_out_channels": [8, 8],
    "num_encoder_blocks": [1, 1],
    "num_decoder_blocks": [1, 1],
}
SMALL = {"target": "disparity", "noise": "none", "loss": "midas", "clamp": False}


def published(**options: Any) -> E2EFT:
    """An E2E-FT model in the published layout, with the weights of the stored arrays."""
    unet, autoencoder = weights.build(UNET), weights.build(AUTOENCODER)
    fill(unet, "unet.")
    fill(autoencoder, "vae.")
    two, many = options.get("text_tokens", 2), options.get("train_text_tokens", 2)
    text = (
        fixed("empty_text_embedding", 1, 2, 24)
        if max(two, many) == 2
        else fixed("empty_text_embedding_77", 1, 77, 24)
    )
    return E2EFT(Config(**options), unet, autoencoder, empty_text=text).eval()


def small(**options: Any) -> E2EFT:
    """A model as the bundled one, with random weights."""
    return E2EFT.random(Config(**{"unet": PLAIN_UNET, "autoencoder": BLOCKS, **SMALL, **options})).eval()


def fill(network: nn.Module, prefix: str) -> None:
    """Weights by name: normal numbers seeded by the CRC-32 of the name, scaled by the fan-in."""
    for name, tensor in network.state_dict().items():
        tensor.copy_(named(prefix + name, tuple(tensor.shape)))


def named(name: str, shape: tuple[int, ...]) -> Tensor:
    """One weight, by its full name."""
    x = _normal(name, shape)
    if x.ndim >= 2:
        x /= np.sqrt(np.prod(x.shape[1:]))
    else:
        x = 0.1 * x + (1 if name.endswith("weight") else 0)
    if name == "vae.decoder.conv_out.weight":
        x *= 0.5
    return torch.from_numpy(x.astype(np.float32))


def fixed(name: str, *shape: int) -> Tensor:
    """An array that follows from its name."""
    return torch.from_numpy(_normal(name, shape).astype(np.float32))


def batch(count: int = 2, height: int = 32, width: int = 48, seed: int = 0) -> Batch:
    """Random pictures, depths and normals; a fifth of the pixels are not valid."""
    g = torch.Generator().manual_seed(seed)
    valid = torch.rand(count, 1, height, width, generator=g) > 0.2
    normals = nn.functional.normalize(torch.randn(count, 3, height, width, generator=g), dim=1)
    return Batch(
        rgb=torch.rand(count, 3, height, width, generator=g) * 2 - 1,
        valid=valid,
        depth_m=(torch.rand(count, 1, height, width, generator=g) * 9 + 1) * valid,
        normals=normals * valid,
        cameras=[None] * count,
        names=[str(i) for i in range(count)],
    )


def seeded(*seeds: int) -> list[torch.Generator]:
    """A generator for each seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = zlib.crc32(name.encode("ascii"))
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
