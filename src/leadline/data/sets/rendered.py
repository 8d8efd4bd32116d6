"""Procedural scenes as a set to measure on: 100 of a seed that no recipe trains on, or those of a list."""

from __future__ import annotations

import re

from leadline.data.layouts import Layout
from leadline.data.sample import Sample
from leadline.data.scenes import Scenes
from leadline.data.store import Store
from leadline.errors import DataError

SEED, COUNT = 900, 100


def rows(store: Store) -> list[str]:
    """'seed:number' of each scene."""
    return [f"{SEED}:{number}" for number in range(COUNT)]


def read(store: Store, row: str) -> Sample:
    """A row 'seed:number' -> Sample; the sky is infinitely far and valid."""
    place = re.fullmatch(r"(\d{1,9}):(\d{1,7})", row)
    if place is None:
        raise DataError(f"{row!r} is no scene, '{SEED}:0' is one")
    seed, number = int(place[1]), int(place[2])
    return Scenes(seed, number + 1)[number]


SCENES = Layout("", rows, read)
