"""Weights in shards: each process keeps a part of every weight, gradient and optimiser state (FSDP).

`accelerate launch --use_fsdp` asks for it. The networks that are trained are sharded block by block by
torch's fully_shard; what is frozen stays whole. Checkpoints hold whole weights, so that a run goes on with
any number of processes, sharded or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

BLOCKS = ("down_blocks", "up_blocks", "mid_block", "layers")  # lists of parts that are gathered one at a time


def shard(method: nn.Module) -> None:
    """Shard the method's trained networks, in place; make the optimiser afterwards. All processes call it."""
    for network in method.children():
        if any(p.requires_grad for p in network.parameters()):
            for block in _blocks(network):
                fully_shard(block)
            fully_shard(network)


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    for name in BLOCKS:
        part = getattr(network, name, None)
        if isinstance(part, nn.ModuleList):
            yield from part
        elif isinstance(part, nn.Module) and not isinstance(part, nn.Sequential):
            yield part


def parts(method: nn.Module) -> list[FSDPModule]:
    """The modules that are sharded; none where nothing is."""
    return [module for module in method.modules() if isinstance(module, FSDPModule)]


@contextmanager
def gathered(method: nn.Module) -> Iterator[None]:
    """Within it, all weights are whole in every process, to be saved; nothing is computed then."""
    own: list[tuple[nn.Module, str, nn.Parameter]] = []
    for module in method.modules():
        for name, p in module._parameters.items():
            if isinstance(p, DTensor):
                own.append((module, name, p))
    try:
        for module, name, p in own:
            module._parameters[name] = nn.Parameter(whole(p.detach()), p.requires_grad)
        yield
    finally:
        for module, name, p in own:
            module._parameters[name] = p


def synced(method: nn.Module, last: bool) -> None:
    """Whether the next backward pass shares gradients out: only that of an accumulation's last batch does."""
    for module in parts(method):
        module.set_requires_gradient_sync(last, recurse=False)


def whole(x: Any) -> Any:
    """A tensor of shards as the whole it stands for, on every process; anything else as it is."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def wholes(tree: Any) -> Any:
    """The same for all tensors in dictionaries and lists, in one order in every process."""
    return tree_map(whole, tree)


def like(x: Tensor, place: Tensor) -> Tensor:
    """A whole tensor, sharded as another one is."""
    if not isinstance(place, DTensor):
        return x
    return distribute_tensor(x.to(place.device), place.device_mesh, place.placements)


def scattered(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's whole state, sharded as its weights are."""
    weights = [p for group in optimiser.param_groups for p in group["params"]]

    def place(number: int, entry: dict[str, Any]) -> dict[str, Any]:
        weight = weights[number]
        same = {
            k: x for k, x in entry.items() if isinstance(x, Tensor) and x.shape == weight.shape and x.dim()
        }
        return entry | {key: like(x, weight) for key, x in same.items()}

    return state | {"state": {number: place(number, entry) for number, entry in state["state"].items()}}
