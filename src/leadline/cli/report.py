"""`leadline report`: runs of `leadline eval` as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leadline.cli import ui
from leadline.cli.options import Quiet
from leadline.errors import UsageError


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Run folders. [default: only the papers' tables]"),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Ends in .html, .md, .tex or .csv.")
    ] = Path("report.html"),
    title: Annotated[str, typer.Option(metavar="TEXT", help="Of the report.")] = "Evaluation",
    published: Annotated[
        str,
        typer.Option(metavar="WHICH", help="Papers' figures: none, beside ours, or all of their tables."),
    ] = "beside",
    data: Annotated[
        list[str] | None,
        typer.Option("--data", "-d", metavar="NAME=PATH", help="To show the best and worst pictures."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where data sets of --data lie that have no path.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option("--lists", metavar="PATH", help="Of --data, as they were measured.")
    ] = None,
    shots: Annotated[int, typer.Option(metavar="N", min=1, help="Best and worst pictures of each.")] = 3,
    spread: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Show how --photo changes over its steps.")
    ] = None,
    photo: Annotated[Path | None, typer.Option(metavar="FILE", help="For --spread.")] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=2, help="For --spread.")] = 50,
    quiet: Quiet = False,
) -> int:
    """Tables, box plots, curves and pictures of runs in one file, beside what the papers print."""
    from leadline import report as engine
    from leadline.evaluate import Source

    if published not in engine.BESIDE:
        raise UsageError(f"--published is {published!r}: none, beside or all is needed")
    if (spread is None) != (photo is None):
        raise UsageError("--spread and --photo belong together: give both, or none")
    pairs = [word.partition("=") for word in data or []]
    sources = {name: Source(name, Path(path) if path else root, lists) for name, _, path in pairs}
    missing = engine.write(
        runs or [],
        out,
        title=title,
        published=published,
        data=sources,
        shots=shots,
        spread=engine.Request(spread, photo, steps) if spread and photo else None,
    )
    for line in missing:
        ui.say(f"not shown: {line}", quiet)
    ui.paths([out])
    return 0
