"""Samples become batches: ranges, masks, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from leadline.camera import Camera
from leadline.data.sample import Sample, check, collate
from leadline.errors import DataError
from leadline.prediction import Kind


def sample(height: int = 4, width: int = 6, **changes: object) -> Sample:
    normals = np.zeros((height, width, 3), np.float32)
    normals[..., 2] = -1
    made = Sample(
        rgb=np.full((height, width, 3), 255, np.uint8),
        valid=np.ones((height, width), bool),
        depth_m=np.full((height, width), 2, np.float32),
        normals=normals,
        camera=Camera.from_fov(width, height, horizontal=60),
        name="a",
        classes=np.ones((height, width), np.int32),
    )
    return replace(made, **changes)


def test_a_batch_has_the_promised_shapes_and_ranges():
    batch = collate([sample(), sample(rgb=np.zeros((4, 6, 3), np.uint8))])
    assert batch.rgb.shape == (2, 3, 4, 6)
    assert batch.rgb[0].unique().tolist() == [1]
    assert batch.rgb[1].unique().tolist() == [-1]
    assert (batch.depth_m.shape, batch.normals.shape, batch.classes.shape) == (
        (2, 1, 4, 6),
        (2, 3, 4, 6),
        (2, 4, 6),
    )
    assert (batch.valid.dtype, batch.depth_m.dtype, batch.classes.dtype) == (
        torch.bool,
        torch.float32,
        torch.int64,
    )
    assert len(batch) == 2


def test_pixels_and_channels_keep_their_places():
    rgb = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    normals = np.arange(4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3)
    batch = collate([sample(rgb=rgb, normals=normals)])
    assert batch.rgb[0, 2, 3, 5].item() == pytest.approx(rgb[3, 5, 2] / 127.5 - 1)
    assert batch.normals[0, 1, 2, 4].item() == normals[2, 4, 1]


def test_what_is_not_valid_becomes_zero_and_the_sky_stays_infinite():
    depth = np.full((4, 6), 2, np.float32)
    depth[0], depth[1] = np.nan, np.inf
    valid = np.ones((4, 6), bool)
    valid[0] = False
    batch = collate([sample(depth_m=depth, valid=valid)])
    assert batch.depth_m[0, 0].unique(dim=1).flatten().tolist() == [0, np.inf, 2, 2]
    assert batch.normals[0, :, 0].abs().max() == 0


def test_a_field_that_one_sample_lacks_is_none():
    batch = collate([sample(), sample(normals=None, depth_m=None, classes=None, camera=None)])
    assert (batch.normals, batch.depth_m, batch.classes) == (None, None, None)
    assert batch.cameras[1] is None


def test_a_moved_batch_has_the_same_numbers():
    batch = collate([sample(), sample()])
    moved = batch.to("cpu", channels_last=True)
    assert moved.rgb.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(moved.rgb, batch.rgb, rtol=0, atol=0)
    torch.testing.assert_close(moved.depth_m, batch.depth_m, rtol=0, atol=0)


def test_two_sizes_in_a_batch_are_refused():
    with pytest.raises(DataError, match=r"found pictures of 6x4, 8x4 in one batch.*`sizes`"):
        collate([sample(), sample(width=8)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rgb": np.zeros((4, 6, 3), np.float32)}, r"rgb is float32 \[4, 6, 3\], wanted uint8"),
        ({"rgb": np.zeros((4, 6), np.uint8)}, r"rgb is uint8 \[4, 6\]"),
        ({"valid": np.ones((4, 6), np.uint8)}, r"valid is uint8 \[4, 6\], wanted bool"),
        ({"depth_m": np.ones((4, 6), np.float64)}, "depth_m is float64"),
        (
            {"normals": np.ones((3, 4, 6), np.float32)},
            r"normals is float32 \[3, 4, 6\], wanted float32 \[4, 6, 3\]",
        ),
        ({"camera": Camera.from_fov(8, 4, horizontal=60)}, "camera is for 8x4 pixels, the picture has 6x4"),
        ({"pseudo": np.ones((4, 5), np.float32)}, r"pseudo is float32 \[4, 5\], wanted float32 \[4, 6\]"),
        ({"pseudo": np.ones((4, 6), np.float32)}, "pseudo has no kind, wanted pseudo_kind"),
        ({"matte": np.ones((4, 6), np.uint8)}, r"matte is uint8 \[4, 6\], wanted bool"),
        ({"pairs": np.ones((3, 2, 2), np.float32)}, r"pairs is float32 \[3, 2, 2\], wanted int \[N, 2, 2\]"),
        ({"pairs": np.ones((3, 2), int)}, r"pairs is int64 \[3, 2\]"),
        ({"pairs": np.array([[[0, 0], [5, 3]]])}, "row 5, column 3, the picture has 4 rows and 6 columns"),
    ],
)
def test_samples_that_do_not_fit_themselves_are_refused_by_name(changes, message):
    with pytest.raises(DataError, match=f"sample a: .*{message}"):
        check(sample(**changes))


def test_pseudo_labels_of_a_batch_are_of_one_kind():
    one = sample(pseudo=np.full((4, 6), 3, np.float32), pseudo_kind=Kind.affine_disparity)
    batch = collate([one, replace(one, valid=np.zeros((4, 6), bool))]).to("cpu")
    assert batch.pseudo_kind is Kind.affine_disparity
    assert batch.pseudo.mean(dim=(1, 2, 3)).tolist() == [3, 0]
    with pytest.raises(DataError, match="affine_depth and affine_disparity in one batch"):
        collate([one, replace(one, pseudo_kind=Kind.affine_depth)])


def test_mattes_and_pairs_that_fit_pass():
    fitting = sample(matte=np.ones((4, 6), bool), pairs=np.array([[[0, 0], [3, 5]]]), group="rooms")
    assert check(fitting) is fitting
