"""Alignment options -> the depths that are known of a run's pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from leadline.errors import UsageError

if TYPE_CHECKING:
    from leadline.jobs.known import Known, Source

MODEL = "model:"  # before the name of a model that gives the metres


def choose(
    align: str | None, method: str | None, scale: float | None, load: Callable[[str], Source]
) -> Known | None:
    """Known depths as --align describes them; None without it. Raises UsageError for what cannot be.

    load: a model by its name.
    """
    if align is None:
        if method is not None or scale is not None:
            raise UsageError("--align-method and --align-scale go with --align: say what to align to")
        return None
    from leadline.jobs import Known

    if align.startswith(MODEL):
        if scale is not None:
            raise UsageError("--align-scale is of 16-bit PNGs: leave it out with a model")
        return Known(load(align.removeprefix(MODEL)), method)
    if not align:
        raise UsageError(
            "--align has no name: give points.csv, a depth map, a folder of these, or model:NAME"
        )
    return Known(Path(align), method, scale)
