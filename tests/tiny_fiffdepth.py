"""FiffDepth in small: with the weights of the stored arrays, and around a network of two convolutions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import tiny
import torch
from diffusers.models.embeddings import Timesteps
from torch import nn

from leadline import weights
from leadline.methods.fiffdepth import Config, FiffDepth

ONE_LATENT = tiny.UNET | {"in_channels": 4}
UNET: dict[str, Any] = {  # of the stored arrays
    "_class_name": "UNet2DConditionModel",
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 8,
    "attention_head_dim": [2, 4],
    "use_linear_projection": True,
}
AUTOENCODER: dict[str, Any] = tiny.AUTOENCODER | {"block_out_channels": [4, 4, 8, 8], "norm_num_groups": 2}


def parts(g, in_channels=4):
    """The networks and the empty prompt of the stored arrays; more input channels share the first kernel."""
    unet, autoencoder = weights.build(UNET | {"in_channels": in_channels}), weights.build(AUTOENCODER)
    state = {name.removeprefix("unet."): g[name] for name in g if name.startswith("unet.")}
    times = in_channels // 4
    state["conv_in.weight"] = state["conv_in.weight"].repeat(1, times, 1, 1) / times
    unet.load_state_dict(state)
    autoencoder.load_state_dict({name.removeprefix("vae."): g[name] for name in g if name.startswith("vae.")})
    return unet, autoencoder, g.empty_text_embed


def stored(g, **options):
    unet, autoencoder, text = parts(g)
    return FiffDepth(Config(**options), unet, autoencoder, empty_text=text).eval()


def published(**options):
    """With weights that follow from their names."""
    unet, autoencoder = weights.build(ONE_LATENT), weights.build(tiny.AUTOENCODER)
    tiny.fill(unet, "unet.")
    tiny.fill(autoencoder, "vae.")
    return FiffDepth(Config(**options), unet, autoencoder, empty_text=tiny.fixed("empty", 1, 2, 24)).eval()


class Toy(nn.Module):
    """conv2(tanh(conv1(x) + linear(sinusoid of width 8))): the network of `toy_training_step`."""

    config = SimpleNamespace(cross_attention_dim=None)

    def __init__(self, g) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.te, self.embed = nn.Linear(8, 6), Timesteps(8, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.load_state_dict(
            {
                f"{layer}.{part}": g[f"w_{layer}_{part}"]
                for layer in ("c1", "c2", "te")
                for part in ("weight", "bias")
            }
        )

    def forward(self, x, t):
        t = torch.as_tensor(t).expand(len(x))
        out = self.c2(torch.tanh(self.c1(x) + self.te(self.embed(t))[:, :, None, None]))
        return SimpleNamespace(sample=out)


def toy(g, **options):
    """A FiffDepth around it; latents are handed to it, so its autoencoder sees nothing."""
    model = published(**options)
    model.unet = Toy(g)
    return model
