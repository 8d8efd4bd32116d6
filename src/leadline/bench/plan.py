"""Which cells a benchmark has, each measured in a process of its own: what one leaves behind in memory, or
in the caches of a library, is nothing to the next.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from leadline.devices import check_dtype
from leadline.errors import UsageError

LONGEST = 16384  # pixels of an edge


@dataclass(frozen=True)
class Cell:
    """One model on pictures of one size. own_resolution: the network works at its own resolution, not at the
    picture's. steps, ensemble_size: None for the model's own.
    """

    model: str
    height: int
    width: int
    device: str = "auto"
    dtype: str = "auto"
    steps: int | None = None
    ensemble_size: int | None = None
    own_resolution: bool = False
    fast: bool = True
    repeats: int = 20
    warm_up: int = 3

    def __str__(self) -> str:
        return f"{self.model}, {self.width}x{self.height}, {self.device}, {self.dtype}"


def cells(
    models: Sequence[str],
    sizes: Sequence[str],
    devices: Sequence[str] = ("auto",),
    dtypes: Sequence[str] = ("auto",),
    **options: Any,
) -> list[Cell]:
    """Every combination; sizes are words such as 512 or 1216x352, width first. Raises UsageError.

    >>> [str(cell) for cell in cells(["small"], ["256", "64x32"])]
    ['small, 256x256, auto, auto', 'small, 64x32, auto, auto']
    """
    for dtype in dtypes:
        check_dtype(dtype)
    return [
        Cell(model, *_size(size), device, dtype, **options)
        for device, dtype, size, model in product(devices, dtypes, sizes, models)
    ]


def run(wanted: Iterable[Cell], started: Callable[[Cell], None] = lambda cell: None) -> dict[str, Any]:
    """Measure every cell, one after the other; as JSON types.

    "cells": what each cost, or the "error" that it ended in; "machine": what they were measured on.
    """
    found: list[dict[str, Any]] = []
    machine: dict[str, Any] = {}
    for cell in wanted:
        started(cell)
        answer = _apart(cell)
        machine = answer.pop("machine", machine)
        found.append(asdict(cell) | answer)
    return {"machine": machine | {"command": sys.argv} if machine else {}, "cells": found}


def _apart(cell: Cell) -> dict[str, Any]:
    """A cell in a process of its own, which answers with its last line."""
    command = [sys.executable, "-m", "leadline.bench.measure", json.dumps(asdict(cell))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        reason = (done.stderr.splitlines() or [f"it ended with code {done.returncode}"])[-1]
        killed = "it was killed: not enough memory, most likely" if done.returncode == -9 else reason
        return {"error": killed}
    return answer


def _size(word: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", word)
    edges = [int(edge or found[1]) for edge in found.groups()] if found else []
    if not edges or not all(1 <= edge <= LONGEST for edge in edges):
        raise UsageError(
            f"size is {word!r}: pixels such as 512, or width x height such as 1216x352, are needed"
        )
    width, height = edges
    return height, width
