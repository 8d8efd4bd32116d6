"""One file per paper. `METHODS` is the list; `Method` is what the engines know about each of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from leadline.errors import UsageError, did_you_mean
from leadline.prediction import Kind

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch import Generator, Tensor, nn

    from leadline.camera import Camera
    from leadline.cards import Card
    from leadline.data.sample import Batch
    from leadline.losses import Loss
    from leadline.presets import Preset
    from leadline.sizes import SizeRule

METHODS = {
    "marigold": "leadline.methods.marigold:Marigold",
    "e2e-ft": "leadline.methods.e2e_ft:E2EFT",
    "fiffdepth": "leadline.methods.fiffdepth:FiffDepth",
    "metricgold": "leadline.methods.metricgold:MetricGold",
    "autoencoder": "leadline.methods.autoencoder:Autoencoder",
    "latent-diffusion": "leadline.methods.latent_diffusion:LatentDiffusion",
    "primedepth": "leadline.methods.primedepth:PrimeDepth",
    "geowizard": "leadline.methods.geowizard:GeoWizard",
    "depth-anything": "leadline.methods.depth_anything:DepthAnything",
    "onnx": "leadline.methods.external:External",
}


class Method(Protocol):
    """A network with its forward pass and its objective; beside the class, its module holds its `Config`."""

    kind: Kind  # of the main output
    card: Card  # what the weights are, as far as it is known
    presets: ClassVar[Mapping[str, Preset]]  # the names that `compat` takes
    preset: Preset  # the arithmetic around the network: see leadline.coding.publish
    size_rule: SizeRule  # how pictures come in
    steps: int | None  # of denoising, by default; None: it always works in one pass
    members: int | None  # of an ensemble, by default; None: it makes none

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: Any = None,
        text: Any = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> one entry per output, the main one first.

        Methods with `steps` take them by that name. Those with `members` take E generators per image, those
        of one image together, and return E maps of each in that order.
        """

    def for_prediction(self, steps: int | None = None) -> Self:
        """A model with the same weights and results, for `forward` in so many steps without gradients, faster
        if there is a way; else itself. Weights that change later need a new one.
        """

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """The objective on one batch."""

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A folder that `load` reads back."""

    @classmethod
    def load(cls, folder: Path, card: Card | None = None, **options: Any) -> Self:
        """From a folder; `card` where it has none; `options` replace entries of its configuration."""

    @classmethod
    def random(cls, config: Any, seed: int = 0) -> Self:
        """From a `Config`, with weights drawn from the seed."""


class Sampler(Method, Protocol):
    """What methods with `steps` have besides."""

    def timesteps(self, steps: int) -> Sequence[int]:
        """Which they are. Raises UsageError for more than there are."""

    def each_step(self, rgb: Tensor, *, generators: Sequence[Generator], steps: int) -> Iterator[Tensor]:
        """As `forward`, one map per image: what each step takes for the main output."""


class Further(Method, Protocol):
    """What methods have besides that give more than one map of a picture."""

    also: Mapping[str, Kind]  # by name: `forward(also=)` takes some, and gives them after the main one


class Several(Further, Protocol):
    """What methods have besides whose Config says by `target` which of their outputs is the main one."""

    kinds: ClassVar[Mapping[str, Kind]]  # by target
    settings: Mapping[str, Any]  # what results depend on beside the weights


class Metric(Method, Protocol):
    """What methods may have besides whose metres end somewhere, or depend on the camera."""

    needs_camera: bool  # whether one is assumed where a picture has none
    masks_beyond: bool  # whether results are not valid where they lie `beyond`

    def beyond(self, metres: Tensor, camera: Camera | None) -> Tensor:
        """Where metres [1,1,H,W] say no more than that something is there or beyond; bool. camera: as the
        network knew it, of the prepared picture.
        """


class Decoder(Method, Protocol):
    """What methods with an autoencoder have besides."""

    def with_autoencoder(self, autoencoder: nn.Module) -> Self:
        """The same model with another one for the same latents. Raises WeightsError for one of others."""


def get(name: str) -> tuple[type[Method], type[BaseModel]]:
    """The class of a method and its Config. Raises UsageError that names the nearest one.

    >>> get("e2e-ft")[0].__name__
    'E2EFT'
    """
    if name not in METHODS:
        raise UsageError(f"method {name!r} is unknown: {did_you_mean(name, METHODS)}")
    module_name, _, class_name = METHODS[name].partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, class_name), module.Config


def choice(card: Card, task: str | None) -> dict[str, Any]:
    """Entries of a Config with which a card's model does a task of `leadline.cards.TASKS`; None: its own.

    Raises UsageError for an unknown task, and for one that the model does not do.

    >>> from leadline import cards
    >>> choice(cards.get("geowizard-v1"), "normals"), choice(cards.get("small"), "depth")
    ({'target': 'normals'}, {})
    """
    if task is None:
        return {}
    from leadline.cards import TASKS  # late: names of methods are asked where no card is read

    if task not in TASKS:
        raise UsageError(f"task {task!r} is unknown: {did_you_mean(task, TASKS)}")
    able = [target for target, kind in _kinds(card).items() if kind in TASKS[task]]
    if not able and card.kind not in TASKS[task]:
        raise UsageError(f"{card.name} gives {card.kind}, which is not the task {task}: name another model")
    return {"target": able[0]} if able else {}


def kind_of(card: Card, task: str | None = None, config: Mapping[str, Any] | None = None) -> Kind:
    """What a card's model gives, loaded with these options. Raises UsageError as `choice` does.

    >>> from leadline import cards
    >>> kind_of(cards.get("geowizard-v1"), config={"target": "normals"}).value
    'normals'
    """
    target = (card.config | choice(card, task) | dict(config or {})).get("target")
    return _kinds(card).get(str(target), card.kind)


def _kinds(card: Card) -> Mapping[str, Kind]:
    """By target, of a method that has several outputs."""
    return getattr(get(card.method)[0], "kinds", {}) if card.method in METHODS else {}
