"""Protocols: how the figures of a table come about, as data. One YAML file each, every line with its source.

A protocol says what it measures, which kinds of prediction it can score and what is done to each of them
first, and for each data set its list, crop, range, box and resolution. A file that `extends` another, one of
these or one beside it, is that other with some entries replaced; in `sets`, entries of one data set are
replaced one by one. Users may give files of their own, and replace entries on the command line: the hash
tells a protocol from every other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from leadline import crops, documents
from leadline.errors import DocumentError, KindError, UsageError, did_you_mean
from leadline.prediction import Kind

HERE = Path(__file__).parent
# all there are; where none is asked for, the first that can score a kind on a data set is taken
NAMES = (
    "marigold",
    "marigold-disparity",
    "metric",
    "dsine-normals",
    "marigold-normals",
    "boundary-f1",
    "boundary-recall",
    "da2k",
    "primedepth",
    "zoedepth-metric",
)
Space = Literal["none", "depth", "disparity", "log", "loglog", "median", "scale", "zero"]
METRICS: dict[str, tuple[str, ...]] = {  # by measure: figures that it can give
    "depth": (
        *("absrel", "sqrel", "rmse", "rmse_log", "log10", "delta1", "delta2", "delta3", "irmse", "silog"),
        *("silog_half", "outside1"),
    ),
    "normals": ("mean", "median", "rmse", "within5", "within7.5", "within11.25", "within22.5", "within30"),
    "boundary-f1": ("boundary_f1",),
    "boundary-recall": ("boundary_recall",),
    "order": ("accuracy",),
}


def _box(name: str) -> str:
    if name not in crops.BOXES:
        raise ValueError(did_you_mean(name, crops.BOXES))
    return name


Box = Annotated[str, AfterValidator(_box)]  # a name of leadline.crops


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Listing(_Part):
    """The published list of a data set's files. Lists are not part of this package."""

    file: str  # as it is named where it is published
    samples: int = Field(ge=1)  # with ground truth
    sha256: str = Field(pattern="[0-9a-f]{64}")  # of the text, not compressed
    source: str  # who publishes it
    groups: dict[str, tuple[str, ...]] = {}  # where the paper itself prints it: the list, by category

    def text(self) -> str:
        """The list that `groups` is: a table of categories and names."""
        rows = [f"{group},{name}" for group, names in self.groups.items() for name in names]
        return "\n".join(["category,scene_name", *rows, ""])


class Rule(_Part):
    """What a protocol does on one data set."""

    data: str | None = None  # the data set, if it is called otherwise than the entry
    layout: str | None = None  # which of its layouts, if only one will do
    list: Listing | None = None  # None: all that lies there
    crop: Box | None = None  # of picture and truth, before the model sees it
    resize: tuple[int, int] | None = None  # then both to this height and width, to the nearest pixel
    range: tuple[float, float | None] | None = None  # metres; depths count strictly between; None: mask alone
    box: Box | None = None  # where depths count, in the cropped picture
    # metres, of the aligned prediction; None: the range; truth: from each picture's nearest true depth to its
    # farthest
    clip: tuple[float, float | None] | Literal["truth"] | None = None
    max_res: int | None = Field(None, ge=1)  # pixels of the longer edge at which the fit is made
    max_res_mode: Literal["columns", "both"] = "columns"
    processing_res: int | None = Field(None, ge=0)  # for the models that `processed` names; 0: own size
    seed: int | None = Field(None, ge=0)  # None: the protocol's
    stored: Literal["whole", "number"] = "whole"  # name of a stored prediction: see leadline.evaluate.stored


class Sampling(_Part):
    """How the authors of a protocol ran a model."""

    steps: int | None = Field(None, ge=1)
    ensemble_size: int | None = Field(None, ge=1)


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Protocol(_Part):
    """How predictions become figures."""

    name: str
    version: int = Field(ge=1)
    summary: str  # one line
    measure: Literal["depth", "normals", "boundary-f1", "boundary-recall", "order"]
    # by kind, what is done to a prediction first; of several, the first makes the main figures
    align: dict[Kind, Annotated[tuple[Space, ...], BeforeValidator(_several), Field(min_length=1)]]
    metrics: tuple[str, ...] = Field(min_length=1)
    rank: tuple[str, ...] = ()  # columns of each data set that count in an average rank
    reduction: Literal["images", "pixels", "pairs"] = "images"  # what weighs equally in the figure of a set
    decimals: int | None = Field(None, ge=0)  # to which the values of an image are rounded
    not_finite: Literal["refuse", "clip"] = "refuse"  # predictions with such pixels: left out, or clipped
    mirror: bool = False  # mean with the prediction of the mirrored picture
    input: Literal["plain", "dsine-minmax"] = "plain"  # colours that the model gets
    seed: int = Field(0, ge=0)
    processed: tuple[str, ...] = ()  # models, by patterns of names, that work at the sets' processing_res
    sampling: dict[str, Sampling] = {}  # by name of a model; all others as their cards say
    sets: dict[str, Rule]
    changes: tuple[str, ...] = ()  # words that have replaced entries since it was read

    @model_validator(mode="after")
    def _possible(self) -> Self:
        foreign = [kind for kind in self.align if (kind is Kind.normals) != (self.measure == "normals")]
        if foreign:
            raise ValueError(f"align: {foreign[0]} cannot be measured by {self.measure}")
        if self.measure != "boundary-recall" and any("zero" in spaces for spaces in self.align.values()):
            raise ValueError("align: zero is for boundary-recall, where no depths are known")
        if unknown := [name for name in (*self.metrics, *self.rank) if name not in METRICS[self.measure]]:
            raise ValueError(f"metric {unknown[0]!r}: {did_you_mean(unknown[0], METRICS[self.measure])}")
        return self

    @property
    def hash(self) -> str:
        """SHA-256 of the content, whatever the file looks like."""
        entries = self.model_dump(mode="json", exclude={"changes"})
        content = json.dumps(entries, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def rule(self, data: str) -> Rule:
        """What is done on a data set. Raises UsageError if the protocol does not have it."""
        if data not in self.sets:
            raise UsageError(
                f"protocol {self.name} has no data set {data!r}: {did_you_mean(data, self.sets)}"
            )
        return self.sets[data]

    def spaces(self, kind: Kind) -> tuple[Space, ...]:
        """What is done to predictions of a kind. Raises KindError if the protocol cannot score them.

        >>> load("marigold").spaces(Kind.affine_depth)
        ('depth',)
        """
        if kind not in self.align:
            others = [one for one in map(load, NAMES) if kind in one.align]
            others = [one for one in others if one.measure == self.measure] or others
            hint = f"protocols for it are {', '.join(one.name for one in others) or 'none'}"
            if kind is Kind.metric_depth and self.measure == "depth":
                hint += "; to align it all the same, say --set align.metric_depth=depth"
            raise KindError(f"protocol {self.name} does not score {kind}: {hint}")
        return self.align[kind]

    def works_at(self, model: str, data: str) -> int | None:
        """The processing resolution of a model by its name; None: the model's own."""
        chosen = any(fnmatchcase(model, pattern) for pattern in self.processed)
        return self.rule(data).processing_res if chosen else None

    def document(self) -> dict[str, Any]:
        """The whole content as JSON types."""
        return self.model_dump(mode="json", exclude_defaults=True)


def load(name: str | Path, changes: Iterable[str] = ()) -> Protocol:
    """A protocol by its name, or from a YAML file of one's own; `changes` are words `key.path=value`.

    Raises UsageError for an unknown name, DocumentError for a wrong file.

    >>> load("marigold").rule("nyuv2").range
    (0.001, 10.0)
    >>> load("marigold", ["sets.nyuv2.box=null"]).hash == load("marigold").hash
    False
    """
    changes = list(changes)
    if str(name) in NAMES and not changes:
        return _own(str(name))
    data = documents.override(_resolved(_file(name)), changes)
    return documents.validate(data | {"changes": changes}, Protocol, f"protocol {data.get('name', name)}")


def choose(wanted: Iterable[Protocol], kind: Kind, data: str) -> Protocol:
    """The first of the protocols that scores this kind on this data set.

    Raises UsageError or KindError, for the first of them, if none does.
    """
    protocols = list(wanted)
    for protocol in protocols:
        if kind in protocol.align and data in protocol.sets:
            return protocol
    having = [protocol for protocol in protocols if data in protocol.sets]
    if not having:
        known = {name for protocol in protocols for name in protocol.sets}
        raise UsageError(f"no protocol here has data set {data!r}: {did_you_mean(data, sorted(known))}")
    having[0].spaces(kind)
    raise AssertionError("unreachable")


@lru_cache
def _own(name: str) -> Protocol:
    return documents.validate(_resolved(_file(name)), Protocol, f"protocol {name}")


def _file(name: str | Path, beside: Path = Path()) -> Path:
    """Where a protocol is: one of ours, or a file, by its name from the folder `beside`."""
    if str(name) in NAMES:
        return HERE / f"{name}.yaml"
    if Path(name).suffix in (".yaml", ".yml"):
        return beside / name
    hint = did_you_mean(str(name), NAMES)
    raise UsageError(f"protocol {str(name)!r} is unknown, and no .yaml file: {hint}")


def _resolved(file: Path, inner: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's content with all that it extends."""
    data = documents.parse(file)
    if "extends" not in data:
        return data
    parent = _file(str(data.pop("extends")), file.parent)
    if parent.resolve() in (one.resolve() for one in (file, *inner)):
        raise UsageError(f"protocol {file.stem} extends itself: name another")
    base = _resolved(parent, (file, *inner))
    own = _sets(data.get("sets") or {}, file)
    return {**base, **data, "sets": _merged(_sets(base.get("sets"), parent), own)}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Data sets with their entries replaced one by one; null takes a set out."""
    sets = dict(base)
    for name, rule in changes.items():
        sets[name] = {**(sets.get(name) or {}), **rule} if rule is not None else None
    return {name: rule for name, rule in sets.items() if rule is not None}


def _sets(found: Any, file: Path) -> dict[str, Any]:
    """The data sets of a file, which is not validated yet. Raises DocumentError for what cannot be merged."""
    rules = _mapping(found, f"{file}: sets").items()
    return {name: None if rule is None else _mapping(rule, f"{file}: sets.{name}") for name, rule in rules}


def _mapping(found: Any, where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise DocumentError(f"{where}: found {found!r:.60}, a mapping 'key: value' is needed")
    return found
