"""Which files a prediction can become: their names, what they can hold, how their bytes are made.

Names, with the stem of the input: `<stem>_depth.npy`, `.npz`, `.exr`, `.pfm`, `.tiff`, `_depth_16bit.png`,
`_depth_colored.png`, `_depth_controlnet.png`, `_depth_uncertainty.png`, `_side.png`, `_depth.ply`,
`<stem>_normals.npy`, `_normals.png` ..., and the record `<stem>.json`. All depth-like kinds are named
`depth`: every file's text, or the record, says which.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leadline import colour
from leadline.camera import convert_normals, normal_signs
from leadline.errors import UsageError, did_you_mean
from leadline.prediction import Kind, Prediction
from leadline.save import cloud, containers, counts

Array = NDArray[Any]
DEPTHS = frozenset(kind for kind in Kind if kind.is_depth)
LINEAR = frozenset({Kind.affine_depth, Kind.metric_depth})
METRIC = frozenset({Kind.metric_depth})
NORMALS = frozenset({Kind.normals})
ALL = frozenset(Kind)
USUAL_FRAME = "opengl"  # of pictures of normals: facing the camera is (128, 128, 255)


@dataclass(frozen=True)
class Style:
    """How files look, for all formats at once. Raises UsageError for an unknown choice.

    layout: "leadline", or "marigold" for the folders and names that Marigold's evaluation scripts read.
    cmap: colour map of pictures (`colour.MAPS`); None is spectral.
    png16: what one count is in a 16-bit PNG of metric depth: "millimetre" or "1/256 metre".
    frame: of stored and coloured normals; None stores OpenCV's and colours the usual one, "opengl".
    """

    layout: str = "leadline"
    cmap: str | None = None
    png16: str = "millimetre"
    frame: str | None = None

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, LAYOUTS)
        check_choice("unit of 16-bit PNG", self.png16, counts.METRIC_SCALES)
        colour.table(self.cmap or "spectral")  # a wrong name is an error now, not at the first picture
        normal_signs("opencv", self.frame or "opencv")


class Shot(NamedTuple):
    """What an encoder sees."""

    prediction: Prediction
    output: str  # its word in names of files: depth, normals ...
    style: Style
    rgb: Array | None = None  # the photograph, [H,W,3]
    formats: tuple[str, ...] = ()  # that are written along


class Format(NamedTuple):
    """One kind of file."""

    encode: Callable[[Shot], bytes]
    name: str  # made of {stem} and {output}
    kinds: frozenset[Kind] = ALL
    normals: str | None = None  # the name for normals, where it differs
    once: bool = False  # one per photograph, however many outputs the model has

    def file_name(self, stem: str, shot: Shot) -> str:
        """Where this file of a prediction goes, below the output folder."""
        name = self.normals if self.normals and shot.prediction.kind is Kind.normals else self.name
        return name.format(stem=stem, output=shot.output)


def check_choice(what: str, word: str, choices: Iterable[str]) -> None:
    """Raise UsageError unless `word` is one of `choices`."""
    if word not in choices:
        raise UsageError(f"{what} is {word!r}: {did_you_mean(word, choices)}")


def record(shot: Shot) -> dict[str, Any]:
    """What the values in a file mean, as JSON types: the prediction's own record, and the file's frame."""
    words = shot.prediction.record()
    return words | {"frame": shot.style.frame or "opencv"} if shot.prediction.kind is Kind.normals else words


def labels(words: dict[str, Any]) -> dict[str, str]:
    """A record as lines of text by name: the facts that people look for, and all of it in `leadline`."""
    facts = {
        name: words.get(name) for name in ("kind", "unit", "near_is", "frame", "scale", "offset", "model")
    }
    lines = {name: str(fact) for name, fact in facts.items() if fact not in (None, "")}
    camera = {"camera": json.dumps(words["camera"])} if words.get("camera") else {}
    return lines | camera | {"leadline": json.dumps(words)}


def _values(shot: Shot) -> Array:
    """The prediction's values, normals in the frame of the file."""
    if shot.prediction.kind is Kind.normals:
        return convert_normals(shot.prediction.values, "opencv", shot.style.frame or "opencv")
    return shot.prediction.values


def _filled(shot: Shot, filling: float) -> Array:
    """The values with `filling` where they are not valid."""
    values, valid = _values(shot), shot.prediction.valid
    if valid is None:
        return values
    return np.where(valid.reshape(*valid.shape, *(1,) * (values.ndim - 2)), values, np.float32(filling))


def _npy(shot: Shot) -> bytes:
    return containers.npy_bytes(_filled(shot, np.nan))


def _npz(shot: Shot) -> bytes:
    p = shot.prediction
    arrays = {
        shot.output: _values(shot),
        "mask": np.ones((p.height, p.width), bool) if p.valid is None else p.valid,
    }
    if p.uncertainty is not None:
        arrays["uncertainty"] = p.uncertainty
    if p.camera is not None:
        arrays["intrinsics"] = p.camera.K  # pixel centres at +0.5
    return containers.npz_bytes(arrays, labels(record(shot)))


def _png16(shot: Shot) -> bytes:
    encoding = counts.encoding(shot.prediction, shot.style.png16)
    words = record(shot) | encoding._asdict()
    return containers.png_bytes(counts.to_counts(shot.prediction, encoding), labels(words))


def _exr(shot: Shot) -> bytes:
    p, values = shot.prediction, _filled(shot, 0)
    names = ["N.X", "N.Y", "N.Z"] if p.kind is Kind.normals else ["Z"]
    channels = dict(zip(names, np.moveaxis(np.atleast_3d(values), -1, 0), strict=True))
    if p.valid is not None:
        channels["mask"] = p.valid.astype(np.float16)
    if p.uncertainty is not None:
        channels["uncertainty"] = p.uncertainty
    contiguous = {name: np.ascontiguousarray(channel) for name, channel in channels.items()}
    return containers.exr_bytes(contiguous, labels(record(shot)))


def _pfm(shot: Shot) -> bytes:
    return containers.pfm_bytes(_filled(shot, np.nan))


def _tiff(shot: Shot) -> bytes:
    return containers.tiff_bytes(_filled(shot, np.nan), labels(record(shot)))


def _colours(shot: Shot) -> colour.Rgb:
    p = shot.prediction
    if p.kind is Kind.normals:
        return colour.normals(p.values, frame=shot.style.frame or USUAL_FRAME, valid=p.valid)
    return colour.picture(p.values, p.kind, cmap=shot.style.cmap, valid=p.valid)


def _in_colour(shot: Shot) -> Shot:
    """The same, with the frame in which normals are coloured: the usual one unless another is asked for."""
    return shot._replace(style=replace(shot.style, frame=shot.style.frame or USUAL_FRAME))


def _png(shot: Shot) -> bytes:
    return containers.png_bytes(_colours(shot), labels(record(_in_colour(shot))))


def _controlnet(shot: Shot) -> bytes:
    p = shot.prediction
    grey = colour.controlnet(p.values, p.kind, valid=p.valid)
    return containers.png_bytes(grey, labels(record(shot)))


def _uncertainty(shot: Shot) -> bytes:
    p = shot.prediction
    if p.uncertainty is None:
        raise UsageError("format 'uncertainty' shows how an ensemble disagrees: ask for uncertainty with it")
    grey = colour.uncertainty(p.uncertainty, valid=p.valid)
    return containers.png_bytes(grey, labels(record(shot)) | {"shows": "uncertainty"})


def _side(shot: Shot) -> bytes:
    if shot.rgb is None:
        raise UsageError("format 'side' shows the photograph too: pass its pixels as rgb=")
    return containers.png_bytes(
        colour.side_by_side(shot.rgb, _colours(shot)), labels(record(_in_colour(shot)))
    )


def _ply(shot: Shot) -> bytes:
    frame = shot.style.frame or "opencv"
    facts = labels(record(shot) | {"frame": frame})
    del facts["leadline"]  # some readers refuse lines over 1024 bytes
    return cloud.ply_bytes(cloud.points(shot.prediction, shot.rgb, frame), facts)


def _json(shot: Shot) -> bytes:
    words = record(shot)
    if "png16" in shot.formats and shot.prediction.kind in DEPTHS:
        words["png16"] = counts.encoding(shot.prediction, shot.style.png16)._asdict()
    if shot.prediction.also:
        words["also"] = {
            name: record(shot._replace(prediction=further)) for name, further in shot.prediction.also.items()
        }
    return json.dumps(words, indent=1).encode() + b"\n"


# --- Marigold's folders: depth in [0,1], 16 bits truncated, normals 3 x H x W in its own frame ---


def _marigold_npy(shot: Shot) -> bytes:
    values = _filled(_marigold(shot), np.nan)
    return containers.npy_bytes(np.moveaxis(values, -1, 0) if values.ndim == 3 else values)


def _marigold_png16(shot: Shot) -> bytes:
    shot = _unit_range(shot)
    values = _filled(shot, 0)
    words = record(shot) | counts.Encoding(1 / counts.MOST)._asdict()
    return containers.png_bytes((np.clip(values, 0, 1) * counts.MOST).astype(np.uint16), labels(words))


def _marigold_png(shot: Shot) -> bytes:
    p = shot.prediction
    if p.kind is Kind.normals:
        return _png(_marigold(shot))
    shot = _unit_range(shot)
    picture = colour.picture(
        shot.prediction.values, Kind.affine_depth, cmap=shot.style.cmap, valid=p.valid, limits=(0, 1)
    )
    return containers.png_bytes(picture, labels(record(shot)))


def _marigold_json(shot: Shot) -> bytes:
    words = record(_marigold(shot))
    if shot.prediction.kind is Kind.normals:
        words["axes"] = "3 H W"
    return json.dumps(words, indent=1).encode() + b"\n"


def _marigold(shot: Shot) -> Shot:
    return shot._replace(style=replace(shot.style, frame=USUAL_FRAME))


def _unit_range(shot: Shot) -> Shot:
    p = shot.prediction
    return shot._replace(prediction=replace(p, values=p.affine_depth(), kind=Kind.affine_depth))


LAYOUTS: dict[str, dict[str, Format]] = {
    "leadline": {
        "npy": Format(_npy, "{stem}_{output}.npy"),
        "npz": Format(_npz, "{stem}_{output}.npz"),
        "png16": Format(_png16, "{stem}_{output}_16bit.png", DEPTHS),
        "exr": Format(_exr, "{stem}_{output}.exr", DEPTHS | NORMALS),
        "pfm": Format(_pfm, "{stem}_{output}.pfm", DEPTHS | NORMALS),
        "tiff": Format(_tiff, "{stem}_{output}.tiff", DEPTHS),
        "png": Format(_png, "{stem}_{output}_colored.png", normals="{stem}_{output}.png"),
        "controlnet": Format(_controlnet, "{stem}_{output}_controlnet.png", DEPTHS),
        "uncertainty": Format(_uncertainty, "{stem}_{output}_uncertainty.png", once=True),
        "side": Format(_side, "{stem}_side.png", once=True),
        "ply": Format(_ply, "{stem}_{output}.ply", METRIC),
        "json": Format(_json, "{stem}.json", once=True),
    },
    "marigold": {
        "npy": Format(_marigold_npy, "{output}_npy/{stem}_pred.npy", LINEAR | NORMALS),
        "png16": Format(_marigold_png16, "depth_bw/{stem}_pred.png", LINEAR),
        "png": Format(
            _marigold_png,
            "depth_colored/{stem}_pred_colored.png",
            LINEAR | NORMALS,
            normals="normals_vis/{stem}_pred_colored.png",
        ),
        "json": Format(_marigold_json, "{output}_npy/{stem}_pred.json", LINEAR | NORMALS),
    },
}
USUAL = {"leadline": ("npy", "png", "json"), "marigold": ("npy", "png16", "png", "json")}
COLOURED = frozenset({"side", "ply"})  # show the photograph's own colours
WORDLESS = frozenset({"npy", "pfm", "png16"})  # bring the record: without it their numbers mean nothing
FORMATS = tuple(LAYOUTS["leadline"])
