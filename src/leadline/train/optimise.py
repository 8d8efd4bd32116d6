"""What changes the weights: learning rate over the steps, parameter groups, the running average."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import TrainError
from leadline.recipe import Ema, Optimiser, Recipe, Schedule

SMALLEST_IN_8_BITS = 4096  # weights with fewer numbers keep full states (bitsandbytes)


def lr_factor(step: int, schedule: Schedule, total: int) -> float:
    """Factor of the learning rate at a step, counted from 0 by the optimiser steps already done.

    A linear rise from 0 over `warmup` steps (so the first step only fills the optimiser's state), then the
    decay to `final` at `total`, and `final` from there on. `exponential` is the schedule of Marigold and
    E2E-FT (IterExponential): a straight line on a logarithmic axis.

    >>> paper = Schedule(decay="exponential", warmup=100)
    >>> [round(lr_factor(i, paper, 20000), 6) for i in (0, 50, 100, 10000, 20000)]
    [0.0, 0.5, 1.0, 0.101164, 0.01]
    """
    if step < schedule.warmup:
        return step / schedule.warmup
    if schedule.decay == "constant":
        return 1.0
    if step >= total:
        return schedule.final
    part = (step - schedule.warmup) / (total - schedule.warmup)
    if schedule.decay == "exponential":
        return math.exp(part * math.log(schedule.final))
    return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * part)) / 2


def lr_at(step: int, recipe: Recipe) -> float:
    """The learning rate in force at a step of a recipe, its stages' own rates and schedules included."""
    start = 0
    for stage in recipe.plan:
        if step < start + stage.steps or stage is recipe.plan[-1]:
            break
        start += stage.steps
    lr = stage.lr or recipe.optimiser.lr
    if stage.schedule:
        return lr * lr_factor(step - start, stage.schedule, stage.schedule.length or stage.steps)
    return lr * lr_factor(step, recipe.schedule, recipe.schedule.length or recipe.total_steps)


def optimiser(module: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that require a gradient. TrainError if a group's pattern
    finds none, or if a package is missing.
    """
    return OPTIMISERS[settings.name](_groups(module, settings), settings)


def _groups(module: nn.Module, settings: Optimiser) -> list[dict[str, Any]]:
    """Parameters with their own values, for torch."""
    groups: dict[str, list[nn.Parameter]] = {pattern: [] for pattern in (*settings.groups, "")}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups[next(p for p in groups if re.search(p, name))].append(parameter)
    for pattern in settings.groups:
        if not groups[pattern]:
            raise TrainError(f"optimiser.groups: no trainable parameter's name has {pattern!r} in it")
    default = settings.weight_decay
    options = []
    for pattern, parameters in groups.items():
        own = settings.groups.get(pattern)
        decay = default if own is None or own.weight_decay is None else own.weight_decay
        factor = own.lr_factor if own else 1.0
        options.append({"params": parameters, "weight_decay": decay, "lr_factor": factor})
    return [group for group in options if group["params"]]


def _adamw(groups: list[dict[str, Any]], settings: Optimiser) -> torch.optim.Optimizer:
    # one pass over the memory, also on the CPU; not for shards
    fused = not any(hasattr(p, "full_tensor") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, settings.lr, settings.betas, settings.eps, fused=fused)


def _adafactor(groups: list[dict[str, Any]], settings: Optimiser) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(groups, settings.lr)  # it has no betas; its eps mean other things


def _adamw8bit(groups: list[dict[str, Any]], settings: Optimiser) -> torch.optim.Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise TrainError(
            "optimiser adamw8bit needs bitsandbytes: install the extra 'lean', or use adafactor"
        ) from None
    made: torch.optim.Optimizer = AdamW8bit(groups, settings.lr, settings.betas, settings.eps)
    return made


OPTIMISERS = {"adamw": _adamw, "adafactor": _adafactor, "adamw8bit": _adamw8bit}


def state_bytes(name: str, shape: torch.Size) -> int:
    """What an optimiser remembers of a weight of this shape.

    >>> [state_bytes(name, torch.Size([64, 32])) for name in ("adamw", "adafactor", "adamw8bit")]
    [16384, 384, 16384]
    """
    count = shape.numel()
    if name == "adafactor":  # a row and a column in place of a matrix
        return 4 * (count // shape[-1] + count // shape[-2]) if len(shape) > 1 else 4 * count
    if name == "adamw8bit" and count >= SMALLEST_IN_8_BITS:
        return 2 * count + 2 * 4 * -(-count // 256)  # and a scale for every 256 of each
    return 8 * count


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate for the next step, times each group's factor."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["lr_factor"]


def restore(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put back an optimiser's state, but keep the recipe's settings: they may have been changed since."""
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimiser.param_groups]
    try:
        optimiser.load_state_dict(state)
    except ValueError:
        raise TrainError(
            "optimiser.groups: the checkpoint's weights are grouped otherwise: "
            "keep the groups of the run's recipe.yaml"
        ) from None
    for group, own in zip(optimiser.param_groups, settings, strict=True):
        group.update(own)


class Average:
    """Exponential moving average of a module's trainable weights (Polyak averaging)."""

    def __init__(self, module: nn.Module, settings: Ema) -> None:
        self.settings = settings
        self.live = {n: p for n, p in module.named_parameters() if p.requires_grad} if settings.decay else {}
        self.weights = {name: p.detach().clone() for name, p in self.live.items()}

    def update(self, step: int) -> None:
        """Take in the weights after the given number of steps."""
        if self.live:
            decay = self.settings.decay
            decay = min(decay, (1 + step) / (10 + step)) if self.settings.warm else decay
            average, live = list(self.weights.values()), [p.detach() for p in self.live.values()]
            torch._foreach_lerp_(average, live, 1 - decay)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put back what a checkpoint holds; without an average in it, start from the live weights."""
        for name, parameter in self.live.items():
            self.weights[name].copy_(weights.get(name, parameter.detach()))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it, the module has the averaged weights; afterwards exactly its own again."""
        own = {name: p.detach().clone() for name, p in self.live.items()}
        try:
            self._put(self.weights)
            yield
        finally:
            self._put(own)

    def _put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.live.items():
                parameter.copy_(weights[name])
