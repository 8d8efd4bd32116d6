"""The first stage of latent diffusion (Rombach et al.): pictures to latents and back, here at small scale.

Sec. 3.1: an autoencoder whose latents are kept near a standard normal by a slight penalty.  -> loss
App. G: latents are divided by their root mean square, so that every diffusion model meets the same.   -> save

There is no critic here and no perceptual loss, which needs networks trained on other data. Depth and normals
live in this latent space too, so their maps are among the pictures that it learns. Symbols are the paper's:
x a picture, z its latent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from leadline import cards, coding, losses, presets, weights
from leadline.camera import NORMAL_FRAMES
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import UsageError, check_shape
from leadline.losses import Loss
from leadline.networks import latent
from leadline.networks.resampling import start_as_resampling
from leadline.prediction import Kind
from leadline.presets import Percentiles
from leadline.sizes import SizeRule

NEW_SHARE = 0.01  # of the running mean square of the latents: what a batch adds


class Config(presets.Config):
    """What distinguishes one autoencoder from another."""

    edge_weight: float = 0.5  # of errors in the differences between neighbouring pixels: sharper pictures
    normal_weight: float = 1e-3  # of the penalty that keeps latents near a standard normal
    deviation: float = 0.05  # of the noise on latents in training: diffusion models leave some behind
    resampling: bool = Field(False, exclude=True)  # random weights begin as a shrinking and enlarging
    percentiles: Percentiles = (0.02, 0.98)  # of depths and disparities, that become -1 and 1
    # a diffusers configuration, to start from random weights; saved models have it in their folder
    autoencoder: dict[str, Any] = Field({}, exclude=True)


class Autoencoder(nn.Module):
    """Pictures in, the same pictures out, through a latent of few channels. card: what the weights are."""

    presets: ClassVar = presets.PRESETS
    mean_square: Tensor

    def __init__(self, config: Config, autoencoder: nn.Module, card: Card | None = None) -> None:
        super().__init__()
        self.config, self.autoencoder = config, autoencoder
        self.kind = Kind.picture
        self.card = card or Card(name="untitled", method="autoencoder", kind=self.kind)
        self.preset = config.preset
        self.steps: int | None = None
        self.members: int | None = None
        self.register_buffer("mean_square", torch.ones(()))  # of the latents, over the last batches

    @property
    def size_rule(self) -> SizeRule:
        """How pictures come in: the preset's rule, the config's changes, sides that the network can take."""
        return self.preset.size.in_multiples(latent.factor(self.autoencoder))

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: object = None,
        camera: object = None,
        text: object = None,
    ) -> dict[str, Tensor]:
        """Pictures [B,3,h,w] in [-1,1] -> {"picture": the same after the round trip}, cut to [-1,1]."""
        check_shape(rgb, "B 3 h w", "rgb")
        z = latent.encode(self.autoencoder, rgb)
        return {"picture": latent.decode(self.autoencoder, z).clamp(-1, 1)}

    def for_prediction(self, steps: int | None = None) -> Self:
        """Itself: there is no faster form."""
        return self

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """Mean error of the round trip over photographs, maps of depth or disparity, and normals, those that
        the batch has; what is unknown of them is not compared. Raises UsageError without a generator.
        """
        if generator is None:
            raise UsageError("latents are trained with noise: pass a generator")
        parts, squares = {}, []
        for name, (x, valid) in self.pictures(batch, generator).items():
            z = latent.encode(self.autoencoder, x)  # [B,C,h/f,w/f]
            noise = torch.randn(z.shape, generator=generator, device=generator.device).to(z)
            again = latent.decode(self.autoencoder, z + self.config.deviation * noise).float()
            edges = losses.slopes(again, x, valid, per="difference")
            parts[name] = losses.l1(again, x, valid) + self.config.edge_weight * edges
            squares.append(z.float().square().mean())
        square = torch.stack(squares).mean()
        if self.training:
            self.mean_square.lerp_(square.detach(), NEW_SHARE)
        error = torch.stack(list(parts.values())).mean()
        total = error + self.config.normal_weight * square / 2
        return Loss(total, {name: part.detach() for name, part in parts.items()}, len(batch))

    def pictures(self, batch: Batch, generator: Generator) -> dict[str, tuple[Tensor, Tensor]]:
        """What this latent space is for, as pictures [B,3,h,w] in [-1,1], and where they are known [B,1,h,w].

        Whether a map holds depths or disparities, and in which frame normals are, is drawn.
        """
        found = {"photograph": (batch.rgb, torch.ones_like(batch.valid))}
        draws = torch.rand(2, generator=generator, device=generator.device).tolist()
        if batch.depth_m is not None:
            as_map = depth_picture if draws[0] < 0.5 else disparity_picture
            found["depth"] = as_map(batch.depth_m, batch.valid, *self.config.percentiles)
        if batch.normals is not None:
            frame = sorted(NORMAL_FRAMES)[int(draws[1] * len(NORMAL_FRAMES))]
            found["normals"] = (coding.turned(batch.normals, "opencv", frame), batch.valid)
        return found

    @classmethod
    def random(cls, config: Config, seed: int = 0) -> Self:
        """From nothing: the network that the config describes, with weights drawn from the seed."""
        autoencoder = weights.build(config.autoencoder, seed, weights.AUTOENCODERS)
        if config.resampling:
            start_as_resampling(autoencoder)
        return cls(config, autoencoder)

    @classmethod
    def load(cls, folder: Path, card: Card | None = None, **options: Any) -> Self:
        """The autoencoder of a diffusers folder, in float32. `options` replace entries of the card's config.
        Raises WeightsError or DocumentError, one line.
        """
        card = card or cards.read(folder / "card.yaml")
        config = cards.config_of(card, Config, **options)
        return cls(config, weights.load_network(folder / "vae", weights.AUTOENCODERS), card)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """vae/ and card.yaml: a folder that `load` reads back, and from which diffusion models start."""
        network: Any = self.autoencoder
        scale = network.config.scaling_factor * float(self.mean_square.sqrt().reciprocal())
        network.register_to_config(scaling_factor=scale)
        self.mean_square.fill_(1.0)  # of latents with the new factor
        weights.save_network(network, folder / "vae", fp16=fp16)
        card = cards.up_to_date(self.card, self.kind, self.config, self.parameters())
        cards.write(card, folder / "card.yaml")


def depth_picture(depth_m: Tensor, valid: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Depths [B,1,h,w] as Marigold encodes them, [B,3,h,w] in [-1,1], 1 = far; and where they are known."""
    return coding.picture(depth_m, valid & depth_m.isfinite() & (depth_m > 0), low, high)


def disparity_picture(depth_m: Tensor, valid: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Disparities likewise, 1 = near."""
    return coding.picture(*coding.disparity(depth_m, valid), low, high)
