"""nuScenes (Caesar et al. 2020): drives at any hour and in any weather, 1600x900; depth from a laser.

nuScenes-C are 87 of its scenes in six categories (PrimeDepth). Which camera and which sweep belong to a
picture is not said there: taken here are the front camera's key frames, each with its own sweep, as one
camera has about 40 key frames per scene, and 87 scenes are said to hold 3,489 pictures.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from leadline.camera import Camera
from leadline.data import decode
from leadline.data.layouts import Array, Layout, from_depth
from leadline.data.lidar import sparse_depth
from leadline.data.lists import Row
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

CAMERA, LASER = "samples/CAM_FRONT/", "samples/LIDAR_TOP/"
CHUNK = 1 << 20  # letters of a table that are looked at together
BETWEEN = re.compile(r"[\[,\s]*")  # what stands between two records
Record = dict[str, Any]


def all_rows(store: Store) -> list[str]:
    """The front camera's key frames of all scenes."""
    return [row for _, row in _rows(store, {scene["name"]: (0, "") for scene in _table(store, "scene")})]


def no_rows(store: Store) -> list[str]:
    """nuScenes-C is what its list says."""
    raise DataError("nuScenes-C is a choice of scenes: give its list, lines 'category,scene_name'")


def listed_rows(store: Store, lines: Sequence[Row]) -> list[Row]:
    """The key frames of the scenes that a list names: lines 'category,scene-0001', the first with titles."""
    groups = {}
    for number, line in lines:
        category, _, scene = line.rpartition(",")
        groups[scene.strip()] = (number, category.strip())
    groups.pop("scene_name", None)
    return _rows(store, groups)


def _rows(store: Store, groups: dict[str, tuple[int, str]]) -> list[Row]:
    """Per key frame of the scenes: picture, sweep, category, and as JSON what leads from sweep to picture.

    The tables hold millions of records: they are read here, once, and not by every process that loads.
    """
    frames = _key_frames(store, groups)
    used = [record for _, *pair in frames for record in pair]
    sensors, poses = _chosen(store, "calibrated_sensor", used), _chosen(store, "ego_pose", used)

    def world_from(record: Record) -> Array:
        sensor, pose = sensors[record["calibrated_sensor_token"]], poses[record["ego_pose_token"]]
        return _matrix(pose) @ _matrix(sensor)

    rows = []
    for scene, picture, sweep in frames:
        number, category = groups[scene]
        K = sensors[picture["calibrated_sensor_token"]]["camera_intrinsic"]
        camera_from_laser = np.linalg.inv(world_from(picture)) @ world_from(sweep)
        geometry = json.dumps({"K": K, "camera_from_laser": camera_from_laser.tolist()})
        rows.append((number, "\t".join([picture["filename"], sweep["filename"], category, geometry])))
    return rows


def _key_frames(store: Store, groups: dict[str, tuple[int, str]]) -> list[tuple[str, Record, Record]]:
    """(scene, picture, sweep) of the scenes' key frames, in the order of the scenes, then of time."""
    names = {scene["token"]: scene["name"] for scene in _table(store, "scene")}
    unknown = groups.keys() - names.values()
    if unknown:
        raise DataError(f"its tables have no {min(unknown)!r}: unpack the tables of v1.0-trainval")
    scenes = {sample["token"]: names[sample["scene_token"]] for sample in _table(store, "sample")}
    found: dict[str, dict[str, Record]] = {CAMERA: {}, LASER: {}}
    for record in _table(store, "sample_data"):
        for prefix, records in found.items():
            if record["filename"].startswith(prefix) and scenes[record["sample_token"]] in groups:
                records[record["sample_token"]] = record
    order = {scene: number for number, scene in enumerate(groups)}
    both = found[CAMERA].keys() & found[LASER].keys()
    sequence = sorted(both, key=lambda token: (order[scenes[token]], found[CAMERA][token]["timestamp"]))
    return [(scenes[token], found[CAMERA][token], found[LASER][token]) for token in sequence]


def _chosen(store: Store, table: str, records: list[Record]) -> dict[str, Record]:
    """The records of another table that these point to, by token."""
    wanted = {record[f"{table}_token"] for record in records}
    chosen = {record["token"]: record for record in _table(store, table) if record["token"] in wanted}
    if len(chosen) != len(wanted):
        raise DataError(
            f"its table {table} lacks {len(wanted - chosen.keys())} records: copy the tables again"
        )
    return chosen


def _table(store: Store, table: str) -> Iterator[Record]:
    """The records of a table, one by one: sample_data.json has more than a gigabyte."""
    name = (store.glob(f"v1.0-*/{table}.json") or [f"v1.0-trainval/{table}.json"])[-1]
    decoder, text, start = json.JSONDecoder(), "", 0
    with store.naming(name), io.TextIOWrapper(store.open(name), "utf-8") as file:
        while chunk := file.read(CHUNK):
            text, start = text[start:] + chunk, 0
            while (start := BETWEEN.match(text, start).end()) < len(text) and text[start] == "{":  # type: ignore[union-attr]
                try:
                    record, start = decoder.raw_decode(text, start)
                except json.JSONDecodeError:
                    break  # its other half is in the next chunk
                yield record
        if text[start:].strip() != "]":
            raise DataError(
                f"ends with {text[start:][-20:]!r}, wanted a list of records, which ends with ']'"
            )


def _matrix(place: Record) -> Array:
    """[4,4] of a rotation by a quaternion w, x, y, z, then a translation."""
    w, x, y, z = np.array(place["rotation"], float) / np.linalg.norm(place["rotation"])
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = place["translation"]
    return matrix


def read(store: Store, row: str) -> Sample:
    """A row -> Sample with the category as its group. Sweep: float32 records of x, y, z, intensity, ring."""
    rgb, sweep, category, geometry = row.split("\t")
    made = {key: np.array(numbers) for key, numbers in json.loads(geometry).items()}
    picture = store.load(rgb, decode.rgb)
    laser = store.load(sweep, lambda data: decode.records(data, 5))[:, :3]
    points = laser @ made["camera_from_laser"][:3, :3].T + made["camera_from_laser"][:3, 3]
    size = (picture.shape[0], picture.shape[1])
    depth = sparse_depth(points[np.isfinite(points).all(axis=1)], made["K"], size)
    camera = Camera.from_K(made["K"], size[1], size[0])  # its pixels begin at whole numbers, as above
    return from_depth(rgb, picture, depth, camera=camera, group=category)


ALL = Layout("v1.0-*/scene.json", all_rows, read, expand=listed_rows)
LISTED = Layout("v1.0-*/scene.json", no_rows, read, expand=listed_rows)
