"""KITTI (Geiger et al. 2012, Uhrig et al. 2017): a car's camera, depth from eleven laser sweeps.

Eigen's split: 652 of its 697 test pictures have accumulated ground truth; lists say None for the others.
Stereo 2015: 200 pairs with disparity.
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np

from leadline.camera import Camera
from leadline.data import decode
from leadline.data.layouts import Array, Layout, camera_from, found, from_depth
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

GROUND_TRUTH = "*/proj_depth/groundtruth/image_02/*.png"
PARTS = ("", "val/", "train/")
# P_rect_02 of the five recording days: fx = fy, cx, cy
INTRINSICS = {
    "2011_09_26": (721.5377, 609.5593, 172.854),
    "2011_09_28": (707.0493, 604.0814, 180.5066),
    "2011_09_29": (718.3351, 600.3891, 181.5122),
    "2011_09_30": (707.0912, 601.8873, 183.1104),
    "2011_10_03": (718.856, 607.1928, 185.2157),
}


def eigen_rows(store: Store, part: str | None = None) -> list[str]:
    """All ground truth of the left colour camera, of one part ("train/"), by default of the first there is:
    the validation drives, where the parts are apart.
    """
    part = next(p for p in PARTS if store.holds(p + GROUND_TRUTH)) if part is None else part
    rows = []
    for depth in store.glob(part + GROUND_TRUTH):
        drive, number = depth.removeprefix(part).split("/")[0], depth.split("/")[-1]
        rows.append(f"{drive[:10]}/{drive}/image_02/data/{number}\t{depth.removeprefix(part)}")
    return rows


def read_eigen(store: Store, row: str) -> Sample:
    """'rgb depth [focal]' -> Sample. Depth: 16-bit PNG, metres * 256, 0 is missing."""
    rgb, depth = columns(row, "rgb depth")
    picture = store.load(rgb, decode.rgb)
    counts = store.load(store.first(part + depth for part in PARTS), decode.uint16)
    return from_depth(rgb, picture, counts / 256, camera=_of_the_day(store, rgb, picture))


def _of_the_day(store: Store, rgb: str, picture: Array) -> Camera | None:
    """From the day's calibration file, or what it is known to hold."""
    day = rgb.split("/")[0]
    file = f"{day}/calib_cam_to_cam.txt"
    if store.has(file):
        return camera_from(store.load(file, calibration)["P_rect_02"].reshape(3, 4)[:, :3], picture)
    if day not in INTRINSICS or not 1200 < picture.shape[1] < 1250:
        return None
    f, cx, cy = INTRINSICS[day]
    return camera_from(np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]]), picture)


def calibration(data: bytes) -> dict[str, Array]:
    """KITTI's calibration text, lines 'name: numbers', to arrays; what holds no numbers is left out."""
    lines = re.findall(r"^(\w+):((?: *[-+.\deE]+)+) *$", data.decode(), re.MULTILINE)
    return {name: np.array(numbers.split(), float) for name, numbers in lines}


def read_stereo(store: Store, row: str) -> Sample:
    """A left picture -> Sample. Disparity: 16-bit PNG, pixels * 256, 0 is missing; occluded pixels are kept.

    depth = fx * baseline / disparity, the baseline between the two colour cameras (about 0.54 m) by file.
    """
    (rgb,) = columns(row, "rgb")
    picture = store.load(rgb, decode.rgb)
    name = f"calib_cam_to_cam/{rgb.split('/')[-1].split('_')[0]}.txt"
    found = store.load(name, calibration)
    if not found.keys() >= {"P_rect_02", "P_rect_03"}:
        raise DataError(f"{store.label(name)}: holds no P_rect_02 and P_rect_03: copy it again")
    left, right = found["P_rect_02"].reshape(3, 4), found["P_rect_03"].reshape(3, 4)
    fx_baseline = left[0, 3] - right[0, 3]  # P[0,3] = -fx * the camera's place
    disparity = store.load(rgb.replace("image_2", "disp_occ_0"), decode.uint16) / 256
    depth = np.divide(fx_baseline, disparity, out=np.zeros_like(disparity), where=disparity > 0)
    return from_depth(rgb, picture, depth, camera=camera_from(left[:, :3], picture))


PREPARED = Layout(GROUND_TRUTH, eigen_rows, read_eigen)
_PARTS = {part: partial(eigen_rows, part=f"{part}/") for part in ("train", "val")}
NATIVE = Layout("val/" + GROUND_TRUTH, eigen_rows, read_eigen, parts=_PARTS)
NATIVE_TRAIN = Layout("train/" + GROUND_TRUTH, eigen_rows, read_eigen, parts=_PARTS)
STEREO = Layout("disp_occ_0/*_10.png", found("image_2/*_10.png"), read_stereo, bases=("training", ""))
