"""The diffusion schedule as plain functions: noise levels, timesteps, and the clean latent behind a
network's output.

Nothing here knows a network. Symbols: T training steps, alpha_bar_t = product of (1 - beta) up to t, x_t =
sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (DDPM), v_t = sqrt(alpha_bar_t) eps - sqrt(1 -
alpha_bar_t) x_0 (Salimans & Ho).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from leadline.errors import UsageError

Spacing = Literal["leading", "trailing", "linspace"]
PredictionType = Literal["v_prediction", "epsilon", "sample"]


def scaled_linear_betas(start: float = 0.00085, end: float = 0.012, steps: int = 1000) -> Tensor:
    """Betas whose square roots rise linearly, float32 [steps]; the defaults are Stable Diffusion's."""
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2


def zero_snr_betas(betas: Tensor) -> Tensor:
    """Betas [T] moved so that the last step holds no signal at all (Lin et al., alg. 1). The first step
    keeps its level.
    """
    root = (1 - betas).cumprod(0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    alpha_bar = ((root - last) * first / (first - last)) ** 2
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def timesteps(count: int, spacing: Spacing = "trailing", steps: int = 1000, offset: int = 1) -> list[int]:
    """`count` timesteps in falling order, 0 <= t < steps.

    "leading" is the spacing that makes one step return noise: it pairs pure noise with t = 1 (E2E-FT, Sec.
    3.2). `offset` is added to "leading" only.

    >>> timesteps(1), timesteps(1, "leading"), timesteps(4)
    ([999], [1], [999, 749, 499, 249])
    """
    if not 1 <= count <= steps:
        raise UsageError(
            f"{count} denoising steps asked for, but the schedule has {steps}: ask for 1 to {steps}"
        )
    if spacing == "leading":
        chosen = [i * (steps // count) + offset for i in reversed(range(count))]
    elif spacing == "trailing":
        # arange(T, 0, -T/n) has one element too many for 62 values of n in 1..1000
        chosen = [round(steps - i * steps / count) - 1 for i in range(count)]
    elif spacing == "linspace":
        chosen = [round(t) for t in torch.linspace(0, steps - 1, count, dtype=torch.float64).tolist()][::-1]
    else:
        raise UsageError(f"timestep spacing {spacing!r} is unknown: use leading, trailing or linspace")
    if chosen[0] >= steps:
        raise UsageError(
            f"{count} leading timesteps start at t = {chosen[0]}, {steps - 1} is the last: use trailing"
        )
    return chosen


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a trained model and what its network predicts. The defaults are Stable Diffusion 2's.

    >>> round(Schedule().alphas_cumprod[999].item(), 7)
    0.0046601
    """

    steps: int = 1000  # T
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    zero_snr: bool = False  # the last step holds no signal at all
    prediction_type: PredictionType = "v_prediction"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """From a diffusers `scheduler_config.json`; keys it lacks take DDIM's defaults.

        Raises UsageError where it clips latents, or for betas or predictions that are not known.
        """
        for key, default in (("clip_sample", True), ("thresholding", False)):
            if config.get(key, default):
                raise UsageError(f"the scheduler sets {key}: it must not, latents of geometry have no bounds")
        betas, predicts = config.get("beta_schedule", "linear"), config.get("prediction_type", "epsilon")
        if betas not in ("scaled_linear", "linear") or predicts not in get_args(PredictionType):
            known = "linear and scaled_linear; v_prediction, epsilon and sample"
            raise UsageError(
                f"the scheduler has betas {betas!r}, predictions {predicts!r}: known are {known}"
            )
        return cls(
            config.get("num_train_timesteps", 1000),
            config.get("beta_start", 0.0001),
            config.get("beta_end", 0.02),
            betas,
            config.get("rescale_betas_zero_snr", False),
            predicts,
        )

    def to_config(self, spacing: Spacing = "trailing") -> dict[str, Any]:
        """The `scheduler_config.json` from which diffusers builds its DDIMScheduler."""
        return {
            "_class_name": "DDIMScheduler",
            "num_train_timesteps": self.steps,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "beta_schedule": self.beta_schedule,
            "rescale_betas_zero_snr": self.zero_snr,
            "prediction_type": self.prediction_type,
            "timestep_spacing": spacing,
            "steps_offset": 1,
            "clip_sample": False,
            "set_alpha_to_one": False,
        }

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """alpha_bar [T], float32: the share of signal left at each step."""
        if self.beta_schedule == "linear":
            betas = torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float32)
        else:
            betas = scaled_linear_betas(self.beta_start, self.beta_end, self.steps)
        return (1 - (zero_snr_betas(betas) if self.zero_snr else betas)).cumprod(0)

    def clean(self, x_t: Tensor, out: Tensor, t: int | Tensor) -> Tensor:
        """x_0 from the noisy latent x_t and the network's output, by what this network predicts. t: one for
        all, or [B].
        """
        convert = {
            "v_prediction": self.clean_from_v,
            "epsilon": self.clean_from_epsilon,
            "sample": _the_output,
        }
        return convert[self.prediction_type](x_t, out, t)

    def clean_from_v(self, x_t: Tensor, v: Tensor, t: int | Tensor) -> Tensor:
        """sqrt(alpha_bar) x_t - sqrt(1 - alpha_bar) v; shapes as x_t."""
        signal, noise = self._levels(x_t, t)
        return signal * x_t - noise * v

    def clean_from_epsilon(self, x_t: Tensor, epsilon: Tensor, t: int | Tensor) -> Tensor:
        """(x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar); refused where no signal is left (zero-terminal
        SNR at t = T-1).
        """
        signal, noise = self._levels(x_t, t)
        if not bool((signal > 0).all()):
            raise UsageError(
                "no signal at this step (zero-terminal SNR), epsilon prediction divides by it: use another t"
            )
        return (x_t - noise * epsilon) / signal

    def _levels(self, like: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t): 0-dim for one t (may meet any device), [B,1,1,1] for
        a tensor of them.
        """
        alpha_bar = self.alphas_cumprod[t] if isinstance(t, int) else self.alphas_cumprod.to(t.device)[t]
        if alpha_bar.dim():
            alpha_bar = alpha_bar.view(-1, *[1] * (like.dim() - 1))
        return alpha_bar.sqrt().to(like.dtype), (1 - alpha_bar).sqrt().to(like.dtype)


def _the_output(x_t: Tensor, out: Tensor, t: int | Tensor) -> Tensor:
    return out
