"""The training loop: batch, loss, step, average; now and then a line, a checkpoint, a validation, a picture.

Interrupted equals uninterrupted: a step follows from the checkpoint before it and from (seed, step) alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from leadline import documents
from leadline.data import loading
from leadline.data.mix import Set
from leadline.data.sample import Batch, Sample, collate
from leadline.errors import TrainError
from leadline.machine import environment
from leadline.networks import latent
from leadline.recipe import Recipe
from leadline.train import checkpoint, feed, optimise, pictures, preflight, randomness, result, validate
from leadline.train.display import Display
from leadline.train.run import Heartbeat, Log, Stop, write
from leadline.train.team import Team
from leadline.train.tensorboard import Events

PICTURES = 6  # rows of a sample sheet


@dataclass(frozen=True)
class Outcome:
    """How a training ended: steps done, whether these are all, one line for people, the finished model; and
    whether this process is the one of several that speaks for all.
    """

    step: int
    finished: bool
    message: str
    model: Path | None = None
    signal: str | None = None  # that ended it early
    main: bool = True


class Trainer:
    """One training: its network, optimiser, average and place in the recipe."""

    def __init__(
        self,
        recipe: Recipe,
        run: Path,
        accelerator: Accelerator,
        method: Any,
        display: Display,
        heartbeat: Heartbeat,
    ) -> None:
        self.recipe, self.run, self.accelerator, self.method = recipe, run, accelerator, method
        self.display, self.heartbeat = display, heartbeat
        if not any(p.requires_grad for p in method.parameters()):
            raise TrainError("the network has no trainable weights: is everything frozen?")
        if recipe.latents:
            preflight.check_latents(recipe, method)
            latent.keep(method.autoencoder, Path(recipe.latents))
        self.team = Team(accelerator, method, recipe)
        self.objective, self.optimiser = self.team.objective, self.team.optimiser
        self.average = optimise.Average(method, recipe.ema)
        self.log = Log(run / "log.jsonl")
        self.checkpoints = run / "checkpoints"
        self.held_out: dict[str, list[list[Sample]]] = {}  # on the main process: validation, in batches
        self.step = 0
        self.saved = -1  # step of the newest checkpoint
        self.bad_in_row = 0
        self.best: dict[str, Any] = {}  # step and value of the best validation
        self.window: dict[str, list[float]] = {}  # sums and counts since the last log line

    # ---- start -------------------------------------------------------------------------------------------

    def begin(self, sets: dict[str, Set], resume: bool) -> None:
        """Restore or check everything, and say so; nothing is trained yet."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        done = checkpoint.steps(self.checkpoints)
        if done and not resume:
            raise TrainError(
                f"{self.run} holds a training at step {done[-1]}: resume it or choose another folder"
            )
        multiple = preflight.multiple(self.method)
        preflight.check_sizes(self.recipe, multiple)
        self.batches = feed.stages(self.recipe, sets, rank, world)
        if self.team.looks:
            self._phase("loading the pictures for validation")
            self.held_out = {n: feed.validation(n, entry) for n, entry in self.recipe.validation.items()}
        if done:
            self._restore(done[-1])
        else:
            self._phase("looking at the data")
            for line in preflight.check_sets(self.batches, self.recipe.preflight == "stop"):
                self.display.say(line)
            self._check_gradient(preflight.check_data(self.batches, multiple))
            self._check_losses()
        self._record(resumed=bool(done))
        if not done:
            self._validate()
            self._draw()

    def _record(self, resumed: bool) -> None:
        if not self.accelerator.is_main_process:
            return
        trainable = sum(p.numel() for p in self.team.parameters)
        facts = environment() | {"device": str(self.accelerator.device), "trainable_parameters": trainable}
        if resumed:
            facts["changed"] = self._changes()
        write(self.run / "recipe.yaml", documents.dump(self.recipe))
        write(self.run / "environment.json", json.dumps(facts, indent=1))
        self.log.cut(self.step if resumed else -1)
        self.log.write("resume" if resumed else "start", self.step, **facts)
        self.events = Events(self.run / "tensorboard", self.step)
        word = f"resumed at step {self.step}" if resumed else "started"
        self.display.say(
            f"{word}: {self.recipe.method}, {trainable / 1e6:.2f} M trainable parameters, "
            f"{self.accelerator.device}, {self.recipe.precision}, {self.recipe.total_steps} steps"
        )

    def _changes(self) -> list[str]:
        """Keys of the recipe that differ from those that the run was started or last resumed with."""
        before, now = documents.parse(self.run / "recipe.yaml"), documents.parse(documents.dump(self.recipe))
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if changed:
            self.display.say(
                f"the recipe differs from the run's so far in {', '.join(changed)}: from here on it counts"
            )
        return changed

    def _check_gradient(self, samples: Sequence[Sample]) -> None:
        """One backward pass that changes nothing."""
        with self._randomness(randomness.CHECK, 0):
            total = self.objective(self._to_device(samples), self._generator(randomness.CHECK, 0)).total
        if torch.isfinite(total):  # otherwise the steps themselves will tell, with the samples' names
            self.accelerator.backward(total)
            for line in preflight.check_gradient(self.method):
                self.display.say(line)
        self.optimiser.zero_grad(set_to_none=True)

    def _check_losses(self) -> None:
        """One batch of every data set: what it lacks is heard of now, not when its turn comes."""
        with self._evaluating():
            for number, samples in enumerate(preflight.one_of_each(self.batches)):
                self.objective(self._to_device(samples), self._generator(randomness.CHECK, number))

    # ---- steps -------------------------------------------------------------------------------------------

    def fit(self, stop: Stop) -> Outcome:
        """Steps until the recipe's end or a wish to stop."""
        self.display.start(self.recipe.total_steps, self.step)
        self.objective.train()
        first, _ = feed.accumulation(self.recipe, self.step)
        with closing(loading.stream(self.batches, first, self.recipe.workers)) as stream:
            while self.step < self.recipe.total_steps:
                started = time.monotonic()
                first, count = feed.accumulation(self.recipe, self.step)
                batches = [self._next(stream, first + number) for number in range(count)]
                waited = time.monotonic() - started
                self.heartbeat.now(self.step, "computing a step")
                self._step(batches)
                self._note(seconds=time.monotonic() - started, wait=waited, images=sum(map(len, batches)))
                self._now_and_then()
                told = self.team.agree(stop.signal)  # all leave at the same step
                if told and self.step < self.recipe.total_steps:
                    return self._leave(told)
        return self._finish()

    def _next(self, stream: Iterator[list[Sample]], number: int) -> list[Sample]:
        self.heartbeat.now(self.step, f"waiting for {self.batches.describe(number)}")
        return next(stream)

    def _step(self, batches: list[list[Sample]]) -> None:
        """One optimiser step; without a finite gradient the weights stay as they are, and it is counted."""
        optimise.set_lr(self.optimiser, optimise.lr_at(self.step, self.recipe))
        self.optimiser.zero_grad(set_to_none=True)
        suspects = []
        for number, samples in enumerate(batches):
            batch = self._to_device(samples)
            with self.team.synced(number == len(batches) - 1), self._randomness(randomness.STEP, number):
                loss = self.objective(batch, self._noise(number))
                shared, mean = self.team.shared(loss)
                self.accelerator.backward(shared / len(batches))
            if not torch.isfinite(loss.total):
                suspects += batch.names
            self._note(loss=mean, **{f"loss_{name}": float(x) for name, x in loss.parts.items()})
        norm = self.team.clip(self.recipe.clip or float("inf"))
        self._note(gradient_norm=norm)
        finite = norm < float("inf")  # false for nan too
        if finite or self.accelerator.scaler:  # the scaler steps only where it may, and learns from the rest
            self.optimiser.step()
        if finite:
            self.average.update(self.step)
            self.bad_in_row = 0
        else:
            named = gather_object(suspects)  # of all ranks; where all losses are finite, any sample may be it
            everyone = gather_object([sample.name for batch in batches for sample in batch])
            self._count_bad(named or everyone, may_scale=bool(self.accelerator.scaler and not named))
        self.step += 1

    def _count_bad(self, names: list[str], may_scale: bool) -> None:
        """A step whose gradient is not finite: the recipe says whether that ends the training. may_scale: it
        may be no more than float16's scale of the loss that is too large still, which then falls.
        """
        self.bad_in_row += 1
        where, named = f"step {self.step + 1}", f"{', '.join(names[:3])}{' ...' * (len(names) > 3)}"
        if self.accelerator.is_main_process:
            self.log.write("skipped", self.step + 1, names=names)
        self.display.say(f"{where}: gradient is not finite, skipped ({named})")
        if self.recipe.non_finite == "stop" and not may_scale:
            self._save()
            raise TrainError(
                f"{where}: gradient is not finite with {named}: look at these samples, lower the learning "
                "rate, or go on without such steps by non_finite=skip"
            )
        if self.bad_in_row >= self.recipe.max_bad_steps:
            self._save()
            raise TrainError(
                f"no finite gradient in {self.bad_in_row} steps up to {self.step + 1}: "
                "lower the learning rate, or look at the samples named in log.jsonl"
            )

    def _to_device(self, samples: Sequence[Sample]) -> Batch:
        return collate(samples).to(self.accelerator.device, channels_last=self.recipe.channels_last)

    def _key(self, purpose: int, number: int) -> tuple[int, ...]:
        return (self.recipe.seed, self.step, number, self.accelerator.process_index, purpose)

    def _generator(self, purpose: int, number: int) -> torch.Generator:
        return randomness.generator(*self._key(purpose, number))

    def _noise(self, number: int) -> torch.Generator:
        """For timesteps and noise of a step's batch of that number; Marigold's own under its order."""
        if self.recipe.order != "marigold":
            return self._generator(randomness.STEP, number)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        first, total = (feed.accumulation(self.recipe, x)[0] for x in (self.step, self.recipe.total_steps))
        seed = randomness.marigolds(self.recipe.seed, total * world)[(first + number) * world + rank]
        return torch.Generator().manual_seed(seed)

    def _randomness(self, purpose: int, number: int) -> AbstractContextManager[None]:
        return randomness.seeded(*self._key(purpose, number))

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
        due = every.checkpoint and self.step % every.checkpoint == 0
        if (due or self.best.get("step") == self.step) and not last:
            self._save()

    def _note(self, **values: float) -> None:
        for name, value in values.items():
            total = self.window.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def _means(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self.window.items()}
        pictures_per_second = means["images"] * self.accelerator.num_processes / means["seconds"]
        return means | {"lr": optimise.lr_at(self.step - 1, self.recipe), "rate": pictures_per_second}

    def _log(self) -> None:
        facts, self.window = self._means(), {}
        if self.accelerator.is_main_process:
            self.log.write("train", self.step, **facts)
            self.events.numbers(self.step, {f"train/{name}": value for name, value in facts.items()})
            self.display.log(self.step, facts)

    def _validate(self) -> None:
        """Every held-out set, on the main process; the mean of their losses decides on the best step."""
        if not self.held_out:
            return
        self._phase("validating")
        losses = []
        with self._evaluating():
            for name, batches in self.held_out.items():
                figures = validate.measure(self.method, batches, self._to_device, self.recipe.seed)
                losses.append(figures["loss"])
                if not self.team.main:
                    continue
                self.log.write("validation", self.step, set=name, **figures)
                self.events.numbers(self.step, {f"{name}/{key}": value for key, value in figures.items()})
                words = ", ".join(f"{key} {value:.4f}" for key, value in figures.items())
                self.display.say(f"step {self.step}: validation {name}: {words}")
        value = sum(losses) / len(losses)
        better = math.isfinite(value) and (not self.best or value < self.best["value"])
        if self.step and better:  # what training starts from is no checkpoint
            self.best = {"step": self.step, "value": value}

    def _draw(self) -> None:
        """curves.png, and samples/<step>.png from the first held-out set (none: the first training batch)."""
        if not self.recipe.every.sample or not self.team.looks:
            return
        self._phase("drawing")
        held_out = next(iter(self.held_out.values()), [])
        samples = (held_out[0] if held_out else self.batches[0])[:PICTURES]
        generators = [
            randomness.generator(self.recipe.seed, i, randomness.VALIDATE) for i in range(len(samples))
        ]
        with self._evaluating():
            outputs = validate.seen(self.method, self._to_device(samples), generators)
        if not self.team.main:
            return
        sheet = self.run / "samples" / f"{self.step:08d}.png"
        pictures.sheet(samples, outputs, self.method.kind, sheet)
        self.events.picture(self.step, "samples", sheet)
        pictures.curves(self.log.read(), self.run / "curves.png")

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode, no gradients, averaged weights, the recipe's precision."""
        self.objective.eval()
        with torch.no_grad(), self.average.applied(), self.accelerator.autocast():
            yield
        self.objective.train()

    def _phase(self, name: str) -> None:
        self.heartbeat.now(self.step, name)
        self.display.phase(name)

    # ---- save, restore, leave ----------------------------------------------------------------------------

    def _trained(self) -> dict[str, Tensor]:
        """Weights and buffers that training changes; frozen parts come from the start weights again."""
        frozen = {name for name, p in self.method.named_parameters() if not p.requires_grad}
        return {name: x for name, x in self.method.state_dict().items() if name not in frozen}

    def _save(self) -> None:
        if self.step == self.saved or not self.team.looks:
            return
        self._phase("saving")
        self.saved = self.step
        state = {
            "step": self.step,
            "weights": self._trained(),
            "average": self.average.weights,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
            "bad_in_row": self.bad_in_row,
            "best": self.best,
            "window": self.window,
        }
        state = self.team.whole(state)
        if not self.team.main:
            return
        checkpoint.save(self.checkpoints, self.step, state, {"step": self.step, "best": self.best})
        checkpoint.prune(self.checkpoints, self.recipe.keep, self.best.get("step"))

    def _restore(self, step: int) -> None:
        if step > self.recipe.total_steps:
            raise TrainError(
                f"{self.run} is at step {step}, the recipe ends at {self.recipe.total_steps}: raise its steps"
            )
        state = checkpoint.load(self.checkpoints, step)
        preflight.check_same_network(self._trained(), state["weights"], self.run)
        state = self.team.own(state)
        self.method.load_state_dict(state["weights"], strict=False)  # the frozen parts are there already
        self.average.load(state["average"])
        optimise.restore(self.optimiser, state["optimiser"])
        if self.accelerator.scaler and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.bad_in_row, self.saved = state["step"], state["bad_in_row"], step
        self.best, self.window = state["best"], state["window"]

    def _leave(self, told: str) -> Outcome:
        self._save()
        where = f"at step {self.step} of {self.recipe.total_steps}, saved in {self.run}"
        message = f"stopped by {told} {where}: the same command goes on from here"
        return Outcome(self.step, False, message, signal=told, main=self.accelerator.is_main_process)

    def _finish(self) -> Outcome:
        self._save()
        self._phase("saving the model")
        model = self.run / "model"
        self.objective.eval()
        with torch.no_grad(), self.average.applied(), self.team.gathered():
            if self.team.main:
                result.save(self.method, model, self.recipe, self.step, self.run.resolve().name)
        message = f"trained {self.step} steps, the model is in {model}"
        return Outcome(self.step, True, message, model, main=self.accelerator.is_main_process)
