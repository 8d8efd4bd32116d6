"""Photographs of which nothing else is known."""

import numpy as np
import pytest
from PIL import Image

from leadline.data import open_set
from leadline.data.sample import check, collate
from leadline.errors import DataError


def test_pictures_come_in_the_order_of_their_names(tmp_path):
    for name, level in (("b.png", 2), ("a/c.jpg", 1)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), level, np.uint8)).save(tmp_path / name)
    photographs = open_set("photographs", {"path": str(tmp_path)})
    samples = [check(photographs[i]) for i in range(len(photographs))]
    assert [s.name for s in samples] == ["a/c.jpg", "b.png"]
    assert samples[1].rgb.max() == 2
    batch = collate(samples)
    assert batch.valid.all()
    assert batch.depth_m is None


def test_all_that_is_read_counts_and_nothing_hidden(tmp_path):
    for name in ("a.TIFF", "b.bmp", "c.heic", "._a.jpg", ".thumbnails/a.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert open_set("photographs", {"path": str(tmp_path)}).names == ["a.TIFF", "b.bmp", "c.heic"]


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no photographs"):
        open_set("photographs", {"path": str(tmp_path)})
