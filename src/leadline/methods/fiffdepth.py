"""FiffDepth: a diffusion network used once, without noise, kept on its trajectory, taught through a filter
(Bai and Huang).

Sec. 3.1: the picture's latent at t = 0 gives the latent of depth; nothing is drawn.     -> forward, eq. 1
Sec. 3.2: beside it, denoising of latents of picture and depth blended, t = 1 to T.   -> trajectory, eq. 2, 3
Sec. 3.3: on photographs, the same network at t = -1 makes of depth what a teacher says. -> distil, eq. 4
Errors and their slopes are taken in the latent space.                              -> loss, eq. 5 to 7

Symbols are the paper's: x_0 the picture's latent, d_0 that of depth, d_-1 the filtered one, b_t the blend at
noise level t. The authors released the prediction alone, in a form that does not start; what the paper leaves
open is an option of `Config`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from leadline import cards, coding, losses, presets, weights
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import DataError, UsageError, check_shape
from leadline.losses import Loss
from leadline.networks import latent, stable_diffusion
from leadline.networks.stable_diffusion import Parts
from leadline.prediction import Kind
from leadline.presets import Percentiles, Preset
from leadline.schedule import Schedule

DEPTH, FILTER = 0, -1  # timesteps of the two passes
PREDICTS = {"epsilon": "noise", "sample": "the clean latent"}  # in words
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("leadline", presets.PADDED),
        Preset("fiffdepth", presets.AUTHORS),  # the authors' repository, February 2025
    )
}
NEAR = {"depth": -1, "disparity": 1, "disparity_flipped": -1}  # which end of a latent's map is near


class Config(stable_diffusion.Config):
    """What distinguishes one FiffDepth model from another. Defaults are the paper's; where it is silent, what
    follows from its words.
    """

    # Sec. 3.1: Marigold's. disparity_flipped is better posed: the teacher's quantity, near as in depth
    label_space: Literal["depth", "disparity", "disparity_flipped"] = "depth"
    percentiles: Percentiles = (0.02, 0.98)  # Marigold's: values that become -1 and 1
    gamma: float = Field(0.5, ge=0, le=1)  # Sec. 4: of the picture in the blend; 1: pictures alone (Fig. 7)
    lambda_mae: float = Field(1.0, ge=0)  # Sec. 4
    lambda_gm: float = Field(0.5, ge=0)  # Sec. 4
    lambda_k: float = Field(0.2, ge=0)  # Sec. 4; 0: no trajectory is kept (Fig. 7)
    trajectory_index: Literal["network", "paper"] = "network"  # t = 1..999 as pre-trained, or 1..1000 (eq. 2)
    teacher_step: Literal[-1, 0] | None = -1  # which pass the teacher corrects; 0, none: Fig. 7
    detach_filter_input: bool = False  # then photographs teach the depth pass nothing
    teacher_to_depth: bool = False  # disparity of a teacher as though its end were at 20 times its beginning
    slopes: Literal["element", "difference", "cell"] = "element"  # eq. 6: M is that of eq. 5
    prediction_type: Literal["v_prediction"] | None = None  # of a start whose scheduler says otherwise
    base: str | None = None  # name, hub id or folder of the other parts, where the folder is a UNet alone

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The ways in and back that `compat` names: ours, or that of the authors' program."""
        return PRESETS


class FiffDepth(stable_diffusion.Descendant):
    """A UNet in the shape that it was pre-trained in: RGB in, depth out, and nothing drawn. Only it is
    trained.
    """

    presets: ClassVar = PRESETS
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
        parts = Parts(unet, autoencoder, schedule or Schedule(), empty_text)
        kind = Kind.affine_depth if config.label_space == "depth" else Kind.affine_disparity
        super().__init__(config, parts, card, method="fiffdepth", kind=kind)
        self.also = {"filtered": kind}
        self.filter: nn.Module | None = None  # the UNet for t = -1, where self.unet is for t = 0 alone

    # ---- prediction --------------------------------------------------------------------------------------

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: Tensor | None = None,
        also: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> "depth" [B,1,h,w] in [-1,1], 1 = far; or "disparity", 1 = near.

        also: "filtered", the same through the filter (d_-1), as the teacher would say it: smoother, and no
        better. `text` [1,N,C] replaces the empty prompt; noise and camera are not used.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        x_0 = latent.encode(self.autoencoder, rgb)  # [B,C,h/f,w/f]
        d_0 = self.output(x_0, DEPTH, text)  # eq. 1: no v, no noise, no scaling
        outputs = {"depth" if self.kind is Kind.affine_depth else "disparity": self.head(d_0)}
        if "filtered" in also:
            outputs["filtered"] = self.head(self.output(d_0, FILTER, text))
        return outputs

    def head(self, d: Tensor) -> Tensor:
        """A latent of depth -> the map [B,1,h,w] in [-1,1]: decoded, mean over channels."""
        return self._sign * latent.decode(self.autoencoder, d).mean(dim=1, keepdim=True).clamp(-1, 1)

    @property
    def _sign(self) -> int:
        """1 where a latent's map already has the published direction (depth: large is far; disparity: large
        is near), else -1.
        """
        near = NEAR[self.config.label_space]
        return -near if self.kind is Kind.affine_depth else near

    def output(self, seen: Tensor, t: int | Tensor, text: Tensor | None = None) -> Tensor:
        """What the network says at t, which need not be a noise level."""
        unet = self.filter if self.filter is not None and isinstance(t, int) and t == FILTER else self.unet
        return stable_diffusion.output(unet, seen, t, self.empty_prompt() if text is None else text)

    def for_prediction(self, steps: int | None = None) -> Self:
        """A faster model for prediction with the empty prompt; weights are shared."""
        config = self.config.model_copy(update={"checkpoint_unet": False})
        made = type(self)(config, *self.faster([DEPTH], mean_channels=True), self.card).eval()
        made.filter = self.unet
        return made

    # ---- training ----------------------------------------------------------------------------------------

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """Eq. 7, the terms of this batch, in float32: of a batch with depths those at t = 0 and on the
        trajectory, of one with another model's words that of the filter. Recipes take the two in turn
        (`turn`).

        Timesteps and then noise come from the generator. Raises DataError for a batch with neither, or with a
        teacher's words where the config has no place for them; UsageError without a generator.
        """
        if batch.depth_m is not None and batch.pseudo is None:  # a teacher's metres come as both
            x_0, d, cells = self._latents(batch, *self.label(batch, batch.depth_m))
            found = self.regress(x_0, d, cells)
            return self._on_trajectory(found, x_0, d, generator) if self.config.lambda_k else found
        if batch.pseudo is None:
            raise DataError("the batch has neither depth nor pseudo-labels: FiffDepth needs one of them")
        if self.config.teacher_step is None:
            raise DataError("the batch has pseudo-labels, and teacher_step is null: leave out one of them")
        return self.distil(*self._latents(batch, *self.teacher_label(batch, batch.pseudo)))

    @torch.no_grad()
    def _latents(self, batch: Batch, label: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of pictures and labels, and which of their cells are known as a whole."""
        x_0, d = (latent.encode(self.autoencoder, y) for y in (batch.rgb, label.expand(-1, 3, -1, -1)))
        return x_0, d, latent.whole(known, latent.factor(self.autoencoder))

    def _on_trajectory(self, found: Loss, x_0: Tensor, d: Tensor, generator: Generator | None) -> Loss:
        """What was found, and lambda_k L_k of latents [B,C,h,w] at drawn timesteps. Raises UsageError without
        a generator.
        """
        if generator is None:
            raise UsageError("the trajectory is trained with noise: pass a generator")
        t = self._timesteps(len(x_0), generator)
        epsilon = torch.randn(x_0.shape, generator=generator, device=generator.device).to(x_0)
        l_k = self.trajectory(x_0, d, t.to(x_0.device), epsilon)
        own = Loss(self.config.lambda_k * l_k, {"trajectory": l_k.detach()}, len(x_0))
        return losses.summed(found, own)

    def regress(self, x_0: Tensor, d: Tensor, cells: Tensor) -> Loss:
        """Sec. 3.1 on latents [B,C,h,w] of pictures and depths; cells [B,1,h,w] are known as a whole."""
        return self._compare(self.output(x_0, DEPTH), d, cells, "depth")

    def trajectory(self, x_0: Tensor, d: Tensor, t: Tensor, epsilon: Tensor) -> Tensor:
        """Eq. 2 and 3, L_k: mean squared error of v. t [B], noise as the latents [B,C,h,w]. Raises UsageError
        for a network that predicts something else.
        """
        if self.schedule.prediction_type != "v_prediction":
            raise UsageError(
                f"the network to start from predicts {PREDICTS[self.schedule.prediction_type]}, the "
                "trajectory needs one that predicts v: choose Stable Diffusion 2 at 768 pixels, or say "
                "model.prediction_type=v_prediction"
            )
        b_0 = self.config.gamma * x_0 + (1 - self.config.gamma) * d
        level = t - 1 if self.config.trajectory_index == "paper" else t
        b_t = self.schedule.noisy(b_0, epsilon, level)
        v_t = self.schedule.velocity(b_0, epsilon, level)
        return losses.diffusion(self.output(b_t, t).float(), v_t.float()).total

    def distil(self, x_0: Tensor, d: Tensor, cells: Tensor) -> Loss:
        """Sec. 3.3 on latents of photographs and of what the teacher says. The gradient goes through both
        passes: without the way through d_0, photographs would teach the depth pass nothing.
        """
        d_0 = self.output(x_0, DEPTH)
        if self.config.teacher_step == DEPTH:
            return self._compare(d_0, d, cells, "teacher")
        d_minus1 = self.output(d_0.detach() if self.config.detach_filter_input else d_0, FILTER)
        found = self._compare(d_minus1, d, cells, "filter")
        # should the first fall with the second, the filter has become one with the depth pass
        found.parts |= {"detail": _detail(d_0), "detail_filtered": _detail(d_minus1)}
        return found

    def _compare(self, pred: Tensor, d: Tensor, cells: Tensor, name: str) -> Loss:
        """Eq. 5 and 6, weighed as in eq. 7."""
        pred, d = pred.float(), d.float()
        mae, gm = losses.l1(pred, d, cells), losses.slopes(pred, d, cells, per=self.config.slopes)
        total = self.config.lambda_mae * mae + self.config.lambda_gm * gm
        return Loss(total, {name: mae.detach(), f"{name}_slopes": gm.detach()}, cells.sum())

    def _timesteps(self, count: int, generator: Generator) -> Tensor:
        """[B], never 0: that is the depth pass's."""
        end = self.schedule.steps + (self.config.trajectory_index == "paper")
        return torch.randint(1, end, (count,), generator=generator, device=generator.device)

    # ---- labels ------------------------------------------------------------------------------------------

    def label(self, batch: Batch, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Depth [B,1,h,w] in metres -> as the network shall say it, in [-1,1], and where it is known. What is
        unknown is far, and so is the sky; a flat picture has nothing to teach.
        """
        known = batch.valid & (depth > 0)
        x = depth if self.kind is Kind.affine_depth else coding.disparity(depth, known)[0]
        y, uneven = coding.by_quantiles(x, known & x.isfinite() & (x > 0), *self.config.percentiles)
        far = 1.0 if self.kind is Kind.affine_depth else -1.0
        return self._sign * torch.where(known, y, far), known & uneven.view(-1, 1, 1, 1)

    def teacher_label(self, batch: Batch, q: Tensor) -> tuple[Tensor, Tensor]:
        """What a teacher says [B,1,h,w] -> the same with near and far as in `label`, and where it counts. Its
        disparity is never inverted, as its zero is unknown.
        """
        counts = batch.valid
        if batch.pseudo_kind is Kind.metric_depth:
            q, counts = coding.disparity(q, counts)
        elif batch.pseudo_kind is Kind.affine_depth:
            q = -q
        elif self.config.teacher_to_depth:
            lowest = torch.where(counts, q, torch.inf).amin(dim=(1, 2, 3), keepdim=True)
            q = -1 / (0.95 * coding.stretch(torch.where(counts, q, lowest)) + 0.05)
        y, uneven = coding.by_quantiles(q, counts, *self.config.percentiles)  # 1 is near; zeros count
        nearness = torch.where(counts, y, -1.0)
        return NEAR[self.config.label_space] * nearness, counts & uneven.view(-1, 1, 1, 1)

    # ---- files -------------------------------------------------------------------------------------------

    @classmethod
    def load(
        cls, folder: Path, card: Card | None = None, *, empty_text: Path | None = None, **options: Any
    ) -> Self:
        """A diffusers folder, or one with a UNet alone where the config names the `base` of the rest, in
        float32.

        The scheduler is not needed; what it says the network to predict counts where one is trained on.
        `card` is for folders that have no card.yaml, `options` replace entries of its config; `empty_text` is
        a file with the encoded empty prompt [1,N,C]. Raises WeightsError or DocumentError, one line.
        """
        card = card or cards.read(folder / "card.yaml")
        config = cards.config_of(card, Config, **options)
        base = weights.find(config.base) if config.base else None
        parts = stable_diffusion.load(folder, empty_text, config, base=base, otherwise=Schedule())
        schedule = (
            parts.schedule
            if config.prediction_type is None
            else replace(parts.schedule, prediction_type=config.prediction_type)
        )
        config = config.model_copy(update={"base": None, "prediction_type": None})
        return cls(config, *parts._replace(schedule=schedule), card)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A folder with card.yaml, which `load` reads back. It has a scheduler only where the noise levels
        are not Stable Diffusion 2's.
        """
        scheduler = None if self.schedule == Schedule() else self.schedule.to_config()
        self.write(folder, "FiffDepthPipeline", scheduler, index=self._index(), fp16=fp16)

    def _index(self) -> dict[str, Any]:
        """What others want to know beside the networks."""
        model: Any = self.autoencoder
        return {
            "prediction_type": "sample",
            "timestep": DEPTH,
            "label_space": self.config.label_space,
            "near_value": NEAR[self.config.label_space],
            "latent_scale": getattr(getattr(model, "config", None), "scaling_factor", 1.0),
            "scale_invariant": True,
            "shift_invariant": True,
            "default_processing_resolution": self.size_rule.processing_res,
            "text_encoder": [None, None],
            "tokenizer": [None, None],
        }


def _detail(d: Tensor) -> Tensor:
    """Mean absolute difference of latents [B,C,h,w] from their 3x3 means."""
    smooth = F.avg_pool2d(d.detach().float(), 3, stride=1, padding=1, count_include_pad=False)
    return (d.detach().float() - smooth).abs().mean()
