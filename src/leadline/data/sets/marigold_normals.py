"""Normals as Marigold's evaluation archives hold them (Ke et al. 2025): a .npy beside each picture."""

from __future__ import annotations

from leadline.data import decode
from leadline.data.layouts import Layout, found, from_normals, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store


def read(store: Store, row: str) -> Sample:
    """'rgb normals' -> Sample. Normals: floats [H,W,3], x right, y up, z to the viewer; zero is invalid."""
    rgb, normals = columns(row, "rgb normals")
    return from_normals(rgb, store.load(rgb, decode.rgb), store.load(normals, decode.npy), "opengl")


def _layout(pictures: str, *bases: str, old: str = "_img.png") -> Layout:
    normals = renamed((old, "_normal.npy"))
    return Layout(normals(pictures), found(pictures, normals), read, (*bases, ""))


NYUV2 = _layout("*_img.png", "nyuv2/test", "test")
SCANNET = _layout("scene*/*_img.png", "scannet")
IBIMS = _layout("*_img.png", "ibims/ibims", "ibims")
SINTEL = _layout("*_*/frame_*_img.png", "sintel")
DIODE = _layout("*/scene_*/scan_*/*.png", "diode/val", "val", old=".png")
OASIS = _layout("*_img.png", "oasis/val", "val")
