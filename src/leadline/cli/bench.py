"""`leadline bench`: what a picture costs, in time and memory."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import typer

from leadline.cli import models as known
from leadline.cli import ui
from leadline.cli.options import EnsembleSize, Plain, Quiet, Steps
from leadline.errors import UsageError


def bench(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Names or folders. [default: small]")
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", help="Of the pictures; 512 is 512x512. [default: 256, 512, 768, 1024]"),
    ] = None,
    device: Annotated[list[str] | None, typer.Option(metavar="NAME", help="auto, cpu, cuda:0, mps.")] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="auto, float32, float16, bfloat16.")
    ] = None,
    steps: Steps = None,
    ensemble_size: EnsembleSize = None,
    own_resolution: Annotated[
        bool, typer.Option("--own-resolution", help="Work at the model's, not at the pictures' size.")
    ] = False,
    plain: Plain = False,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures that are timed.")] = 20,
    warm_up: Annotated[int, typer.Option(metavar="N", min=0, help="Pictures before them.")] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Ends in .json, .md, .tex or .csv.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Time and peak memory per picture. Options with several values may be given again and again.

    Every combination is measured in a process of its own. The last line is JSON.
    """
    from leadline import bench as engine
    from leadline import save

    names = models or ["small"]
    for name in names:
        known.check(name)
    wanted = engine.cells(
        names,
        size or ["256", "512", "768", "1024"],
        device or ["auto"],
        dtype or ["auto"],
        steps=steps,
        ensemble_size=ensemble_size,
        own_resolution=own_resolution,
        fast=not plain,
        repeats=repeats,
        warm_up=warm_up,
    )
    if out is not None:
        engine.render({"machine": {}, "cells": []}, out)  # an unknown form is told now
        _check_place(out)
    document = engine.run(wanted, lambda cell: ui.say(str(cell), quiet))
    if out is not None:
        save.write_bytes(out, engine.render(document, out).encode())
    return _show(document)


def _check_place(out: Path) -> None:
    """Make the file's folder and write there, before the hours of measuring. Raises UsageError, SaveError."""
    from leadline.save.files import refused

    if out.is_dir():
        raise UsageError(f"{out} is a folder: name a file in it, as {out / 'bench.md'}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out.parent).close()
    except OSError as error:
        raise refused(error, out) from error


def _show(document: dict[str, Any]) -> int:
    """What was measured, as tables and JSON; the exit code."""
    from leadline import bench as engine

    failed = [cell for cell in document["cells"] if "error" in cell]
    for cell in failed:
        ui.say(f"failed: {cell['model']}, {cell['width']}x{cell['height']}: {cell['error']}")
    for grid in engine.grids(document):
        print(f"{grid.title}; {engine.machine(document)}")
        ui.table(grid.headings, grid.rows)
    print(json.dumps(document))
    return int(bool(failed))
