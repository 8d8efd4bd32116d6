"""The diffusion schedule as plain functions: noise levels, timesteps, the clean latent behind a network's
output, and the steps of two samplers, DDIM (Song et al., with eta = 0) and LCM (Luo et al.).

Nothing here knows a network; DDIM asks a function for its output. Symbols: T training steps, alpha_bar_t =
product of (1 - beta) up to t, x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (DDPM), v_t =
sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0 (Salimans & Ho).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from leadline.errors import UsageError

SIGMA_DATA, TIMESTEP_SCALING = 0.5, 10.0  # of the published consistency models (LCM)

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
    alpha_bar = ((root - last) * (first / (first - last))) ** 2
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


def lcm_timesteps(count: int, steps: int = 1000, trained: int = 50) -> list[int]:
    """`count` timesteps in falling order, of the `trained` ones that a consistency model was distilled at.

    >>> lcm_timesteps(1), lcm_timesteps(4)
    ([999], [999, 759, 499, 259])
    """
    if not 1 <= count <= trained:
        raise UsageError(
            f"{count} steps asked for, a consistency model has {trained}: ask for 1 to {trained}"
        )
    falling = [i * (steps // trained) - 1 for i in range(trained, 0, -1)]
    return [falling[i * trained // count] for i in range(count)]


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
    alpha_to_one: bool = False  # where DDIM's last step ends: at no noise at all, or at the first level

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
        numbers = [config.get(key, 1) for key in ("num_train_timesteps", "beta_start", "beta_end")]
        if not all(isinstance(x, int | float) and 0 <= x <= 10_000 for x in numbers) or (
            not isinstance(numbers[0], int) or numbers[0] < 1
        ):
            raise UsageError(f"the scheduler has {numbers} for steps and betas: no trained one has")
        schedule = cls(
            steps=config.get("num_train_timesteps", 1000),
            beta_start=config.get("beta_start", 0.0001),
            beta_end=config.get("beta_end", 0.02),
            beta_schedule=betas,
            prediction_type=predicts,
            alpha_to_one=config.get("set_alpha_to_one", True),
        )
        return schedule.ending(zero_snr=config.get("rescale_betas_zero_snr", False))

    def ending(self, *, zero_snr: bool, instead: str = "") -> Schedule:
        """The same with no signal at its last step, or a little. Raises UsageError, with what else there is
        to do, for noise predictions where there is none.
        """
        if zero_snr and self.prediction_type == "epsilon":
            raise UsageError(
                "the network has epsilon predictions, from which nothing follows at the last step with "
                f"zero-terminal SNR: v_prediction or sample is needed{instead}"
            )
        return replace(self, zero_snr=zero_snr)

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
            "set_alpha_to_one": self.alpha_to_one,
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
        if self.prediction_type == "sample":
            return out
        from_output = self.clean_from_v if self.prediction_type == "v_prediction" else self.clean_from_epsilon
        return from_output(x_t, out, t)

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

    def ddim(
        self, x_t: Tensor, chosen: Sequence[int], network: Callable[[Tensor, int], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """DDIM from noise x_t through the chosen `timesteps`, by a network that is asked (x_t, t): after each
        step the latent, and what the step takes for the clean one.
        """
        for t in chosen:
            out = network(x_t, t)
            x_0 = self.clean(x_t, out, t)
            x_t = self.step(x_t, out, t, t - self.steps // len(chosen))
            yield x_t, x_0

    def step(self, x_t: Tensor, out: Tensor, t: int, t_next: int) -> Tensor:
        """DDIM, eta = 0: from level t down to t_next, which lies `steps // count` below it in every spacing.

        Below 0 it is the end: the first level, or no noise with `alpha_to_one`. So the last step of a model
        with the first level is not exactly `clean`.
        """
        x_0 = self.clean(x_t, out, t)
        noise = self._noise(x_t, out, x_0, t)
        if t_next < 0 and self.alpha_to_one:
            return x_0
        return self.noisy(x_0, noise, max(t_next, 0))

    def consistent(self, x_t: Tensor, out: Tensor, t: int) -> Tensor:
        """What a consistency model says that x_t comes from (LCM): `clean`, and a little of x_t itself."""
        scaled = t * TIMESTEP_SCALING
        skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
        return scaled / math.hypot(scaled, SIGMA_DATA) * self.clean(x_t, out, t) + skip * x_t

    def noisy(self, x_0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
        """x_t: the latent x_0 with noise of level t. t: one for all, or [B]."""
        signal, level = self._levels(x_0, t)
        return signal * x_0 + level * noise

    def target(self, x_0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
        """What this network should return for x_t = noisy(x_0, noise, t)."""
        if self.prediction_type != "v_prediction":
            return noise if self.prediction_type == "epsilon" else x_0
        return self.velocity(x_0, noise, t)

    def velocity(self, x_0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
        """v_t of x_t = noisy(x_0, noise, t), whatever this network predicts."""
        signal, level = self._levels(x_0, t)
        return signal * noise - level * x_0

    def _noise(self, x_t: Tensor, out: Tensor, x_0: Tensor, t: int) -> Tensor:
        """The noise that x_t holds, by what this network predicts."""
        signal, level = self._levels(x_t, t)
        if self.prediction_type == "v_prediction":
            return signal * out + level * x_t
        return out if self.prediction_type == "epsilon" else (x_t - signal * x_0) / level

    def _levels(self, like: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t): 0-dim for one t (may meet any device), [B,1,1,1] for
        a tensor of them. UsageError for a t without level: -1 would mean the last one in silence.
        """
        if not bool((torch.as_tensor(t) >= 0).all() & (torch.as_tensor(t) < self.steps).all()):
            found = t if isinstance(t, int) else sorted(set(t.tolist()))
            known = f"the schedule has those of t = 0 to {self.steps - 1}"
            raise UsageError(f"t = {found} has no noise level: {known}")
        alpha_bar = self.alphas_cumprod[t] if isinstance(t, int) else self.alphas_cumprod.to(t.device)[t]
        if alpha_bar.dim():
            alpha_bar = alpha_bar.view(-1, *[1] * (like.dim() - 1))
        return alpha_bar.sqrt().to(like.dtype), (1 - alpha_bar).sqrt().to(like.dtype)
