"""One file per paper. `METHODS` is the list; `Method` is what the engines know about each of them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from leadline.errors import UsageError, nearest
from leadline.prediction import Kind

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch import Generator, Tensor

    from leadline.cards import Card
    from leadline.data.sample import Batch
    from leadline.losses import Loss
    from leadline.presets import Preset
    from leadline.sizes import SizeRule

METHODS = {"e2e-ft": "leadline.methods.e2e_ft:E2EFT"}


class Method(Protocol):
    """A network with its forward pass and its objective; beside the class, its module holds its `Config`."""

    kind: Kind  # of the main output
    card: Card  # what the weights are, as far as it is known
    preset: Preset  # the arithmetic around the network: see leadline.coding.publish
    size_rule: SizeRule  # how pictures come in

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: Any = None,
        text: Any = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> one entry per output, the main one first."""

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


def get(name: str) -> tuple[type[Method], type[BaseModel]]:
    """The class of a method and its Config. Raises UsageError that names the nearest one.

    >>> get("e2e-ft")[0].__name__
    'E2EFT'
    """
    if name not in METHODS:
        close = nearest(name, METHODS)
        hint = f"did you mean {close!r}?" if close else f"known are {', '.join(METHODS)}"
        raise UsageError(f"method {name!r} is unknown: {hint}")
    module_name, _, class_name = METHODS[name].partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, class_name), module.Config
