"""`leadline eval`: models on data sets, by a protocol, into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli import options, ui
from leadline.cli.models import check
from leadline.errors import DeviceError, DocumentError, KindError, UsageError

if TYPE_CHECKING:
    from leadline.evaluate import Outcome, Stored

SHOWN = 20  # pictures without figures that are named


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="NAME", help="Or folder, label=name, average:A+B, oracle:A+B."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", "-d", metavar="NAME", help="Data set, or NAME=PATH.")
    ] = None,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the data sets lie.")] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", "-p", metavar="NAME", help="Or YAML file. [default: by kind and data]"),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the protocol.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Run folder.")] = Path("runs/eval"),
    lists: Annotated[
        Path | None, typer.Option("--lists", "--list", metavar="PATH", help="A list, or a folder of lists.")
    ] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Score files made elsewhere; or label=DIR."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Of --predictions, as affine_depth.")
    ] = None,
    frame: Annotated[str | None, typer.Option(metavar="NAME", help="Of --predictions of normals.")] = None,
    save_predictions: Annotated[
        bool, typer.Option("--save-predictions", help="Keep them as .npy, by Marigold's names.")
    ] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Pictures of each set.")] = None,
    shard: options.Shard = None,
    batch_size: options.BatchSize = 1,
    processing_res: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Pixels to work at. [default: the protocol's]")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", min=1, help="Of denoising.")] = None,
    ensemble_size: Annotated[int | None, typer.Option(metavar="N", min=1, help="Merged into one.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="[default: the protocol's]")] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    plain: options.Plain = False,
    compat: options.Compat = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", hidden=True)] = None,
    download: options.Download = False,
    card: options.Card = None,
    overwrite: Annotated[bool, typer.Option("--overwrite/--resume", help="Do again what is done.")] = False,
    show: Annotated[bool, typer.Option("--protocols", help="List the protocols and their data.")] = False,
    json_report: Annotated[bool, typer.Option("--json", help="Print results.json.")] = False,
    quiet: options.Quiet = False,
) -> int:
    """Measure models on data sets. Run again to go on where it stopped."""
    if show:
        return _show()
    from leadline.evaluate import measure, shards
    from leadline.evaluate.plan import combination, labelled

    for word in models or []:
        if not combination(word):
            check(labelled(word)[1], card)  # a wrong name is a mistake in the command
    part = shards.parse(shard) if shard else None
    try:
        with ui.bar("pictures", quiet) as step:
            outcome = measure(
                [*(models or []), *_stored(predictions, kind, frame)],
                data or [],
                out,
                protocol=protocol or [],
                changes=changes or [],
                root=root,
                lists=lists,
                limit=limit,
                shard=part,
                batch_size=batch_size,
                save_predictions=save_predictions,
                overwrite=overwrite,
                processing_res=processing_res,
                steps=steps,
                ensemble_size=ensemble_size,
                seed=seed,
                device=shards.device(device),
                dtype=dtype,
                fast=not plain,
                compat=compat,
                task=task,
                download=download,
                card=card,
                say=lambda line: ui.say(line, quiet),
                progress=step,
            )
    except (DeviceError, DocumentError, KindError) as error:  # here they are mistakes in the command
        raise UsageError(str(error)) from None
    return _report(outcome, out, json_report, quiet)


def _stored(words: list[str] | None, kind: str | None, frame: str | None) -> list[Stored]:
    from leadline.evaluate import Stored
    from leadline.evaluate.plan import labelled

    pairs = map(labelled, words or [])
    return [Stored(folder, label, kind=kind, frame=frame) for label, folder in pairs]


def _show() -> int:
    from leadline import protocols

    for one in map(protocols.load, protocols.NAMES):
        print(f"{one.name} {one.version} ({one.hash[:12]}): {one.summary}")
        print(f"    scores {', '.join(one.align)}; data {', '.join(one.sets)}")
    return 0


def _report(outcome: Outcome, out: Path, json_report: bool, quiet: bool) -> int:
    for line in outcome.failed[:SHOWN]:
        ui.say(f"failed: {line}")
    if len(outcome.failed) > SHOWN:
        ui.say(f"failed: {len(outcome.failed) - SHOWN} more, named in {out / 'results.json'}")
    if outcome.interrupted:
        ui.say(f"stopped; what is in {out} is kept, the same command goes on")
        return ui.INTERRUPTED
    if outcome.document is None:
        ui.say(f"this part is done; {out / 'results.json'} is written with the last one", quiet)
    elif json_report:
        ui.report(outcome.document)
    elif not quiet:
        _table(outcome.document)
        for entry in outcome.document["results"]:
            _say_reversed(entry)
        ui.say(f"all of it: {out / 'results.json'}")
    return 1 if outcome.failed else 0


def _say_reversed(entry: dict[str, Any]) -> None:
    if against := len(entry.get("reversed", ())):
        found = f"{entry['model']} on {entry['data']}: {against} of {entry['pictures']} predictions"
        asks = ": is its kind right?" if 2 * against > entry["pictures"] else ""
        ui.say(f"{found} run against the known depths (negative scale){asks}")


def _table(document: dict[str, Any]) -> None:
    """The main figures, as papers print them: a row per model and data set."""
    from leadline.evaluate.figures import printed, title

    entries = document["results"]
    names = list(dict.fromkeys(name for entry in entries for name in entry["figures"] if "@" not in name))
    rows = []
    for entry in entries:
        own = entry["figures"]
        cells = [f"{printed(name, own[name]['value']):g}" if name in own else "" for name in names]
        rows.append((entry["model"], entry["data"], entry["protocol"], str(entry["pictures"]), *cells))
    ui.table(("model", "data", "protocol", "pictures", *map(title, names)), rows)
    for measure, ranks in document["ranks"].items():
        order = sorted(ranks, key=ranks.__getitem__)
        print(f"average rank ({measure}): " + ", ".join(f"{name} {ranks[name]:.1f}" for name in order))
