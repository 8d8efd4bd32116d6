"""Is a network for normals worth it, where there is one for depth? Both on the same pictures, in one run.

    python benchmarks/normals.py --data DATA --normals normals --depth small

The depth model's prediction is fitted to the true depth by scale and shift (which no user could do as well),
and its normals are computed by D2NT, in centimetres as E2E-FT does. The normals model is asked directly.
Held-out scenes have exact normals. Of the living room, rendered without noise, depth is stored in whole
millimetres: its normals are those of planes fitted to 7x7 pixels, and count where such a plane fits within
0.3 %. Figures are mean angles in degrees, averaged over images. The last line is one JSON object:
scenes_normals, scenes_d2nt, scenes_ratio, scenes_images, and the same of the room.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import frames
import numpy as np
import torch
from scipy import ndimage

import leadline
from leadline import align, surface
from leadline.camera import Camera
from leadline.data.scenes import Scenes
from leadline.errors import KindError, LeadlineError
from leadline.metrics import normals as measures
from leadline.predict import Model
from leadline.prediction import Kind

RADIUS = 3  # of the windows that planes are fitted to
FLAT = 3e-3  # what a plane may miss, as a share of the inverse depth
ROOM = next(s for s in frames.SETS if s.name == "livingroom")


class View(NamedTuple):
    """rgb [H,W,3] uint8; depth_m [H,W] where known [H,W]; normals [H,W,3], OpenCV frame, where sure [H,W]."""

    rgb: np.ndarray
    depth_m: np.ndarray
    known: np.ndarray
    normals: np.ndarray
    sure: np.ndarray
    camera: Camera


def scenes(count: int) -> Iterator[View]:
    """The first `count` held-out scenes, as in bundled.py; the sky has no normals."""
    for sample in Scenes(frames.SCENE_SEED, count, frames.SCENE_SIZE):
        known = sample.valid & (sample.depth_m < frames.SCENE_FAR_M)
        sure = known & (np.linalg.norm(sample.normals, axis=-1) > 0)
        depth = np.where(known, sample.depth_m, frames.SCENE_FAR_M)
        yield View(sample.rgb, depth, known, sample.normals, sure, sample.camera)


def room(root: Path) -> Iterator[View]:
    """redwood_livingroom_clean, with the normals of its depth."""
    with (root / "rgbd_indoor" / "frames.csv").open(newline="") as lines:
        rows = {
            row["frame"]: row for row in csv.DictReader(lines) if row["group"] == Path(ROOM.depth).parts[1]
        }
    for frame in frames.real(root, ROOM):
        row = rows[Path(frame.name).stem]
        fx, fy, cx, cy = (float(row[key]) for key in ("fx", "fy", "cx", "cy"))
        height, width = frame.depth_m.shape
        camera = Camera(fx, fy, cx + 0.5, cy + 0.5, width, height)  # the table counts from pixel centres
        normals, flat = plane_normals(frame.depth_m, frame.valid, camera)
        yield View(frame.rgb, frame.depth_m, frame.valid, normals, flat, camera)


def plane_normals(depth_m: np.ndarray, valid: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Normals [H,W,3] of the planes that fit the windows around each pixel best, and where one does.

    Of a plane the inverse depth w is affine in the picture: w = a u + b v + c, with n ~ (a fx, b fy, c).
    """
    w = np.where(valid, 1 / np.where(valid, depth_m, 1), np.nan)
    steps = np.arange(-RADIUS, RADIUS + 1, dtype=np.float64)
    even, slope = np.full(len(steps), 1 / len(steps)), steps / (steps**2).sum()

    def windows(along_y: np.ndarray, along_x: np.ndarray, of: np.ndarray) -> np.ndarray:
        for axis, weights in enumerate((along_y, along_x)):
            of = ndimage.correlate1d(of, weights, axis, mode="constant", cval=np.nan)
        return of

    mean, square = windows(even, even, w), windows(even, even, w**2)
    a, b = windows(even, slope, w), windows(slope, even, w)
    missed = square - mean**2 - (a**2 + b**2) * (steps**2).mean()
    u = np.arange(camera.width) + 0.5 - camera.cx
    v = (np.arange(camera.height) + 0.5 - camera.cy)[:, None]
    n = -np.stack([a * camera.fx, b * camera.fy, mean - a * u - b * v], axis=-1)
    with np.errstate(invalid="ignore"):
        flat = missed <= (FLAT * mean) ** 2  # false for nan too
        n = n / np.linalg.norm(n, axis=-1, keepdims=True)
    return np.where(flat[..., None], n, 0).astype(np.float32), flat


def computed(model: Model, view: View) -> np.ndarray:
    """Normals [H,W,3] of the depth model's prediction, fitted to the true depth."""
    fitted = align.to(
        model(view.rgb), view.depth_m, view.known, near_m=frames.NEAR_M, far_m=frames.SCENE_FAR_M
    )
    return surface.d2nt(100 * fitted.metres(), view.camera)


def degrees(normals: np.ndarray, view: View) -> float:
    """Mean angle to the truth where it is sure."""
    pred, truth = (
        torch.from_numpy(np.ascontiguousarray(x)).movedim(-1, 0)[None] for x in (normals, view.normals)
    )
    return float(measures.angular_error(pred, truth)[0, 0].numpy()[view.sure].mean())


def compare(direct: Model, depth: Model, views: Sequence[View]) -> dict[str, float]:
    """Mean angles over the views, of both ways, and their ratio."""
    ours = float(np.mean([degrees(direct(view.rgb).normals, view) for view in views]))
    theirs = float(np.mean([degrees(computed(depth, view), view) for view in views]))
    return {
        "normals": round(ours, 2),
        "d2nt": round(theirs, 2),
        "ratio": round(ours / theirs, 3),
        "images": len(views),
    }


def main() -> None:
    about = __doc__ or ""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds rgbd_indoor/; none: scenes alone")
    parser.add_argument("--normals", default="normals", help="name or folder")
    parser.add_argument("--depth", default="small", help="name or folder")
    parser.add_argument("--scenes", type=int, default=100)
    args = parser.parse_args()
    logging.getLogger("leadline").setLevel(logging.ERROR)  # a fit may well be negative; the figures say it
    direct, depth = (leadline.load(name, device="cpu") for name in (args.normals, args.depth))
    if direct.kind != Kind.normals or not Kind(depth.kind).is_depth:
        raise KindError(f"found {direct.kind} and {depth.kind}, wanted a model of normals and one of depth")
    print(f"normals: {direct.describe()}\ndepth: {depth.describe()}", flush=True)
    sets = {"scenes": scenes(args.scenes)} | ({"room": room(args.data)} if args.data else {})
    found = {name: compare(direct, depth, list(views)) for name, views in sets.items()}
    print(json.dumps({f"{name}_{key}": x for name, own in found.items() for key, x in own.items()}))


if __name__ == "__main__":
    try:
        main()
    except LeadlineError as error:
        sys.exit(f"error: {error}")
