"""E2E-FT: the last diffusion step as a one-pass regressor, trained on the task itself (Martin Garcia et al.).

Sec. 3.2: with the timestep aligned to the noise, a single step at t = T works.            -> forward
Sec. 4: then train the network end to end, through the decoder, on a task loss, eq. 1 or 2.  -> loss

Symbols are the paper's: x the picture's latent, z_T the start latent, v the network's output, z_0 the clean
latent. Its timesteps count from 1 and ours from 0: t = T is T - 1 here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Generator, Tensor, nn

from leadline import cards, coding, documents, losses, noise, presets, weights
from leadline.camera import normal_signs
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import DataError, UsageError, WeightsError, check_shape
from leadline.losses import Loss
from leadline.networks import latent
from leadline.prediction import Kind
from leadline.schedule import Schedule
from leadline.sizes import SizeRule

KINDS = {"depth": Kind.affine_depth, "disparity": Kind.affine_disparity, "normals": Kind.normals}
TEXT = "empty_text.safetensors"  # in place of a text encoder: the only prompt is the empty one


class Config(BaseModel):
    """What distinguishes one E2E-FT model from another. Defaults are the paper's depth model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Literal["depth", "disparity", "normals"] = "depth"
    noise: Literal["none", "zeros", "gaussian", "pyramid"] = "zeros"  # Tab. 4: zeros; none: RGB latent only
    loss: Literal["paper", "midas"] = "paper"  # paper: eq. 1 or 2; midas: robust, for training from nothing
    gradient_weight: float = 0.5  # midas: weight of the edges
    log_weight: float = 0.0  # midas, disparity: weight of the relative error after a fit
    percentiles: tuple[float, float] | None = (0.02, 0.98)  # Supp. B: depths beyond these are moved to them
    clamp: bool = True  # code: depth beyond [-1,1] is cut, without gradient; without it maps are stretched
    train_autoencoder: bool = False  # Tab. A-2: not worth it, unless the autoencoder starts from nothing
    checkpoint_unet: bool = False  # recompute activations in the backward pass: less memory, same gradients
    checkpoint_autoencoder: bool = False
    text_tokens: Literal[2, 77] = 2  # of the empty prompt: its start and end, or padded
    train_text_tokens: Literal[2, 77] = 2  # the authors trained with 77 and predicted with 2
    frame: Literal["opencv", "opengl", "e2e_ft"] = "opencv"  # of the network's normals
    compat: str = "leadline"  # arithmetic of the released code: a name of leadline.presets
    size: dict[str, Any] = {}  # what differs from the preset's SizeRule
    unet: dict[str, Any] = {}  # diffusers configurations, to start from random weights
    autoencoder: dict[str, Any] = {}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.target == "normals" and self.loss == "midas":
            raise ValueError("loss midas is for depth and disparity: normals need loss paper")
        if self.log_weight and self.target != "disparity":
            raise ValueError(f"log_weight is for disparity, the target is {self.target}: leave it out")
        try:
            replace(presets.get(self.compat).size, **self.size)
        except (TypeError, UsageError) as error:
            raise ValueError(f"size or compat: {error}") from None
        return self


class E2EFT(nn.Module):
    """A diffusion network used once: RGB in, geometry out. By default only the UNet is trained.

    empty_text: the encoded empty prompt [1,N,C], for a UNet with cross attention. card: what the weights are.
    """

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
        self.takes_text = bool(getattr(unet.config, "cross_attention_dim", None))
        self.register_buffer("empty_text", empty_text if self.takes_text else None, persistent=False)
        self.kind = KINDS[config.target]
        self.card = card or Card(name="untitled", method="e2e-ft", kind=self.kind)
        self.preset = presets.get(config.compat)
        if not config.clamp:  # nothing else bounds the values
            self.preset = replace(self.preset, stretch=True)
        self._check_text()
        autoencoder.requires_grad_(config.train_autoencoder)
        for network, wanted in ((unet, config.checkpoint_unet), (autoencoder, config.checkpoint_autoencoder)):
            if wanted:
                network.enable_gradient_checkpointing()  # type: ignore[operator]

    @property
    def size_rule(self) -> SizeRule:
        """How pictures come in: the preset's rule, the config's changes, sides that the networks can take."""
        rule = replace(self.preset.size, **self.config.size)
        return replace(rule, multiple=math.lcm(rule.multiple, latent.multiple(self.autoencoder, self.unet)))

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
        image, or the start latent z_T itself; `text` [1,N,C] replaces the empty prompt; the camera is not
        used.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        x = latent.encode(self.autoencoder, rgb)  # [B,C,h/f,w/f]
        if self.config.noise == "none":
            z_T, seen = x.new_zeros(()), x
        else:
            z_T = noise.like(x, self.config.noise, generators) if z_T is None else z_T
            seen = torch.cat([x, z_T], dim=1)  # [B,2C,h/f,w/f]
        t = self.schedule.steps - 1
        v = self._unet(seen, t, text)  # [B,C,h/f,w/f]
        z_0 = self.schedule.clean(z_T, v, t)  # Sec. 4: the clean latent, not the sampler's next one
        return {self.config.target: self.head(latent.decode(self.autoencoder, z_0))}

    def head(self, decoded: Tensor) -> Tensor:
        """Decoder output [B,3,h,w] -> the quantity: mean over channels, or unit vectors."""
        if self.config.target == "normals":
            signs = decoded.new_tensor(normal_signs(self.config.frame, "opencv"))
            return coding.unit(decoded, self.preset) * signs.view(1, 3, 1, 1)
        value = decoded.mean(dim=1, keepdim=True)  # [B,1,h,w]
        return value.clamp(-1, 1) if self.config.clamp else value

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """The objective on one batch, in float32. Noise of its images comes from the generator in turn.

        Raises DataError if the batch lacks what the target needs.
        """
        generators = None if generator is None else [generator] * len(batch.rgb)
        text = self._empty(self.config.train_text_tokens)
        pred = self(batch.rgb, generators=generators, text=text)[self.config.target]
        return self._compare(pred.float(), *self._wanted(batch))

    def _wanted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the prediction is compared with, and where."""
        wanted = batch.normals if self.config.target == "normals" else batch.depth_m
        if wanted is None:
            name = "normals" if self.config.target == "normals" else "depth"
            raise DataError(
                f"the batch has no {name}, which target {self.config.target} needs: choose other data"
            )
        if self.config.target == "normals":
            return wanted, batch.valid
        if self.config.target == "disparity":
            return coding.disparity(wanted, batch.valid)
        valid = batch.valid & wanted.isfinite()
        if self.config.percentiles is None:
            return wanted, valid
        return coding.clip_to_percentiles(wanted, valid, *self.config.percentiles)

    def _compare(self, pred: Tensor, wanted: Tensor, valid: Tensor) -> Loss:
        if self.config.loss == "midas":
            return losses.midas(pred, wanted, valid, self.config.gradient_weight, self.config.log_weight)
        normals = self.config.target == "normals"
        name, function = ("angle", losses.angular) if normals else ("ssi", losses.scale_shift_l1)
        total = function(pred, wanted, valid, compat=self.preset.plain_losses)
        return Loss(total, {name: total.detach()})

    def train(self, mode: bool = True) -> Self:
        """Training mode; an autoencoder that is not trained stays in evaluation mode."""
        super().train(mode)
        self.autoencoder.train(mode and self.config.train_autoencoder)
        return self

    def _unet(self, seen: Tensor, t: int, text: Tensor | None) -> Tensor:
        if text is None or not self.takes_text:
            text = self._empty(self.config.text_tokens)  # None for a UNet without cross attention
        condition = () if text is None else (text.to(seen.dtype).expand(len(seen), -1, -1),)
        out: Tensor = self.unet(seen, t, *condition).sample
        return out

    def _empty(self, tokens: int) -> Tensor | None:
        return None if self.empty_text is None else self.empty_text[:, :tokens]

    def _check_text(self) -> None:
        tokens = max(self.config.text_tokens, self.config.train_text_tokens)
        stored = 0 if self.empty_text is None else self.empty_text.shape[1]
        if self.takes_text and stored < tokens:
            raise WeightsError(
                f"the encoded empty prompt has {stored} tokens, this UNet needs {tokens}: "
                "pass empty_text [1,N,C], or keep empty_text.safetensors in the model's folder"
            )

    @classmethod
    def random(cls, config: Config, seed: int = 0, empty_text: Tensor | None = None) -> Self:
        """From nothing: the networks that the config describes, with weights drawn from the seed."""
        unet, autoencoder = weights.build(config.unet, seed), weights.build(config.autoencoder, seed + 1)
        return cls(config, unet, autoencoder, empty_text=empty_text)

    @classmethod
    def load(cls, folder: Path, card: Card | None = None, **options: Any) -> Self:
        """A diffusers folder, its weights in float32. `options` replace entries of the card's config.

        `card` is for folders that have no card.yaml. Raises WeightsError or DocumentError, one line.
        """
        card = card or cards.read(folder / "card.yaml")
        frame = {"frame": card.frame} if card.frame else {}
        given = {"size": card.size_rule} | frame | card.config | options
        text = weights.load_state(folder / TEXT) if (folder / TEXT).is_file() else {}
        return cls(
            documents.validate(given, Config, f"{card.name}: config"),
            weights.load_network(folder / "unet"),
            weights.load_network(folder / "vae"),
            Schedule.from_config(weights.read_json(folder / "scheduler" / "scheduler_config.json")),
            text["empty_text"].float() if text else None,
            card,
        )

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A diffusers folder with card.yaml, which `load` reads back; fp16 halves it and rounds."""
        networks = {"unet": self.unet, "vae": self.autoencoder}
        weights.save_folder(folder, "E2EFT", networks, self.schedule.to_config(), fp16=fp16)
        if self.empty_text is not None:
            weights.save_state({"empty_text": self.empty_text}, folder / TEXT, fp16=fp16)
        cards.write(self._own_card(), folder / "card.yaml")

    def _own_card(self) -> Card:
        elsewhere = {"unet", "autoencoder", "size", "frame"}  # in the folder, or entries of their own
        config = self.config.model_dump(mode="json", exclude_defaults=True, exclude=elsewhere)
        return self.card.model_copy(
            update={
                "kind": self.kind,
                "frame": self.config.frame if self.kind is Kind.normals else None,
                "size_rule": self.config.size,
                "parameters": sum(p.numel() for p in self.parameters()),
                "config": config,
            }
        )
