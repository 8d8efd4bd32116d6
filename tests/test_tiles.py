"""Tiles: they cover the map, find back to one scale and to the whole's layout, and leave no seam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from seams import seam_ratio
from torch import Tensor

from leadline import tiles
from leadline.scenes import analytic
from leadline.tiles import Window

SIZE = (240, 320)


# --- where tiles lie ---


@settings(deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    tile=st.integers(1, 120),
    share=st.sampled_from([0.125, 0.25, 0.5]),
    multiple=st.sampled_from([1, 8, 14]),
)
def test_tiles_of_one_size_cover_any_map(height, width, tile, share, multiple):
    windows = tiles.layout(height, width, tile, int(tile * share), multiple)
    covered = torch.zeros(height, width, dtype=torch.bool)
    for window in windows:
        window.cut(covered).fill_(True)
        assert window[:2] >= (0, 0)
        assert window.cut(covered).shape == window[2:]  # none leaves the map
    assert covered.all()
    assert len({window[2:] for window in windows}) == 1
    assert len(set(windows)) == len(windows)
    for side, length in zip((height, width), windows[0][2:], strict=True):
        assert length == side or length % multiple == 0


@given(blocks=st.integers(2, 200), tile=st.integers(4, 40), overlap=st.integers(0, 12))
def test_neighbours_overlap_as_asked_and_begin_at_multiples(blocks, tile, overlap):
    windows = tiles.layout(8, 8 * blocks, 8 * tile, min(overlap, 4 * tile), 8)
    lefts = [window.left for window in windows]
    assert all(left % 8 == 0 for left in lefts)
    for left, following in zip(lefts, lefts[1:], strict=False):
        assert left + windows[0].width - following >= min(overlap, 4 * tile)


def test_one_row_and_small_maps_are_possible():
    assert tiles.layout(1, 100, 40, 10) == [Window(0, 0, 1, 40), Window(0, 30, 1, 40), Window(0, 60, 1, 40)]
    assert tiles.layout(5, 7, 64, 16, 8) == [Window(0, 0, 5, 7)]


# --- one scale ---


@pytest.fixture
def windows() -> list[Window]:
    return tiles.layout(*SIZE, 96, 24)


@pytest.fixture
def whole() -> Tensor:
    return disparity("sphere")


def disparity(name: str) -> Tensor:
    """Of an analytic scene, [1,1,H,W] in [0,1]."""
    inverse = torch.from_numpy(1 / analytic.exact(name, SIZE).depth)  # the sky is infinitely far
    return (inverse / inverse.max()).float()[None, None]


def spoiled(windows: list[Window], whole: Tensor, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Tiles with a scale and a shift of their own, and the scales that undo it."""
    rng = np.random.default_rng(seed)
    scale = torch.from_numpy(np.exp(rng.uniform(-2, 2, len(windows))))
    shift = rng.uniform(-3, 3, len(windows))
    maps = [window.cut(whole).double() / a + b for window, a, b in zip(windows, scale, shift, strict=True)]
    return maps, scale


@pytest.mark.parametrize("name", ["corner", "sphere", "stairs"])
def test_align_recovers_scales(name, windows):
    whole = disparity(name)
    maps, scale = spoiled(windows, whole)
    found = tiles.align(windows, maps, whole.double())
    known = torch.stack([window.cut(whole).std() > 0 for window in windows])  # not the sky
    assert known.sum() > 8
    torch.testing.assert_close(found[known], scale[known], rtol=1e-6, atol=0)
    assert (found[~known] == 0).all()


def test_align_does_not_shrink_what_is_noisy(windows):
    hills = F.interpolate(torch.rand(1, 1, 8, 10), SIZE, mode="bicubic")
    maps, scale = spoiled(windows, hills)
    noisy = [x + 0.3 * x.std() * torch.randn_like(x) for x in maps]
    found = tiles.align(windows, noisy, hills)
    torch.testing.assert_close(found / scale, torch.ones_like(scale), rtol=0.1, atol=0)


def test_neighbours_count_more_than_the_whole(windows):
    hills = F.interpolate(torch.rand(1, 1, 8, 10), SIZE, mode="bicubic")
    maps, scale = spoiled(windows, hills)
    wrong = hills * (1 + torch.hann_window(SIZE[0])[:, None] * torch.hann_window(SIZE[1]))
    alone = torch.stack([w.cut(wrong).std() / x.std() for w, x in zip(windows, maps, strict=True)]) / scale
    together = tiles.align(windows, maps, wrong) / scale
    assert together.max() / together.min() - 1 < 0.5 * (alone.max() / alone.min() - 1)


@pytest.mark.parametrize(
    "other", [lambda x: -x, torch.zeros_like, torch.rand_like, lambda x: 1e4 + 1e-3 * torch.rand_like(x)]
)
def test_a_tile_that_contradicts_the_whole_is_left_out(other, windows, whole):
    maps, scale = spoiled(windows, whole)
    maps[9] = other(maps[9])
    found = tiles.align(windows, maps, whole)
    assert found[9] == 0
    torch.testing.assert_close(found[10:], scale[10:], rtol=1e-5, atol=0)


def test_a_flat_whole_leaves_nothing_to_the_tiles(windows):
    maps = [torch.rand(1, 1, *window[2:]) for window in windows]
    assert (tiles.align(windows, maps, torch.full((1, 1, *SIZE), 0.5)) == 0).all()


# --- one layout, one map ---


def test_level_takes_wide_things_from_the_whole_and_fine_ones_from_the_tile():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 90), torch.linspace(-1, 1, 96), indexing="ij")
    fine, layout = 0.1 * torch.sin(60 * x)[None, None], (2 * x - y)[None, None]
    torch.testing.assert_close(tiles.level(fine + x + 3 * y, fine + layout, 15), fine + layout)
    assert (tiles.level(fine, layout, 15) - fine - layout).abs().max() < 0.03
    for bent in (x * y, x**2 + y, torch.cos(2 * x - y)):
        left = (tiles.level(bent[None, None], layout, 15) - layout).abs() / (bent - layout).abs().max()
        assert left[..., 15:-15, 15:-15].max() < 0.01
        assert left.max() < 0.04  # in corners, where a tile's weight is least


def test_level_does_not_ring_beside_an_edge():
    edge = torch.zeros(1, 1, 96, 96)
    edge[..., :50] = 1
    result = tiles.level(torch.zeros_like(edge), edge, 16)
    assert -0.1 < result.min() < result.max() < 1.1
    assert (result[..., 80:].abs() < 0.02).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 7)])
def test_level_works_on_maps_of_any_size(size):
    x, whole = torch.rand(2, 1, 2, *size)
    assert tiles.level(x, whole, 16).shape == x.shape
    torch.testing.assert_close(tiles.level(x, x + 3, 16), x + 3)


@given(value=st.floats(-1e3, 1e3), height=st.integers(1, 90), width=st.integers(1, 90))
@settings(deadline=None, max_examples=30)
def test_blended_constants_are_constant(value, height, width):
    windows = tiles.layout(height, width, 32, 8)
    maps = [torch.full((1, 2, *window[2:]), value) for window in windows]
    blended = tiles.blend(windows, maps, (1, 2, height, width))
    torch.testing.assert_close(blended, torch.full((1, 2, height, width), value), rtol=1e-5, atol=1e-30)


def test_one_tile_is_the_map():
    x = torch.rand(1, 3, 20, 30)
    torch.testing.assert_close(tiles.blend([Window(0, 0, 20, 30)], [x], x.shape), x)


# --- seams ---


def predicted(windows: list[Window], truth: Tensor, seed: int) -> list[Tensor]:
    """Tiles as networks see them: scale and shift of their own, and an error that bends the whole tile."""
    maps, _ = spoiled(windows, truth, seed)
    rng = np.random.default_rng(seed)
    for window, x in zip(windows, maps, strict=True):
        y, x_ = (torch.linspace(0, np.pi, side, dtype=torch.float64) for side in window[2:])
        phase_y, phase_x = rng.uniform(0, 2 * np.pi, 2)
        x += 0.3 * x.std() * (torch.cos(y + phase_y)[:, None] + torch.cos(x_ + phase_x))
    return [x.float() for x in maps]


def merged(windows: list[Window], maps: list[Tensor], whole: Tensor) -> Tensor:
    parts = tiles.placed(windows, maps, whole, tiles.align(windows, maps, whole))
    levelled = (tiles.level(x, window.cut(whole), 24) for window, x in zip(windows, parts, strict=True))
    return tiles.blend(windows, levelled, whole.shape)


def pasted(windows: list[Window], maps: list[Tensor], whole: Tensor) -> Tensor:
    """Without any care: one after another, each brought to the whole's mean and contrast."""
    out = torch.zeros_like(whole)
    for window, x in zip(windows, maps, strict=True):
        target = window.cut(whole)
        scale = target.std() / x.std().clamp(min=1e-6)
        window.cut(out).copy_(scale * (x - x.mean()) + target.mean())
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["plane", "corner", "sphere"])
def test_no_seam_is_visible_on_a_smooth_scene(name, seed, windows):
    truth = disparity(name)
    whole = F.interpolate(F.interpolate(truth, (120, 160), mode="area"), SIZE, mode="bilinear")
    maps = predicted(windows, truth, seed)
    result = merged(windows, maps, whole)
    assert (result - truth).abs().mean() < 0.002
    for order in (1, 2):
        assert seam_ratio(result - truth, windows, order) < 2
        assert seam_ratio(pasted(windows, maps, whole) - truth, windows, order) > 10
