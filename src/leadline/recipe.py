"""A recipe: everything that decides a training, as one validated YAML document.

    method: e2e-ft
    model: {...}                        # a network with random weights; or `start:`, a model's name or folder
    data: {hypersim: 0.9, vkitti2: 0.1}
    optimiser: {lr: 3.0e-5}
    schedule: {decay: exponential, warmup: 100}
    batch: {size: 2, accumulate: 16}
    steps: 20000

Unknown keys are refused and the nearest right one is named. Every value can be overridden by
`key.path=value`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from leadline import documents
from leadline.cards import Defaults
from leadline.data.augment import Options
from leadline.data.view import View

Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class Part(BaseModel):
    """Of a recipe: it cannot be changed, and refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataEntry(View):
    """One data set of the mix, and how it is looked at. Its key names it, and is also the set's name unless
    `set` says otherwise.
    """

    set: str = ""
    ratio: float = Field(1.0, gt=0, description="share of the batches, relative to the other entries")
    options: dict[str, Any] = Field({}, description="what the data set itself takes, such as path")
    turn: str = Field("", description="entries of one turn share its batches by ratio; turns alternate")
    sizes: tuple[Size, ...] = Field((), description="(height, width) of a batch, one drawn per batch")
    size_weights: tuple[float, ...] = Field((), description="how often each size; none: equally often")
    augment: Options | None = Field(None, description="instead of the recipe's")

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        _check_weights(self.sizes, self.size_weights)
        return self


class Validation(View):
    """Pictures measured during training with the averaged weights, never trained on, never augmented."""

    set: str = ""
    options: dict[str, Any] = {}
    count: int = Field(32, ge=1, description="the first so many pictures of the set")
    size: Size | None = None
    batch: int = Field(8, ge=1)


class Group(Part):
    """Parameters whose name a regular expression finds, with their own values; None: the optimiser's."""

    lr_factor: float = Field(1.0, ge=0)
    weight_decay: float | None = Field(None, ge=0)


class Optimiser(Part):
    """AdamW; adafactor has far smaller states and takes lr and weight_decay alone; adamw8bit needs the extra
    `lean` (bitsandbytes).
    """

    name: Literal["adamw", "adafactor", "adamw8bit"] = "adamw"
    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    groups: dict[str, Group] = Field(
        {}, description="regular expression -> values; the first that matches counts"
    )

    @model_validator(mode="after")
    def _patterns_compile(self) -> Self:
        for pattern in self.groups:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"groups: {pattern!r} is no regular expression ({error})") from None
        return self


class Schedule(Part):
    """The learning rate's factor over the steps; see `train.optimise.lr_factor`."""

    decay: Literal["exponential", "cosine", "constant"] = "constant"
    warmup: int = Field(0, ge=0, description="steps of linear rise from 0")
    final: float = Field(0.01, gt=0, le=1, description="factor at the end of the decay")
    length: int | None = Field(None, ge=1, description="steps until `final`; none: the training's own")


class SelfTraining(Part):
    """A teacher's word on photographs, as one more data set (leadline.train.teach)."""

    photographs: str = Field(description="a folder of pictures")
    teacher: str = Field(description="a model's name, hub id or folder, of what the recipe trains")
    labels: str = Field(description="folder where its word is kept")
    ratio: float = Field(1.0, gt=0, description="share of the batches, relative to the data sets'")
    agreement: float = Field(
        0.05, gt=0, description="a pixel counts where picture and mirror image differ by less, of the range"
    )
    sizes: tuple[Size, ...] = ()
    augment: Options | None = Field(None, description="what makes it hard for the pupil")


class BatchSize(Part):
    """How many pictures make a step: both numbers and the processes multiplied."""

    size: int = Field(2, ge=1, description="pictures at once, per process")
    accumulate: int = Field(1, ge=1, description="batches per optimiser step")


class Ema(Part):
    """Running average of the weights; validation, samples and the final model use it. decay 0: off."""

    decay: float = Field(0.0, ge=0, lt=1)
    warm: bool = Field(True, description="limit the decay to (1 + n) / (10 + n) at step n")


class Every(Part):
    """Steps between two of each; 0: never (the last step is always saved)."""

    log: int = Field(10, ge=1)
    checkpoint: int = Field(500, ge=0)
    validate_: int = Field(500, ge=0, alias="validate")
    sample: int = Field(500, ge=0)

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)


class Stage(Part):
    """A part of the training; what it does not say, the recipe says."""

    steps: int = Field(ge=1)
    sizes: tuple[Size, ...] = ()
    size_weights: tuple[float, ...] = ()
    batch: BatchSize | None = None
    lr: float | None = Field(None, gt=0)
    schedule: Schedule | None = Field(
        None, description="over this stage alone; none: the recipe's, over all stages"
    )
    augment: Options | None = None

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        _check_weights(self.sizes, self.size_weights)
        return self


def _check_weights(sizes: tuple[Size, ...], weights: tuple[float, ...]) -> None:
    if weights and (len(weights) != len(sizes) or min(weights) < 0 or sum(weights) <= 0):
        raise ValueError(
            f"size_weights has {len(weights)} values for {len(sizes)} sizes, wanted one positive each"
        )


def _ratios(data: Any) -> Any:
    """{name: 0.9} is short for {name: {ratio: 0.9}}."""
    if not isinstance(data, dict):
        return data
    return {k: {"ratio": v} if isinstance(v, int | float) else v or {} for k, v in data.items()}


class Recipe(Part):
    """What to train, on what, how, and how often to look. Field by field in docs/train.md."""

    method: str = Field(description="a name of leadline.methods.METHODS")
    model: dict[str, Any] = Field({}, description="the method's Config, or what differs from start's")
    start: str | None = Field(
        None, description="a model's name, hub id or folder to go on from; none: random weights"
    )
    card: str | None = Field(
        None, description="what a `start` without card.yaml is: a model's name, or a file"
    )
    defaults: Defaults | None = Field(
        None, description="steps and ensemble that the model shall predict with, as its card will say"
    )
    licence: str | None = Field(None, description="of the model that comes out; none: its start's")
    terms: str = Field("", description="what its data ask for, to be added to the terms of its start")
    data: Annotated[dict[str, DataEntry], BeforeValidator(_ratios)] = Field(min_length=1)
    order: Literal["exact", "marigold", "e2e-ft"] = Field(
        "exact",
        description="in which the sets and their pictures come (leadline.data.orders); "
        "marigold: timesteps and noise, too, have the seeds of its code",
    )
    augment: Options = Options()
    optimiser: Optimiser
    schedule: Schedule = Schedule()
    batch: BatchSize = BatchSize()
    ema: Ema = Ema()
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm, after accumulation; null: none")
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    steps: int | None = Field(None, ge=1, description="optimiser steps; or `stages`")
    stages: dict[str, Stage] = {}
    latents: str | None = Field(
        None, description="folder where pictures' latents are kept, so that each is encoded once"
    )
    seed: int = Field(0, ge=0)
    validation: dict[str, Validation] = {}
    self_training: SelfTraining | None = Field(None, description="pseudo-labels on photographs")
    every: Every = Every()
    keep: int = Field(2, ge=1, description="checkpoints kept, beside the best")
    preflight: Literal["stop", "warn"] = Field(
        "stop", description="what becomes of data that look wrong before the first step"
    )
    non_finite: Literal["skip", "stop"] = Field(
        "skip", description="what becomes of a step without a finite gradient; its samples are named"
    )
    max_bad_steps: int = Field(
        20, ge=1, description="steps in a row without a finite gradient before giving up"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = Field(1, ge=0, description="processes that load data; the data do not depend on it")
    threads: int | None = Field(
        None, ge=1, description="processor threads of the network; none: torch's choice"
    )
    channels_last: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.steps is None) == (not self.stages):
            raise ValueError("give either steps or stages")
        if self.card and not self.start:
            raise ValueError("card says what start is: give start too, or leave card out")
        return self

    @property
    def plan(self) -> tuple[Stage, ...]:
        """The stages in order; a recipe without any is one stage."""
        return tuple(self.stages.values()) or (Stage(steps=self.steps or 1),)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return sum(stage.steps for stage in self.plan)


def load(source: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe file (Path) or YAML text (str), with `key.path=value` applied on top.

    DocumentError, one line, names the key that is wrong.

    >>> text = "{method: e2e-ft, data: {scenes: 1}, optimiser: {lr: 1e-3}, steps: 5}"
    >>> load(text, ["optimiser.lr=3e-5"]).optimiser.lr
    3e-05
    >>> load(text, ["optimiser.weigth_decay=0"])
    Traceback (most recent call last):
    leadline.errors.DocumentError: recipe: optimiser.weigth_decay: unknown key, did you mean 'weight_decay'?
    """
    data = documents.override(documents.parse(source), overrides)
    name = str(source) if isinstance(source, Path) else "recipe"
    return documents.validate(data, Recipe, name)
