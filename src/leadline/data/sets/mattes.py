"""Pictures with a matte of what stands in front: AM-2k, P3M-10k and DIS5K, for the recall of boundaries.

A matte is a picture of equal name in another folder.
"""

from __future__ import annotations

import numpy as np

from leadline.data import decode
from leadline.data.layouts import Layout, found, renamed
from leadline.data.sample import Sample
from leadline.data.store import Store


def _layout(pictures: str, *bases: str, masks: tuple[str, str]) -> Layout:
    mask = renamed(masks, (".jpg", ".png"))

    def read(store: Store, row: str) -> Sample:
        """A picture -> Sample with its matte. Names may hold blanks: the whole row is one."""
        rgb = row.removeprefix("DIS5K/")  # as Depth Pro's list has it
        picture = store.load(rgb, decode.rgb)
        everywhere = np.ones(picture.shape[:2], bool)
        return Sample(picture, everywhere, name=row, matte=store.load(mask(rgb), decode.matte))

    return Layout(pictures, found(pictures), read, (*bases, ""))


AM2K = _layout("original/*.jpg", "validation", masks=("original/", "mask/"))
P3M_NP = _layout("original_image/*.jpg", "P3M-500-NP", masks=("original_image/", "mask/"))
P3M_P = _layout("blurred_image/*.jpg", "P3M-500-P", masks=("blurred_image/", "mask/"))
DIS5K = _layout("DIS-*/im/*.jpg", "DIS5K", masks=("/im/", "/gt/"))
