"""The processes of a training: how a step is shared out among them, as accelerate was told to.

One process, several that each hold the whole model (DDP), or several that hold it in shards (FSDP).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn

from leadline.data.sample import Batch
from leadline.errors import DeviceError
from leadline.losses import Loss
from leadline.recipe import Recipe
from leadline.train import optimise, sharding


class Objective(nn.Module):
    """A method's loss as a module's forward, which is what accelerate can cast and distribute."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, generator: torch.Generator) -> Loss:
        found: Loss = self.method.loss(batch, generator)
        return found


class Team:
    """This process among all: the distributed objective and its optimiser, and what they do together.

    main: whether it writes. looks: whether it runs the network outside of steps: the main process, or all,
    where each has only a part of it.
    """

    def __init__(self, accelerator: Accelerator, method: Any, recipe: Recipe) -> None:
        self.accelerator, self.method = accelerator, method
        self.sharded = accelerator.num_processes > 1 and (
            accelerator.distributed_type == DistributedType.FSDP
            or os.environ.get("ACCELERATE_USE_FSDP", "false").lower()
            == "true"  # on processors it is not told
        )
        if self.sharded and recipe.precision == "float16":
            raise DeviceError("precision float16 is not trained in shards (FSDP): use bfloat16 or float32")
        self.main: bool = accelerator.is_main_process
        self.looks = self.main or self.sharded
        if self.sharded:  # by torch itself: accelerate would take the frozen parts apart too
            sharding.shard(method.to(accelerator.device))
            self.objective: Any = Objective(method)
            self.optimiser: Any = optimise.optimiser(method, recipe.optimiser)
        else:
            if recipe.channels_last:  # shards have to be contiguous
                method.to(memory_format=torch.channels_last)
            optimiser = optimise.optimiser(method, recipe.optimiser)
            self.objective, self.optimiser = accelerator.prepare(Objective(method), optimiser)
        self.parameters = [p for p in method.parameters() if p.requires_grad]

    def synced(self, last: bool) -> AbstractContextManager[Any]:
        """Around a batch: only after the last of a step, gradients are shared out."""
        if self.sharded:
            sharding.synced(self.method, last)
            casting: AbstractContextManager[Any] = self.accelerator.autocast()
            return casting
        return nullcontext() if last else self.accelerator.no_sync(self.objective)

    def shared(self, loss: Loss) -> tuple[Tensor, float]:
        """What this process takes the gradient of, so that the mean of the processes' gradients is that of
        one process with all their pictures; and the loss of them all.
        """
        world = self.accelerator.num_processes
        if world == 1:
            return loss.total, float(loss.total.detach())
        terms = loss.terms or (loss,)
        totals = torch.stack([term.total for term in terms])  # [n]
        own = torch.stack([torch.as_tensor(t.weight, dtype=torch.float64).to(totals.device) for t in terms])
        sums = self.accelerator.reduce(torch.stack([own, torch.where(own > 0, own * totals.detach(), 0)]))
        whole = sums[0].clamp(min=1e-9)
        means = sums[1] / whole
        factors = torch.ones_like(means) if loss.factors is None else loss.factors(means)
        shares = (factors * own * world / whole).to(totals.dtype)
        return (shares * totals).sum(), float((factors * means).sum())

    def clip(self, limit: float) -> float:
        """The norm of all gradients together, which is brought down to the limit."""
        if self.sharded:
            return float(sharding.whole(nn.utils.clip_grad_norm_(self.parameters, limit)))
        return float(self.accelerator.clip_grad_norm_(self.parameters, limit))

    def agree(self, told: str | None) -> str | None:
        """The signal that any process was told to stop by, for all."""
        if self.accelerator.num_processes == 1:  # a GPU need not be waited for
            return told
        number = signal.Signals[told].value if told else 0
        numbers = self.accelerator.gather(torch.tensor([number], device=self.accelerator.device))
        largest = int(numbers.max())
        return signal.Signals(largest).name if largest else None

    def whole(self, state: dict[str, Any]) -> dict[str, Any]:
        """A checkpoint's content without shards; all processes call it."""
        gathered: dict[str, Any] = sharding.wholes(state) if self.sharded else state
        return gathered

    def own(self, state: dict[str, Any]) -> dict[str, Any]:
        """This process's part of a checkpoint's content."""
        if not self.sharded:
            return state
        here = self.method.state_dict()
        parts = {
            key: {name: sharding.like(x, here[name]) for name, x in state[key].items()}
            for key in ("weights", "average")
        }
        return state | parts | {"optimiser": sharding.scattered(state["optimiser"], self.optimiser)}

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Within it the method's weights are whole; all leave it together."""
        with sharding.gathered(self.method):
            yield
            self.accelerator.wait_for_everyone()
