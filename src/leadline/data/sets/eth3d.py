"""ETH3D (Schoeps et al. 2017): thirteen scenes photographed at 6048x4032, depth from a laser scanner.

The photographs are the distorted originals and so are the maps: no pinhole camera fits them exactly.
"""

from __future__ import annotations

import re

from leadline.data import decode
from leadline.data.layouts import Layout, found, from_depth
from leadline.data.lists import columns
from leadline.data.sample import Sample
from leadline.data.store import Store
from leadline.errors import DataError

PICTURE = "{0}/images/dslr_images/{1}"
DEPTH = "{0}/ground_truth_depth/dslr_images/{1}"


def read(store: Store, row: str) -> Sample:
    """A picture's line -> Sample. Depth: bare float32 metres in a file named .JPG; inf is missing."""
    (rgb,) = columns(row, "rgb")
    place = re.search(r"([^/]+)/images/dslr_images/([^/]+)$", rgb)
    if place is None:
        raise DataError(f"the picture is {rgb!r}, '<scene>/images/dslr_images/<name>' is wanted")
    own = [part.format(*place.groups()) for part in (PICTURE, DEPTH)]
    picture = store.load(store.first([f"rgb/{own[0]}", own[0]]), decode.rgb)
    depth = store.first([f"depth/{place[1]}_dslr_depth/{own[1]}", own[1]])
    size = (picture.shape[0], picture.shape[1])
    return from_depth(rgb, picture, store.load(depth, lambda data: decode.float32(data, size)))


PREPARED = Layout("rgb/" + PICTURE.format("*", "*"), found("rgb/" + PICTURE.format("*", "*")), read)
NATIVE = Layout(DEPTH.format("*", "*"), found(PICTURE.format("*", "*")), read)
