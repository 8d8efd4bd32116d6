"""`leadline data`: data sets before a training meets them, and data that are made rather than collected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leadline.cli import datasets, ui
from leadline.cli.options import Json, NoProgress, Processes
from leadline.errors import UsageError, did_you_mean

app = typer.Typer(no_args_is_help=True, help="Data sets: prepare, check, look at, or make them.")


for command in (datasets.prepare, datasets.check, datasets.stats, datasets.show):
    app.command()(command)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to fill.", show_default=False)],
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, help="Scenes that shall be there.")
    ] = 1000,
    size: Annotated[
        str, typer.Option(metavar="HxW", help="Several take turns: 192x256,256x192.")
    ] = "192x256",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Two seeds share no scene.")] = 0,
    kind: Annotated[
        str | None, typer.Option(metavar="NAME", help="One layout only, such as room or street.")
    ] = None,
    textures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Photographs to use on surfaces.", file_okay=False)
    ] = None,
    workers: Processes = None,
    json_report: Json = False,
    quiet: NoProgress = False,
) -> int:
    """Render scenes with exact depth and normals into a folder; run again to go on."""
    sizes = datasets.parse_sizes(size)
    from leadline.data.synth import synthesise
    from leadline.scenes import LAYOUTS

    if kind is not None and kind not in LAYOUTS:
        raise UsageError(f"--kind is {kind!r}: {did_you_mean(kind, LAYOUTS)}")
    try:
        with ui.bar("scenes", quiet) as step:
            synthesise(
                out,
                count,
                sizes,
                seed,
                kind=kind,
                textures=textures,
                workers=workers,
                progress=lambda done, total: step(done, total, ""),
            )
    except KeyboardInterrupt:
        ui.say(f"stopped; what is in {out} is complete, the same command goes on")
        return ui.INTERRUPTED
    if json_report:
        ui.report({"folder": str(out), "count": count, "seed": seed, "sizes": [list(s) for s in sizes]})
    else:
        ui.paths([out])
    return 0
