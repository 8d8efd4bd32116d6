"""A picture on its way to the networks."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from leadline import tasks
from leadline.image import Picture
from leadline.sizes import SizeRule


def test_the_line_about_an_assumed_camera_is_the_same_for_all_pictures(caplog):
    plan = tasks.Plan(SizeRule(), seed=0, steps=None, members=1, uncertainty=False, needs_camera=True)
    with caplog.at_level(logging.WARNING):
        read = [tasks.read(Picture(np.zeros((8, 8, 3), np.uint8), name=name), plan, None) for name in "ab"]
    assert [(task.name, task.camera_source) for task in read] == [("a", "assumed"), ("b", "assumed")]
    one, other = caplog.messages
    assert one == other


@pytest.mark.parametrize("name", ["10.00\u202fAM.png", "two\nlines.png"])
def test_messages_call_a_picture_by_a_name_that_prints(name):
    plan = tasks.Plan(SizeRule(), seed=0, steps=None, members=1, uncertainty=False)
    task = tasks.read(Picture(np.zeros((8, 8, 3), np.uint8), name=name), plan, None)
    assert task.name.isprintable()
