"""Marigold: Stable Diffusion, fine-tuned to denoise depth or normals beside a picture (Ke et al.).

Sec. 3.2: latents of picture and depth side by side; the first convolution is doubled.   -> forward
Sec. 3.3: fine-tuning with affine-invariant depth and annealed multi-resolution noise.    -> loss
Sec. 3.4: denoising from noise, and test-time ensembling.                   -> forward, leadline.ensemble

Symbols are E2E-FT's (Sec. 3.2, 4): x the picture's latent, z_t the noisy latent of depth, z_0 the clean one
(there z* where it is the truth's), epsilon the noise. Published models have v-prediction; version 1.1 has
trailing timesteps and zero-terminal SNR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Generator, Tensor, nn

from leadline import cards, coding, losses, noise, schedule
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import DataError, UsageError, check_shape
from leadline.losses import Loss
from leadline.networks import latent, stable_diffusion
from leadline.networks.stable_diffusion import Parts
from leadline.prediction import Kind
from leadline.presets import Percentiles
from leadline.schedule import Schedule, Spacing

KINDS = {"depth": Kind.affine_depth, "normals": Kind.normals}
SCHEDULERS = {"ddim": "DDIMScheduler", "lcm": "LCMScheduler"}


class Config(stable_diffusion.Config):
    """What distinguishes one Marigold model from another. Defaults are depth v1.1's."""

    target: Literal["depth", "normals"] = "depth"
    sampler: Literal["ddim", "lcm"] = "ddim"  # lcm: distilled to few steps (Luo et al.)
    spacing: Spacing = "trailing"  # of ddim's timesteps; with "leading", few steps return noise
    full_z_range: bool = True  # normals: else the network's z is in [0,1]
    frame: Literal["opencv", "opengl", "e2e_ft"] = "opengl"  # of the network's normals
    percentiles: Percentiles = (0.02, 0.98)  # Sec. 3.3: depths that become -1 and 1
    noise_strength: float = 0.9  # Sec. 3.3: of the coarse levels, at t = T; annealed to 0 at t = 0
    noise_levels: noise.Levels = "original"  # the sizes of those levels
    zero_snr: bool | None = None  # v1.1: the last noise level holds no signal; None: as the folder says


class Marigold(stable_diffusion.Descendant):
    """A diffusion network, denoising: RGB and noise in, geometry out. Only the UNet is trained."""

    config: Config
    steps: int
    members: int

    def __init__(
        self,
        config: Config,
        unet: nn.Module,
        autoencoder: nn.Module,
        schedule: Schedule | None = None,
        empty_text: Tensor | None = None,
        card: Card | None = None,
    ) -> None:
        schedule = schedule or Schedule(zero_snr=True)
        if config.zero_snr is not None:
            schedule = replace(schedule, zero_snr=config.zero_snr)
        parts = Parts(unet, autoencoder, schedule, empty_text)
        super().__init__(config, parts, card, method="marigold", kind=KINDS[config.target], latents=2)
        self.steps = self.preset.steps or self.card.defaults.steps
        self.members = self.preset.members or self.card.defaults.ensemble

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: Tensor | None = None,
        z_T: Tensor | None = None,
        steps: int | None = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> {target: map of the same size}.

        "depth" [B,1,h,w] in [-1,1], 1 = far; "normals" [B,3,h,w], unit vectors in the OpenCV frame. Noise
        needs one generator per image, or the start latents z_T. With E generators or latents per image,
        those of one image together, there are E maps of each in that order [B*E,C,h,w], denoised one after
        the other. `text` [1,N,C] replaces the empty prompt; the camera is not used.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        x = self._latent(rgb)
        maps = []
        for start, own in latent.starts(x, generators, z_T, partial(noise.like, x, "gaussian")):
            z = self.denoise(x, start, steps or self.steps, own, text)  # [B,C,h/f,w/f]
            maps.append(self.head(latent.decode(self.autoencoder, z)))
        return {self.config.target: torch.stack(maps, dim=1).flatten(0, 1)}

    def denoise(
        self,
        x: Tensor,
        z: Tensor,
        steps: int,
        generators: Sequence[Generator] | None = None,
        text: Tensor | None = None,
    ) -> Tensor:
        """The picture's latent x and noise z [B,C,h,w] -> the clean latent."""
        *_, (z_end, z_0) = self._trajectory(x, z, steps, generators, text)
        return z_0 if self.preset.clean_latent else z_end

    def each_step(self, rgb: Tensor, *, generators: Sequence[Generator], steps: int) -> Iterator[Tensor]:
        """As `forward`, with one generator per image: what each of the steps takes for the result."""
        x = self._latent(rgb)
        for _, z_0 in self._trajectory(x, noise.like(x, "gaussian", generators), steps, generators, None):
            yield self.head(latent.decode(self.autoencoder, z_0))

    def _trajectory(
        self, x: Tensor, z: Tensor, steps: int, generators: Sequence[Generator] | None, text: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """After each step the latent, and what the step takes for the clean one. LCM draws noise between."""
        chosen = self.timesteps(steps)
        if self.config.sampler == "ddim":
            yield from self.schedule.ddim(z, chosen, lambda z, t: self._output(x, z, t, text))
            return
        for t, t_next in zip(chosen, [*chosen[1:], None], strict=True):
            z = z_0 = self.schedule.consistent(z, self._output(x, z, t, text), t)
            if t_next is not None:
                z = self.schedule.noisy(z_0, noise.like(z, "gaussian", generators), t_next)
            yield z, z_0

    def head(self, decoded: Tensor) -> Tensor:
        """Decoder output [B,3,h,w] -> the quantity: mean over channels, or unit vectors."""
        if self.config.target == "depth":
            return decoded.mean(dim=1, keepdim=True).clamp(-1, 1)  # [B,1,h,w]
        n = decoded.clamp(-1, 1) if self.preset.clip_normals else decoded
        if not self.config.full_z_range:
            n = torch.cat([n[:, :2], n[:, 2:] * 0.5 + 0.5], dim=1)
        return self._turned(coding.unit(n, self.preset))

    def for_prediction(self, steps: int | None = None) -> Self:
        """A faster model for prediction with the empty prompt in so many steps; weights are shared."""
        chosen = self.timesteps(steps or self.steps)
        parts = self.faster(chosen, mean_channels=self.config.target == "depth")
        config = self.config.model_copy(update={"checkpoint_unet": False})
        return type(self)(config, *parts, self.card).eval()

    def timesteps(self, steps: int) -> list[int]:
        """The sampler's, in falling order. Raises UsageError for more than there are."""
        if self.config.sampler == "lcm":
            return schedule.lcm_timesteps(steps, self.schedule.steps)
        return schedule.timesteps(steps, self.preset.spacing or self.config.spacing, self.schedule.steps)

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """Sec. 3.3: the squared error of the predicted v (or what the schedule says), over latent cells that
        are valid as a whole, in float32. Timesteps and then noise come from the generator; noise has unit
        deviation over the batch, as the authors'.

        Raises DataError if the batch lacks what the target needs, UsageError without a generator.
        """
        if generator is None:
            raise UsageError("diffusion is trained with noise: pass a generator")
        wanted, valid = self._wanted(batch)
        with torch.no_grad():
            x, z_0 = (latent.encode(self.autoencoder, picture) for picture in (batch.rgb, wanted))
        T = self.schedule.steps
        t = torch.randint(0, T, (len(x),), generator=generator, device=generator.device)
        strength = (self.config.noise_strength * t / T).view(-1, 1, 1, 1)  # [B,1,1,1]
        sources = noise.sources(generator)
        epsilon = noise.pyramid(tuple(x.shape), *sources, strength, self.config.noise_levels).to(x)
        return self.compare(x, z_0, epsilon, t.to(x.device), valid)

    def compare(self, x: Tensor, z_0: Tensor, epsilon: Tensor, t: Tensor, valid: Tensor) -> Loss:
        """The loss of latents [B,C,h,w] at timesteps t [B]; `valid` [B,1,H,W] bool is of the picture."""
        z_t = self.schedule.noisy(z_0, epsilon, t)
        wanted = self.schedule.target(z_0, epsilon, t)
        cells = latent.whole(valid, latent.factor(self.autoencoder))
        return losses.diffusion(self._output(x, z_t, t, None), wanted, cells)

    def _wanted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The target as a picture [B,3,h,w] in [-1,1], and where it is known. Unknown depths are far."""
        given = batch.normals if self.config.target == "normals" else batch.depth_m
        if self.config.target == "depth":
            given = batch.said(self.kind) if given is None else given
        if given is None:
            raise DataError(f"the batch has no {self.config.target}, which the model is trained on")
        valid = batch.valid & given.isfinite().all(dim=1, keepdim=True)
        if self.config.target == "normals":
            return self._turned(torch.where(valid, given, 0)), valid
        return coding.picture(given, valid & (given > 0), *self.config.percentiles)

    def _turned(self, n: Tensor) -> Tensor:
        """Normals [B,3,h,w] from the network's frame to OpenCV's, or back."""
        return coding.turned(n, self.config.frame, "opencv")

    def _latent(self, rgb: Tensor) -> Tensor:
        return latent.encode(self.autoencoder, (rgb + 1) / 2 if self.preset.unsigned_rgb else rgb)

    def _output(self, x: Tensor, z: Tensor, t: int | Tensor, text: Tensor | None) -> Tensor:
        return self.output(torch.cat([x, z], dim=1), t, text)

    @classmethod
    def load(
        cls, folder: Path, card: Card | None = None, *, empty_text: Path | None = None, **options: Any
    ) -> Self:
        """A diffusers folder, its weights in float32. `options` replace entries of the card's config.

        `card` is for folders that have no card.yaml; `empty_text` is a file with the encoded empty prompt
        [1,N,C], in place of what the folder's text encoder makes of it. Raises WeightsError or
        DocumentError, one line.
        """
        card = card or cards.read(folder / "card.yaml")
        config = cards.config_of(card, Config, **options)
        return cls(config, *stable_diffusion.load(folder, empty_text, config, latents=2), card)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A folder with card.yaml, which `load` and diffusers' pipelines read. Without a text encoder (a
        training copies that of its start) they need `text_encoder=None, tokenizer=None`, and the tensor in
        empty_text.safetensors as their `empty_text_embedding`.
        """
        scheduler = self.schedule.to_config(self.config.spacing)
        scheduler["_class_name"] = SCHEDULERS[self.config.sampler]
        pipeline, resolution = stable_diffusion.PIPELINES[self.config.target], self.size_rule.processing_res
        index = stable_diffusion.pipeline_index(self.config.target, self.steps, resolution)
        if self.config.target == "normals":
            index["use_full_z_range"] = self.config.full_z_range
        self.write(folder, pipeline, scheduler, index=index, fp16=fp16)
