"""The comparison of normals, on surfaces whose normals are known."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from leadline.prediction import Kind, Prediction
from leadline.scenes import analytic

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def normals():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import normals

        yield normals
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def view(normals):
    scene = analytic.scene("corner", (48, 64))
    truth, depth = scene.normals.permute(1, 2, 0).numpy(), scene.depth[0].numpy()
    known = np.ones(depth.shape, bool)
    return normals.View(np.zeros((*depth.shape, 3), np.uint8), depth, known, truth, known, scene.camera)


def test_planes_have_their_normals_and_edges_do_not_count(normals, view):
    found, flat = normals.plane_normals(view.depth_m, view.known, view.camera)
    assert 0.4 < flat.mean() < 0.95
    sure = view._replace(sure=flat)
    assert normals.degrees(found, sure) < 0.2


def test_a_depth_model_that_is_right_up_to_a_scale_has_right_normals(normals, view):
    def right(rgb):
        return Prediction((0.1 * view.depth_m + 0.2).astype(np.float32), Kind.affine_depth)

    assert normals.degrees(normals.computed(right, view), view) < 3  # but for the edges


def test_both_ways_are_measured_on_the_same_views(normals, view):
    def right(rgb):
        return Prediction(view.depth_m, Kind.affine_depth)

    def turned(rgb):
        return SimpleNamespace(normals=view.normals * np.array([-1, 1, 1], np.float32))

    found = normals.compare(turned, right, [view, view])
    assert found["images"] == 2
    assert found["normals"] > found["d2nt"] > 0
    assert found["ratio"] == pytest.approx(found["normals"] / found["d2nt"], rel=0.02)
