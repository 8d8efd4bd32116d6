"""What a data set yields (Sample), and what a network is trained on (Batch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leadline.camera import Camera
from leadline.errors import DataError
from leadline.prediction import Kind

Array = NDArray[Any]
SPAN_M = 10.0  # what the range of a depth without unit counts as


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture with what is known about it, as numpy arrays of one size.

    rgb: uint8 [H,W,3]. depth_m: float32 [H,W], metres along the optical axis, or None. valid: bool [H,W],
    the pixels whose depth (or normal) may be believed. normals: float32 [H,W,3], unit vectors in the
    camera's OpenCV frame, or None. camera: belongs to these pixels, or None. classes: int [H,W], or None.
    pseudo: float32 [H,W], what another model says of an unlabelled photograph, as it says it, or None;
    pseudo_kind: the quantity, such as affine disparity. caption: what the picture shows, in words, or None.
    domain: what kind of scene, such as "outdoor", for models that are told so, or None.
    name: says in messages which it is; a listed picture's file.

    For evaluation alone: matte: bool [H,W], the foreground. pairs: int [N,2,2], per pair of points the nearer
    one's (row, column), then the farther one's. group: what a report may tell apart, such as a kind of scene.
    """

    rgb: Array
    valid: Array
    depth_m: Array | None = None
    normals: Array | None = None
    camera: Camera | None = None
    name: str = ""
    classes: Array | None = None
    pseudo: Array | None = None
    pseudo_kind: Kind | None = None
    caption: str | None = None
    domain: str | None = None
    matte: Array | None = None
    pairs: Array | None = None
    group: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.rgb.shape[0]), int(self.rgb.shape[1])


@dataclass
class Batch:
    """Samples of one size as tensors.

    rgb: [B,3,h,w] in [-1,1]. depth_m: [B,1,h,w] metres, 0 where not valid, or None. normals: [B,3,h,w]
    OpenCV frame, 0 where not valid, or None. valid: [B,1,h,w] bool. classes: [B,h,w] int64, or None.
    pseudo: [B,1,h,w] of one kind, pseudo_kind, 0 where not valid, or None. captions, domains: "" where there
    is none.
    """

    rgb: Tensor
    valid: Tensor
    depth_m: Tensor | None
    normals: Tensor | None
    cameras: list[Camera | None]
    names: list[str]
    classes: Tensor | None = None
    pseudo: Tensor | None = None
    pseudo_kind: Kind | None = None
    captions: Sequence[str] = ()
    domains: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def said(self, kind: Kind) -> Tensor | None:
        """What another model says in place of depth, for one that predicts `kind`; None if it says nothing.
        An affine depth has no unit: its range counts as a room's (10 m). Metres are a disparity, too, by
        their reciprocal. DataError for another quantity.
        """
        if self.pseudo is None or self.depth_m is not None:
            return None
        linear = {Kind.affine_depth: SPAN_M, Kind.metric_depth: 1.0}
        if kind is Kind.affine_depth and self.pseudo_kind in linear:
            return self.pseudo * linear[self.pseudo_kind]
        if kind is Kind.affine_disparity and self.pseudo_kind is Kind.metric_depth:
            return torch.where(self.pseudo > 0, 1 / self.pseudo, 0)
        if kind is not self.pseudo_kind:
            raise DataError(
                f"pseudo-labels are {self.pseudo_kind}, training is on {kind}: take a teacher of that"
            )
        return self.pseudo

    def to(self, device: torch.device | str, *, channels_last: bool = False) -> Batch:
        """The same batch on another device; `channels_last` chooses the memory layout of the picture."""
        layout = torch.channels_last if channels_last else torch.contiguous_format

        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device, non_blocking=True)

        return replace(
            self,
            rgb=self.rgb.to(device, non_blocking=True, memory_format=layout),
            valid=self.valid.to(device, non_blocking=True),
            depth_m=move(self.depth_m),
            normals=move(self.normals),
            classes=move(self.classes),
            pseudo=move(self.pseudo),
        )


def check(sample: Sample) -> Sample:
    """The sample itself, if its arrays fit each other; DataError names the sample and what does not fit.

    >>> check(Sample(np.zeros((2, 3, 3), np.uint8), np.ones((2, 2), bool), name="a"))
    Traceback (most recent call last):
    leadline.errors.DataError: sample a: valid is bool [2, 2], wanted bool [2, 3]
    """
    if sample.rgb.dtype != np.uint8 or sample.rgb.ndim != 3 or sample.rgb.shape[2] != 3:
        raise DataError(f"sample {sample.name}: rgb is {_describe(sample.rgb)}, wanted uint8 [H, W, 3]")
    height, width = sample.size
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "valid": ("bool", (height, width)),
        "depth_m": ("float32", (height, width)),
        "normals": ("float32", (height, width, 3)),
        "pseudo": ("float32", (height, width)),
        "matte": ("bool", (height, width)),
    }
    for field, (dtype, shape) in wanted.items():
        array = getattr(sample, field)
        if array is not None and (array.dtype != dtype or array.shape != shape):
            raise DataError(
                f"sample {sample.name}: {field} is {_describe(array)}, wanted {dtype} {list(shape)}"
            )
    if sample.pseudo is not None and not (sample.pseudo_kind and sample.pseudo_kind.is_depth):
        found = sample.pseudo_kind or "no kind"
        raise DataError(
            f"sample {sample.name}: pseudo has {found}, wanted pseudo_kind, one of depth or disparity"
        )
    camera = sample.camera
    if camera is not None and (camera.height, camera.width) != (height, width):
        raise DataError(
            f"sample {sample.name}: its camera is for {camera.width}x{camera.height} pixels, "
            f"the picture has {width}x{height}: resize or crop the camera with the picture"
        )
    _check_pairs(sample)
    return sample


def _check_pairs(sample: Sample) -> None:
    points = sample.pairs
    if points is None:
        return
    if points.dtype.kind != "i" or points.ndim != 3 or points.shape[1:] != (2, 2):
        raise DataError(f"sample {sample.name}: pairs is {_describe(points)}, wanted int [N, 2, 2]")
    outside = (points < 0) | (points >= sample.size)
    if outside.any():
        row, column = points[outside.any(axis=-1)][0]
        height, width = sample.size
        raise DataError(
            f"sample {sample.name}: a pair has the point row {row}, column {column}, the picture has "
            f"{height} rows and {width} columns: are they swapped?"
        )


def _describe(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of one size -> Batch. Values outside `valid` become 0, so that no NaN or infinity reaches a
    loss.

    A field is None in the batch when any sample lacks it. DataError if the sizes, or the kinds of
    pseudo-labels, differ: nothing is padded or converted.
    """
    sizes = {s.size for s in samples}
    if len(sizes) != 1:
        found = ", ".join(f"{w}x{h}" for h, w in sorted(sizes)) or "none"
        raise DataError(f"found pictures of {found} in one batch, wanted one size: give the data set `sizes`")
    valid = np.stack([s.valid for s in samples])  # [B,h,w]
    rgb = torch.from_numpy(np.stack([s.rgb for s in samples])).permute(0, 3, 1, 2).contiguous()  # [B,3,h,w]
    return Batch(
        rgb=rgb.to(torch.float32) / 127.5 - 1,
        valid=torch.from_numpy(valid)[:, None],
        depth_m=_stack([s.depth_m for s in samples], valid),
        normals=_stack([s.normals for s in samples], valid),
        cameras=[s.camera for s in samples],
        names=[s.name for s in samples],
        classes=_stack_classes([s.classes for s in samples]),
        pseudo=_stack([s.pseudo for s in samples], valid),
        pseudo_kind=_one_kind(samples),
        captions=[s.caption or "" for s in samples],
        domains=[s.domain or "" for s in samples],
    )


def _one_kind(samples: Sequence[Sample]) -> Kind | None:
    kinds = sorted({s.pseudo_kind for s in samples if s.pseudo_kind})
    if len(kinds) > 1:
        raise DataError(f"found pseudo-labels of {' and '.join(kinds)} in one batch, wanted one kind")
    return kinds[0] if kinds else None


def _stack(arrays: list[Array | None], valid: Array) -> Tensor | None:
    """[h,w] or [h,w,3] each -> [B,C,h,w], 0 outside valid; None if one is missing."""
    if any(a is None for a in arrays):
        return None
    stacked = np.stack(cast("list[Array]", arrays))
    stacked = stacked[..., None] if stacked.ndim == 3 else stacked  # [B,h,w,C]
    kept = np.where(valid[..., None], stacked, np.float32(0))
    return torch.from_numpy(np.ascontiguousarray(kept.transpose(0, 3, 1, 2)))


def _stack_classes(arrays: list[Array | None]) -> Tensor | None:
    if any(a is None for a in arrays):
        return None
    return torch.from_numpy(np.stack(cast("list[Array]", arrays)).astype(np.int64))
