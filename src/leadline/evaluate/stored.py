"""Predictions as files, named and laid out as Marigold's evaluation scripts expect: float32 .npy in the
folders of the pictures. `predictions.json` beside them says what they hold; for other files the caller does.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from leadline import save
from leadline.camera import NORMAL_FRAMES, convert_normals
from leadline.errors import DataError, SaveError, UsageError
from leadline.prediction import Kind, Prediction
from leadline.protocols import Rule
from leadline.save import containers

ABOUT = "predictions.json"
FRAME = "opengl"  # of normals in Marigold's files
OTHERS = (
    "{}.npy",
    "{}_pred.npy",
    "{}_depth.npy",
    "{}_normals.npy",
)  # names of other programs, beside its own


class Meaning(NamedTuple):
    """What the files of a folder hold. frame: of normals."""

    kind: Kind
    frame: str = FRAME
    model: str = ""


def name_of(picture: str, kind: Kind, rule: Rule) -> str:
    """Where a picture's prediction lies below the folder, by the picture's own name.

    >>> name_of("test/kitchen_0004/rgb_0001.png", Kind.affine_depth, Rule(stored="number"))
    'test/kitchen_0004/pred_0001.npy'
    >>> name_of("rgb/office/DSC_0219.JPG", Kind.affine_depth, Rule())
    'rgb/office/pred_DSC_0219.npy'
    >>> name_of("test/000000_img.png", Kind.normals, Rule())
    'test/000000_img.npy'
    """
    path = PurePosixPath(re.sub(r"[^\w./#@+,=~ -]", "_", picture))  # of scenes, for example
    stem = path.stem if path.suffix else path.name
    if kind is not Kind.normals:
        stem = "pred_" + (stem.partition("_")[2] if rule.stored == "number" else stem)
    return str(path.with_name(f"{stem}.npy"))


def write(folder: Path, name: str, prediction: Prediction) -> None:
    """Write a prediction's values under a name of `name_of`. Raises SaveError."""
    values = prediction.values
    if prediction.kind is Kind.normals:
        values = np.moveaxis(convert_normals(values, "opencv", FRAME), -1, 0)  # [3,H,W]
    data = io.BytesIO()
    np.save(data, np.ascontiguousarray(values, np.float32))
    save.write_bytes(save.inside(folder, name), data.getvalue())


def describe(folder: Path, meaning: Meaning) -> None:
    """Say what the files of a folder hold. Raises SaveError."""
    words = json.dumps({"kind": meaning.kind, "frame": meaning.frame, "model": meaning.model}, indent=2)
    save.write_bytes(folder / ABOUT, words.encode())


def meaning_of(folder: Path, kind: str | None = None, frame: str | None = None) -> Meaning:
    """What the files of a folder hold, by the caller's words or its own. Raises UsageError without either."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder, one with predictions is needed")
    said = _said(folder / ABOUT)
    kind, frame = kind or said.get("kind"), frame or said.get("frame")
    if kind is None:
        raise UsageError(f"{folder} does not say what its predictions are: add --kind, such as affine_depth")
    held = Kind.named(kind)
    if held is Kind.normals and frame not in NORMAL_FRAMES:
        known = ", ".join(NORMAL_FRAMES)
        raise UsageError(f"frame of the normals in {folder} is {frame!r}: add --frame, one of {known}")
    return Meaning(held, frame or FRAME, str(said.get("model", "")))


def read(folder: Path, picture: str, rule: Rule, meaning: Meaning) -> Prediction:
    """The prediction of a picture. Raises DataError if it is not there or damaged."""
    own = folder / name_of(picture, meaning.kind, rule)
    others = (own.with_name(name.format(PurePosixPath(picture).stem)) for name in OTHERS)
    path = next((path for path in (own, *others) if path.is_file()), own)
    try:
        values = np.asarray(containers.read_npy(path.read_bytes()), np.float32)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: a prediction of every picture is needed") from None
    except (SaveError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}): predict it again") from None
    if meaning.kind is Kind.normals:
        channels_first = values.ndim == 3 and values.shape[0] == 3 != values.shape[2]
        values = np.moveaxis(values, 0, -1) if channels_first else values
        values = convert_normals(values, meaning.frame, "opencv")
    elif values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.squeeze(0 if values.shape[0] == 1 else 2)
    return Prediction(np.ascontiguousarray(values), meaning.kind, model=meaning.model)


def _said(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
