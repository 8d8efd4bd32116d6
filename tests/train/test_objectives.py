"""Every objective can be met: forty steps on one batch bring its loss far down."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

from leadline.data.sample import Batch, collate
from leadline.data.scenes import Scenes
from leadline.methods import autoencoder, e2e_ft, fiffdepth, latent_diffusion, marigold, metricgold
from leadline.prediction import Kind
from leadline.recipe import Optimiser
from leadline.train import optimise, randomness

SIZE, TEXT = (16, 24), torch.ones(1, 2, 24)
BLOCKS = tiny.BLOCKS | {"factor": 2}  # a latent of 12 channels that loses nothing
UNET = tiny.PLAIN_UNET | {"in_channels": 12, "out_channels": 12, "block_out_channels": [32, 64]}
TWO_LATENTS = UNET | {"in_channels": 24}


def end_to_end(**options) -> e2e_ft.E2EFT:
    config = {"unet": UNET, "autoencoder": BLOCKS, "noise": "none", "clamp": False} | options
    return e2e_ft.E2EFT.random(e2e_ft.Config(**config), 0)


def denoising(**options) -> marigold.Marigold:
    config = {"unet": TWO_LATENTS, "autoencoder": BLOCKS} | options
    return marigold.Marigold.random(marigold.Config(**config), 0)


def feed_forward(**options) -> fiffdepth.FiffDepth:
    config = {"unet": UNET, "autoencoder": BLOCKS} | options
    return fiffdepth.FiffDepth.random(fiffdepth.Config(**config), 0)


def in_metres(**options) -> metricgold.MetricGold:
    config = {"unet": TWO_LATENTS, "autoencoder": BLOCKS} | options
    return metricgold.MetricGold.random(metricgold.Config(**config), 0)


def rebuilding(**options) -> metricgold.MetricGold:
    """Its first stage, with an autoencoder that has something to learn."""
    vae = tiny.AUTOENCODER | {
        "down_block_types": ["DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D"],
    }
    unet = UNET | {"in_channels": 8, "out_channels": 4}
    config = {"unet": unet, "autoencoder": vae | {"block_out_channels": [16]}, "stage": "vae"}
    return metricgold.MetricGold.random(metricgold.Config(**config, **options), 0)


def drawing(**options) -> latent_diffusion.LatentDiffusion:
    config = {"unet": UNET, "autoencoder": BLOCKS} | options
    return latent_diffusion.LatentDiffusion.random(latent_diffusion.Config(**config), 0)


def latents(**options) -> autoencoder.Autoencoder:
    return autoencoder.Autoencoder.random(autoencoder.Config(autoencoder=tiny.TINY_AUTOENCODER, **options), 0)


@pytest.fixture(scope="module")
def batch() -> Batch:
    scenes = Scenes(seed=4, count=2, size=SIZE, kind="room")
    return collate([scenes[0], scenes[1]])


@pytest.fixture(scope="module")
def words(batch) -> Batch:
    """The same pictures, of which another model has said a disparity."""
    said = torch.where(batch.valid, 3 / batch.depth_m - 1, 0)
    return replace(batch, depth_m=None, normals=None, pseudo=said, pseudo_kind=Kind.affine_disparity)


def losses(method, batch: Batch, steps: int, **options) -> list[float]:
    """Of the batch, step by step, with the same noise each time."""
    optimiser = optimise.optimiser(method.train(), Optimiser(lr=3e-3, **options))
    optimise.set_lr(optimiser, 3e-3)
    found = []
    for _ in range(steps):
        optimiser.zero_grad()
        total = method.loss(batch, randomness.generator(0)).total
        total.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimiser.step()
        found.append(total.item())
    return found


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (end_to_end, {"target": "depth"}),
        (end_to_end, {"target": "disparity", "loss": "midas"}),
        (end_to_end, {"target": "disparity", "loss": "midas", "log_weight": 3.0}),
        (end_to_end, {"target": "normals"}),
        (denoising, {"target": "depth"}),
        (denoising, {"target": "normals"}),
        (drawing, {}),
        (latents, {"normal_weight": 0}),
        (in_metres, {}),
        (in_metres, {"objective": "one_step", "camera": "canonical_width"}),
        (rebuilding, {"depth_vae": "decoder"}),
        (rebuilding, {"depth_vae": "paper"}),
        (feed_forward, {"lambda_k": 0}),
        (feed_forward, {"label_space": "disparity_flipped"}),
    ],
    ids=lambda x: " ".join(map(str, x.values())) if isinstance(x, dict) else getattr(x, "__name__", str(x)),
)
def test_one_batch_is_learnt(make, options, batch):
    found = losses(make(**options), batch, steps=40)
    assert found[-1] < 0.5 * found[0], (found[0], found[-1])


def test_one_batch_of_a_teachers_words_is_learnt_through_the_filter(words):
    found = losses(feed_forward(), words, steps=40)
    assert found[-1] < 0.5 * found[0], (found[0], found[-1])


def test_one_batch_is_learnt_with_adafactor(batch):
    found = losses(end_to_end(target="normals"), batch, steps=40, name="adafactor")
    assert found[-1] < 0.7 * found[0], (found[0], found[-1])
