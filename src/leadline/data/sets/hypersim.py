"""Hypersim (Roberts et al. 2021): rendered rooms, 1024x768, in the form of Marigold's lists or its own."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from leadline.data import decode
from leadline.data.layouts import Array, Layout, found, from_depth, from_normals, renamed
from leadline.data.lists import Row, columns
from leadline.data.sample import Sample
from leadline.data.sets import hypersim_raw
from leadline.data.store import Store
from leadline.errors import DataError, check_shape

PARTS = ("train", "val", "test")


class Frame(NamedTuple):
    """One frame, and the names of its published files."""

    scene: str
    cam: str
    number: str

    def file(self, folder: str, kind: str) -> str:
        return f"{self.scene}/images/scene_cam_{self.cam}_{folder}/frame.{self.number}.{kind}"


def frame_of(name: str) -> Frame:
    """The frame that a file belongs to, by its name in either form.

    >>> frame_of("train/ai_001_002/rgb_cam_00_fr0013.png")
    Frame(scene='ai_001_002', cam='00', number='0013')
    """
    parts = re.search(r"(ai_\d+_\d+)/.*cam_(\d+)_(?:\w+/frame\.|fr)(\d{4})", name)
    if parts is None:
        raise DataError(f"{name!r} is no frame of Hypersim, 'ai_001_001/rgb_cam_00_fr0000.png' is one")
    return Frame(*parts.groups())


def read_prepared(store: Store, row: str) -> Sample:
    """'rgb depth' of Marigold's form -> Sample. Depth: 16-bit PNG, planar, millimetres, 0 is missing.

    Archives made by its scripts wrap beyond 65.5 m; such pixels cannot be told from near ones.
    """
    rgb, depth = columns(row, "rgb depth")
    picture = store.load(rgb, decode.rgb)
    metres = store.load(depth, decode.uint16) / 1000
    sample = from_depth(rgb, picture, metres, camera=hypersim_raw.camera(*picture.shape[:2]))
    return with_preview(store, sample)


def read_normals(store: Store, row: str) -> Sample:
    """'rgb normals' of Marigold's form -> Sample. Normals: .npy [H,W,3] in the camera's OpenGL frame."""
    rgb, normals = columns(row, "rgb normals")
    picture = store.load(rgb, decode.rgb)
    camera = hypersim_raw.camera(*picture.shape[:2])
    return from_normals(rgb, picture, store.load(normals, decode.npy), "opengl", camera=camera)


def listed_rows(store: Store, lines: Sequence[Row]) -> list[Row]:
    """Lines as they are, or those of a table filename_meta_<split>.csv, which E2E-FT reads: all frames."""
    titles = lines[0][1].split(",")
    if not {"rgb_path", "depth_path"} <= set(titles):
        return list(lines)
    records = [(number, dict(zip(titles, line.split(","), strict=False))) for number, line in lines[1:]]
    rows = [(number, (cells.get("rgb_path"), cells.get("depth_path"))) for number, cells in records]
    return [(number, f"{rgb}\t{depth}") for number, (rgb, depth) in rows if rgb and depth]


def published_rows(store: Store, lines: Sequence[Row]) -> list[Row]:
    """Lines as they are, or those of the data set's own table of all frames that are public."""
    if "included_in_public_release" not in lines[0][1].split(","):
        return listed_rows(store, lines)
    titles = lines[0][1].split(",")
    records = [(number, dict(zip(titles, line.split(","), strict=False))) for number, line in lines[1:]]
    return [(number, _colour_file(cells)) for number, cells in records if _is_public(cells)]


def native_rows(store: Store) -> list[str]:
    """The colour file's name of every frame whose distances are there."""
    colour = renamed(("_geometry_", "_final_"), ("depth_meters", "color"))
    return [colour(name) for name in store.glob(DISTANCES)]


def part_rows(store: Store, part: str) -> list[str]:
    """Of the frames that are there, those of a part by the data set's own table."""
    here = set(native_rows(store))
    return [name for name in _of_part(store, part) if name in here]


def _of_part(store: Store, part: str) -> list[str]:
    """The colour file's name of every public frame of a part."""
    table = csv.DictReader(io.StringIO(store.load(SPLITS, bytes.decode)))
    records = [cells for cells in table if cells["split_partition_name"] == part and _is_public(cells)]
    return [_colour_file(cells) for cells in records]


def prepared_rows(store: Store, part: str) -> list[str]:
    """Of the prepared frames, those of a part by the list or table beside them, or the data set's own table.

    Without any, a folder or archive holds one part alone, as Marigold's do: DataError if its name says which,
    and it is another.
    """
    here = found("ai_*/rgb_cam_*_fr*.png", _DEPTH)(store)
    lists = [*store.glob("filename_list_*.txt"), *store.glob("filename_meta_*.csv")]
    own = [name for name in lists if PurePosixPath(name).stem.endswith(f"_{part}")]
    if own:
        lines = store.load(own[0], bytes.decode).splitlines()
        rows = listed_rows(store, [(number, line) for number, line in enumerate(lines, 1) if line.strip()])
        wanted = {columns(row, "rgb")[0] for _, row in rows}
    elif lists:
        raise DataError(f"part {part} has no list, there is {lists[0]}: prepare that part, or name a list")
    elif store.has(SPLITS):
        frames = {frame_of(name) for name in _of_part(store, part)}
        wanted = {picture for picture in map(_picture, here) if frame_of(picture) in frames}
    else:
        named = [word for word in PARTS if re.search(rf"(^|[_/ -]){word}(\.\w+)?[/: ]*$", store.label(""))]
        if named and part not in named:
            raise DataError(f"{store.label('')} is part {named[0]} by its name, part {part} was asked for")
        return here
    return [row for row in here if _picture(row) in wanted]


def normals_rows(store: Store, part: str) -> list[str]:
    """Of the frames with normals, which lie in a folder per part, those of a part."""
    return [row for row in found("*/ai_*/rgb_cam_*_fr*.png", _NORMALS)(store) if row.startswith(f"{part}/")]


def _picture(row: str) -> str:
    return row.split("\t")[0]


def _is_public(cells: Mapping[str, str]) -> bool:
    return cells["included_in_public_release"] == "True"


def _colour_file(cells: Mapping[str, str]) -> str:
    cam, number = cells["camera_name"].removeprefix("cam_"), f"{int(cells['frame_id']):04d}"
    return Frame(cells["scene_name"], cam, number).file("final_hdf5", "color.hdf5")


def read_native(store: Store, row: str) -> Sample:
    """A frame as published, by its colour file or a line of Marigold's lists -> Sample. One camera stands for
    all scenes, as in all papers here.

    Colours are tone mapped from the light, or the published preview where that is all there is. Normals are
    Marigold's, where normal_cam.hdf5 is there (it needs normal_world, position and the camera's places too),
    otherwise E2E-FT's, where their preview is there.
    """
    (rgb,) = columns(row, "rgb")
    frame = frame_of(rgb)
    distance = _geometry(store, frame, "depth_meters", "H W")
    camera = hypersim_raw.camera(*distance.shape)
    sample = from_depth(rgb, _colours(store, frame), hypersim_raw.planar(distance), camera=camera)
    return _with_normals(store, frame, sample)


def read_exact(store: Store, row: str) -> Sample:
    """As `read_native`, with each scene's own camera. A scene whose lens is tilted has no pinhole camera: the
    depth is right, and the sample's camera is None.
    """
    (rgb,) = columns(row, "rgb")
    frame = frame_of(rgb)
    distance = _geometry(store, frame, "depth_meters", "H W")
    to_camera = _cameras(store)[frame.scene]
    camera = hypersim_raw.pinhole(to_camera, *distance.shape)
    depth = distance * hypersim_raw.axial(to_camera, *distance.shape)
    return _with_normals(store, frame, from_depth(rgb, _colours(store, frame), depth, camera=camera))


def _cameras(store: Store) -> dict[str, Array]:
    """Scene -> matrix [3,3] from a place in the picture to a direction (`M_cam_from_uv`), of the tool kit's
    table.
    """
    table = csv.DictReader(io.StringIO(store.load(CAMERAS, bytes.decode)))
    return {
        cells["scene_name"]: np.array(
            [[float(cells[f"M_cam_from_uv_{i}{j}"]) for j in range(3)] for i in range(3)]
        )
        for cells in table
    }


def _with_normals(store: Store, frame: Frame, sample: Sample) -> Sample:
    if not store.has(frame.file("geometry_hdf5", "normal_cam.hdf5")):
        return with_preview(store, sample)
    places = f"{frame.scene}/_detail/cam_{frame.cam}/camera_keyframe_positions.hdf5"
    eye = store.load(places, decode.hdf5)[int(frame.number)]
    camera_frame, world, place = (
        _geometry(store, frame, kind, "H W 3") for kind in ("normal_cam", "normal_world", "position")
    )
    vectors = hypersim_raw.towards(camera_frame, world, place, eye)
    return _joined(sample, vectors, "opengl")


def with_preview(store: Store, sample: Sample) -> Sample:
    """The sample with E2E-FT's normals, if their preview is in the store."""
    file = frame_of(sample.name).file("geometry_preview", "normal_cam.png")
    if not store.has(file) or sample.camera is None or sample.depth_m is None:
        return sample
    colours, K = store.load(file, decode.rgb), sample.camera
    with store.naming(file):
        check_shape(colours, "H W 3", "normals", H=sample.size[0], W=sample.size[1])
    front = hypersim_raw.facing(colours, sample.depth_m, K.fx, K.fy, K.cx, K.cy)
    return _joined(sample, decode.normals(front)[0], "e2e_ft")


def _colours(store: Store, frame: Frame) -> Array:
    file = frame.file("final_hdf5", "color.hdf5")
    preview = frame.file("final_preview", "tonemap.jpg")
    if not store.has(file) and store.has(preview):
        return store.load(preview, decode.rgb)
    light = store.load(file, decode.hdf5)
    entity = _geometry(store, frame, "render_entity_id", "H W")
    with store.naming(file):
        check_shape(light, "H W 3", "light", H=entity.shape[0], W=entity.shape[1])
    return (hypersim_raw.tone_map(light, entity) * 255).astype(np.uint8)


def _geometry(store: Store, frame: Frame, kind: str, shape: str) -> Array:
    file = frame.file("geometry_hdf5", f"{kind}.hdf5")
    array = store.load(file, decode.hdf5)
    with store.naming(file):
        check_shape(array, shape, kind)
    return array


def _joined(sample: Sample, vectors: Array, frame: str) -> Sample:
    oriented = from_normals(sample.name, sample.rgb, vectors, frame, sample.valid)
    return replace(sample, normals=oriented.normals, valid=oriented.valid)


SPLITS = "metadata_images_split_scene_v1.csv"  # beside the scenes
CAMERAS = "metadata_camera_parameters.csv"  # likewise, of the tool kit (contrib/mikeroberts3000)
DISTANCES = "ai_*/images/scene_cam_*_geometry_hdf5/frame.*.depth_meters.hdf5"
_DEPTH = renamed(("/rgb_", "/depth_plane_"))
_NORMALS = renamed(("/rgb_", "/normal_cam_"), (".png", ".npy"))
PREPARED = Layout(
    "ai_*/rgb_cam_*_fr*.png",
    found("ai_*/rgb_cam_*_fr*.png", _DEPTH),
    read_prepared,
    expand=listed_rows,
    parts={part: partial(prepared_rows, part=part) for part in PARTS},
)
NORMALS = Layout(
    "*/ai_*/normal_cam_cam_*.npy",
    found("*/ai_*/rgb_cam_*_fr*.png", _NORMALS),
    read_normals,
    parts={part: partial(normals_rows, part=part) for part in PARTS},
)
NATIVE = Layout(
    DISTANCES,
    native_rows,
    read_native,
    expand=published_rows,
    parts={part: partial(part_rows, part=part) for part in PARTS},
)
EXACT = replace(NATIVE, sign=CAMERAS, read=read_exact)
