"""One picture from stdin or to stdout."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.errors import SaveError, UsageError

if TYPE_CHECKING:
    from leadline.cli.camera import CameraOf
    from leadline.cli.watched import Watched
    from leadline.jobs import Known
    from leadline.save import Style

PIPE = "-"  # as input: stdin; as output: stdout
STEM = "stdin"  # of result files, where the picture has no name


def check(inputs: list[str], out: str, json_report: bool) -> None:
    """Raise UsageError for what a pipe cannot do."""
    if len(inputs) > 1:
        raise UsageError(f"{len(inputs)} inputs are given: a pipe takes one picture")
    if inputs[0] == PIPE and sys.stdin.isatty():
        raise UsageError("stdin is a terminal: pipe a picture in, as in `leadline predict - < photo.jpg`")
    if json_report:
        raise UsageError(
            "--json reports on runs over files: leave it out with a pipe (-f json gives the record)"
        )
    if out == PIPE and sys.stdout.isatty():
        raise UsageError("stdout is a terminal: redirect it, as in `-o - > depth.png`")
    if inputs[0] != PIPE and not Path(inputs[0]).is_file():
        raise UsageError(f"{inputs[0]} is no file: a pipe takes one picture")


def predict(
    model: Watched,
    source: str,
    out: str,
    asked: dict[str, Any],
    *,
    formats: list[str] | None,
    style: Style,
    camera: CameraOf | None,
    known: Known | None,
    max_pixels: int,
    overwrite: bool,
) -> list[Path]:
    """Predict the picture on stdin, or in a file, to stdout, or to files named `stdin`: their paths."""
    from leadline import image, save

    save.choose(formats, known.check(model.kind) if known else model.kind, style)  # said before the work
    picture = image.read(sys.stdin.buffer.read() if source == PIPE else source, max_pixels=max_pixels)
    picture = image.read(picture, camera=camera and camera(picture.width, picture.height))
    result = model.one(picture, **asked)
    result = known.align(result, picture) if known else result
    if out == PIPE and formats:
        sys.stdout.buffer.write(save.encode(result, formats[0], rgb=picture.rgb, style=style))
        sys.stdout.buffer.flush()
        return []
    outputs = save.plan(result, STEM, formats, rgb=picture.rgb, style=style)
    files = {save.inside(Path(out), output.name): output for output in outputs}
    for path in files:
        if os.path.lexists(path) and not overwrite:
            raise SaveError(f"{path} exists: choose another folder, or --overwrite")
    for path, output in files.items():
        save.write_bytes(path, output.encode())
    return list(files)
