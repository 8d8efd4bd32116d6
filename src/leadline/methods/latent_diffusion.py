"""Latent diffusion (Rombach et al.): a network that denoises latents of pictures, the prior of all else here.

Sec. 3.2: noise is added to a picture's latent, the network is asked what it was.  -> loss
Sec. 3.2: pictures are drawn by denoising noise step by step.                  -> draw, forward

Stable Diffusion is such a model; this is the same at small scale, as a start for methods that tune it where
there is none. It has no text: the empty prompt is a constant that is drawn once. It predicts v (Salimans and
Ho), as Stable Diffusion 2 does. Symbols are E2E-FT's (Sec. 3.1): z_0 the latent, z_t with noise epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from leadline import cards, noise, presets, schedule
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import UsageError, check_shape
from leadline.losses import Loss
from leadline.networks import latent, stable_diffusion
from leadline.networks.stable_diffusion import Parts
from leadline.prediction import Kind
from leadline.schedule import Schedule, Spacing
from leadline.sizes import SizeRule

PROMPT_TOKENS = 77  # of the constant that stands for the empty prompt, as many as Stable Diffusion's


class Config(stable_diffusion.Config):
    """What distinguishes one prior from another."""

    spacing: Spacing = "trailing"  # of the timesteps that pictures are drawn with
    steps: int = 20  # how many


class LatentDiffusion(nn.Module):
    """Noise in, pictures out. Only the UNet is trained.

    empty_text: what stands for the empty prompt [1,N,C], for a UNet with cross attention; none: drawn.
    """

    presets: ClassVar = presets.PRESETS
    empty_text: Tensor | None

    def __init__(
        self,
        config: Config,
        unet: nn.Module,
        autoencoder: nn.Module,
        schedule: Schedule | None = None,
        empty_text: Tensor | None = None,
        card: Card | None = None,
    ) -> None:
        super().__init__()
        self.config, self.unet, self.autoencoder = config, unet, autoencoder
        self.schedule = schedule or Schedule()
        self.kind = Kind.picture
        self.card = card or Card(name="untitled", method="latent-diffusion", kind=self.kind)
        self.preset = config.preset
        self.steps: int | None = None  # no picture is given that could be denoised beside
        self.members: int | None = None
        if empty_text is None and stable_diffusion.takes_text(unet):
            empty_text = prompt(unet)
        stable_diffusion.check(unet, autoencoder, empty_text, latents=1, tokens=config.text_tokens)
        self.register_buffer("empty_text", empty_text, persistent=False)
        autoencoder.requires_grad_(False)
        if config.checkpoint_unet:
            stable_diffusion.recompute(unet)

    @property
    def size_rule(self) -> SizeRule:
        """The preset's rule, the config's changes, sides that the networks can take."""
        return self.preset.size.in_multiples(latent.multiple(self.autoencoder, self.unet))

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

        With "leading" timesteps the first of few steps is told of less noise than there is: the flaw that
        E2E-FT found (Sec. 3.2).
        """
        z = z_T
        for t in schedule.timesteps(steps, spacing or self.config.spacing, self.schedule.steps):
            z = self.schedule.step(z, self._output(z, t), t, t - self.schedule.steps // steps)
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
        v = self._output(self.schedule.noisy(z_0, epsilon, t), t)
        total = (v - self.schedule.target(z_0, epsilon, t)).float().square().mean()
        return Loss(total, {"diffusion": total.detach()}, len(batch))

    def _output(self, z: Tensor, t: int | Tensor) -> Tensor:
        text = None if self.empty_text is None else self.empty_text[:, : self.config.text_tokens]
        return stable_diffusion.output(self.unet, z, t, text)

    def train(self, mode: bool = True) -> Self:
        """Training mode; the autoencoder stays in evaluation mode."""
        super().train(mode)
        self.autoencoder.eval()
        return self

    @classmethod
    def random(cls, config: Config, seed: int = 0, empty_text: Tensor | None = None) -> Self:
        """From nothing: the networks that the config describes, with weights drawn from the seed."""
        return cls(config, *stable_diffusion.build(config, seed), empty_text=empty_text)

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
        parts = Parts(self.unet, self.autoencoder, self.schedule, self.empty_text)
        scheduler = self.schedule.to_config(self.config.spacing)
        stable_diffusion.save(parts, folder, "LatentDiffusion", scheduler, fp16=fp16)
        card = cards.up_to_date(self.card, self.kind, self.config, self.parameters())
        cards.write(card, folder / "card.yaml")


def prompt(unet: nn.Module) -> Tensor:
    """What stands for the encoded empty prompt where there is no text: a constant [1,77,C]."""
    network: Any = unet
    width = int(network.config.cross_attention_dim)
    return torch.randn(1, PROMPT_TOKENS, width, generator=Generator().manual_seed(0))
