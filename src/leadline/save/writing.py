"""Write a prediction: choose the formats, name the files, make each one whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from leadline.errors import SaveError, UsageError
from leadline.prediction import Kind, Prediction
from leadline.save.cloud import with_camera
from leadline.save.containers import openexr
from leadline.save.files import inside, write_bytes
from leadline.save.formats import LAYOUTS, USUAL, WORDLESS, Shot, Style, check_choice


class Output(NamedTuple):
    """A file to come: its name below the output folder, and the call that makes its bytes."""

    name: str
    encode: Callable[[], bytes]


def write(
    prediction: Prediction,
    folder: Path | str,
    stem: str,
    formats: Iterable[str] | None = None,
    *,
    rgb: NDArray[Any] | None = None,
    style: Style | None = None,
) -> list[Path]:
    """Write a prediction and what hangs on it (`prediction.also`), each file atomically; return the paths.

    `stem` may hold folders ("a/x"). `formats` are names of `FORMATS`; None: array, picture and record.
    Formats without room for text bring the record `<stem>.json` with them. `rgb` [H,W,3] is needed by "side"
    and colours "ply", which assumes a camera, with a warning, where none is known. Invalid pixels are NaN in
    npy, pfm and tiff, 0 in exr (which has a channel `mask`) and 16-bit PNGs.

    Raises UsageError for formats that do not exist or cannot hold this kind, SaveError if the system refuses.
    """
    paths = []
    for output in plan(prediction, stem, formats, rgb=rgb, style=style):
        paths.append(inside(Path(folder), output.name))
        write_bytes(paths[-1], output.encode())
    return paths


def plan(
    prediction: Prediction,
    stem: str,
    formats: Iterable[str] | None = None,
    *,
    rgb: NDArray[Any] | None = None,
    style: Style | None = None,
) -> list[Output]:
    """The files that `write` would write, the record last, without making their bytes yet."""
    style = style or Style()
    chosen = choose(formats, prediction.kind, style)
    prediction = _placed(prediction, chosen)
    shots = [Shot(prediction, output_name(prediction.kind), style, rgb, chosen)]
    shots += [Shot(further, name, style, rgb, chosen) for name, further in prediction.also.items()]
    outputs = [
        Output(able.file_name(stem, shot), partial(able.encode, shot))
        for able in (LAYOUTS[style.layout][name] for name in chosen)
        for shot in (shots[:1] if able.once else shots)
        if shot.prediction.kind in able.kinds
    ]
    names = [output.name for output in outputs]
    if len(set(names)) < len(names):
        raise SaveError(
            f"two outputs of the model want the same file among {', '.join(names)}: name them apart"
        )
    return outputs


def encode(
    prediction: Prediction, format: str, *, rgb: NDArray[Any] | None = None, style: Style | None = None
) -> bytes:
    """The bytes of one file, for pipes and responses. Raises as `write` does.

    >>> import numpy as np
    >>> depth = Prediction(np.ones((2, 3), np.float32), Kind.metric_depth)
    >>> encode(depth, "pfm")[:12]
    b'Pf\\n3 2\\n-1.0\\n'
    """
    style = style or Style()
    choose([format], prediction.kind, style)
    shot = Shot(_placed(prediction, (format,)), output_name(prediction.kind), style, rgb, (format,))
    return LAYOUTS[style.layout][format].encode(shot)


def _placed(prediction: Prediction, formats: tuple[str, ...]) -> Prediction:
    """The prediction with a camera, if a format needs one; then all files' records say the same."""
    return with_camera(prediction) if "ply" in formats else prediction


def choose(
    formats: Iterable[str] | None, kind: Kind | None = None, style: Style | None = None
) -> tuple[str, ...]:
    """Formats as they will be written: the layout's usual ones for None, no doubles, the record where needed.

    Raises UsageError for a name that does not exist, or a format that cannot hold a model's `kind`, SaveError
    if the package for one is not installed: ask before a long run.

    >>> choose(["png16", "npy", "npy"])
    ('png16', 'npy', 'json')
    """
    name_of_layout = (style or Style()).layout
    layout = LAYOUTS[name_of_layout]
    able = [name for name in layout if kind is None or kind in layout[name].kinds]
    if not able:
        raise UsageError(f"layout {name_of_layout!r} cannot hold {kind}: use layout 'leadline'")
    if formats is None:
        formats = [name for name in USUAL[name_of_layout] if name in able]
    chosen = tuple(dict.fromkeys(formats))
    for name in chosen:
        check_choice("format", name, layout)
        if name not in able:
            metres = kind is not None and kind.is_depth and layout[name].kinds == {Kind.metric_depth}
            way = "align it to known depths (--align, align_to), or " if metres else ""
            raise UsageError(f"format {name!r} cannot hold {kind}: {way}choose from {', '.join(able)}")
    if not chosen:
        raise UsageError(f"no format is given: choose from {', '.join(able)}")
    if "exr" in chosen:
        openexr()  # now, not after the first prediction
    data = tuple(name for name in chosen if name != "json")
    return (*data, "json") if data != chosen or not WORDLESS.isdisjoint(data) else data


def output_name(kind: Kind) -> str:
    """The word for a kind in names of files: depth, normals or segmentation."""
    return "depth" if kind.is_depth else str(kind)
