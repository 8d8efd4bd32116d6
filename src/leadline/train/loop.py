"""The training loop: batch, loss, step, average; now and then a line, a checkpoint, a validation, a picture.

Interrupted equals uninterrupted: what a step does follows from the checkpoint before it and from (seed,
step) alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from leadline import documents
from leadline.data.sample import Batch, Sample, collate
from leadline.errors import DeviceError, TrainError
from leadline.recipe import Recipe
from leadline.train import build, checkpoint, feed, optimise, preflight, randomness
from leadline.train.display import Display, Silent
from leadline.train.run import Log, Stop, environment, locked, write

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a training ended: the steps done, whether these are all, and the folder of the finished model, if
    so.
    """

    step: int
    finished: bool
    message: str
    model: Path | None = None


class Objective(nn.Module):
    """A method's loss as a module's forward, which is what accelerate can cast and distribute."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.method.loss(batch, generator)  # type: ignore[operator]
        return loss.total, loss.parts


def train(
    recipe: Recipe,
    run: Path,
    *,
    resume: bool = True,
    method: nn.Module | None = None,
    display: Display | None = None,
) -> Outcome:
    """Train a recipe in the folder `run`, going on from its newest checkpoint if it has one.

    `method` replaces the network that the recipe describes. `display` is told what happens (none: silence).
    SIGTERM and Ctrl-C finish the step, save, and return an Outcome that is not finished. With `workers` in
    the recipe, a script that calls this needs the usual `if __name__ == "__main__":`.

    Raises a LeadlineError, one line, before the first step if the recipe, its data or the device cannot work.
    """
    display = display or Silent()
    with locked(run), _settings(recipe) as accelerator, Stop().listening() as stop:
        trainer = Trainer(recipe, run, accelerator, method or build.method(recipe), display)
        trainer.begin(resume)
        try:
            return trainer.fit(stop)
        finally:
            display.close()


@contextmanager
def _settings(recipe: Recipe) -> Iterator[Accelerator]:
    """The accelerator of this recipe; accelerate's and torch's process-wide settings are put back
    afterwards.
    """
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device: found no CUDA device, the recipe wants one: set device=auto or device=cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads or threads)
    precision = "bf16" if recipe.precision == "bfloat16" else "no"
    try:
        yield Accelerator(cpu=recipe.device == "cpu", mixed_precision=precision)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        torch.set_num_threads(threads)


class Trainer:
    """One training: its network, optimiser, average and place in the recipe."""

    def __init__(
        self, recipe: Recipe, run: Path, accelerator: Accelerator, method: nn.Module, display: Display
    ) -> None:
        self.recipe, self.run, self.accelerator, self.display = recipe, run, accelerator, display
        if recipe.channels_last:
            method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.method = method
        self.average = optimise.Average(method, recipe.ema)
        self.objective, self.optimiser = accelerator.prepare(
            Objective(method), optimise.adamw(method, recipe.optimiser)
        )
        self.parameters = [p for p in method.parameters() if p.requires_grad]
        self.log = Log(run / "log.jsonl")
        self.checkpoints = run / "checkpoints"
        self.step = 0
        self.bad_in_row = 0
        self.best: dict[str, Any] = {}  # step and value of the best validation
        self.window: dict[str, list[float]] = {}  # sums and counts since the last log line

    # ---- start -------------------------------------------------------------------------------------------

    def begin(self, resume: bool) -> None:
        """Open the data, restore or check everything, and say so; nothing is trained yet."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.batches = feed.stages(self.recipe, feed.open_all(self.recipe), rank, world)
        self.held_out = {n: feed.validation(n, entry) for n, entry in self.recipe.validation.items()}
        done = checkpoint.steps(self.checkpoints)
        if done and not resume:
            raise TrainError(
                f"{self.run} holds a training at step {done[-1]}: resume it or choose another folder"
            )
        if done:
            self._restore(done[-1])
        self._record(resumed=bool(done))
        preflight.check_data(self.batches, feed.accumulation(self.recipe, self.step)[0])
        if not done:
            self._check_gradient()
            self._validate()

    def _record(self, resumed: bool) -> None:
        if not self.accelerator.is_main_process:
            return
        trainable = sum(p.numel() for p in self.parameters)
        write(self.run / "recipe.yaml", documents.dump(self.recipe))
        facts = environment() | {"device": str(self.accelerator.device), "trainable_parameters": trainable}
        self.log.cut(self.step if resumed else -1)
        self.log.write("resume" if resumed else "start", self.step, **facts)
        word = f"resumed at step {self.step}" if resumed else "started"
        self.display.say(
            f"{word}: {self.recipe.method}, {trainable / 1e6:.2f} M trainable parameters, "
            f"{self.accelerator.device}, {self.recipe.precision}, {self.recipe.total_steps} steps"
        )

    def _check_gradient(self) -> None:
        batch = self._to_device(self.batches[0])
        with self._randomness(randomness.CHECK, 0):
            total, _ = self.objective(batch, randomness.generator(self.recipe.seed, randomness.CHECK))
        if torch.isfinite(total):
            self.accelerator.backward(total)
            for line in preflight.check_gradient(self.method):
                self.display.say(line)
        self.optimiser.zero_grad(set_to_none=True)

    # ---- steps -------------------------------------------------------------------------------------------

    def fit(self, stop: Stop) -> Outcome:
        """Steps until the recipe's end or a wish to stop."""
        self.display.start(self.recipe.total_steps, self.step)
        self.objective.train()
        first, _ = feed.accumulation(self.recipe, self.step)
        with closing(feed.stream(self.batches, first, self.recipe.workers)) as stream:
            while self.step < self.recipe.total_steps:
                started = time.monotonic()
                count = feed.accumulation(self.recipe, self.step)[1]
                batches = list(islice(stream, count))
                waited = time.monotonic() - started
                self._step(batches)
                self._note(seconds=time.monotonic() - started, wait=waited, images=sum(map(len, batches)))
                self._now_and_then()
                if self._agreed(stop):
                    return self._leave(stop)
        return self._finish()

    def _step(self, batches: list[list[Sample]]) -> None:
        """One optimiser step; without a finite gradient the weights stay as they are, and it is counted."""
        optimise.set_lr(self.optimiser, optimise.lr_at(self.step, self.recipe))
        self.optimiser.zero_grad(set_to_none=True)
        for number, samples in enumerate(batches):
            batch = self._to_device(samples)
            with self._synced(number == len(batches) - 1), self._randomness(randomness.STEP, number):
                total, parts = self.objective(batch, self._generator(randomness.STEP, number))
                self.accelerator.backward(total / len(batches))
            self._note(loss=float(total.detach()), **{name: float(part) for name, part in parts.items()})
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip or float("inf")))
        self._note(gradient=norm)
        if norm < float("inf"):  # false for nan too
            self.optimiser.step()
            self.average.update(self.step)
            self.bad_in_row = 0
        else:
            self._count_bad(batches)
        self.step += 1

    def _count_bad(self, batches: list[list[Sample]]) -> None:
        self.bad_in_row += 1
        names = [sample.name for samples in batches for sample in samples]
        self.log.write("skipped", self.step + 1, names=names)
        self.display.say(
            f"step {self.step + 1}: gradient is not finite, skipped ({', '.join(names[:3])} ...)"
        )
        if self.bad_in_row >= self.recipe.max_bad_steps:
            raise TrainError(
                f"no finite gradient in {self.bad_in_row} steps up to {self.step + 1}: "
                "lower the learning rate, or look at the samples named in log.jsonl"
            )

    def _to_device(self, samples: list[Sample]) -> Batch:
        return collate(samples).to(self.accelerator.device, channels_last=self.recipe.channels_last)

    def _key(self, purpose: int, number: int) -> tuple[int, ...]:
        return (self.recipe.seed, self.step, number, self.accelerator.process_index, purpose)

    def _generator(self, purpose: int, number: int) -> torch.Generator:
        return randomness.generator(*self._key(purpose, number))

    def _randomness(self, purpose: int, number: int) -> AbstractContextManager[None]:
        return randomness.seeded(*self._key(purpose, number))

    def _synced(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.accelerator.no_sync(self.objective)

    def _agreed(self, stop: Stop) -> bool:
        """Whether any process was told to stop: all must leave at the same step."""
        if self.accelerator.num_processes == 1:
            return stop.signal is not None
        wish = torch.tensor(float(stop.signal is not None), device=self.accelerator.device)
        return bool(self.accelerator.reduce(wish) > 0)

    # ---- now and then ------------------------------------------------------------------------------------

    def _now_and_then(self) -> None:
        every, last = self.recipe.every, self.step == self.recipe.total_steps
        self.display.step(self.step, self._means())
        if self.step % every.log == 0 or last:
            self._log()
        if every.validate_ and (self.step % every.validate_ == 0 or last):
            self._validate()
        if every.sample and (self.step % every.sample == 0 or last):
            self._draw()
        if every.checkpoint and self.step % every.checkpoint == 0 and not last:
            self._save()

    def _note(self, **values: float) -> None:
        for name, value in values.items():
            total = self.window.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def _means(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self.window.items()}
        seconds, images = self.window["seconds"][0], self.window["images"][0]
        return means | {"images_per_second": images * self.accelerator.num_processes / seconds}

    def _log(self) -> None:
        facts = self._means() | {"lr": optimise.lr_at(self.step - 1, self.recipe)}
        self.window = {}
        if self.accelerator.is_main_process:
            self.log.write("train", self.step, **facts)
            self.display.log(self.step, facts)

    def _validate(self) -> None:
        """Mean loss on the held-out pictures, averaged weights, the same random numbers every time."""
        if not self.held_out:
            return
        self.display.phase("validating")
        means = {}
        with self._evaluating():
            for name, batches in self.held_out.items():
                values = [self._held_out_loss(number, samples) for number, samples in enumerate(batches)]
                means[name] = sum(v * len(b) for v, b in zip(values, batches, strict=True)) / sum(
                    map(len, batches)
                )
        value = sum(means.values()) / len(means)
        if not self.best or value < self.best["value"]:
            self.best = {"step": self.step, "value": value}
        if self.accelerator.is_main_process:
            self.log.write("validation", self.step, **means)
            self.display.say(
                f"step {self.step}: validation " + ", ".join(f"{n} {v:.4f}" for n, v in means.items())
            )

    def _held_out_loss(self, number: int, samples: list[Sample]) -> float:
        key = (self.recipe.seed, number, randomness.VALIDATE)
        with randomness.seeded(*key):
            total, _ = self.objective(self._to_device(samples), randomness.generator(*key))
        return float(total)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        self.objective.eval()
        with torch.no_grad(), self.average.applied():
            yield
        self.objective.train()

    def _draw(self) -> None:
        """samples/<step>.png and curves.png."""

    # ---- save, restore, leave ----------------------------------------------------------------------------

    def _trained(self) -> dict[str, Tensor]:
        """Weights and buffers that training changes; frozen parts come from the start weights again."""
        frozen = {name for name, p in self.method.named_parameters() if not p.requires_grad}
        return {name: x for name, x in self.method.state_dict().items() if name not in frozen}

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process or self.step in checkpoint.steps(self.checkpoints)[-1:]:
            return
        self.display.phase("saving")
        state = {
            "step": self.step,
            "weights": self._trained(),
            "average": self.average.weights,
            "optimiser": self.optimiser.state_dict(),
            "bad_in_row": self.bad_in_row,
            "best": self.best,
            "window": self.window,
        }
        checkpoint.save(self.checkpoints, self.step, state, {"step": self.step, "best": self.best})
        checkpoint.prune(self.checkpoints, self.recipe.keep, self.best.get("step"))

    def _restore(self, step: int) -> None:
        state = checkpoint.load(self.checkpoints, step)
        if step > self.recipe.total_steps:
            raise TrainError(
                f"{self.run} is at step {step}, the recipe ends at {self.recipe.total_steps}: raise its steps"
            )
        wanted = self._trained()
        preflight.check_same_network(wanted, state["weights"], self.run)
        self.method.load_state_dict(state["weights"], strict=False)
        self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.bad_in_row = state["step"], state["bad_in_row"]
        self.best, self.window = state["best"], state["window"]

    def _leave(self, stop: Stop) -> Outcome:
        self._save()
        message = (
            f"stopped by {stop.signal} at step {self.step} of {self.recipe.total_steps}, saved in {self.run}"
        )
        return Outcome(self.step, False, message + ": the same command goes on from here")

    def _finish(self) -> Outcome:
        self._save()
        model = self.run / "model"
        self.objective.eval()
        with torch.no_grad(), self.average.applied():
            if self.accelerator.is_main_process:
                self.method.save(model)  # type: ignore[operator]
        return Outcome(self.step, True, f"trained {self.step} steps, the model is in {model}", model)
