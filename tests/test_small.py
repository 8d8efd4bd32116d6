"""The bundled model `small`: what its card promises, and that company, order and size change nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import leadline
from leadline import align, metrics
from leadline.scenes import analytic

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def small():
    return leadline.load("small", device="cpu")


@pytest.fixture(scope="module")
def pictures():
    """Seven pictures of three sizes: parts of the example photograph."""
    china = np.asarray(Image.open(ROOT / "examples" / "china.jpg"))
    boxes = [
        (0, 0, 120, 160),
        (60, 90, 120, 160),
        (200, 300, 120, 160),
        (0, 0, 160, 120),
        (150, 200, 160, 120),
    ]
    return [china[y : y + h, x : x + w] for y, x, h, w in [*boxes, (80, 80, 120, 160), (20, 40, 70, 260)]]


def test_alone_in_batches_and_in_any_order_the_depth_is_the_same(small, pictures):
    alone = [small(picture).values for picture in pictures]
    order = [4, 0, 6, 2, 5, 1, 3]
    for batch_size in (1, 2, 5):
        together = list(small(pictures, batch_size=batch_size))
        shuffled = list(small([pictures[i] for i in order], batch_size=batch_size))
        for number, expected in enumerate(alone):
            for found in (together[number].values, shuffled[order.index(number)].values):
                if batch_size == 1:
                    np.testing.assert_array_equal(found, expected)
                else:
                    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (7, 333), (333, 7), (3000, 4000)])
def test_the_depth_has_the_size_of_the_photograph(small, size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    result = small(noise)
    assert result.values.shape == size
    assert result.values.dtype == np.float32
    assert np.isfinite(result.values).all()


def test_stairs_that_it_never_saw_are_understood(small):
    """After the fit of scale and shift, most of this conformance scene is within 25 % of the truth."""
    scene = analytic.scene("stairs", (192, 256))
    truth = scene.depth[0].numpy()
    near = scene.valid[0].numpy() & (truth < 20)
    fitted = align.to(small(scene.rgb), truth, near, far_m=20).metres()
    maps = [torch.from_numpy(x)[None, None] for x in (fitted, np.where(near, truth, 1), near)]
    assert metrics.delta1(*maps).item() > 0.6
