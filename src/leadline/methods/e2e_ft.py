"""E2E-FT: the last diffusion step as a one-pass regressor, trained on the task itself (Martin Garcia et al.).

Sec. 3.2: with the timestep aligned to the noise, a single step at t = T works.            -> forward
Sec. 4: then train the network end to end, through the decoder, on a task loss, eq. 1 or 2.  -> loss

Symbols are the paper's: x the picture's latent, z_T the start latent, v the network's output, z_0 the clean
latent. Its timesteps count from 1 and ours from 0: t = T is T - 1 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import model_validator
from torch import Generator, Tensor, nn

from leadline import cards, coding, losses, noise
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import DataError, check_shape
from leadline.losses import Loss
from leadline.networks import frozen, latent, stable_diffusion
from leadline.networks.stable_diffusion import Parts
from leadline.prediction import Kind
from leadline.presets import Percentiles
from leadline.schedule import Schedule

KINDS = {"depth": Kind.affine_depth, "disparity": Kind.affine_disparity, "normals": Kind.normals}


class Config(stable_diffusion.Config):
    """What distinguishes one E2E-FT model from another. Defaults are the paper's depth model."""

    target: Literal["depth", "disparity", "normals"] = "depth"
    noise: Literal["none", "zeros", "gaussian", "pyramid"] = "zeros"  # Tab. 4: zeros; none: RGB latent only
    loss: Literal["paper", "midas"] = "paper"  # paper: eq. 1 or 2; midas: robust, for training from nothing
    gradient_weight: float = 0.5  # midas: weight of the edges
    log_weight: float = 0.0  # midas, disparity: weight of the relative error after a fit
    # code: depths beyond are moved there, in metres; Supp. B removes them and normalises what is left
    percentiles: Percentiles | None = (0.02, 0.98)
    clamp: bool = True  # code: depth beyond [-1,1] is cut, without gradient; without it maps are stretched
    # Tab. A-2: its decoder, not worth it; true: all of it, where it starts from nothing
    train_autoencoder: bool | Literal["decoder"] = False
    checkpoint_autoencoder: bool = False  # as checkpoint_unet; a frozen one takes a third of it anyway
    train_text_tokens: Literal[2, 77] = 2  # the authors trained with 77 and predicted with 2
    frame: Literal["opencv", "opengl", "e2e_ft"] = "opencv"  # of the network's normals

    @property
    def latents(self) -> int:
        """How many the UNet reads side by side: the picture's, and z_T."""
        return 1 if self.noise == "none" else 2

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.target == "normals" and self.loss == "midas":
            raise ValueError("loss midas is for depth and disparity: normals need loss paper")
        if self.log_weight and self.target != "disparity":
            raise ValueError(f"log_weight is for disparity, the target is {self.target}: leave it out")
        return self


class E2EFT(stable_diffusion.Descendant):
    """A diffusion network used once: RGB in, geometry out. By default only the UNet is trained."""

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
        schedule = replace(schedule or Schedule(), alpha_to_one=True)  # a sampler's step then ends in z_0
        super().__init__(
            config,
            Parts(unet, autoencoder, schedule, empty_text),
            card,
            method="e2e-ft",
            kind=KINDS[config.target],
            latents=config.latents,
            tokens=max(config.text_tokens, config.train_text_tokens),
        )
        if not config.clamp:  # nothing else bounds the values
            self.preset = replace(self.preset, stretch=True)
        autoencoder.requires_grad_(config.train_autoencoder is True)
        if config.train_autoencoder == "decoder":
            for part in latent.DECODERS:
                network = getattr(autoencoder, part, None)
                if isinstance(network, nn.Module):
                    network.requires_grad_(True)
        if config.checkpoint_autoencoder:
            stable_diffusion.recompute(autoencoder)

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: Tensor | None = None,
        z_T: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> {target: map of the same size}.

        "depth" [B,1,h,w] in [-1,1], 1 = far; "disparity" likewise, 1 = near (neither has bounds without
        `clamp`); "normals" [B,3,h,w], unit vectors in the OpenCV frame. Noise needs one generator per
        image, or the start latents z_T [B,C,h/f,w/f] themselves (else ShapeError); `text` [1,N,C] replaces
        the empty prompt; the camera is not used.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        x = latent.encode(self.autoencoder, rgb)  # [B,C,h/f,w/f]
        if self.config.noise == "none":
            z_T, seen = x.new_zeros(()), x
        else:
            z_T = noise.like(x, self.config.noise, generators) if z_T is None else z_T
            check_shape(z_T, "B C h w", "z_T", B=x.shape[0], C=x.shape[1], h=x.shape[2], w=x.shape[3])
            seen = torch.cat([x, z_T], dim=1)  # [B,2C,h/f,w/f]
        t = self.schedule.steps - 1
        v = self.output(seen, t, text)  # [B,C,h/f,w/f]
        z_0 = self.schedule.clean(z_T, v, t)  # Sec. 4: the clean latent, not the sampler's next one
        decoded = frozen.decode(self.autoencoder, z_0, recompute=self.config.checkpoint_autoencoder)
        return {self.config.target: self.head(decoded)}

    def head(self, decoded: Tensor) -> Tensor:
        """Decoder output [B,3,h,w] -> the quantity: mean over channels, or unit vectors."""
        if self.config.target == "normals":
            return coding.turned(coding.unit(decoded, self.preset), self.config.frame, "opencv")
        value = decoded.mean(dim=1, keepdim=True)  # [B,1,h,w]
        return value.clamp(-1, 1) if self.config.clamp else value

    def for_prediction(self, steps: int | None = None) -> Self:
        """A faster model for prediction with the empty prompt and noise of the config's kind; weights are
        shared.
        """
        parts = self.faster(
            [self.schedule.steps - 1],
            zero_start=self.config.noise == "zeros",
            mean_channels=self.config.target != "normals",
        )
        training = {"train_autoencoder": False, "checkpoint_unet": False, "checkpoint_autoencoder": False}
        config = self.config.model_copy(update=training | {"train_text_tokens": self.config.text_tokens})
        return type(self)(config, *parts, self.card).eval()

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """The objective on one batch, in float32. Noise of its images comes from the generator in turn.

        Raises DataError if the batch lacks what the target needs.
        """
        wanted = self._wanted(batch)
        generators = None if generator is None else [generator] * len(batch.rgb)
        text = self.empty_prompt(self.config.train_text_tokens)
        pred = self(batch.rgb, generators=generators, text=text)[self.config.target]
        return self._compare(pred.float(), *wanted, has_unit=batch.depth_m is not None)

    def _wanted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the prediction is compared with, and where."""
        if self.config.target == "normals":
            return _given(batch.normals, "normals"), batch.valid
        said = batch.said(self.kind)
        if said is not None and self.config.target == "disparity":
            return said, batch.valid
        wanted = _given(batch.depth_m if said is None else said, "depth")
        if self.config.target == "disparity":
            return coding.disparity(wanted, batch.valid)
        valid = batch.valid & wanted.isfinite()
        if self.config.percentiles is None:
            return wanted, valid
        return coding.clip_to_percentiles(wanted, valid, *self.config.percentiles)

    def _compare(self, pred: Tensor, wanted: Tensor, valid: Tensor, *, has_unit: bool) -> Loss:
        if self.config.loss == "midas":
            log_weight = self.config.log_weight if has_unit else 0.0  # no relative error without metres
            return losses.midas(pred, wanted, valid, self.config.gradient_weight, log_weight)
        normals = self.config.target == "normals"
        name, function = ("angle", losses.angular) if normals else ("ssi", losses.scale_shift_l1)
        total = function(pred, wanted, valid, compat=self.preset.plain_losses)
        return Loss(total, {name: total.detach()}, valid.sum())

    @classmethod
    def load(
        cls, folder: Path, card: Card | None = None, *, empty_text: Path | None = None, **options: Any
    ) -> Self:
        """A diffusers folder, its weights in float32. `options` replace entries of the card's config.

        `card` is for folders that have no card.yaml; `empty_text` is a file with the encoded empty prompt
        [1,N,C], in place of what the folder's text encoder makes of it (leadline.networks.text). Raises
        WeightsError or DocumentError, one line.
        """
        card = card or cards.read(folder / "card.yaml")
        config = cards.config_of(card, Config, **options)
        return cls(config, *stable_diffusion.load(folder, empty_text, config, latents=config.latents), card)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A diffusers folder with card.yaml, which `load` reads back; fp16 halves it and rounds. If its UNet
        reads a start latent, diffusers' Marigold pipelines take it: give them that latent (`latents=`).
        """
        target, index, pipeline = self.config.target, {}, "E2EFT"
        if self.config.latents == 2 and target in stable_diffusion.PIPELINES:
            pipeline = stable_diffusion.PIPELINES[target]
            index = stable_diffusion.pipeline_index(target, 1, self.size_rule.processing_res)
        self.write(folder, pipeline, self.schedule.to_config(), index=index, fp16=fp16)


def _given(truth: Tensor | None, name: str) -> Tensor:
    if truth is None:
        raise DataError(f"the batch has no {name}, which the model is trained on: choose other data")
    return truth
