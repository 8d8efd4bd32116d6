"""Cards: what a model is, where its weights are, and what may be done with them. One YAML file per model.

Published models have theirs in this folder; bundled ones beside their weights, in
`bundled/<name>/card.yaml`; so does every model that is trained here. Timestep spacing, kind and frame are
taken from cards, never from a checkpoint's own files: published folders name the wrong pipeline class and
scheduler.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from leadline import documents
from leadline.errors import WeightsError, nearest
from leadline.prediction import Kind
from leadline.save.files import atomic

HERE = Path(__file__).parent
BUNDLED = HERE.parent / "bundled"


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hub(Part):
    """A repository of huggingface.co."""

    id: str
    revision: str = "main"  # a commit where it is known
    files: tuple[str, ...] = ()  # patterns of the files that are needed; none: all


class Defaults(Part):
    """What its makers recommend."""

    steps: int = Field(1, ge=1)
    ensemble: int = Field(1, ge=1)


class Card(Part):
    """One model. Unknown facts are said to be unknown."""

    name: str
    method: str  # a name of leadline.methods.METHODS
    kind: Kind
    frame: Literal["opencv", "opengl", "e2e_ft"] | None = None  # the network's frame of normals
    summary: str = ""  # one line
    hub: Hub | None = None  # None: only in a folder
    licence: str = "unknown"
    terms: str = ""  # what a licence's name does not say, such as terms of the base weights
    training_data: str = "unknown"
    parameters: int | None = None
    size_rule: dict[str, Any] = {}  # fields of leadline.sizes.SizeRule that differ from the preset's
    defaults: Defaults = Defaults()
    config: dict[str, Any] = {}  # the method's Config, as far as it differs from its defaults
    intended_use: str = ""
    limits: str = ""
    results: dict[str, Any] = {}  # figures by data set and metric, with the protocol
    made_with: str = ""  # the command or recipe
    citation: str = ""


def names() -> list[str]:
    """Names of all models that have a card, bundled ones first."""
    return list(_files())


def get(name: str) -> Card:
    """The card of a model, by its name or its hub id. Raises WeightsError that names the nearest one.

    >>> get("GonzaloMG/marigold-e2e-ft-depth").kind.value
    'affine_depth'
    """
    files = _files()
    if name in files:
        return read(files[name])
    for card in map(read, files.values()):
        if card.hub and card.hub.id.lower() == name.lower():
            return card
    close = nearest(name, files)
    hint = (
        f"did you mean {close!r}?"
        if close
        else f"use one of {', '.join(files)}, or a folder with a card.yaml"
    )
    raise WeightsError(f"model {name!r} is unknown, and no folder: {hint}")


def read(file: Path) -> Card:
    """A card from its YAML file. Raises DocumentError, one line that names the wrong key."""
    return documents.load(file, Card)


def write(card: Card, file: Path) -> None:
    """The card as a YAML file, without the entries that have their default."""
    given = card.model_dump(mode="json", exclude_defaults=True)
    with atomic(file) as temporary:
        temporary.write_text(yaml.safe_dump(given, sort_keys=False, allow_unicode=True), encoding="utf-8")


def is_bundled(name: str) -> bool:
    """Whether the weights are part of this installation."""
    return (BUNDLED / name / "card.yaml").is_file()


def _files() -> dict[str, Path]:
    bundled = {path.parent.name: path for path in sorted(BUNDLED.glob("*/card.yaml"))}
    return bundled | {path.stem: path for path in sorted(HERE.glob("*.yaml"))}
