"""DA-2K (Yang et al. 2024): about 1,000 pictures of eight kinds, in each some pairs of points, one nearer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from leadline.data import decode
from leadline.data.layouts import Layout
from leadline.data.lists import Row
from leadline.data.sample import Sample
from leadline.data.store import Store, clean
from leadline.errors import DataError

ANNOTATIONS = "annotations.json"


def rows(store: Store) -> list[str]:
    """A picture's name, a tab, and its pairs as JSON, in the order of the annotations."""
    return list(_annotated(store).values())


def chosen(store: Store, lines: Sequence[Row]) -> list[Row]:
    """The rows of the pictures that a list names."""
    annotated = _annotated(store)
    for number, line in lines:
        if clean(line) not in annotated:
            raise DataError(f"{store.label(ANNOTATIONS)} has no pairs of {line!r}, which line {number} names")
    return [(number, annotated[clean(line)]) for number, line in lines]


def _annotated(store: Store) -> dict[str, str]:
    annotations = store.load(ANNOTATIONS, json.loads)
    with store.naming(ANNOTATIONS):
        return {clean(name): f"{clean(name)}\t{json.dumps(pairs)}" for name, pairs in annotations.items()}


def read(store: Store, row: str) -> Sample:
    """A row -> Sample with pairs [N,2,2]; the annotations give points as [row, column]."""
    rgb, _, pairs = row.partition("\t")
    picture = store.load(rgb, decode.rgb)
    points = np.array([_nearer_first(pair) for pair in json.loads(pairs)], np.int64).reshape(-1, 2, 2)
    kind = rgb.split("/")[-2]
    return Sample(picture, np.ones(picture.shape[:2], bool), name=rgb, pairs=points, group=kind)


def _nearer_first(pair: Any) -> list[list[int]]:
    points = {"point1": "point2", "point2": "point1"}
    if (
        not isinstance(pair, dict)
        or pair.get("closer_point") not in points
        or not points.keys() <= pair.keys()
    ):
        raise DataError(
            f"a pair is {str(pair)[:80]!r}, wanted point1, point2 and closer_point (one of the two)"
        )
    nearer = pair["closer_point"]
    return [pair[nearer], pair[points[nearer]]]


NATIVE = Layout(ANNOTATIONS, rows, read, bases=("DA-2K", ""), expand=chosen)
