"""Data: samples, augmentation, mixing, and data sets by name; those on disk are listed in `data.sets`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError

from leadline.data import sets
from leadline.data.mix import Set
from leadline.errors import DataError, UsageError, did_you_mean

DATASETS = {
    "scenes": "leadline.data.scenes:Scenes",
    "label-shards": "leadline.data.labels:LabelShards",
    "synth-folder": "leadline.data.synth:SynthFolder",
    "photographs": "leadline.data.photographs:Photographs",
}


def open_set(name: str, options: Mapping[str, Any]) -> Set:
    """The data set of that name with its options, imported now: one of `DATASETS`, or of `sets.SETS` with
    path, list_file and layout.

    UsageError: the name is unknown (the nearest is named). DataError: an option is, or the data set's files
    are not there.
    """
    factory = _factory(name)
    _check_options(name, factory, options)
    hints = _hints(factory)
    typed = {key: _typed(f"data set {name}: option {key}", x, hints[key]) for key, x in options.items()}
    return cast(Set, factory(**typed))


def _factory(name: str) -> Any:
    if name in DATASETS:
        module, _, attribute = DATASETS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if name in sets.SETS:
        return partial(sets.open_set, name)
    known = sorted({*DATASETS, *sets.SETS})
    raise UsageError(f"data set {name!r} is unknown here: {did_you_mean(name, known)}")


def _check_options(name: str, factory: Any, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters.values()
    known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known)
            raise DataError(f"data set {name}: option {option!r} is unknown: {hint}")
    needed = [
        p.name for p in parameters if p.name in known and p.default is p.empty and p.name not in options
    ]
    if needed:
        raise DataError(f"data set {name} needs {', '.join(needed)}: write it under its `options`")


def _hints(factory: Any) -> dict[str, Any]:
    function = factory.func if isinstance(factory, partial) else factory
    return get_type_hints(function.__init__ if inspect.isclass(function) else function)


def _typed(what: str, value: Any, hint: Any) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        raise DataError(f"{what} is {value!r:.60}: {said}") from None
