"""Training: `train(recipe, run)` runs a recipe in a folder that holds all about it, and resumes there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object

from leadline import devices
from leadline.data.augment import Options, augment
from leadline.data.sample import Sample, collate
from leadline.errors import DeviceError, UsageError
from leadline.recipe import Recipe
from leadline.train import build, feed, randomness, teach
from leadline.train.display import Display, Silent
from leadline.train.loop import Outcome, Trainer
from leadline.train.result import export
from leadline.train.run import Heartbeat, Stop, locked

OTHERS = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}  # ours -> accelerate's
__all__ = ["Outcome", "export", "train"]


def train(
    recipe: Recipe,
    run: Path | str,
    *,
    resume: bool = True,
    method: Any | None = None,
    display: Display | None = None,
) -> Outcome:
    """Train a recipe in the folder `run`, going on from its newest checkpoint if it has one.

    `method` replaces the network that the recipe describes. `display` is told what happens (none: silence).
    SIGTERM and Ctrl-C finish the step, save, and return an Outcome that is not finished. With `workers` in
    the recipe, a script that calls this needs the usual `if __name__ == "__main__":`. On Linux this process
    keeps the memory that it frees from here on (`devices.keep_freed_memory`).

    Raises a LeadlineError, one line, before the first step if the recipe, its data or the device cannot work.
    """
    run = Path(run)
    with _settings(recipe) as accelerator, locked(run, accelerator.is_main_process), ExitStack() as open_:
        main = accelerator.is_main_process
        stalled = _aloud(display or Silent(), accelerator)
        display = open_.enter_context(closing(display if display and main else Silent()))
        heartbeat = open_.enter_context(Heartbeat(run / "heartbeat.json" if main else None, stalled))
        stop = open_.enter_context(Stop().listening())
        sets = feed.open_all(recipe)  # before the network: a missing folder is found in a second
        method = method or build.method(recipe)
        if recipe.self_training:
            _label(recipe, method, accelerator, display, stop)
            if not teach.labelled(recipe.self_training):
                told = next(filter(None, gather_object([stop.signal])), None)
                what = f"stopped by {told} while photographs were labelled"
                message = f"{what}: the same command goes on from here"
                return Outcome(0, False, message, signal=told, main=main)
            recipe = teach.with_labels(recipe)
            sets = feed.open_all(recipe)
        trainer = Trainer(recipe, run, accelerator, method, display, heartbeat)
        trainer.begin(sets, resume)
        return trainer.fit(stop)


def _aloud(display: Display, accelerator: Accelerator) -> Callable[[str], None]:
    """What says that this process waits long: where there are others, it alone knows for what."""
    if accelerator.num_processes == 1:
        return display.say
    return lambda line: display.say(f"process {accelerator.process_index}, {line}")


def _label(recipe: Recipe, method: Any, accelerator: Accelerator, display: Display, stop: Stop) -> None:
    """Self-training's labels, by all processes together, unless the pupil cannot learn of such."""
    sizes = recipe.self_training.sizes if recipe.self_training else ()

    def attempt(sample: Sample) -> None:
        size = sizes[0] if sizes else sample.size
        seen = augment(sample, np.random.default_rng(0), Options(flip=0), size)
        with torch.no_grad():
            method.loss(collate([seen]), randomness.generator(randomness.CHECK))

    rank, world = accelerator.process_index, accelerator.num_processes
    teach.label(recipe, display.say, stop=stop, attempt=attempt, share=(rank, world))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        teach.finish(recipe)
    accelerator.wait_for_everyone()


@contextmanager
def _settings(recipe: Recipe) -> Iterator[Accelerator]:
    """The accelerator of this recipe; accelerate's and torch's process-wide settings are put back
    afterwards.
    """
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device: found no CUDA device, the recipe wants one: set device=auto or device=cpu")
    devices.keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads or threads)
    if recipe.precision == "float16" and (recipe.device == "cpu" or not torch.cuda.is_available()):
        raise DeviceError("precision float16 is trained on a CUDA device: use bfloat16 or float32")
    try:
        accelerator = Accelerator(cpu=recipe.device == "cpu", mixed_precision=PRECISIONS[recipe.precision])
        if accelerator.distributed_type in OTHERS:
            raise UsageError(
                "DeepSpeed and Megatron are not supported: launch plain processes, or weights in shards by "
                "accelerate's --use_fsdp"
            )
        yield accelerator
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        torch.set_num_threads(threads)
