"""Data sets of one tiny picture each, written in the exact layouts in which they are published.

`TREES` maps (set, layout) to a writer `write(root, rgb, truth) -> names`: where the picture and its map lie.
`truth` is depth in metres [H,W], normals in the OpenCV frame [H,W,3], a matte [H,W] bool, or pairs [N,2,2],
by the set's kind: see `truth_for`.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import OpenEXR
import scipy.io
from PIL import Image

Array = np.ndarray[Any, Any]
SIZE = (6, 8)
E2E, OPENGL = (-1, -1, -1), (1, -1, -1)  # signs from the OpenCV frame


class Names(NamedTuple):
    rgb: str  # as the sample's name has it
    picture: str  # the file that holds the colours
    map: str  # the file that holds the truth


Writer = Callable[[Path, Array, Array], Names]
TREES: dict[tuple[str, str], Writer] = {}


def tree(name: str, layout: str) -> Callable[[Writer], Writer]:
    def keep(writer: Writer) -> Writer:
        TREES[name, layout] = writer
        return writer

    return keep


def colours(size: tuple[int, int] = SIZE) -> Array:
    """A smooth picture, so that JPEG changes it little."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([rows * 8 + 60, columns * 8 + 60, rows * 4 + 90], axis=-1).astype(np.uint8)


def truth_for(name: str, size: tuple[int, int] = SIZE) -> Array:
    """What a tree of that set holds: depths that every encoding can store, or normals, mattes, pairs."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    if name.endswith("-normals"):
        vectors = np.stack([rows - 2.5, columns - 3.5, np.full(size, -9.0)], axis=-1)
        return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    if name in ("am2k", "p3m10k", "p3m10k-blurred", "dis5k"):
        return rows > 2
    if name == "da2k":
        return np.array([[[0, 1], [5, 7]], [[3, 2], [4, 6]]])
    return (1 + 0.25 * (rows + columns)).astype(np.float32)


def kind_of(name: str) -> str:
    """Which field of a sample holds the truth."""
    if name.endswith("-normals"):
        return "normals"
    matte = name in ("am2k", "p3m10k", "p3m10k-blurred", "dis5k")
    return "matte" if matte else "pairs" if name == "da2k" else "depth_m"


# --- files ---


def put(root: Path, name: str, data: bytes) -> str:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def picture(root: Path, name: str, array: Array) -> str:
    """uint8 colours or grey, uint16 grey, bool grey; as PNG or JPEG by the name."""
    file = io.BytesIO()
    array = array.astype(np.uint8) * 255 if array.dtype == bool else array
    Image.fromarray(array).save(
        file, "JPEG" if name.lower().endswith((".jpg", ".jpeg")) else "PNG", quality=95
    )
    return put(root, name, file.getvalue())


def counts(root: Path, name: str, metres: Array, per_metre: float) -> str:
    """A 16-bit PNG; what is no distance becomes 0."""
    known = np.where(np.isfinite(metres) & (metres > 0), metres, 0)
    return picture(root, name, np.rint(known * per_metre).astype(np.uint16))


def png16_rgb(root: Path, name: str, array: Array) -> str:
    """16-bit colours, which Pillow does not write."""
    height, width, _ = array.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return put(root, name, b"\x89PNG\r\n\x1a\n" + data)


def npy(root: Path, name: str, array: Array) -> str:
    file = io.BytesIO()
    np.save(file, array)
    return put(root, name, file.getvalue())


def hdf5(root: Path, name: str, **arrays: Array) -> str:
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        for key, array in arrays.items():
            h5[key] = array
    return put(root, name, file.getvalue())


def mat(root: Path, name: str, **variables: Any) -> str:
    file = io.BytesIO()
    scipy.io.savemat(file, variables)
    return put(root, name, file.getvalue())


def exr(root: Path, name: str, vectors: Array) -> str:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    planes = {key: np.ascontiguousarray(vectors[..., i], np.float32) for i, key in enumerate("RGB")}
    with OpenEXR.File(header, planes) as file:
        file.write(str(root / name))
    return name


def pfm(root: Path, name: str, array: Array) -> str:
    header = f"Pf\n{array.shape[1]} {array.shape[0]}\n-1.0\n".encode()
    return put(root, name, header + array[::-1].astype("<f4").tobytes())


def dpt(root: Path, name: str, array: Array) -> str:
    head = struct.pack("<fii", 202021.25, array.shape[1], array.shape[0])
    return put(root, name, head + array.astype("<f4").tobytes())


def text(root: Path, name: str, words: str) -> str:
    return put(root, name, words.encode())


def matrix(size: tuple[int, ...]) -> Array:
    """Intrinsics that such a small picture may have."""
    return np.array([[10.0, 0, size[1] / 2 - 0.5], [0, 10.0, size[0] / 2 - 0.5], [0, 0, 1]])


def encoded(vectors: Array, largest: int) -> Array:
    """Vectors as colours; what is no vector becomes black."""
    known = np.isfinite(vectors).all(axis=-1, keepdims=True) & (vectors != 0).any(axis=-1, keepdims=True)
    return np.where(known, np.rint((np.nan_to_num(vectors) + 1) / 2 * largest), 0)


# --- depth ---


@tree("nyuv2", "prepared")
def nyuv2(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "test/kitchen_0004/rgb_0001.png", rgb)
    return Names(name, name, counts(root, "test/kitchen_0004/depth_0001.png", truth, 1000))


@tree("nyuv2", "bts")
def nyuv2_bts(root: Path, rgb: Array, truth: Array) -> Names:
    folder = "official_splits/test/"
    picture(root, folder + "bathroom/rgb_00045.jpg", rgb)
    depth = counts(root, folder + "bathroom/sync_depth_00045.png", truth, 1000)
    return Names("bathroom/rgb_00045.jpg", folder + "bathroom/rgb_00045.jpg", depth)


@tree("nyuv2", "labelled")
def nyuv2_labelled(root: Path, rgb: Array, truth: Array) -> Names:
    mat(root, "splits.mat", testNdxs=np.array([[2]]), trainNdxs=np.array([[1]]))
    images = np.stack([np.zeros_like(rgb), rgb]).transpose(0, 3, 2, 1)
    depths = np.stack([np.zeros_like(truth), truth]).transpose(0, 2, 1)
    file = hdf5(root, "nyu_depth_v2_labeled.mat", images=images, rawDepths=depths, depths=depths + 1)
    return Names("rgb_0002.png", file, file)


DRIVE = "2011_09_26_drive_0002_sync"


def kitti(root: Path, rgb: Array, truth: Array, part: str) -> Names:
    name = picture(root, f"2011_09_26/{DRIVE}/image_02/data/0000000069.png", rgb)
    depth = f"{part}{DRIVE}/proj_depth/groundtruth/image_02/0000000069.png"
    return Names(name, name, counts(root, depth, truth, 256))


@tree("kitti", "prepared")
def kitti_prepared(root: Path, rgb: Array, truth: Array) -> Names:
    return kitti(root, rgb, truth, "")


@tree("kitti", "native")
def kitti_native(root: Path, rgb: Array, truth: Array) -> Names:
    numbers = " ".join(f"{x:e}" for x in np.c_[matrix(rgb.shape), [44.9, 0.2, 0.003]].ravel())
    text(root, "2011_09_26/calib_cam_to_cam.txt", f"calib_time: 09-Jan-2012 13:57:47\nP_rect_02: {numbers}\n")
    return kitti(root, rgb, truth, "val/")


@tree("kitti", "native-train")
def kitti_train(root: Path, rgb: Array, truth: Array) -> Names:
    return kitti(root, rgb, truth, "train/")


@tree("kitti-stereo", "native")
def kitti_stereo(root: Path, rgb: Array, truth: Array) -> Names:
    K = matrix(rgb.shape)
    lines = ["calib_time: 09-Jan-2012 14:00:15"]
    for camera, offset in (("02", 40.0), ("03", -60.0)):  # fx * baseline = 100
        lines.append(f"P_rect_{camera}: " + " ".join(f"{x:e}" for x in np.c_[K, [offset, 0, 0]].ravel()))
    text(root, "training/calib_cam_to_cam/000000.txt", "\n".join(lines))
    picture(root, "training/image_2/000000_10.png", rgb)
    with np.errstate(divide="ignore"):
        disparity = np.where(truth > 0, 100 / truth, 0)
    depth = counts(root, "training/disp_occ_0/000000_10.png", disparity, 256)
    return Names("image_2/000000_10.png", "training/image_2/000000_10.png", depth)


def raw_floats(root: Path, name: str, truth: Array) -> str:
    return put(root, name, np.where(truth > 0, truth, np.inf).astype("<f4").tobytes())


@tree("eth3d", "prepared")
def eth3d(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "rgb/office/images/dslr_images/DSC_0219.JPG", rgb)
    folder = "depth/office_dslr_depth/office/ground_truth_depth/dslr_images/"
    return Names(name, name, raw_floats(root, folder + "DSC_0219.JPG", truth))


@tree("eth3d", "native")
def eth3d_native(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "office/images/dslr_images/DSC_0219.JPG", rgb)
    return Names(name, name, raw_floats(root, "office/ground_truth_depth/dslr_images/DSC_0219.JPG", truth))


@tree("scannet", "prepared")
def scannet(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "scene0406_02/color/000300.jpg", rgb)
    return Names(name, name, counts(root, "scene0406_02/depth/000300.png", truth, 1000))


@tree("scannet", "native")
def scannet_native(root: Path, rgb: Array, truth: Array) -> Names:
    large = np.repeat(np.repeat(rgb, 2, axis=0), 2, axis=1)
    K = np.eye(4)
    K[:3, :3] = matrix(large.shape)
    lines = "\n".join(" ".join(str(x) for x in row) for row in K)
    text(root, "scans/scene0406_02/intrinsic/intrinsic_color.txt", lines)
    picture(root, "scans/scene0406_02/color/000300.jpg", large)
    depth = counts(root, "scans/scene0406_02/depth/000300.png", truth, 1000)
    return Names("scene0406_02/color/000300.jpg", "scans/scene0406_02/color/000300.jpg", depth)


def diode(root: Path, rgb: Array, truth: Array, part: str = "indoors", base: str = "") -> Names:
    stem = f"{part}/scene_00021/scan_00189/00021_00189_{part}_200_010"
    picture(root, f"{base}{stem}.png", rgb)
    npy(root, f"{base}{stem}_depth_mask.npy", (truth > 0).astype(np.float64))
    depth = npy(root, f"{base}{stem}_depth.npy", truth[..., None].astype(np.float32))
    return Names(f"{stem}.png", f"{base}{stem}.png", depth)


@tree("diode", "scans")
def diode_native(root: Path, rgb: Array, truth: Array) -> Names:
    return diode(root, rgb, truth, base="val/")


@tree("diode-indoor", "scans")
def diode_indoor(root: Path, rgb: Array, truth: Array) -> Names:
    return diode(root, rgb, truth)


@tree("diode-outdoor", "scans")
def diode_outdoor(root: Path, rgb: Array, truth: Array) -> Names:
    return diode(root, rgb, truth, "outdoor")


@tree("hypersim", "prepared")
def hypersim(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "ai_003_010/rgb_cam_00_fr0047.png", rgb)
    return Names(name, name, counts(root, "ai_003_010/depth_plane_cam_00_fr0047.png", truth, 1000))


@tree("hypersim", "native")
def hypersim_native(root: Path, rgb: Array, truth: Array) -> Names:
    """Colours such that tone mapping gives about `rgb` up to a factor; distance from the planar truth."""
    height, width = truth.shape
    focal = 886.81 * width / 1024
    y, x = np.mgrid[:height, :width]
    rays = np.sqrt((x + 0.5 - width / 2) ** 2 + (y + 0.5 - height / 2) ** 2 + focal**2) / focal
    images = "ai_037_002/images/scene_cam_00_"
    light = (rgb / 255.0) ** 2.2
    colour = hdf5(root, images + "final_hdf5/frame.0000.color.hdf5", dataset=light.astype(np.float16))
    entity = np.where(truth > 0, 1, -1).astype(np.int32)
    hdf5(root, images + "geometry_hdf5/frame.0000.render_entity_id.hdf5", dataset=entity)
    distance = np.where(truth > 0, truth * rays, np.nan).astype(np.float32)
    depth = hdf5(root, images + "geometry_hdf5/frame.0000.depth_meters.hdf5", dataset=distance)
    return Names(colour, colour, depth)


def vkitti2(root: Path, rgb: Array, truth: Array, rgb_folder: str, depth_folder: str) -> Names:
    name = picture(root, f"{rgb_folder}Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg", rgb)
    depth = f"{depth_folder}Scene01/clone/frames/depth/Camera_0/depth_00000.png"
    return Names(name, name, counts(root, depth, truth, 100))


@tree("vkitti2", "prepared")
def vkitti2_prepared(root: Path, rgb: Array, truth: Array) -> Names:
    return vkitti2(root, rgb, truth, "rgb/", "depth/")


@tree("vkitti2", "native")
def vkitti2_native(root: Path, rgb: Array, truth: Array) -> Names:
    return vkitti2(root, rgb, truth, "", "")


@tree("rabbitai", "challenge")
def rabbitai(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "train/scene_1/image_01/0000.png", rgb)
    return Names(
        name, name, counts(root, "train/scene_1/proj_depth/groundtruth/image_01/0000.png", truth, 256)
    )


def sintel(root: Path, rgb: Array, truth: Array, kind: str) -> Names:
    picture(root, f"training/{kind}/alley_1/frame_0001.png", rgb)
    camera = struct.pack("<f", 202021.25) + matrix(rgb.shape).tobytes() + np.eye(3, 4).tobytes()
    put(root, "training/camdata_left/alley_1/frame_0001.cam", camera)
    depth = dpt(root, "training/depth/alley_1/frame_0001.dpt", truth)
    return Names(f"{kind}/alley_1/frame_0001.png", f"training/{kind}/alley_1/frame_0001.png", depth)


@tree("sintel", "final")
def sintel_final(root: Path, rgb: Array, truth: Array) -> Names:
    return sintel(root, rgb, truth, "final")


@tree("sintel", "clean")
def sintel_clean(root: Path, rgb: Array, truth: Array) -> Names:
    return sintel(root, rgb, truth, "clean")


@tree("spring", "native")
def spring(root: Path, rgb: Array, truth: Array) -> Names:
    base = "spring/train/0001/"
    picture(root, base + "frame_left/frame_left_0001.png", rgb)
    K = matrix(rgb.shape)
    text(root, base + "cam_data/intrinsics.txt", f"{K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]}\n")
    with np.errstate(divide="ignore"):
        disparity = np.where(truth > 0, K[0, 0] * 0.065 / truth, np.nan)
    twice = np.repeat(np.repeat(disparity, 2, axis=0), 2, axis=1)
    depth = hdf5(root, base + "disp1_left/disp1_left_0001.dsp5", disparity=twice.astype(np.float32))
    return Names("0001/frame_left/frame_left_0001.png", base + "frame_left/frame_left_0001.png", depth)


@tree("ibims", "raw")
def ibims_raw(root: Path, rgb: Array, truth: Array) -> Names:
    base = "ibims1_core_raw/"
    picture(root, base + "rgb/corridor_01.png", rgb)
    for mask in ("mask_invalid", "mask_transp"):
        picture(root, f"{base}{mask}/corridor_01.png", truth > 0)
    K = matrix(rgb.shape)
    text(root, base + "calib/corridor_01.txt", f"{K[0, 0]},{K[1, 1]},{K[0, 2]},{K[1, 2]}")
    depth = counts(root, base + "depth/corridor_01.png", truth, 65535 / 50)
    return Names("rgb/corridor_01.png", base + "rgb/corridor_01.png", depth)


@tree("ibims", "mat")
def ibims_mat(root: Path, rgb: Array, truth: Array) -> Names:
    mask = (truth > 0).astype(np.uint8)
    data = {"rgb": rgb, "depth": truth.astype(np.float64), "mask_invalid": mask, "mask_transp": mask}
    file = mat(root, "ibims1_core_mat/corridor_01.mat", data=data | {"calib": matrix(rgb.shape).T})
    return Names("corridor_01.mat", file, file)


@tree("interiorverse-normals", "native")
def interiorverse(root: Path, rgb: Array, truth: Array) -> Names:
    base = "scenes_85/L3D101S8ENDIDQ2QKQUI5L2LLUF3P3WE888/"
    light = exr(root, base + "000_im.exr", ((rgb + 0.5) / 255) ** 2.2)
    normals = exr(root, base + "000_normal.exr", truth * OPENGL)
    return Names(light.removeprefix("scenes_85/"), light, normals)


@tree("middlebury", "native")
def middlebury(root: Path, rgb: Array, truth: Array) -> Names:
    K = matrix(rgb.shape)
    cam = "; ".join(" ".join(str(x) for x in row) for row in K)
    calibration = f"cam0=[{cam}]\ncam1=[{cam}]\ndoffs=0.125\nbaseline=193.001\nwidth=8\nheight=6\nndisp=290\n"
    text(root, "Adirondack-perfect/calib.txt", calibration)
    name = picture(root, "Adirondack-perfect/im0.png", rgb)
    with np.errstate(divide="ignore"):
        disparity = np.where(truth > 0, 193.001 * K[0, 0] / (truth * 1000) - 0.125, np.inf)
    return Names(name, name, pfm(root, "Adirondack-perfect/disp0.pfm", disparity))


@tree("tartanair", "native")
def tartanair(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "ocean/Easy/P000/image_left/000000_left.png", rgb)
    return Names(name, name, npy(root, "ocean/Easy/P000/depth_left/000000_left_depth.npy", truth))


def tum(root: Path, rgb: Array, truth: Array, folder: str) -> Names:
    text(
        root,
        folder + "rgb.txt",
        "# color images\n# timestamp filename\n1305031453.3597 rgb/1305031453.3597.png\n",
    )
    text(root, folder + "depth.txt", "# depth maps\n1305031453.3744 depth/1305031453.3744.png\n")
    name = picture(root, folder + "rgb/1305031453.3597.png", rgb)
    return Names(name, name, counts(root, folder + "depth/1305031453.3744.png", truth, 5000))


@tree("tum", "sequences")
def tum_sequences(root: Path, rgb: Array, truth: Array) -> Names:
    return tum(root, rgb, truth, "rgbd_dataset_freiburg1_desk/")


@tree("tum", "sequence")
def tum_sequence(root: Path, rgb: Array, truth: Array) -> Names:
    return tum(root, rgb, truth, "")


@tree("sunrgbd", "flat")
def sunrgbd(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "rgb/rgb/img-000001.jpg", rgb)
    return Names(name, name, counts(root, "gt/gt/img-000001.png", truth, 1000))


@tree("sunrgbd", "native")
def sunrgbd_native(root: Path, rgb: Array, truth: Array) -> Names:
    base = "SUNRGBD/kv1/NYUdata/NYU0001/"
    picture(root, base + "image/NYU0001.jpg", rgb)
    lines = "\n".join(" ".join(str(x) for x in row) for row in matrix(rgb.shape))
    text(root, base + "intrinsics.txt", lines)
    depth = counts(root, base + "depth/NYU0001.png", truth, 8000)  # millimetres, rotated left by three bits
    return Names("kv1/NYUdata/NYU0001/image/NYU0001.jpg", base + "image/NYU0001.jpg", depth)


@tree("diml-indoor", "native")
def diml_indoor(root: Path, rgb: Array, truth: Array) -> Names:
    picture(root, "LR/Cafe/color/in_00_1_c.png", rgb)
    depth = counts(root, "LR/Cafe/depth_filled/in_00_1_depth_filled.png", truth, 1000)
    return Names("Cafe/color/in_00_1_c.png", "LR/Cafe/color/in_00_1_c.png", depth)


@tree("diml-outdoor", "native")
def diml_outdoor(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "Field/outleft/01.png", rgb)
    return Names(name, name, counts(root, "Field/depthmap/01.png", truth, 1000))


@tree("ddad", "flat")
def ddad(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "000001_rgb.png", rgb)
    return Names(name, name, npy(root, "000001_depth.npy", truth))


@tree("folder", "pairs")
def folder(root: Path, rgb: Array, truth: Array) -> Names:
    name = picture(root, "images/my house.jpg", rgb)
    text(root, "pairs.yaml", "scale: 0.001\n")
    return Names(name, name, counts(root, "depth/my house.png", truth, 1000))


# --- nuScenes: its tables, and a sweep of which every point falls on the middle of a pixel ---


@tree("nuscenes", "native")
def nuscenes(root: Path, rgb: Array, truth: Array) -> Names:
    height, width = truth.shape
    K = np.array([[10.0, 0, width / 2], [0, 10.0, height / 2], [0, 0, 1]])
    rows, columns = np.nonzero((truth > 0) & np.isfinite(truth))
    z = truth[rows, columns].astype(np.float64)
    in_camera = np.stack([(columns + 0.5 - K[0, 2]) / 10 * z, (rows + 0.5 - K[1, 2]) / 10 * z, z], axis=1)
    half = np.sqrt(0.5)
    camera = {
        "rotation": [0.5, -0.5, 0.5, -0.5],
        "translation": [1.7, 0.0, 1.5],
    }  # z forward, in a car's frame
    laser = {"rotation": [half, 0, 0, -half], "translation": [0.9, 0.0, 1.8]}
    poses = [
        {"token": "p0", "timestamp": 0, "rotation": [half, 0, 0, half], "translation": [400.0, 1100.0, 0.0]},
        {"token": "p1", "timestamp": 1, "rotation": [1, 0, 0, 0], "translation": [401.0, 1100.5, 0.0]},
    ]
    world = matrix4(poses[1]) @ matrix4(camera) @ np.c_[in_camera, np.ones(len(z))].T
    in_laser = (np.linalg.inv(matrix4(poses[0]) @ matrix4(laser)) @ world)[:3].T
    sweep = np.zeros((len(z), 5), "<f4")
    sweep[:, :3] = in_laser
    front = picture(root, "samples/CAM_FRONT/n015__CAM_FRONT__1.jpg", rgb)
    sweep = sweep if len(z) else np.ones((1, 5), "<f4")  # a point behind the camera
    points = put(root, "samples/LIDAR_TOP/n015__LIDAR_TOP__0.pcd.bin", sweep.tobytes())
    key = {"sample_token": "s", "is_key_frame": True, "timestamp": 1}
    by_laser = {"ego_pose_token": "p0", "calibrated_sensor_token": "l"}
    by_camera = {"ego_pose_token": "p1", "calibrated_sensor_token": "k"}
    between = {"sample_token": "s", "is_key_frame": False, "timestamp": 2}
    tables: dict[str, list[dict[str, Any]]] = {
        "scene": [{"token": "c", "name": "scene-0062", "first_sample_token": "s"}],
        "sample": [{"token": "s", "scene_token": "c", "timestamp": 1, "prev": "", "next": ""}],
        "sample_data": [
            {"token": "d0", "filename": points, **by_laser, **key},
            {"token": "d1", "filename": front, **by_camera, **key},
            {"token": "d2", "filename": "sweeps/CAM_FRONT/x.jpg", **by_camera, **between},
        ],
        "calibrated_sensor": [
            {"token": "l", "camera_intrinsic": [], **laser},
            {"token": "k", "camera_intrinsic": K.tolist(), **camera},
        ],
        "ego_pose": poses,
    }
    for name, records in tables.items():
        text(root, f"v1.0-trainval/{name}.json", json.dumps(records, indent=0))
    return Names(
        "samples/CAM_FRONT/n015__CAM_FRONT__1.jpg", "samples/CAM_FRONT/n015__CAM_FRONT__1.jpg", points
    )


def matrix4(place: dict[str, Any]) -> Array:
    """By q v q*, written out with quaternion products."""
    w, *v = place["rotation"]
    made = np.eye(4)
    for axis in range(3):
        e = np.eye(3)[axis]
        t = 2 * np.cross(v, e)
        made[:3, axis] = e + w * t + np.cross(v, t)
    made[:3, 3] = place["translation"]
    return made


# --- normals ---


def dsine(root: Path, rgb: Array, truth: Array, name: str, write: Callable[[Path, str, Array], str]) -> Names:
    stem, ending = name.rsplit("_img", 1)
    picture(root, f"dsine_eval/{name}", rgb)
    npy(root, f"dsine_eval/{stem}_intrins.npy", matrix(rgb.shape).astype(np.float32))
    made = write(root, f"dsine_eval/{stem}_normal", truth * E2E)
    return Names(name.split("/", 1)[1], f"dsine_eval/{name}", made)


def png8(root: Path, stem: str, vectors: Array) -> str:
    return picture(root, stem + ".png", encoded(vectors, 255).astype(np.uint8))


def png16(root: Path, stem: str, vectors: Array) -> str:
    return png16_rgb(root, stem + ".png", encoded(vectors, 65535).astype(np.uint16))


def floats(root: Path, stem: str, vectors: Array) -> str:
    return exr(root, stem + ".exr", vectors)


def boxed(root: Path, stem: str, vectors: Array) -> str:
    """OASIS: a box whose last row and column belong to it; here all but the last column."""
    height, width, _ = vectors.shape
    box = {"min_y": 0, "max_y": np.int64(height - 1), "min_x": 0, "max_x": width - 2}
    inside = (vectors * (-1, -1, 1))[:, :-1]
    return put(root, stem + ".pkl", pickle.dumps(box | {"normal": inside.astype(np.float32)}))


@tree("nyuv2-normals", "dsine")
def nyuv2_normals(root: Path, rgb: Array, truth: Array) -> Names:
    return dsine(root, rgb, truth, "nyuv2/test/000000_img.png", png8)


@tree("scannet-normals", "dsine")
def scannet_normals(root: Path, rgb: Array, truth: Array) -> Names:
    return dsine(root, rgb, truth, "scannet/scene0532_00/000000_img.png", png8)


@tree("ibims-normals", "dsine")
def ibims_normals(root: Path, rgb: Array, truth: Array) -> Names:
    return dsine(root, rgb, truth, "ibims/ibims/corridor_01_img.png", floats)


@tree("sintel-normals", "dsine")
def sintel_normals(root: Path, rgb: Array, truth: Array) -> Names:
    return dsine(root, rgb, truth, "sintel/alley_1/frame_0001_img.png", floats)


@tree("vkitti-normals", "dsine")
def vkitti_normals(root: Path, rgb: Array, truth: Array) -> Names:
    return dsine(root, rgb, truth, "vkitti/Scene01/000000_img.jpg", png16)


@tree("oasis-normals", "dsine")
def oasis_normals(root: Path, rgb: Array, truth: Array) -> Names:
    return dsine(root, rgb, truth, "oasis/val/100277_DT_img.png", boxed)


def marigold(root: Path, rgb: Array, truth: Array, base: str, name: str, normals: str) -> Names:
    picture(root, base + name, rgb)
    return Names(name, base + name, npy(root, base + normals, truth * np.float32(OPENGL)))


MARIGOLD = {
    "nyuv2-normals": ("nyuv2/test/", "000000_img.png", "000000_normal.npy"),
    "scannet-normals": ("scannet/", "scene0001_01/001170_img.png", "scene0001_01/001170_normal.npy"),
    "ibims-normals": ("ibims/ibims/", "corridor_01_img.png", "corridor_01_normal.npy"),
    "sintel-normals": ("sintel/", "alley_2/frame_0001_img.png", "alley_2/frame_0001_normal.npy"),
    "diode-normals": (
        "diode/val/",
        "outdoor/scene_00024/scan_00201/00024_00201_outdoor_070_030.png",
        "outdoor/scene_00024/scan_00201/00024_00201_outdoor_070_030_normal.npy",
    ),
    "oasis-normals": ("oasis/val/", "268584_ALI_img.png", "268584_ALI_normal.npy"),
    "hypersim-normals": (
        "",
        "train/ai_001_001/rgb_cam_00_fr0000.png",
        "train/ai_001_001/normal_cam_cam_00_fr0000.npy",
    ),
}
for _name, _places in MARIGOLD.items():
    TREES[_name, "marigold"] = lambda root, rgb, truth, places=_places: marigold(root, rgb, truth, *places)


# --- mattes and pairs ---


@tree("am2k", "native")
def am2k(root: Path, rgb: Array, truth: Array) -> Names:
    picture(root, "validation/original/m_01 a.jpg", rgb)
    matte = picture(root, "validation/mask/m_01 a.png", truth)
    return Names("original/m_01 a.jpg", "validation/original/m_01 a.jpg", matte)


@tree("p3m10k", "native")
def p3m10k(root: Path, rgb: Array, truth: Array) -> Names:
    picture(root, "P3M-500-NP/original_image/p_01.jpg", rgb)
    matte = picture(root, "P3M-500-NP/mask/p_01.png", truth)
    return Names("original_image/p_01.jpg", "P3M-500-NP/original_image/p_01.jpg", matte)


@tree("p3m10k-blurred", "native")
def p3m10k_blurred(root: Path, rgb: Array, truth: Array) -> Names:
    picture(root, "P3M-500-P/blurred_image/p_01.jpg", rgb)
    matte = picture(root, "P3M-500-P/mask/p_01.png", truth)
    return Names("blurred_image/p_01.jpg", "P3M-500-P/blurred_image/p_01.jpg", matte)


@tree("dis5k", "native")
def dis5k(root: Path, rgb: Array, truth: Array) -> Names:
    name = "DIS-TE1/im/12#Graphics#4#TrafficSign#8245751856.jpg"
    picture(root, "DIS5K/" + name, rgb)
    matte = picture(root, "DIS5K/DIS-TE1/gt/12#Graphics#4#TrafficSign#8245751856.png", truth)
    return Names(name, "DIS5K/" + name, matte)


@tree("da2k", "native")
def da2k(root: Path, rgb: Array, truth: Array) -> Names:
    picture(root, "DA-2K/images/indoor/a.jpg", rgb)
    (a, b), (c, d) = truth.tolist()
    pairs = [
        {"point1": a, "point2": b, "closer_point": "point1"},
        {"point1": d, "point2": c, "closer_point": "point2"},
    ]
    made = text(root, "DA-2K/annotations.json", json.dumps({"images/indoor/a.jpg": pairs}))
    return Names("images/indoor/a.jpg", "DA-2K/images/indoor/a.jpg", made)
