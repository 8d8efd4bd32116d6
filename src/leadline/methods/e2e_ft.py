"""E2E-FT: the last diffusion step as a one-pass regressor, trained on the task itself (Martin Garcia et al.).

Sec. 3: with the timestep aligned to the noise, a single step at t = T-1 works.    -> forward
Sec. 4: then train the network end to end, through the decoder, on a task loss.   -> loss
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Generator, Tensor, nn

from leadline import coding, losses, noise, presets, weights
from leadline.camera import normal_signs
from leadline.data.sample import Batch
from leadline.errors import DataError, UsageError, WeightsError, check_shape
from leadline.losses import Loss
from leadline.networks import latent
from leadline.prediction import Kind
from leadline.schedule import Schedule

KINDS = {"depth": Kind.affine_depth, "disparity": Kind.affine_disparity, "normals": Kind.normals}


class Config(BaseModel):
    """What distinguishes one E2E-FT model from another. Defaults are the paper's depth model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Literal["depth", "disparity", "normals"] = "depth"
    noise: Literal["none", "zeros", "gaussian", "pyramid"] = (
        "zeros"  # Tab. 4: zeros is best; none: RGB latent only
    )
    loss: Literal["paper", "midas"] = (
        "paper"  # paper: eq. 1 or eq. 2; midas: robust, for training from nothing
    )
    gradient_weight: float = 0.5  # midas only: alpha of its eq. 12
    percentiles: tuple[float, float] | None = (0.02, 0.98)  # Supp. B: depths beyond these are moved to them
    clamp: bool = True  # outputs beyond [-1, 1] are cut and get no gradient, as in the authors' code
    train_autoencoder: bool = False  # Tab. A-2: a trained decoder brings nothing; one from nothing needs it
    checkpoint_unet: bool = False  # recompute activations in the backward pass: less memory, same gradients
    checkpoint_autoencoder: bool = False
    text_tokens: Literal[2, 77] = 2  # of the empty prompt: start and end, or padded
    train_text_tokens: Literal[2, 77] = 2  # the authors trained with 77 and predicted with 2
    frame: Literal["opencv", "opengl", "e2e_ft"] = "opencv"  # the frame that the network's normals are in
    compat: str = "leadline"  # preset: arithmetic of the released code, see leadline.presets
    unet: dict[str, Any] = {}  # diffusers configuration, to start from random weights
    autoencoder: dict[str, Any] = {}

    @model_validator(mode="after")
    def _normals_have_one_loss(self) -> Config:
        if self.target == "normals" and self.loss == "midas":
            raise ValueError("loss 'midas' is for depth and disparity: normals need loss 'paper'")
        return self


class E2EFT(nn.Module):
    """A diffusion network used once: RGB in, geometry out. Only the UNet is trained unless the config says
    otherwise.

    empty_text: encoded empty prompt [1,N,C], needed by a UNet with cross attention; N >= the tokens that
    the config asks for.
    """

    def __init__(
        self,
        config: Config,
        unet: nn.Module,
        autoencoder: nn.Module,
        schedule: Schedule | None = None,
        empty_text: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config, self.unet, self.autoencoder = config, unet, autoencoder
        self.schedule = schedule or Schedule.sd2()
        self.preset = presets.get(config.compat)
        self.register_buffer("empty_text", empty_text, persistent=False)
        self._check_text()
        autoencoder.requires_grad_(config.train_autoencoder)
        for network, wanted in ((unet, config.checkpoint_unet), (autoencoder, config.checkpoint_autoencoder)):
            if wanted:
                network.enable_gradient_checkpointing()  # type: ignore[operator]

    @classmethod
    def random(cls, config: Config, seed: int = 0, empty_text: Tensor | None = None) -> E2EFT:
        """From nothing: the networks that the config describes, with weights drawn from the seed."""
        unet, autoencoder = weights.build(config.unet, seed), weights.build(config.autoencoder, seed + 1)
        return cls(config, unet, autoencoder, empty_text=empty_text)

    @property
    def kind(self) -> Kind:
        """The quantity that `forward` returns."""
        return KINDS[self.config.target]

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: Tensor | None = None,
        z_T: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> one map of the same size, named by the target.

        "depth" [B,1,h,w] in [-1,1], 1 = far; "disparity" the same, 1 = near (neither is bounded without
        `clamp`); "normals" [B,3,h,w], unit vectors in the OpenCV frame. Noise needs one generator per
        image, or the start latent z_T itself; `text` [1,N,C] replaces the empty prompt; the camera is not
        used.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        z = latent.encode(self.autoencoder, rgb)  # [B,C,h/f,w/f]
        if self.config.noise == "none":
            z_in, z_T = z, z.new_zeros(())
        else:
            z_T = noise.like(z, self.config.noise, generators) if z_T is None else z_T
            z_in = torch.cat([z, z_T], dim=1)  # [B,2C,h/f,w/f], RGB first
        t = self.schedule.steps - 1
        v = self._unet(z_in, t, text)  # [B,C',h/f,w/f]
        z_0 = self.schedule.clean(z_T, v, t)  # Sec. 4: x_0, not the next latent of the sampler
        return {self.config.target: self.head(latent.decode(self.autoencoder, z_0))}

    def _unet(self, z: Tensor, t: int, text: Tensor | None) -> Tensor:
        if self.empty_text is None:
            return self.unet(z, t).sample  # type: ignore[no-any-return]
        text = self._empty(self.config.text_tokens) if text is None else text
        return self.unet(z, t, text.to(z.dtype).expand(len(z), -1, -1)).sample  # type: ignore[no-any-return]

    def head(self, decoded: Tensor) -> Tensor:
        """Decoder output [B,3,h,w] -> the quantity: mean over channels, or unit vectors."""
        if self.config.target != "normals":
            value = decoded.mean(dim=1, keepdim=True)  # [B,1,h,w]
            return value.clamp(-1, 1) if self.config.clamp else value
        length = decoded.norm(dim=1, keepdim=True)
        n = decoded / (length.clamp(min=self.preset.norm_floor) + self.preset.norm_extra)
        return n * n.new_tensor(normal_signs(self.config.frame, "opencv")).view(1, 3, 1, 1)

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """The objective on one batch, in float32. Noise of all its images comes from the one generator, in
        turn.

        Raises DataError if the batch lacks what the target needs.
        """
        generators = None if generator is None else [generator] * len(batch.rgb)
        text = None if self.empty_text is None else self._empty(self.config.train_text_tokens)
        pred = self(batch.rgb, generators=generators, text=text)[self.config.target]
        with torch.autocast(pred.device.type, enabled=False):
            return self._compare(pred.float(), *self._wanted(batch))

    def _wanted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the prediction is compared with, and where."""
        wanted = batch.normals if self.config.target == "normals" else batch.depth_m
        if wanted is None:
            raise DataError(
                f"the batch has no {self.config.target}: choose data that has it, or another target"
            )
        if self.config.target == "normals":
            return wanted, batch.valid
        if self.config.target == "disparity":
            return coding.disparity(wanted, batch.valid)
        valid = batch.valid & wanted.isfinite()
        return (
            coding.clip_to_percentiles(wanted, valid, *self.config.percentiles)
            if self.config.percentiles
            else (wanted, valid)
        )

    def _compare(self, pred: Tensor, wanted: Tensor, valid: Tensor) -> Loss:
        if self.config.loss == "midas":
            return losses.midas(pred, wanted, valid, self.config.gradient_weight)
        name, function = (
            ("angular", losses.angular) if self.config.target == "normals" else ("ssi", losses.scale_shift_l1)
        )
        total = function(pred, wanted, valid, compat=self.preset.plain_losses)
        return Loss(total, {name: total.detach()})

    def train(self, mode: bool = True) -> E2EFT:
        """Training mode; an autoencoder that is not trained stays in evaluation mode."""
        super().train(mode)
        self.autoencoder.train(mode and self.config.train_autoencoder)
        return self

    def _empty(self, tokens: int) -> Tensor:
        return self.empty_text[:, :tokens]

    def _check_text(self) -> None:
        needed = getattr(self.unet.config, "cross_attention_dim", None)
        tokens = max(self.config.text_tokens, self.config.train_text_tokens)
        if needed is None:
            return
        if self.empty_text is None:
            raise WeightsError(
                "the UNet has cross attention, but there is no encoded empty prompt: pass empty_text [1,N,C]"
            )
        if tokens > self.empty_text.shape[1]:
            raise UsageError(
                f"{tokens} text tokens asked for, but the empty prompt is stored with {self.empty_text.shape[1]}"
            )
