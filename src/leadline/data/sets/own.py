"""Your own pairs: a folder of pictures and maps of equal names, or a table that says which belong together.

Depth is metres along the optical axis: .npy, .npz (of one array), .pfm, .tiff, .exr (channel Z), or a 16-bit
.png of counts, whose unit has to be said. Maps belong to the picture as it is shown, turned by its EXIF.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from leadline import documents, image
from leadline.camera import Camera
from leadline.data import decode
from leadline.data.layouts import Array, Layout, from_depth, from_normals
from leadline.data.lists import Row
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError, check_shape
from leadline.prediction import Kind

Decoder = Callable[[bytes], Array]
SHARED = "pairs.yaml"  # what holds for all pairs of a folder
FOLDERS = {
    "depth": "depth",
    "normals": "normals",
    "pseudo": "pseudo",
    "mask": "masks",
    "matte": "mattes",
    "classes": "classes",
    "caption": "captions",
}
DEPTH: dict[str, Decoder] = {
    ".npy": decode.npy,
    ".npz": decode.npz,
    ".pfm": decode.pfm,
    ".tiff": decode.tiff,
    ".tif": decode.tiff,
    ".exr": decode.exr_depth,
}
NORMALS: dict[str, Decoder] = {
    ".npy": decode.npy,
    ".exr": decode.exr,
    ".png": lambda data: decode.normals(decode.colours(data))[0],
}
COUNTS: dict[str, Decoder] = {"counts": decode.uint16, "sunrgbd": decode.sunrgbd, "kinect": decode.kinect}


class Pair(BaseModel):
    """A row: the names of a picture and its maps, relative to the folder or table, and what they mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    depth: str | None = None
    normals: str | None = None
    mask: str | None = Field(None, description="an 8-bit picture or .npy: 0 is invalid")
    matte: str | None = Field(None, description="an 8-bit picture: more than a tenth is foreground")
    pseudo: str | None = Field(None, description="a model's map in place of depth; a PNG's unit is free")
    pseudo_kind: Kind | None = Field(None, description="what it holds, such as affine_disparity")
    classes: str | None = Field(None, description="an 8-bit .png, or .npy, of ADE20K's numbers from 0")
    caption: str | None = Field(None, description="what the picture shows, in words, or a .txt that says so")
    scale: float | None = Field(None, gt=0, description="metres per count of a 16-bit PNG")
    encoding: Literal["counts", "sunrgbd", "kinect"] = Field("counts", description="of a 16-bit PNG")
    frame: Literal["opencv", "opengl", "e2e_ft"] | None = Field(None, description="of the normals")
    fx: float | None = None
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None
    centres: Literal["half", "integer"] = Field("half", description="where the first pixel's centre lies")
    group: str = ""


def folder_rows(store: Store) -> list[str]:
    """images/ with the other folders (`FOLDERS`): maps have the picture's name, any ending."""
    shared = documents.parse(store.load(SHARED, bytes.decode)) if store.has(SHARED) else {}
    maps = {field: _by_stem(store.glob(f"{folder}/*")) for field, folder in FOLDERS.items()}
    rows = []
    for name in store.glob("images/*"):
        stem = PurePosixPath(name).stem
        own = {field: names[stem] for field, names in maps.items() if stem in names}
        rows.append(_row({**shared, "image": name, **own}, store.label(name)))
    return rows


def table_rows(store: Store, lines: Sequence[Row]) -> list[Row]:
    """The rows of a table: CSV whose first line names the columns, or JSON objects, one per line."""
    objects = lines if lines[0][1].startswith("{") else _objects(lines)
    return [(number, _row(_record(line, number), f"line {number}")) for number, line in objects]


def _objects(lines: Sequence[Row]) -> Iterator[Row]:
    """Lines of CSV as JSON objects; the first has the titles."""
    titles, *cells = [next(csv.reader([line])) for _, line in lines]
    for (number, _), row in zip(lines[1:], cells, strict=True):
        if len(row) != len(titles):
            raise DataError(
                f"line {number}: {len(row)} cells under {len(titles)} titles: quote names with commas"
            )
        yield number, json.dumps(dict(zip(titles, row, strict=True)))


def no_rows(store: Store) -> list[str]:
    """A table's rows are its lines."""
    raise DataError("give the table: a .csv, .jsonl or .parquet file with the columns image and depth")


def read(store: Store, row: str) -> Sample:
    """A row (`Pair` as JSON) -> Sample. Without depth and normals, the mask alone says what is valid."""
    pair = Pair.model_validate_json(row)
    picture = store.load(pair.image, _picture)
    mask = _load(store, pair.mask, MASKS) if pair.mask else None
    valid = np.ones(picture.shape[:2], bool) if mask is None else mask
    sample = Sample(picture, valid, camera=_camera(pair, picture), name=pair.image, group=pair.group)
    if pair.depth:
        depth = _load(store, pair.depth, DEPTH | {".png": COUNTS[pair.encoding]}) * (pair.scale or 1)
        made = from_depth(pair.image, picture, depth, mask)
        sample = replace(sample, depth_m=made.depth_m, valid=made.valid)
    if pair.normals and pair.frame:
        vectors = _load(store, pair.normals, NORMALS)
        made = from_normals(pair.image, picture, vectors, pair.frame, mask)
        sample = replace(sample, normals=made.normals, valid=sample.valid & made.valid)
    if pair.pseudo:
        said = _load(store, pair.pseudo, DEPTH | {".png": decode.uint16}).astype(np.float32)  # NaN: nothing
        valid = sample.valid & np.isfinite(said)
        sample = replace(sample, pseudo=said, pseudo_kind=pair.pseudo_kind, valid=valid)
    if pair.classes:
        classes = _load(store, pair.classes, CLASSES)
        with store.naming(pair.classes):
            check_shape(classes, "H W", "classes", H=sample.size[0], W=sample.size[1])
        sample = replace(sample, classes=classes)
    if pair.caption:
        sample = replace(sample, caption=_words(store, pair.caption))
    return replace(sample, matte=store.load(pair.matte, decode.matte)) if pair.matte else sample


def _by_stem(names: Sequence[str]) -> dict[str, str]:
    return {PurePosixPath(name).stem: name for name in names}


def _record(line: str, number: int) -> dict[str, Any]:
    """One row's cells; empty ones are left out."""
    try:
        record = dict(json.loads(line))
    except (ValueError, TypeError) as error:
        raise DataError(f"line {number}: no JSON object ({error}): write one per line") from error
    return {key: value for key, value in record.items() if value not in ("", None)}


def _row(record: Mapping[str, Any], name: str) -> str:
    """A row that says enough. DataError, or DocumentError, for one that does not."""
    pair = documents.validate(record, Pair, name)
    camera = [pair.fx, pair.fy, pair.cx, pair.cy]
    fault = ""
    if not (pair.depth or pair.normals or pair.pseudo or pair.matte):
        fault = f"{pair.image} has no map: give it depth, normals, pseudo (a model's depth) or a matte"
    elif pair.pseudo and not (pair.pseudo_kind and pair.pseudo_kind.is_depth):
        fault = f"{pair.pseudo} has no kind: add `pseudo_kind`, as affine_disparity"
    elif (pair.depth or "").lower().endswith(".png") and pair.encoding == "counts" and pair.scale is None:
        fault = f"{pair.depth} holds counts: add `scale`, metres per count (0.001 for millimetres)"
    elif pair.normals and pair.frame is None:
        fault = f"{pair.normals} has no frame: add `frame` (opencv, opengl or e2e_ft)"
    elif None in camera and camera != [None] * 4:
        fault = "a camera is fx, fy, cx and cy: give all four, or none"
    if fault:
        raise DataError(f"{name}: {fault}")
    return pair.model_dump_json(exclude_unset=True)


def _load(store: Store, name: str, decoders: Mapping[str, Decoder]) -> Array:
    decoder = decoders.get(PurePosixPath(name).suffix.lower()) or decoders.get("")
    if decoder is None:
        raise DataError(
            f"{store.label(name)}: no format of such maps: one of {', '.join(decoders)} is needed"
        )
    return store.load(name, decoder)


def _words(store: Store, caption: str) -> str:
    return store.load(caption, bytes.decode).strip() if caption.endswith(".txt") else caption


def _picture(data: bytes) -> Array:
    rgb = image.read(data).rgb
    return rgb if rgb.dtype == np.uint8 else np.rint(rgb * 255).astype(np.uint8)


def _camera(pair: Pair, picture: Array) -> Camera | None:
    if pair.fx is None:
        return None
    K = np.array([[pair.fx, 0, pair.cx], [0, pair.fy, pair.cy], [0, 0, 1]], float)
    return Camera.from_K(K, picture.shape[1], picture.shape[0], centres=pair.centres)


CLASSES: dict[str, Decoder] = {".npy": decode.integers, ".png": decode.classes}
MASKS: dict[str, Decoder] = {".npy": decode.mask, "": lambda data: decode.uint8(data) > 0}
FOLDER = Layout("images/*", folder_rows, read)
TABLE = Layout("*", no_rows, read, expand=table_rows)
