"""Networks that wait in main memory and take turns on a device, by accelerate's hooks.

The device then holds the weights of one network at a time, the largest of them at most. Every turn costs
their way across.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from torch import nn


class Turns(ModelHook):  # type: ignore[misc]
    """One place on a device, and the network that has it. Networks are called as before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._there: nn.Module | None = None
        self._networks: list[nn.Module] = []

    def add(self, model: nn.Module) -> None:
        """A model's networks, its children or `turns`, take turns from now on; its own tensors go at once."""
        for weight in model.parameters(recurse=False):
            weight.data = weight.data.to(self.device)
        for name, tensor in list(model.named_buffers(recurse=False)):
            setattr(model, name, tensor.to(self.device))
        for network in getattr(model, "turns", None) or model.children():
            add_hook_to_module(network, self)
            self._networks.append(network)

    def end(self) -> None:
        """No more turns: networks stay where they are."""
        while self._networks:
            remove_hook_from_module(self._networks.pop())
        self._there = None

    @torch.inference_mode(False)  # or weights that move would not be weights any more
    def pre_forward(
        self, module: nn.Module, *args: Any, **kwargs: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before a network's `forward`, by accelerate; before `encode` and `decode`, by diffusers."""
        if self._there is not None and self._there is not module:
            self._there.to("cpu")
        self._there = module  # before it moves: if it does not fit, what of it is there leaves with the next
        module.to(self.device)
        return args, kwargs
