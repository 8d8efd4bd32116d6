"""`leadline predict`: files, folders, globs and lists into a folder, or one picture through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli import camera, pipe, ui
from leadline.cli.models import card_of
from leadline.errors import DeviceError, LeadlineError, UsageError, printable

if TYPE_CHECKING:
    from leadline.image import Picture
    from leadline.jobs import Summary
    from leadline.predict import Model
    from leadline.prediction import Prediction
    from leadline.save import Style

INTERRUPTED = 130
SHOWN = 12  # result files that a terminal gets to see


class OnError(StrEnum):
    """What a file that fails does to the rest."""

    CONTINUE = "continue"
    STOP = "stop"


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT", help="Files, folders, globs, .txt lists; - is stdin.", show_default=False
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder; - is stdout.")] = ".",
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="Name or folder.")] = "small",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", metavar="LIST", help="Such as npy,png16,exr. [default: npy,png,json]"),
    ] = None,
    processing_res: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Pixels to work at, 0: all. [default: the model's]")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of each picture's noise.")] = 0,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda:0, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="auto, float32, float16, bfloat16.")] = "auto",
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures at a time.")] = 1,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Enter subfolders.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--skip-existing", help="Do again what is done.")
    ] = False,
    on_error: Annotated[OnError, typer.Option(metavar="WORD", help="continue, or stop.")] = OnError.CONTINUE,
    max_pixels: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Refuse larger. [default: 178956970]")
    ] = None,
    layout: Annotated[str, typer.Option(metavar="NAME", help="File names: leadline, marigold.")] = "leadline",
    cmap: Annotated[
        str | None, typer.Option(metavar="NAME", help="Colours of pictures. [default: spectral]")
    ] = None,
    compat: Annotated[
        str | None, typer.Option(metavar="NAME", help="Arithmetic of another program: e2e-ft.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch missing weights.")] = False,
    fov: Annotated[float | None, typer.Option(metavar="DEG", help="Horizontal field of view.")] = None,
    focal_px: Annotated[float | None, typer.Option(metavar="F", help="Focal length in pixels.")] = None,
    focal_mm: Annotated[float | None, typer.Option(metavar="F", help="Focal length in mm, and")] = None,
    sensor_mm: Annotated[float | None, typer.Option(metavar="W", help="the sensor's width in mm.")] = None,
    K: Annotated[str | None, typer.Option("--K", metavar="FX,FY,CX,CY", help="Intrinsics, pixels.")] = None,
    json_report: Annotated[bool, typer.Option("--json", help="Print a JSON report.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> int:
    """Depth or normals of photographs. What is done already is skipped."""
    from leadline import image, save

    if not out:
        raise UsageError("--out has no name: is a variable empty? '.' is this folder")
    camera_of = camera.choose(fov, focal_px, focal_mm, sensor_mm, K)
    style = save.Style(layout=layout, cmap=cmap)
    chosen = _formats(formats, out, style)
    piped = pipe.PIPE in inputs or out == pipe.PIPE
    if piped:
        pipe.check(inputs, out, json_report)
    watched = Watched(_load(model, device, dtype, compat, download), lambda line: ui.say(line, quiet))
    limit = max_pixels or image.MAX_PIXELS
    if piped:
        save.choose(chosen, watched.kind, style)  # a format that cannot hold it: said before the work
        picture = pipe.read(inputs[0], limit, camera_of)
        (result,) = watched.stream([picture], seed=seed, processing_res=processing_res)
        if isinstance(result, LeadlineError):
            raise result
        written = pipe.write(result, picture, out, chosen, style, overwrite)
        ui.paths([] if quiet else written)
        return 0
    from leadline import jobs

    names: list[str] = []
    with ui.bar("pictures", quiet) as step:
        summary = jobs.files(
            inputs,
            out,
            model=watched,
            formats=chosen,
            style=style,
            seed=seed,
            processing_res=processing_res,
            batch_size=batch_size,
            camera=camera_of,
            max_pixels=limit,
            recursive=recursive,
            overwrite=overwrite,
            on_error=on_error.value,
            progress=_noting(names, step),
        )
    return _report(summary, Path(out), names, json_report, quiet)


class Watched:
    """A model that says once, with its first result, what goes on."""

    def __init__(self, model: Model, say: Callable[[str], None]) -> None:
        self.model = model
        self.say: Callable[[str], None] | None = say
        self.kind, self.card = model.kind, model.card
        self.method, self.network, self.dtype = model.method, model.network, model.dtype

    def stream(self, images: Iterable[Picture], **options: Any) -> Iterator[Prediction | LeadlineError]:
        """As `Model.stream`."""
        for result in self.model.stream(images, **options):
            self._note(result)
            yield result

    def _note(self, result: Prediction | LeadlineError) -> None:
        if self.say is None or isinstance(result, LeadlineError):
            return
        height, width = result.settings["processed_size"]
        sizes = f"{result.width}x{result.height} worked on at {width}x{height}"
        self.say(f"{sizes} by {self.model.describe()}; licence {self.card.licence}")
        self.say = None


def _formats(words: list[str] | None, out: str, style: Style) -> list[str] | None:
    """The formats by name; a pipe takes one, by default the picture. Raises UsageError for unknown ones."""
    from leadline import save

    names = [name.strip() for word in words or [] for name in word.split(",") if name.strip()]
    if words and not names:
        raise UsageError(f"--format is {','.join(words)!r}: choose from {', '.join(save.FORMATS)}")
    if out == pipe.PIPE:
        names = names or ["png"]
        if len(names) > 1:
            raise UsageError(f"stdout takes one --format, {len(names)} are given: {', '.join(names)}")
    save.choose(names or None, None, style)
    return names or None


def _load(model: str, device: str, dtype: str, compat: str | None, download: bool) -> Model:
    card_of(model)  # a wrong name is a mistake in the command
    from leadline.predict import load

    try:
        return load(model, device=device, dtype=dtype, compat=compat, download=download)
    except DeviceError as error:
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
        return INTERRUPTED
    return 1 if summary.failed else 0
