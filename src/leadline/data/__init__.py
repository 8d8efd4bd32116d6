"""Training data: samples, augmentation, mixing, and the data sets by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, cast

from leadline.data.mix import Set
from leadline.errors import DataError, nearest

DATASETS = {
    "scenes": "leadline.data.scenes:Scenes",
    "synth-folder": "leadline.data.synth:SynthFolder",
}


def open_set(name: str, options: Mapping[str, Any]) -> Set:
    """The data set of that name with its options (for example `path`), imported now.

    DataError: the name or an option is unknown (the nearest is named), or the data set's files are not there.
    """
    if name not in DATASETS:
        close = nearest(name, DATASETS)
        hint = f"did you mean {close!r}?" if close else f"known are {', '.join(DATASETS)}"
        raise DataError(f"data set {name!r} is unknown here: {hint}")
    module, _, attribute = DATASETS[name].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    _check_options(name, factory, options)
    return cast(Set, factory(**options))


def _check_options(name: str, factory: Any, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters.values()
    known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for option in options:
        if option not in known:
            close = nearest(option, known)
            hint = f"did you mean {close!r}?" if close else f"known are {', '.join(known) or 'none'}"
            raise DataError(f"data set {name}: option {option!r} is unknown: {hint}")
    needed = [
        p.name for p in parameters if p.name in known and p.default is p.empty and p.name not in options
    ]
    if needed:
        raise DataError(f"data set {name} needs {', '.join(needed)}: write it under its `options`")
