"""Written files -> the prediction again. What a file does not say is asked for, never guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leadline.camera import Camera, convert_normals
from leadline.errors import LeadlineError, SaveError
from leadline.prediction import RECORD_SCHEMA, Kind, Prediction
from leadline.save import containers, counts
from leadline.save.writing import output_name

Array = NDArray[Any]


class Contents(NamedTuple):
    """A file's arrays, and the words about them."""

    values: Array
    valid: NDArray[np.bool_] | None = None
    uncertainty: Array | None = None
    words: Mapping[str, Any] = {}  # the record, empty if the file has none


class Hints(NamedTuple):
    """What the caller knows of a file that does not say it."""

    kind: Kind | None
    frame: str | None
    scale: float | None
    offset: float


def read(
    path: Path | str,
    *,
    kind: Kind | str | None = None,
    frame: str | None = None,
    scale: float | None = None,
    offset: float = 0.0,
) -> Prediction:
    """A prediction from .npy, .npz, .pfm, .tiff, .exr or 16-bit .png; normals come back in the OpenCV frame.

    Files of `write` say themselves what they hold, .npy and .pfm through the record beside them. For other
    files give `kind`; for normals also their `frame`; for 16-bit PNGs also `scale` (value = count * scale +
    offset; 0.001 for millimetres). Invalid are the pixels that are not finite, masked, or 0 in metric counts.

    Raises UsageError for an unknown kind, SaveError for a file that cannot be read, does not say what it
    holds, or says something else than the caller.
    """
    path = Path(path)
    hints = Hints(Kind.named(kind) if kind is not None else None, frame, scale, offset)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise SaveError(f"{path}: no format of values; one of {', '.join(_READERS)} is needed")
    with _one_line(path):
        contents = reader(path, path.read_bytes(), hints)
        return _prediction(contents, contents.words, hints)


def _npy(path: Path, data: bytes, hints: Hints) -> Contents:
    return Contents(containers.read_npy(data), words=_sidecar(path))


def _pfm(path: Path, data: bytes, hints: Hints) -> Contents:
    return Contents(containers.read_pfm(data), words=_sidecar(path))


def _npz(path: Path, data: bytes, hints: Hints) -> Contents:
    arrays, text = containers.read_npz(data)
    mask, uncertainty = arrays.pop("mask", None), arrays.pop("uncertainty", None)
    arrays.pop("intrinsics", None)  # the record holds the whole camera
    if len(arrays) != 1:
        raise SaveError(f"arrays named {', '.join(arrays) or 'nothing'}, exactly one of values is needed")
    valid = None if mask is None or mask.all() else mask.astype(bool)
    return Contents(next(iter(arrays.values())), valid, uncertainty, _words(text))


def _tiff(path: Path, data: bytes, hints: Hints) -> Contents:
    values, text = containers.read_tiff(data)
    return Contents(values, words=_words(text))


def _exr(path: Path, data: bytes, hints: Hints) -> Contents:
    channels, text = containers.read_exr(data)
    names = ["Z"] if "Z" in channels else ["N.X", "N.Y", "N.Z"]
    if not channels.keys() >= set(names):
        raise SaveError(f"channels are {', '.join(channels)}, Z or N.X N.Y N.Z are needed")
    values = np.stack([channels[name] for name in names], axis=-1)
    mask = channels.get("mask")
    return Contents(
        values[..., 0] if names == ["Z"] else values,
        None if mask is None else mask > 0,
        channels.get("uncertainty"),
        _words(text),
    )


def _png(path: Path, data: bytes, hints: Hints) -> Contents:
    stored, text = containers.read_png16(data)
    words = _words(text)
    if words:
        encoding = counts.Encoding(words["scale"], words["offset"], words["invalid"])
    elif hints.scale is not None:
        encoding = counts.Encoding(hints.scale, hints.offset, 0 if hints.kind is Kind.metric_depth else None)
    else:
        raise SaveError("does not say what a count is: pass kind= and scale= (0.001 for millimetres)")
    values, valid = counts.from_counts(stored, encoding)
    return Contents(values, valid, None, words)


_READERS = {
    ".npy": _npy, ".npz": _npz, ".pfm": _pfm, ".tiff": _tiff, ".tif": _tiff, ".exr": _exr, ".png": _png,
}  # fmt: skip


def _prediction(contents: Contents, words: Mapping[str, Any], hints: Hints) -> Prediction:
    if words.get("schema", 0) > RECORD_SCHEMA:
        raise SaveError(f"written by a newer leadline (record {words['schema']}): update leadline")
    kind = Kind(_stated("kind", words, hints.kind))
    values = np.asarray(contents.values, np.float32)
    if words.get("axes") == "3 H W":
        values = np.moveaxis(values, 0, -1)
    if kind is Kind.normals:
        values = convert_normals(values, _stated("frame", words, hints.frame), "opencv")
    valid = contents.valid
    finite: NDArray[np.bool_] = np.all(np.isfinite(np.atleast_3d(values)), axis=-1)
    if not finite.all():
        valid = finite if valid is None else valid & finite
    camera = words.get("camera")
    return Prediction(
        np.ascontiguousarray(values),
        kind,
        valid=valid,
        uncertainty=contents.uncertainty,
        camera=Camera(**camera) if camera else None,
        camera_source=words.get("camera_source"),
        model=words.get("model", ""),
        revision=words.get("revision"),
        settings=words.get("settings", {}),
    )


def _stated(name: str, words: Mapping[str, Any], given: str | None) -> str:
    """What the file says, or else the caller; an error if neither does, or they differ."""
    stated = words.get(name)
    if stated is None and given is None:
        raise SaveError(f"does not say its {name}, and values do not tell: pass {name}=")
    if stated is not None and given is not None and stated != given:
        raise SaveError(f"{name} is {stated} by the file itself, {given} was asked for")
    return str(given or stated)


def _words(text: Mapping[str, str]) -> dict[str, Any]:
    return _record(text.get("leadline", ""))


def _record(text: str) -> dict[str, Any]:
    """A record of ours from JSON; empty if it is something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    ours = isinstance(found, dict) and "schema" in found and found.get("kind") in list(Kind)
    return found if ours else {}


def _sidecar(path: Path) -> dict[str, Any]:
    """The record beside `<stem>_<output>.npy`: `<stem>.json` if it knows the output, or one of equal name."""
    name = path.stem
    splits = [(name[:i], name[i + 1 :]) for i, letter in enumerate(name) if letter == "_"]
    for stem, output in reversed(splits):
        words = _beside(path, stem)
        also = words.get("also", {})
        if words and output == output_name(Kind(words["kind"])):
            return words
        if output in also:
            return dict(also[output])
    return _beside(path, name)


def _beside(path: Path, stem: str) -> dict[str, Any]:
    try:
        return _record(path.with_name(f"{stem}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none there, or not text
        return {}


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Whatever a library says about a damaged file, as one SaveError that names the file."""
    try:
        yield
    except OSError as error:
        raise SaveError(f"{path}: {error.strerror or error}") from error
    except LeadlineError as error:
        raise SaveError(f"{path}: {error}") from error
    except Exception as error:  # decoders raise anything: ValueError, SyntaxError, struct.error, zlib.error
        raise SaveError(f"{path}: damaged, or not of its format ({type(error).__name__}: {error})") from error
