"""Items as the released loaders make them: Hypersim's light, distances and preview to a training's arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from leadline.data import decode
from leadline.data.augment import Options, augment, cut
from leadline.data.augment import flip as mirrored
from leadline.data.layouts import from_normals
from leadline.data.sample import Sample, collate
from leadline.data.sets import hypersim_raw
from leadline.data.view import View


def test_light_becomes_colours(golden):
    g = golden("e2e/hypersim")
    light, entity = g.rgb_hdr.numpy(), g.entity_id.numpy()
    assert_allclose(hypersim_raw.tone_map(light, entity), g.tone_mapped, atol=1e-9)
    assert_array_equal((hypersim_raw.tone_map(light, entity) * 255).astype(np.uint8), g.rgb_u8)
    nothing = np.full_like(entity, -1)
    assert_allclose(hypersim_raw.tone_map(light, nothing), g.tone_mapped_all_invalid, atol=1e-9)
    assert_allclose(hypersim_raw.tone_map(light * 1e-6, entity), g.tone_mapped_dark, atol=1e-9)


def test_distances_become_depths_and_counts(golden):
    g = golden("e2e/hypersim")
    depth = hypersim_raw.planar(g.distance.numpy())
    assert_allclose(depth, g.plane_depth, rtol=1e-6)
    rows, columns = g.full_pts.numpy().T
    factor = hypersim_raw.planar(np.ones((768, 1024)))
    assert_allclose(factor[rows, columns], g.full_factor, rtol=1e-6)
    stored = g.depth_u16.numpy()
    known = stored > 0
    counts = hypersim_raw.millimetres(np.where(known, depth, 0), wrap=True)
    assert (counts[known].astype(int) - stored[known]).tolist() == [0] * int(known.sum())


def test_counts_end_where_sixteen_bits_do(golden):
    g = golden("eval/hypersim", "dist")
    metres = g.uint16_input_m.numpy()
    assert_array_equal(hypersim_raw.millimetres(metres, wrap=True), g.uint16_mm)
    plain = hypersim_raw.millimetres(metres)
    assert_array_equal(plain, np.where(metres >= 65.536, 0, g.uint16_mm))
    assert hypersim_raw.millimetres(np.array([np.nan, np.inf, -1, 0])).tolist() == [0, 0, 0, 0]


def test_previews_are_turned(golden):
    g = golden("e2e/hypersim")
    height, width = g.plane_depth.shape
    K = hypersim_raw.FOCAL_PX, hypersim_raw.FOCAL_PX, width / 2, height / 2
    found = hypersim_raw.facing(g.normal_png.numpy(), g.plane_depth.numpy(), *K).astype(int)
    assert np.abs(found - g.e2e_aligned_u8.numpy()).max() <= 1
    assert_allclose(found / 255 * 2 - 1, g.e2e_aligned_f, atol=2 / 255 + 1e-9)  # cut off


def item(golden, flip: bool) -> tuple[Sample, object]:
    """The vector's inputs through our steps, as the recipe of E2E-FT's normals has them."""
    g = golden("e2e/hypersim")
    rgb, depth = g.rgb_u8.numpy(), g.depth_u16.numpy() / np.float32(1000)
    vectors, _ = decode.normals(g.e2e_aligned_u8.numpy())
    oriented = from_normals("item", rgb, vectors, "e2e_ft")
    sample = Sample(rgb, np.ones(depth.shape, bool), depth, oriented.normals, name="item")
    sample = (
        mirrored(sample) if flip else sample
    )  # before the resize, as they do: halves have no nearest pixel
    options = Options(flip=0, resize_normals="smooth")
    made = augment(sample, np.random.default_rng(0), options, (12, 16))
    return View(range_m=(1e-5, 65)).of(made), g


@pytest.mark.parametrize("flip", [False, True])
def test_an_item_is_e2e_fts(golden, flip):
    """Colours within a level of the resize; normals within their 8 bits, which they resize and we do not."""
    sample, g = item(golden, flip)
    name = "e2e_item_flip_" if flip else "e2e_item_noflip_"
    batch = collate([sample])
    assert (batch.rgb[0] - g[f"{name}rgb"]).abs().max() < 1.01 / 127.5
    mask = g[f"{name}mask"].bool()
    assert torch.equal(batch.valid[0], mask)
    assert torch.equal(batch.depth_m[0], torch.where(mask, g[f"{name}depth"], 0))
    found, wanted = -batch.normals[0], g[f"{name}normals"]
    cosine = (found * wanted).sum(0)[mask[0]]
    assert cosine.min() > 0.9995


def test_marigolds_resize_takes_nearest_pixels_of_colours_too(golden):
    g = golden("e2e/train_resize")
    rgb = g.train_rgb.permute(1, 2, 0).numpy()
    depth = g.train_depth.numpy().squeeze().astype(np.float32)
    sample = Sample(np.ascontiguousarray(rgb), np.ones(depth.shape, bool), depth)
    made = cut(sample, (0, 0, 64, 48), (30, 40), smooth=False)
    assert_array_equal(made.depth_m, g.marigold_train_depth_nearest_exact.numpy().squeeze())
    batch = collate([made])
    assert_allclose(batch.rgb[0], g.marigold_train_rgb_nearest_exact, atol=1e-6)
    smooth = cut(sample, (0, 0, 64, 48), (30, 40))
    assert_array_equal(smooth.rgb, g.e2e_train_rgb_pil_bilinear.permute(1, 2, 0))
    between = np.isclose(
        (np.arange(40) + 0.5) * 1.6 % 1, 0
    )  # two pixels are equally near; Pillow takes the other
    plain = np.ix_(~between[:30], ~between)
    assert_array_equal(smooth.depth_m[plain], g.e2e_train_depth_pil_nearest.numpy().squeeze()[plain])
