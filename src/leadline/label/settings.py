"""What made a folder's labels (`labels.json`): shards of other settings do not lie beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leadline.errors import SaveError, UsageError
from leadline.label.order import Networks
from leadline.save.files import create

SETTINGS = "labels.json"


def agree(out: Path, networks: Networks) -> None:
    """Write a folder's settings, or find them as they are. Raises UsageError for other ones."""
    wanted = networks.settings()
    if create(out / SETTINGS, json.dumps(wanted, indent=1).encode() + b"\n"):
        return
    try:
        found = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SaveError(f"{out / SETTINGS}: damaged ({error}): choose another output folder") from error
    if changes := list(_changes(found, json.loads(json.dumps(wanted)))):
        raise UsageError(
            f"{out} holds labels of other settings ({', '.join(changes)}): "
            "choose the same settings, or another output folder"
        )


def _changes(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _changes(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    elif old != new:
        words = f"{name} {old} -> {new}"
        yield words if len(words) < 80 else f"another {name}"
