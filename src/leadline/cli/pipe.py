"""One picture from stdin or to stdout."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from leadline.errors import SaveError, UsageError

if TYPE_CHECKING:
    from leadline.cli.camera import CameraOf
    from leadline.image import Picture
    from leadline.prediction import Prediction
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


def read(source: str, max_pixels: int, camera_of: CameraOf | None) -> Picture:
    """The picture on stdin, or of a file, with the camera that the options describe."""
    from leadline import image

    picture = image.read(sys.stdin.buffer.read() if source == PIPE else source, max_pixels=max_pixels)
    return image.read(picture, camera=camera_of and camera_of(picture.width, picture.height))


def write(
    prediction: Prediction,
    picture: Picture,
    out: str,
    formats: list[str] | None,
    style: Style,
    overwrite: bool,
) -> list[Path]:
    """The bytes of the one format to stdout, or files named `stdin` into a folder: their paths."""
    from leadline import save

    if out == PIPE and formats:
        sys.stdout.buffer.write(save.encode(prediction, formats[0], rgb=picture.rgb, style=style))
        sys.stdout.buffer.flush()
        return []
    outputs = save.plan(prediction, STEM, formats, rgb=picture.rgb, style=style)
    files = {save.inside(Path(out), output.name): output for output in outputs}
    for path in files:
        if os.path.lexists(path) and not overwrite:
            raise SaveError(f"{path} exists: choose another folder, or --overwrite")
    for path, output in files.items():
        save.write_bytes(path, output.encode())
    return list(files)
