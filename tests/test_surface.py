"""Normals of depth maps: the authors' arithmetic, and planes that are known."""

from __future__ import annotations

import numpy as np
import pytest

from leadline import surface
from leadline.camera import Camera
from leadline.data import decode
from leadline.errors import ShapeError, UsageError
from leadline.surface import d2nt

CASES = ["plane_cm", "box_cm", "noisy_cm", "sky_cm", "box_m"]


@pytest.mark.parametrize("version", ["basic", "v2", "v3"])
@pytest.mark.parametrize("case", CASES)
def test_normals_match_the_reference(case, version, golden):
    g = golden("eval/d2nt", case)
    found = d2nt(g.depth.numpy(), _camera(golden), version)
    for stored in (f"d2nt_{version}", *(["package_v3"] if version == "v3" else [])):
        off = np.abs(found - g[stored].numpy()).max(axis=-1)
        if version != "v3":
            assert off.max() < 1e-5
        elif case == "box_m":
            assert off.max() < 0.02  # in metres, rounding decides among equal neighbours
        else:
            assert (off > 1e-5).mean() <= _ties(case)


@pytest.mark.parametrize("version", ["basic", "v2"])
@pytest.mark.parametrize("case", CASES)
def test_slopes_of_depth_match_the_reference(case, version, golden):
    g = golden("eval/d2nt", case)
    for found, name in zip(surface._slopes(g.depth.numpy(), version), ("Gu", "Gv"), strict=True):
        np.testing.assert_allclose(found, g[f"d2nt_{version}_{name}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_files_that_e2e_ft_trains_on_are_ours_negated(case, golden):
    found = -d2nt(golden("eval/d2nt", case).depth.numpy(), _camera(golden))
    stored = golden("eval/d2nt", case).e2e_uint16_rgb.numpy().astype(int)
    off = np.abs(((found + 1) * 32767.5).astype(np.uint16).astype(int) - stored).max(axis=-1)
    if case == "box_m":
        assert off.max() < 0.02 * 32768
    else:
        assert (off > 1).mean() <= _ties(case)


def test_e2e_ft_reads_eight_bits_of_these_files(golden):
    """Its training sees the upper byte, made unit vectors again: less than half a degree from the file."""
    g = golden("eval/d2nt", "box_cm")
    counts, eight = g.e2e_uint16_rgb.numpy(), g.e2e_readback_uint8.numpy()
    np.testing.assert_array_equal(counts >> 8, eight)
    trained_on = np.moveaxis(g.e2e_training_normal.numpy(), 0, -1)
    vectors, _ = decode.normals(eight)
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_allclose(unit, trained_on, atol=1e-6)
    cosine = (trained_on * -d2nt(g.depth.numpy(), _camera(golden))).sum(axis=-1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.5


@pytest.mark.parametrize("version", ["basic", "v2", "v3"])
@pytest.mark.parametrize(("unit", "per_metre"), [("cm", 100), ("m", 1)])
def test_ramps_under_a_sky_match_the_reference_in_either_unit(unit, per_metre, version, golden):
    """Stored after the authors' change of sign; the sky is 655.35 m away."""
    g = golden("e2e/d2nt")
    depth = per_metre * g.depth_m.numpy()
    fx, fy, cx, cy = g.K.tolist()
    found = -d2nt(depth, Camera(fx, fy, cx - 0.5, cy - 0.5, 124, 37), version)
    np.testing.assert_allclose(found, g[f"{unit}_{version}_normals"], rtol=0, atol=1e-5)
    if version == "v2":
        for slope, name in zip(surface._slopes(depth, version), ("Gu", "Gv"), strict=True):
            np.testing.assert_allclose(slope, g[f"{unit}_{name}"], rtol=0, atol=1e-5 * per_metre)
    if version == "v3":
        stored = g[f"{unit}_v3_png16"].numpy().astype(int)
        assert np.abs(((found + 1) * 32767.5).astype(int) - stored).max() <= 1


@pytest.mark.parametrize("version", ["basic", "v2", "v3"])
def test_a_plane_has_one_normal(version):
    camera = Camera.from_fov(60, 40, horizontal=70)
    normal = np.array([0.2, -0.5, -0.8]) / np.linalg.norm([0.2, -0.5, -0.8])
    depth = -300 / (camera.rays() @ normal)  # points p with p . normal = -300
    found = d2nt(depth, camera, version)
    error = np.degrees(np.arccos(np.clip(found @ normal, -1, 1)))
    inside = error[1:-1, 1:-1]  # at the border one side is a mirror image
    assert np.median(inside) < (3 if version == "basic" else 0.5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-4)


def test_an_edge_does_not_bend_the_surfaces_beside_it():
    camera = Camera.from_fov(40, 30, horizontal=60)
    depth = np.full((30, 40), 200.0)
    depth[:, 20:] = 900.0
    facing = d2nt(depth, camera)[..., 2]
    assert (facing[:, :18] < -0.999).all()
    assert (facing[:, 22:] < -0.999).all()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, 0.0])
def test_unknown_depths_spoil_their_neighbours_only(unknown):
    camera = Camera.from_fov(40, 30, horizontal=60)
    depth = np.full((30, 40), 200.0)
    depth[10, 10] = unknown
    off = d2nt(depth, camera)[..., 2] > -0.999
    off[7:14, 7:14] = False
    assert not off.any()


def test_maps_of_another_size_and_unknown_versions_are_refused():
    camera = Camera.from_fov(40, 30, horizontal=60)
    with pytest.raises(ShapeError, match="depth"):
        d2nt(np.ones((40, 30)), camera)
    with pytest.raises(UsageError, match="v4"):
        d2nt(np.ones((30, 40)), camera, "v4")


def _ties(case: str) -> float:
    """Share of pixels where several neighbours are equally flat."""
    return 0.005 if case in ("noisy_cm", "sky_cm") else 0


def _camera(golden):
    """The reference counts pixels from 1."""
    K = golden("eval/d2nt").K.numpy()
    return Camera(K[0, 0], K[1, 1], K[0, 2] - 0.5, K[1, 2] - 0.5, 60, 40)
