"""InteriorVerse (Zhu et al. 2022): rendered rooms with normals, which Marigold's normals are trained on."""

from __future__ import annotations

import numpy as np

from leadline.data import decode
from leadline.data.layouts import Layout, found, from_normals, renamed
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store

GAMMA, SHORTEST = 2.2, 0.1  # of the colours; a normal below this length spoils its picture
NORMAL = renamed(("_im.exr", "_normal.exr"))


def read(store: Store, row: str) -> Sample:
    """A picture '<scene>/000_im.exr' -> Sample. Colours are linear light; normals x right, y up, z to the
    viewer. A picture with a normal that is none is not valid at all, as Marigold leaves it out.
    """
    (rgb,) = columns(row, "rgb")
    light = store.load(rgb, decode.exr)
    vectors = store.load(NORMAL(rgb), decode.exr)
    whole = bool((np.linalg.norm(vectors, axis=-1) >= SHORTEST).all())  # false for nan too
    picture = (np.clip(light, 0, 1) ** (1 / GAMMA) * 255).astype(np.uint8)
    return from_normals(rgb, picture, vectors, "opengl", np.full(picture.shape[:2], whole))


NATIVE = Layout("*/*_im.exr", found("*/*_im.exr"), read, bases=("scenes_85", ""))
