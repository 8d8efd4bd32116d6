"""`leadline predict`: files, folders, globs and lists into a folder, or one picture through a pipe."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli import align, camera, options, pipe, ui
from leadline.cli.models import check
from leadline.cli.watched import Watched
from leadline.errors import DeviceError, DocumentError, UsageError, printable

if TYPE_CHECKING:
    from leadline.jobs import Summary
    from leadline.predict import Model
    from leadline.save import Style

SHOWN = 12  # result files that a terminal gets to see
HOLD_UNCERTAINTY = frozenset({"npz", "exr", "uncertainty"})  # formats


class OnError(StrEnum):
    """What a file that fails does to the rest."""

    CONTINUE = "continue"
    STOP = "stop"


def _pixels(word: str) -> int:
    """A processing resolution; `native` is 0."""
    if word != "native" and not word.isdecimal():
        raise UsageError(f"--processing-res is {word!r}: a number of pixels is needed, or native")
    return 0 if word == "native" else int(word)


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Files, folders, globs, lists; -: stdin.", show_default=False),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder; - is stdout.")] = ".",
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Name or folder. [default: small]")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Wanted of it: depth, metric, normals.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of its config, as output_sign=1."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", metavar="LIST", help="As npy,png16,exr. [default: npy,png,json]"),
    ] = None,
    processing_res: Annotated[
        int | None,
        typer.Option(metavar="N|native", parser=_pixels, help="Size to work at. [default: model's]"),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="What is larger, in tiles of N pixels.")
    ] = None,
    seed: options.Seed = 0,
    steps: options.Steps = None,
    ensemble_size: options.EnsembleSize = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also how far an ensemble disagrees.")
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="LIST", help="More of the model: segmentation, filtered."),
    ] = None,
    segmentation: Annotated[
        bool, typer.Option("--segmentation", hidden=True)  # as --also segmentation, which is shown
    ] = False,
    captions: Annotated[
        str | None, typer.Option(metavar="WHAT", help="JSON file, captioner's name, auto (BLIP-2).")
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    plain: options.Plain = False,
    offload: Annotated[
        bool, typer.Option("--offload", help="Networks wait off the GPU, for memory.")
    ] = False,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile for each size: minutes, then faster.")
    ] = False,
    vae: Annotated[
        str | None, typer.Option(metavar="NAME", help="Light autoencoder, lossy: tiny, or folder.")
    ] = None,
    batch_size: options.BatchSize = 1,
    recursive: options.Recursive = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--skip-existing", help="Redo what is done.")
    ] = False,
    engine: options.Engine = "plain",
    workers: options.Workers = None,
    on_error: Annotated[OnError, typer.Option(metavar="WORD", help="continue, or stop.")] = OnError.CONTINUE,
    max_pixels: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Refuse larger. [default: 178956970]")
    ] = None,
    layout: Annotated[str, typer.Option(metavar="NAME", help="leadline, or marigold.")] = "leadline",
    cmap: Annotated[
        str | None, typer.Option(metavar="NAME", help="Colours of pictures. [default: spectral]")
    ] = None,
    compat: options.Compat = None,
    download: options.Download = False,
    card: options.Card = None,
    align_to: Annotated[
        str | None, typer.Option("--align", metavar="WHAT", help="CSV, depth map, folder, model:NAME.")
    ] = None,
    align_method: Annotated[
        str | None, typer.Option(metavar="NAME", help="As ransac. [default: least_squares]")
    ] = None,
    align_scale: Annotated[
        float | None, typer.Option(metavar="M", help="Metres of one count of a 16-bit PNG.")
    ] = None,
    fov: Annotated[float | None, typer.Option(metavar="DEG", help="Horizontal field of view.")] = None,
    focal_px: Annotated[float | None, typer.Option(metavar="F", help="Focal length in pixels.")] = None,
    focal_mm: Annotated[float | None, typer.Option(metavar="F", help="Focal length in mm, and")] = None,
    sensor_mm: Annotated[float | None, typer.Option(metavar="W", help="the sensor's width in mm.")] = None,
    K: Annotated[str | None, typer.Option("--K", metavar="FX,FY,CX,CY", help="Intrinsics, pixels.")] = None,
    json_report: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Depth of photographs, metres or normals. What is done is skipped."""
    from leadline import image, save

    if not out:
        raise UsageError("--out has no name: is a variable empty? '.' is this folder")
    camera_of = camera.choose(fov, focal_px, focal_mm, sensor_mm, K)
    style = save.Style(layout=layout, cmap=cmap)
    chosen = _formats(formats, out, style)
    unsure = uncertainty or "uncertainty" in (chosen or ())
    if unsure:
        chosen = _unsure(chosen, out, style, align_to)
    piped = pipe.PIPE in inputs or out == pipe.PIPE
    if piped:
        pipe.check(inputs, out, json_report)
    spread = _spread(engine, workers, piped, align_to)
    place: dict[str, Any] = {"device": device, "dtype": dtype, "download": download}
    way: dict[str, Any] = {"fast": not plain, "offload": offload, "compile": compile, "vae": vae}
    way |= {"task": task, "config": _changes(changes)}
    make = partial(_load, _chosen(model, task), compat=compat, card=card, **place, **way)
    loaded = make(device="cpu") if spread else make()  # there, this process only plans
    watched = Watched(loaded, lambda line: ui.say(line, quiet))
    asked: dict[str, Any] = {
        "seed": seed,
        "processing_res": processing_res,
        "steps": steps,
        "ensemble_size": ensemble_size,
        "uncertainty": unsure,
        "tile": tile,
        "also": [*_names(also), *["segmentation"] * segmentation],
    }
    if captions is not None:
        from leadline.captions import choose

        watched.check(**asked, captions="")  # before a captioner is loaded
        asked["captions"] = choose(captions, device=device, download=download)
    watched.check(**asked)
    known = align.choose(align_to, align_method, align_scale, lambda name: _load(name, card=None, **place))
    how: dict[str, Any] = {"formats": chosen, "style": style, "camera": camera_of, "known": known}
    how |= {"max_pixels": max_pixels or image.MAX_PIXELS, "overwrite": overwrite}
    if piped:
        written = pipe.predict(watched, inputs[0], out, asked, **how)
        ui.say(str(known), quiet or not known)
        ui.paths([] if quiet else written)
        return 0
    from leadline import jobs

    crew = None
    if spread:
        from leadline.jobs import on_cluster

        crew = on_cluster.crew(make, workers=workers, device=device)
    how |= {"batch_size": batch_size, "recursive": recursive, "on_error": on_error.value, "crew": crew}
    names: list[str] = []
    with ui.bar("pictures", quiet) as step:
        summary = jobs.files(inputs, out, model=watched, **asked, **how, progress=_noting(names, step))
    ui.say(str(known), quiet or not (known and known.residuals))
    return _report(summary, Path(out), names, json_report, quiet)


def _names(words: list[str] | None) -> list[str]:
    """Of an option that may be repeated, and hold commas."""
    return [name.strip() for word in words or [] for name in word.split(",") if name.strip()]


def _formats(words: list[str] | None, out: str, style: Style) -> list[str] | None:
    """The formats by name; a pipe takes one, by default the picture. Raises UsageError for unknown ones."""
    from leadline import save

    names = _names(words)
    if words and not names:
        raise UsageError(f"--format is {','.join(words)!r}: choose from {', '.join(save.FORMATS)}")
    if out == pipe.PIPE:
        names = names or ["png"]
        if len(names) > 1:
            raise UsageError(f"stdout takes one --format, {len(names)} are given: {', '.join(names)}")
    save.choose(names or None, None, style)
    return names or None


def _unsure(names: list[str] | None, out: str, style: Style, align_to: str | None) -> list[str]:
    """Formats of which one holds the uncertainty: its picture is added where none does. Raises UsageError
    where there is no place, or no uncertainty.
    """
    from leadline.save.formats import LAYOUTS, USUAL

    if align_to is not None:
        raise UsageError(
            "--uncertainty is of the model's own numbers, not of aligned ones: leave out --align"
        )
    names = names or list(USUAL[style.layout])
    if not HOLD_UNCERTAINTY.isdisjoint(names):
        return names
    if out == pipe.PIPE:
        raise UsageError(f"stdout takes one format, and {names[0]} holds no uncertainty: add -f npz")
    if HOLD_UNCERTAINTY.isdisjoint(LAYOUTS[style.layout]):
        raise UsageError(f"layout {style.layout!r} has no file for uncertainty: use layout 'leadline'")
    return [*names, "uncertainty"]


def _chosen(model: str | None, task: str | None) -> str:
    """The model's name: as it is given (a task then chooses among its outputs), or the bundled one."""
    from leadline import cards

    return model if model is not None else cards.bundled_for(task or "depth")


def _changes(words: list[str] | None) -> dict[str, Any]:
    """Entries of the model's configuration, from words such as domain=outdoor."""
    from leadline import documents

    return documents.override({}, words or [])


def _spread(engine: str, workers: int | None, piped: bool, align_to: str | None) -> bool:
    """Whether the work is spread over a cluster. Raises UsageError for what does not go with that."""
    if engine not in ("plain", "ray"):
        raise UsageError(f"--engine is {engine!r}: plain or ray is needed")
    if engine == "ray" and (piped or align_to):
        raise UsageError(
            f"--engine ray takes files, without {'a pipe' if piped else '--align'}: leave it out"
        )
    if engine == "plain" and workers is not None:
        raise UsageError(f"--workers {workers} are of ray: add --engine ray")
    return engine == "ray"


def _load(model: str, *, card: str | None, **way: Any) -> Model:
    check(model, card)  # a wrong name is a mistake in the command
    from leadline.predict import load

    try:
        return load(model, card=card, **way)
    except (DeviceError, DocumentError) as error:
        if isinstance(error, DocumentError) and not way.get("config"):
            raise  # of a card, and no mistake in the command
        raise UsageError(str(error)) from None


def _noting(names: list[str], step: ui.Step) -> ui.Step:
    """A callback that keeps the names that this run has worked on."""

    def note(done: int, total: int | None, name: str) -> None:
        names.append(name)
        step(done, total, name)

    return note


def _report(summary: Summary, out: Path, names: list[str], json_report: bool, quiet: bool) -> int:
    """Results to stdout, failures and the sum to stderr; the exit code."""
    from leadline.jobs.manifest import load

    entries = load(out).entries
    failed = {failure.name: failure for failure in summary.failed}
    written = {name: entries[name] for name in names if name not in failed}
    files = [str(out / output) for entry in written.values() for output in entry.outputs]
    for name, failure in failed.items():
        ui.say(f"failed: {printable(entries[name].input)} ({failure.stage}): {failure.reason}")
    ui.say(f"{summary}, in {out}", quiet)
    if json_report:
        reasons = [{**failure._asdict(), "input": entries[name].input} for name, failure in failed.items()]
        results = [
            {"input": entry.input, "files": [str(out / f) for f in entry.outputs]}
            for entry in written.values()
        ]
        ui.report({**asdict(summary), "failed": reasons, "out": str(out), "results": results})
    elif not quiet and (len(files) <= SHOWN or not sys.stdout.isatty()):
        ui.paths(files)
    if summary.interrupted:
        return ui.INTERRUPTED
    return 1 if summary.failed else 0
