"""`leadline convert`: a checkpoint as its authors publish it -> a folder that every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leadline.cli import ui
from leadline.cli.options import Quiet
from leadline.errors import UsageError


def convert(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="FILE", help="The authors' .ckpt or .safetensors.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder.", show_default=False)],
    card: Annotated[
        str, typer.Option(metavar="NAME", help="What it is: a model's name, or a YAML file.")
    ] = "primedepth",
    base: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Stable Diffusion 2.1, for parts that FILE lacks.", show_default=False
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half the size, rounded.")] = False,
    quiet: Quiet = False,
) -> None:
    """Turn a published checkpoint into a folder of safetensors. No code in it is run."""
    from leadline import cards, hub
    from leadline.networks import primedepth

    known = cards.read(Path(card)) if Path(card).is_file() else cards.get(card)
    if known.method != "primedepth":
        raise UsageError(
            f"{known.name} is a model of {known.method}, whose folders are read as they are: only "
            "PrimeDepth's checkpoint is converted"
        )
    prior = hub.find(base) if base else None
    for note in primedepth.convert(checkpoint, out, known, base=prior, fp16=fp16):
        ui.say(note, quiet)
    ui.paths([] if quiet else [out])
