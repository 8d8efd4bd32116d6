"""The frames on which models are compared: four real test sets, two validation sets, rendered scenes; and
real frames that a variant is trained on, whose terms allow research alone.

A set is data: where its depth files lie, their unit, the range in which depth counts, the crop. Every frame
is photograph + metres + mask at one size, whatever it came from.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leadline.camera import Camera
from leadline.data.scenes import Scenes
from leadline.errors import DataError

NEAR_M = 1e-3
EIGEN = (slice(45, 471), slice(41, 601))  # rows, columns inside NYU's white border; 640x480 frames only
SCENE_SEED = 400  # of the held-out scenes; recipes train on other seeds, and two seeds share no scene
SCENE_SIZE = (240, 320)  # height, width
SCENE_FAR_M = 80


@dataclass(frozen=True)
class FrameSet:
    """Frames of one place or camera, with the protocol that belongs to them."""

    name: str
    split: str  # "test", "validation" or "train"
    depth: str  # glob of the depth files under the data folder
    count: int  # frames that must be there: a score over another number is another score
    unit: float  # stored value of one metre
    far_m: float  # depth beyond it does not count, predictions are clipped to it
    image: str = "{folder}/{stem}.jpg"
    start: int | None = None  # only files from this one, in the order of names; None: from the first
    stop: int | None = None  # up to this one
    eigen_crop: bool = False


SETS = (
    FrameSet("nyu", "test", "rgbd_indoor/nyuv2/*.png", 4, 1000, 10, eigen_crop=True),
    FrameSet("kitti", "test", "kitti/lidar_depth/object_*.png", 8, 256, 80, image="kitti/image/{stem}.jpg"),
    FrameSet("livingroom", "test", "rgbd_indoor/redwood_livingroom_clean/*.png", 26, 1000, 10),
    FrameSet("laser", "test", "rgbd_indoor/marigold_dc_sample/*.png", 1, 1000, 80),
    FrameSet("desk", "validation", "rgbd_indoor/slambook_desk/*.png", 3, 1000, 10),
    FrameSet(
        "kitti_jam",
        "validation",
        "kitti/lidar_depth/raw20110926_*.png",
        8,
        256,
        80,
        image="kitti/image/{stem}.jpg",
        start=-8,
    ),
    FrameSet("heads", "train", "rgbd_indoor/sevenscenes_heads/*.png", 100, 1000, 10),
    FrameSet("building", "train", "rgbd_indoor/rgbd_scene_tsdf/*.png", 25, 1000, 10),
    FrameSet(
        "kitti_jam_before",
        "train",
        "kitti/lidar_depth/raw20110926_*.png",
        31,
        256,
        80,
        image="kitti/image/{stem}.jpg",
        stop=-8,
    ),
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One photograph with its depth: rgb uint8 [H,W,3], depth_m float32 [H,W], valid bool [H,W]; and its
    camera, where that is known.
    """

    name: str
    rgb: np.ndarray
    depth_m: np.ndarray
    valid: np.ndarray
    far_m: float
    camera: Camera | None = None


def real(root: Path, which: FrameSet) -> list[Frame]:
    """The frames of one real set, in the order of their names. DataError if one is missing."""
    return [_read(root, which, photo, file) for photo, file in files(root, which)]


def files(root: Path, which: FrameSet) -> list[tuple[Path, Path]]:
    """Photographs and depths of one real set. DataError if one is missing."""
    depths = sorted(root.glob(which.depth))[which.start : which.stop]
    if len(depths) != which.count:
        raise DataError(
            f"set {which.name}: {len(depths)} files match {root / which.depth}, {which.count} wanted: "
            "give the folder that holds kitti/ and rgbd_indoor/ with --data"
        )
    folder = depths[0].parent.relative_to(root)
    return [(root / which.image.format(folder=folder, stem=depth.stem), depth) for depth in depths]


def _read(root: Path, which: FrameSet, photo: Path, file: Path) -> Frame:
    with Image.open(photo) as image, Image.open(file) as stored:
        rgb = np.asarray(image.convert("RGB"))
        depth = np.asarray(stored).astype(np.float32) / which.unit
    valid = (depth > NEAR_M) & (depth < which.far_m)
    if which.eigen_crop and depth.shape == (480, 640):
        inside = np.zeros_like(valid)
        inside[EIGEN] = True
        valid &= inside
    return Frame(f"{which.name}/{file.stem}", rgb, depth, valid, which.far_m, _camera(root, which, file, rgb))


def _camera(root: Path, which: FrameSet, file: Path, rgb: np.ndarray) -> Camera | None:
    """The table beside the set has the intrinsics, of pixels whose centres are integers; 0: not known."""
    set_, folder = which.depth.split("/")[:2]
    table = root / set_ / "frames.csv"
    if not table.is_file():
        return None
    with table.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row.get("group", folder) == folder]
    row = next((row for row in rows if row["frame"] == file.stem), None)
    if row is None or not float(row["fx"] or 0) or (int(row["height"]), int(row["width"])) != rgb.shape[:2]:
        return None
    fx, fy, cx, cy = (float(row[name]) for name in ("fx", "fy", "cx", "cy"))
    return Camera(fx, fy, cx + 0.5, cy + 0.5, rgb.shape[1], rgb.shape[0])


def scenes(count: int) -> Iterator[Frame]:
    """The first `count` held-out scenes, rendered; the sky, infinitely far, does not count."""
    for sample in Scenes(SCENE_SEED, count, SCENE_SIZE):
        depth = sample.depth_m
        valid = sample.valid & (depth > NEAR_M) & (depth < SCENE_FAR_M)
        yield Frame(sample.name, sample.rgb, np.where(valid, depth, 0), valid, SCENE_FAR_M, sample.camera)


def sources(root: Path, which: FrameSet) -> str:
    """The repositories a set came from, as the tables beside it (frames.csv) say; "unknown" without one."""
    table = root / which.depth.split("/")[0] / "frames.csv"
    if not table.is_file():
        return "unknown"
    stems = {file.stem for file in sorted(root.glob(which.depth))[which.start : which.stop]}
    folder = which.depth.split("/")[1]
    with table.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row.get("group", folder) == folder]
    return ", ".join(sorted({row["source_repository"] for row in rows if row["frame"] in stems})) or "unknown"
