"""The models in the package: what their cards promise holds, and each task has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leadline
from leadline import cards
from leadline.scenes import analytic

CHINA = Path(__file__).parents[1] / "examples" / "china.jpg"
MODELS = {"depth": "small", "normals": "normals", "metric": "metric"}  # task -> model


@pytest.mark.parametrize("name", MODELS.values())
def test_they_are_small_and_free_and_say_what_they_are(name):
    model = leadline.load(name, device="cpu")
    assert model.card.licence == "Apache-2.0"
    assert model.card.parameters == sum(p.numel() for p in model.network.parameters()) <= 8_000_000
    assert size(name) <= 16_000_000
    for promise in (model.card.training_data, model.card.limits, model.card.intended_use, model.card.summary):
        assert len(promise) > 30


def size(name: str) -> int:
    """Bytes of a bundled folder."""
    return sum(file.stat().st_size for file in (cards.BUNDLED / name).rglob("*") if file.is_file())


def test_together_they_stay_a_quick_download():
    assert size("") <= 90_000_000


@pytest.mark.parametrize(("task", "name"), MODELS.items())
def test_every_task_has_one(task, name):
    assert cards.bundled_for(task) == name


def test_normals_are_unit_vectors_that_face_the_camera():
    """But for the sky, which has none."""
    china = np.asarray(Image.open(CHINA))
    normals = leadline.load("normals", device="cpu")(china).normals
    assert normals.shape == china.shape
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    assert (normals[..., 2] < 0).mean() > 0.9  # OpenCV's frame: z points away


def test_the_ground_faces_up_and_a_wall_ahead_faces_the_camera():
    """In a conformance scene that it never saw."""
    scene = analytic.scene("corner", (192, 256))
    found = leadline.load("normals", device="cpu")(scene.rgb).normals
    truth = scene.normals.permute(1, 2, 0).numpy()
    valid = np.linalg.norm(truth, axis=-1) > 0
    angle = np.degrees(np.arccos(np.clip((found * truth).sum(-1), -1, 1)))[valid]
    assert angle.mean() < 15


def test_metres_follow_the_lens():
    """A lens of twice the focal length shows the same picture of things twice as far off."""
    model = leadline.load("metric", device="cpu")
    china = np.asarray(Image.open(CHINA))
    wide, long = (
        model(china, camera=leadline.Camera(f, f, 320, 213, china.shape[1], china.shape[0])).depth
        for f in (400, 800)
    )
    assert 0.1 <= wide.min() < wide.max() <= 80
    inside = (wide > 0.3) & (long < 79)
    np.testing.assert_allclose(np.median((long / wide)[inside]), 2, rtol=0.05)
