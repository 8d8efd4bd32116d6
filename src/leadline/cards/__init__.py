"""Cards: what a model is, where its weights are, and what may be done with them. One YAML file per model.

Published models have theirs in this folder; bundled ones beside their weights, in
`bundled/<name>/card.yaml`; so does every model that is trained here. Timestep spacing, kind and frame are
taken from cards, never from a checkpoint's own files: published folders name the wrong pipeline class and
scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field

from leadline import documents
from leadline.errors import UsageError, WeightsError, did_you_mean, printable
from leadline.prediction import Kind
from leadline.save.files import atomic

if TYPE_CHECKING:
    from torch import Tensor

    from leadline import presets

HERE = Path(__file__).parent
BUNDLED = HERE.parent / "bundled"
DEFAULT = "small"  # the model that predicts unless another is named
TASKS: dict[str, tuple[Kind, ...]] = {
    "depth": (Kind.affine_disparity, Kind.affine_depth),
    "metric": (Kind.metric_depth,),
    "normals": (Kind.normals,),
}
EXAMPLE = "marigold-e2e-ft-depth"  # in messages
C = TypeVar("C", bound="presets.Config")


class Part(BaseModel):
    """Of a card: it cannot be changed, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Hub(Part):
    """A repository of huggingface.co."""

    id: str
    revision: str = "main"  # a commit where it is known
    aliases: tuple[str, ...] = ()  # earlier ids
    files: tuple[str, ...] = ()  # patterns of the files that are needed; none: all
    sha256: dict[str, str] = {}  # of files, where known: what differs is refused


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

    @property
    def millions(self) -> str:
        """Parameters in words; nothing where they are unknown.

        >>> get("small").millions, get("primedepth").millions
        ('7.28 M', '1358 M')
        """
        count = (self.parameters or 0) / 1e6
        return f"{count:.0f} M" if count >= 1000 else f"{count:.3g} M" if count else ""


class Ingredient(Part):
    """Weights that predict nothing by themselves: a part of a model, or what one is trained from."""

    name: str
    summary: str
    hub: Hub
    licence: str
    terms: str = ""
    training_data: str = ""


AUTOENCODERS = {  # each takes the place of a model's own, where both know the same latents
    card.name: card
    for card in (
        Ingredient(
            name="tiny",
            summary="TAESD, distilled from Stable Diffusion 1's and 2's autoencoder (Ollin Boer Bohan)",
            hub=Hub(id="madebyollin/taesd", files=("config.json", "diffusion_pytorch_model*")),
            licence="MIT",
        ),
    )
}


PRIORS = {  # diffusion models that trainings start from
    card.name: card
    for card in (
        Ingredient(
            name="stable-diffusion-2",
            summary="Stable Diffusion 2, 768 pixels, v-prediction (Rombach et al.)",
            hub=Hub(
                id="stabilityai/stable-diffusion-2",
                files=("model_index.json", "unet/*", "vae/*", "scheduler/*", "text_encoder/*", "tokenizer/*"),
            ),
            licence="CreativeML Open RAIL++-M",
            terms="its terms of use apply to derived weights",
            training_data="LAION-5B",
        ),
        Ingredient(
            name="stable-diffusion-2-1-base",
            summary="Stable Diffusion 2.1, 512 pixels (Rombach et al.)",
            hub=Hub(
                id="stabilityai/stable-diffusion-2-1-base",
                files=("model_index.json", "unet/*", "vae/*", "scheduler/*", "text_encoder/*", "tokenizer/*"),
            ),
            licence="CreativeML Open RAIL++-M",
            terms="its terms of use apply to derived weights",
            training_data="LAION-5B",
        ),
    )
}


def ingredient(name: str) -> Ingredient | None:
    """The autoencoder or prior of that name.

    >>> ingredient("stable-diffusion-2").hub.id
    'stabilityai/stable-diffusion-2'
    """
    return AUTOENCODERS.get(name) or PRIORS.get(name)


def names() -> list[str]:
    """Names of all models that have a card, bundled ones first."""
    return list(_files())


def known() -> list[str]:
    """All words that `get` takes: names, and ids of the hub in lower case."""
    return [*_files(), *_ids()]


def get(name: str) -> Card:
    """The card of a model, by its name or its hub id. Raises WeightsError that names the nearest one.

    >>> get("GonzaloMG/marigold-e2e-ft-depth").kind.value
    'affine_depth'
    """
    files, ids = _files(), _ids() if "/" in name else {}
    if name in files:
        return read(files[name])
    if name.lower() in ids:
        return ids[name.lower()]
    hint = did_you_mean(name, known(), "`leadline models list` names them")
    raise WeightsError(f"model {printable(name)!r} is unknown, and no folder: {hint}")


def has(name: str) -> bool:
    """Whether a model of that name or hub id has a card.

    >>> has("small"), has("GonzaloMG/marigold-e2e-ft-depth"), has("large")
    (True, True, False)
    """
    return name in _files() or ("/" in name and name.lower() in _ids())


def read(file: Path) -> Card:
    """A card from its YAML file. Raises DocumentError, one line that names the wrong key."""
    return documents.load(file, Card)


def write(card: Card, file: Path) -> None:
    """The card as a YAML file, without the entries that have their default."""
    given = card.model_dump(mode="json", exclude_defaults=True)
    with atomic(file) as temporary:
        temporary.write_text(yaml.safe_dump(given, sort_keys=False, allow_unicode=True), encoding="utf-8")


def config_of(card: Card, config: type[C], **options: Any) -> C:
    """The Config of a card's model; `options` replace entries. Raises DocumentError for what it cannot hold.

    >>> from leadline.methods.e2e_ft import Config
    >>> config_of(get("small"), Config, clamp=True).target
    'disparity'
    """
    frame = {"frame": card.frame} if card.frame else {}
    given = {"size": card.size_rule} | frame | card.config | options
    return documents.validate(given, config, f"{card.name}: config")


def up_to_date(card: Card, kind: Kind, config: presets.Config, parameters: Iterable[Tensor]) -> Card:
    """The card of a model as it is now, to be saved beside its weights."""
    changes = {
        "kind": kind,
        "frame": getattr(config, "frame", None) if kind is Kind.normals else None,
        "size_rule": config.size,
        "parameters": sum(p.numel() for p in parameters),
        "config": config.model_dump(mode="json", exclude_defaults=True, exclude={"size", "frame"}),
    }
    return card.model_copy(update=changes)


def bundled_for(task: str) -> str:
    """The name of the bundled model for a task of `TASKS`; of several the default, else the first.

    Raises UsageError for an unknown task, and for one that no bundled model does.

    >>> bundled_for("depth")
    'small'
    """
    if task not in TASKS:
        raise UsageError(f"task {task!r} is unknown: {did_you_mean(task, TASKS)}")
    able = [name for name in names() if is_bundled(name) and get(name).kind in TASKS[task]]
    if not able:
        raise UsageError(f"no model for {task} is part of this installation: name one with --model")
    return DEFAULT if DEFAULT in able else able[0]


def is_bundled(name: str) -> bool:
    """Whether the weights are part of this installation."""
    return (BUNDLED / name / "card.yaml").is_file()


def _files() -> dict[str, Path]:
    bundled = {path.parent.name: path for path in sorted(BUNDLED.glob("*/card.yaml"))}
    return bundled | {path.stem: path for path in sorted(HERE.glob("*.yaml"))}


def _ids() -> dict[str, Card]:
    """Cards by the ids that their repositories have or had, in lower case; of several in one, the first."""
    last_first = [read(file) for file in reversed(_files().values())]
    return {id.lower(): card for card in last_first if card.hub for id in (card.hub.id, *card.hub.aliases)}
