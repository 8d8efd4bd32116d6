"""`leadline data prepare`, `check`, `stats` and `show`: data sets on disk, before a training meets them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli import ui
from leadline.cli.options import Json, NoProgress, Processes
from leadline.errors import UsageError

if TYPE_CHECKING:
    from leadline.data.scan import Line, Progress, Source

SHOWN = 10  # refused pictures that are named on the terminal; all of them are in the records
Name = Annotated[str, typer.Argument(metavar="SET", help="Such as hypersim.", show_default=False)]
Place = Annotated[
    Path | None, typer.Argument(metavar="PATH", help="Its folder, archive or table.", show_default=False)
]
List = Annotated[
    Path | None, typer.Option("--list", metavar="FILE", help="Which pictures.", exists=True, dir_okay=False)
]
Layout = Annotated[str | None, typer.Option(metavar="NAME", help="That layout only.")]
Part = Annotated[str | None, typer.Option(metavar="NAME", help="A part by name, such as train.")]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Leave out pictures; may be repeated.")
]
Crop = Annotated[str | None, typer.Option(metavar="NAME", help="Such as kitti.")]
Range = Annotated[
    str | None, typer.Option("--range", metavar="NEAR:FAR", help="Other depths (metres) are not valid.")
]
Normals = Annotated[str | None, typer.Option(metavar="HOW", help="Of the depth: d2nt or e2e-ft.")]
Filter = Annotated[
    str, typer.Option(metavar="NAME", help="Refuse more than impossible values: marigold, metric.")
]
Record = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep a line per picture there, and go on from it.")
]


def prepare(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "--output", "-o", metavar="DIR", help="Folder to fill.")],
    path: Place = None,
    list_file: List = None,
    layout: Layout = None,
    part: Part = None,
    exclude: Exclude = None,
    crop: Crop = None,
    range_m: Range = None,
    normals: Normals = None,
    filter: Filter = "none",
    form: Annotated[
        str, typer.Option(metavar="NAME", help="pairs, or for hypersim marigold: its PNGs and lists.")
    ] = "pairs",
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Bring pictures to this size.")] = None,
    workers: Processes = None,
    json_report: Json = False,
    quiet: NoProgress = False,
) -> int:
    """Decode a data set once into a form that trains fast; run again to go on."""
    from leadline.data import prepare as preparing
    from leadline.data import scan

    source = _source(name, path, list_file, layout, part, exclude, crop, range_m, normals)
    wanted = scan.limits(filter)
    sizes = parse_sizes(size) if size else [None]
    with _progress("pictures", quiet) as progress:
        lines = preparing.prepare(
            source,
            out,
            form=form,
            part=part or "all",
            size=sizes[0],
            wanted=wanted,
            workers=workers or os.cpu_count() or 1,
            progress=progress,
        )
    failed = _end(lines, out, json_report)
    return failed if filter == "none" or all(line["refused"] for line in lines) else 0


def check(
    name: Name,
    path: Place = None,
    list_file: List = None,
    layout: Layout = None,
    part: Part = None,
    exclude: Exclude = None,
    crop: Crop = None,
    range_m: Range = None,
    normals: Normals = None,
    filter: Filter = "none",
    record: Record = None,
    workers: Processes = None,
    json_report: Json = False,
    quiet: NoProgress = False,
) -> int:
    """Read every picture; say which cannot be right, and why. Look for rays, disparities, mirrors, axes."""
    from leadline.data import scan
    from leadline.train import geometry

    source = _source(name, path, list_file, layout, part, exclude, crop, range_m, normals)
    lines = _scanned(source, scan.limits(filter), record, None, workers, quiet)
    good = [line["index"] for line in lines if not line["refused"]]
    data, chosen = source.open(), good[:: max(1, len(good) // 8)][:8]
    doubts = list(geometry.doubts([data[number] for number in chosen]))
    for doubt in doubts:
        ui.say(f"{name}: {doubt}")
    code = _end(lines, None, json_report, doubts)
    return code or int(bool(doubts))


def stats(
    name: Name,
    path: Place = None,
    list_file: List = None,
    layout: Layout = None,
    part: Part = None,
    exclude: Exclude = None,
    crop: Crop = None,
    range_m: Range = None,
    normals: Normals = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", metavar="N", min=1, help="So many, spread over the set.")
    ] = None,
    record: Record = None,
    workers: Processes = None,
    json_report: Json = False,
    quiet: NoProgress = False,
) -> int:
    """Sizes, depths and known shares of a data set, from the least to the largest by quarters."""
    from leadline.data import scan

    source = _source(name, path, list_file, layout, part, exclude, crop, range_m, normals)
    found = scan.summary(_scanned(source, scan.limits("none"), record, count, workers, quiet))
    if json_report:
        ui.report(found)
        return 0
    groups = {"": found, **found.pop("groups", {})}
    rows = [
        (group or "all", key, ", ".join(map(str, value)) if isinstance(value, list) else _words(value))
        for group, figures in groups.items()
        for key, value in figures.items()
    ]
    ui.table(("pictures", "figure", "least, quarters, largest"), rows)
    return 0


def show(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "--output", "-o", metavar="FILE", help="A PNG file.")],
    path: Place = None,
    list_file: List = None,
    layout: Layout = None,
    part: Part = None,
    exclude: Exclude = None,
    crop: Crop = None,
    range_m: Range = None,
    normals: Normals = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, help="Rows.")] = 8,
) -> int:
    """Draw a contact sheet: pictures, depths, normals, what is valid."""
    from leadline.data.contact import sheet

    source = _source(name, path, list_file, layout, part, exclude, crop, range_m, normals)
    ui.paths([sheet(source, out, count)])
    return 0


def _source(
    name: str,
    path: Path | None,
    list_file: Path | None,
    layout: str | None,
    part: str | None,
    exclude: list[str] | None,
    crop: str | None,
    range_m: str | None,
    normals: str | None,
) -> Source:
    from leadline import documents
    from leadline.data.scan import Source
    from leadline.data.view import View

    given = {"path": path, "list_file": list_file, "layout": layout, "part": part, "exclude": exclude}
    options = {key: value for key, value in given.items() if value}
    view: dict[str, Any] = {"crop": crop, "range_m": _range(range_m), "normals": normals}
    return Source(name, options, documents.validate(view, View, "data"))


def _range(text: str | None) -> tuple[float, float] | None:
    """'0.1:80' -> (0.1, 80.0). Raises UsageError.

    >>> _range("0.1:80")
    (0.1, 80.0)
    """
    if text is None:
        return None
    near, _, far = text.partition(":")
    try:
        limits = float(near), float(far)
    except ValueError:
        limits = math.nan, math.nan
    if not 0 <= limits[0] < limits[1]:
        raise UsageError(f"--range is {text!r}: NEAR:FAR in metres is needed, such as 0.1:80")
    return limits


def _scanned(
    source: Source, wanted: Any, record: Path | None, count: int | None, workers: int | None, quiet: bool
) -> list[Line]:
    from leadline.data import scan

    with _progress("pictures", quiet) as progress:
        processes = workers or os.cpu_count() or 1
        return scan.scan(source, wanted, record=record, count=count, workers=processes, progress=progress)


@contextmanager
def _progress(title: str, quiet: bool) -> Iterator[Progress]:
    """Ctrl-C ends the command in one line: what is written is complete."""
    try:
        with ui.bar(title, quiet) as step:
            yield lambda done, total, name: step(done, total, name)
    except KeyboardInterrupt:
        ui.say("stopped; what was done is complete, the same command goes on")
        raise typer.Exit(ui.INTERRUPTED) from None


def _end(lines: list[Line], out: Path | None, json_report: bool, doubts: list[str] | None = None) -> int:
    """The refused ones with their evidence, and the exit code."""
    from leadline.data import scan

    refused = [line for line in lines if line["refused"]]
    for line in refused[:SHOWN]:
        ui.say(f"refused {line['name']}: {'; '.join(line['refused'])}")
    if len(refused) > SHOWN:
        ui.say(f"... and {len(refused) - SHOWN} more")
    ui.say(f"{len(lines)} pictures, {len(refused)} refused")
    if json_report:
        named = [{"name": line["name"], "reasons": line["refused"]} for line in refused]
        found = scan.summary(lines) | {"refused_pictures": named}
        ui.report(found | ({"doubts": doubts} if doubts is not None else {"folder": str(out)}))
    elif out is not None:
        ui.paths([out])
    return int(bool(refused))


def _words(value: Any) -> str:
    return (
        ", ".join(f"{key}: {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
    )


def parse_sizes(text: str) -> list[tuple[int, int]]:
    """'192x256,256x192' -> [(192, 256), (256, 192)], height first. Raises UsageError.

    >>> parse_sizes("192x256")
    [(192, 256)]
    """
    found = [re.fullmatch(r"\s*([1-9]\d{0,4})\s*[xX]\s*([1-9]\d{0,4})\s*", part) for part in text.split(",")]
    if not all(found):
        raise UsageError(f"--size is {text!r}: height x width is needed, such as 192x256")
    return [(int(match[1]), int(match[2])) for match in found if match]
