"""`leadline label`: photographs into shards of pseudo-labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli import datasets, options, ui
from leadline.cli.models import check
from leadline.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from leadline.label import Summary

SHOWN = 20  # photographs without labels that are named


def label(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Files, folders, globs, lists, tars.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of shards.")] = Path(
        "labels"
    ),
    depth: Annotated[
        str, typer.Option("--depth", "-m", metavar="NAME", help="Model of depth, or none.")
    ] = "small",
    classes: Annotated[
        str | None, typer.Option(metavar="NAME", help="Segmenter: folder, or repository of the hub.")
    ] = None,
    captions: Annotated[
        str | None, typer.Option(metavar="NAME", help="Captioner, as Salesforce/blip2-opt-2.7b.")
    ] = None,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What captions go on from.")] = "",
    confidence: Annotated[
        str, typer.Option(metavar="WORD", help="Of depth: none, mirror, ensemble.")
    ] = "none",
    size: Annotated[
        int, typer.Option(metavar="N", min=0, help="Longer edge of what is stored; 0: as it is.")
    ] = 1024,
    data: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="INPUT is a data set, as hypersim.")
    ] = None,
    part: datasets.Part = None,
    list_file: datasets.List = None,
    per_shard: Annotated[int, typer.Option(metavar="N", min=1, help="Photographs in a shard.")] = 256,
    shard: options.Shard = None,
    engine: options.Engine = "plain",
    workers: options.Workers = None,
    retry: Annotated[bool, typer.Option("--retry", help="Redo shards with failures.")] = False,
    recursive: options.Recursive = False,
    seed: options.Seed = 0,
    processing_res: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Pixels to work at. [default: model's]")
    ] = None,
    steps: options.Steps = None,
    ensemble_size: options.EnsembleSize = None,
    batch_size: options.BatchSize = 4,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    card: options.Card = None,
    download: options.Download = False,
    json_report: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Depth, classes and captions of photographs, for training; run again to go on."""
    from leadline.evaluate.shards import parse

    if (part or list_file) and not data:
        raise UsageError(f"{'--part' if part else '--list'} is of a data set: say which, as --set hypersim")
    given = {"set": data, "part": part, "list_file": list_file and list_file.absolute()}
    model = None if depth == "none" else depth
    if model is not None:
        check(model, card)
    from leadline import label as labels

    order = labels.Order(
        depth=model,
        classes=classes,
        captions=captions,
        prompt=prompt,
        confidence=confidence,  # type: ignore[arg-type]
        size=size,
        seed=seed,
        processing_res=processing_res,
        steps=steps,
        ensemble_size=ensemble_size,
        card=card,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        download=download,
    )
    asked: dict[str, Any] = {
        "data": {key: value for key, value in given.items() if value} or None,
        "per_shard": per_shard,
        "part": parse(shard) if shard else None,
        "engine": engine,
        "workers": workers,
    }
    try:
        with ui.bar("photographs", quiet) as step:
            summary = labels.label(
                inputs, out, order, **asked, retry=retry, recursive=recursive, progress=step
            )
    except KeyboardInterrupt:
        ui.say(f"stopped; the shards in {out} are whole, the same command goes on")
        return ui.INTERRUPTED
    except DeviceError as error:
        raise UsageError(str(error)) from None
    return _report(summary, out, json_report, quiet)


def _report(summary: Summary, out: Path, json_report: bool, quiet: bool) -> int:
    """The shards' folder to stdout, failures and the sum to stderr; the exit code."""
    for failure in summary.failed[:SHOWN]:
        ui.say(f"no labels: {failure.source} ({failure.stage}): {failure.reason}")
    if len(summary.failed) > SHOWN:
        ui.say(f"and {len(summary.failed) - SHOWN} more, in the records of {out}")
    rest = "" if summary.whole else "; other parts are not finished yet"
    ui.say(f"{summary}, in {out}{rest}", quiet)
    if json_report:
        failed = [failure._asdict() for failure in summary.failed]
        ui.report({**asdict(summary), "failed": failed, "out": str(out)})
    elif not quiet:
        ui.paths([out])
    return 1 if summary.failed else 0
