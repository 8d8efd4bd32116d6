"""Ordered pairs: nearer must be strictly nearer, in whichever sense the map has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from leadline.errors import DataError, KindError, ShapeError
from leadline.metrics import Scores, nearer
from leadline.prediction import Kind

ANNOTATIONS = Path(__file__).parents[1] / "golden" / "eval" / "da2k_toy_annotations.json"


@pytest.mark.parametrize(
    ("kind", "name"), [(Kind.affine_depth, "depth"), (Kind.affine_disparity, "disparity")]
)
def test_toy_annotations_are_scored_as_expected(kind, name, golden):
    g, scores, all_pairs = golden("eval/da2k_toy"), Scores(), []
    for place, (path, listed) in enumerate(json.loads(ANNOTATIONS.read_text()).items()):
        pairs = np.array(
            [sorted(("point1", "point2"), key=pair["closer_point"].__ne__) for pair in listed], dtype=object
        )
        points = np.array([[pair[p] for p in order] for pair, order in zip(listed, pairs, strict=True)])
        correct = nearer(g[path].numpy(), kind, points)
        all_pairs += correct.tolist()
        scores.add(place, path, {"accuracy": correct.mean()}, weight=len(correct))
    assert all_pairs == g[f"correct_if_{name}"].tolist()
    assert scores.means()["accuracy"] == pytest.approx(g[f"accuracy_{name}"].item())


@pytest.mark.parametrize(
    ("kind", "name"), [(Kind.metric_depth, "depth"), (Kind.affine_disparity, "disparity")]
)
def test_pairs_match_the_reference(kind, name, golden):
    g = golden("fiffdepth/da2k_pairs")
    correct = nearer(g[name].numpy(), kind, np.stack([g.point1_hw, g.point2_hw], axis=1))
    assert correct.tolist() == g.correct.tolist()
    stored = g.accuracy if name == "depth" else g.accuracy_from_disparity
    assert correct.mean() == pytest.approx(stored.item())


def test_ties_and_what_is_no_number_are_wrong():
    depth = np.array([[1.0, 1.0, np.nan, np.inf]])
    pairs = np.array([[[0, 0], [0, 1]], [[0, 0], [0, 2]], [[0, 2], [0, 0]], [[0, 0], [0, 3]]])
    assert not nearer(depth, Kind.metric_depth, pairs).any()


def test_points_outside_and_kinds_without_order_are_refused():
    pairs = np.array([[[0, 0], [0, 4]]])
    with pytest.raises(DataError, match=r"\[\[0, 0\], \[0, 4\]\] lie outside"):
        nearer(np.ones((2, 4)), Kind.metric_depth, pairs)
    with pytest.raises(DataError):
        nearer(np.ones((2, 4)), Kind.metric_depth, -1 - pairs)
    with pytest.raises(KindError):
        nearer(np.ones((2, 8)), Kind.segmentation, pairs)
    with pytest.raises(ShapeError):
        nearer(np.ones((2, 8)), Kind.metric_depth, pairs[0])
