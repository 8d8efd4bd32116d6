"""Latent diffusion (Rombach et al.): a network that denoises latents of pictures, the prior of all else here.

Sec. 3.2: noise is added to a picture's latent, the network is asked what it was.  -> loss
Sec. 3.2: pictures are drawn by denoising noise step by step.                  -> draw, forward

Stable Diffusion is such a model; this is the same at small scale, as a start for methods that tune it where
there is none. It has no text: the empty prompt is a constant that is drawn once. It predicts v (Salimans and
Ho), as Stable Diffusion 2 does. Symbols are E2E-FT's (Sec. 3.2): z_0 the latent, z_t with noise epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from leadline import cards, losses, noise, schedule
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import UsageError, check_shape
from leadline.losses import Loss
from leadline.networks import latent, stable_diffusion
from leadline.networks.stable_diffusion import Parts
from leadline.prediction import Kind
from leadline.schedule import Schedule, Spacing

PROMPT_TOKENS = 77  # of the constant that stands for the empty prompt, as many as Stable Diffusion's


class Config(stable_diffusion.Config):
    """What distinguishes one prior from another."""

    spacing: Spacing = "trailing"  # of the timesteps that pictures are drawn with
    steps: int = 20  # how many


class LatentDiffusion(stable_diffusion.Descendant):
    """Noise in, pictures out. Only the UNet is trained.

    empty_text: what stands for the empty prompt [1,N,C], for a UNet with cross attention; none: drawn.
    """

    config: Config

    def __init__(
        self,
        config: Config,
        unet: nn.Module,
        autoencoder: nn.Module,
        schedule: Schedule | None = None,
        empty_text: Tensor | None = None,
        card: Card | None = None,
    ) -> None:
        if empty_text is None and stable_diffusion.takes_text(unet):
            empty_text = prompt(unet)
        super().__init__(
            config,
            Parts(unet, autoencoder, schedule or Schedule(), empty_text),
            card,
            method="latent-diffusion",
            kind=Kind.picture,
            tokens=config.text_tokens,  # methods that start from it may need more: none is dropped
        )

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: object = None,
    ) -> dict[str, Tensor]:
        """{"picture": as many pictures as rgb [B,3,h,w], of its size}; it is not looked at otherwise."""
        check_shape(rgb, "B 3 h w", "rgb")
        z_T = noise.like(latent.encode(self.autoencoder, rgb), "gaussian", generators)
        return {"picture": self.draw(z_T, self.config.steps)}

    @torch.no_grad()
    def draw(self, z_T: Tensor, steps: int, spacing: Spacing | None = None) -> Tensor:
        """Noise [B,C,h/f,w/f] -> pictures [B,3,h,w] in [-1,1], by DDIM without randomness.

        With "leading" timesteps the first of few steps is told of less noise than there is (Lin et al.,
        2024; of Marigold: E2E-FT Sec. 3.2).
        """
        chosen = schedule.timesteps(steps, spacing or self.config.spacing, self.schedule.steps)
        *_, (z, _) = self.schedule.ddim(z_T, chosen, self.output)
        return latent.decode(self.autoencoder, z).clamp(-1, 1)

    def for_prediction(self, steps: int | None = None) -> Self:
        """Itself: nothing is predicted."""
        return self

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """The squared error of the predicted v (or what the schedule says), over all latent cells, in
        float32. Timesteps and then noise come from the generator (else UsageError).
        """
        if generator is None:
            raise UsageError("diffusion is trained with noise: pass a generator")
        with torch.no_grad():
            z_0 = latent.encode(self.autoencoder, batch.rgb)  # [B,C,h/f,w/f]
        t = torch.randint(0, self.schedule.steps, (len(z_0),), generator=generator, device=generator.device)
        epsilon = torch.randn(z_0.shape, generator=generator, device=generator.device).to(z_0)
        t = t.to(z_0.device)
        v = self.output(self.schedule.noisy(z_0, epsilon, t), t)
        return losses.diffusion(v, self.schedule.target(z_0, epsilon, t))

    @classmethod
    def load(
        cls, folder: Path, card: Card | None = None, *, empty_text: Path | None = None, **options: Any
    ) -> Self:
        """A diffusers folder, its weights in float32; with `unet` among the options, one that holds an
        autoencoder is enough. `options` replace entries of the card's config. Raises WeightsError or
        DocumentError, one line.
        """
        card = card or cards.read(folder / "card.yaml")
        config = cards.config_of(card, Config, **options)
        return cls(config, *stable_diffusion.load(folder, empty_text, config), card)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A diffusers folder with card.yaml, which `load` reads back, and from which other methods start."""
        self.write(folder, "LatentDiffusion", self.schedule.to_config(self.config.spacing), fp16=fp16)


def prompt(unet: nn.Module) -> Tensor:
    """What stands for the encoded empty prompt where there is no text: a constant [1,77,C]."""
    network: Any = unet
    width = int(network.config.cross_attention_dim)
    return torch.randn(1, PROMPT_TOKENS, width, generator=Generator().manual_seed(0))
