"""Options that several commands have, each in one wording. Short: the help of every command fits a screen."""

from __future__ import annotations

from typing import Annotated

import typer

from leadline.cli import ui

Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda:0, mps.")]
Dtype = Annotated[
    str, typer.Option(metavar="NAME", help="auto (float32), float16, bfloat16.", show_default=False)
]
Plain = Annotated[bool, typer.Option("--plain", help="No fast forms of networks: slower.")]
Compat = Annotated[str | None, typer.Option(metavar="NAME", help="Arithmetic of a program: docs/predict.md.")]
Card = Annotated[str | None, typer.Option(metavar="NAME", help="What a folder without card.yaml is.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch missing weights.")]

Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of each picture's noise.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, help="Of denoising. [default: model's]")]
EnsembleSize = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Merged into one. [default: model's]")
]
BatchSize = Annotated[int, typer.Option(metavar="N", min=1, help="Pictures at a time.")]

Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Enter subfolders.")]
Shard = Annotated[str | None, typer.Option(metavar="I/N", help="Part I of N. [default: all]")]
Engine = Annotated[str, typer.Option(metavar="NAME", help="plain, or ray.")]
Workers = Annotated[int | None, typer.Option(metavar="N", min=1, help="Of ray. [default: one per GPU]")]
Processes = Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes. [default: one per core]")]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.", callback=ui.hush)]
NoProgress = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
