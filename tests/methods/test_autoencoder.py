"""The small latent space: what it is trained on, what its saved form promises, who starts from it."""

from __future__ import annotations

import pytest
import tiny
import torch
from tiny import seeded
from torch.testing import assert_close

from leadline import predict, weights
from leadline.errors import KindError, UsageError
from leadline.methods import autoencoder
from leadline.methods.autoencoder import Autoencoder, Config, depth_picture, disparity_picture
from leadline.networks import latent

ALL = torch.ones(1, 1, 1, 5, dtype=torch.bool)
DEPTH = torch.tensor([[[[1.0, 2.0, 3.0, 5.0, torch.inf]]]])


def made(seed=0, **options) -> Autoencoder:
    return Autoencoder.random(Config(autoencoder=tiny.TINY_AUTOENCODER, **options), seed)


def test_the_round_trip_has_the_pictures_size_and_range():
    with torch.inference_mode():
        (x,) = made().eval()(torch.rand(2, 3, 16, 24) * 2 - 1).values()
    assert x.shape == (2, 3, 16, 24)
    assert x.abs().max() <= 1


def test_photographs_depths_and_normals_are_learnt_where_they_are_known():
    method, batch = made().eval(), tiny.batch()
    for name, part in method.loss(batch, seeded(0)[0]).parts.items():
        spoiled = tiny.batch()
        outside = ~spoiled.valid
        spoiled.depth_m[outside] = 500
        spoiled.normals[outside.expand(-1, 3, -1, -1)] = 0.9
        again = method.loss(spoiled, seeded(0)[0]).parts[name]
        if name != "normals":  # of them, the encoder sees what is unknown too
            assert torch.equal(part, again)
    assert set(method.loss(batch, seeded(0)[0]).parts) == {"photograph", "depth", "normals"}
    batch.depth_m = batch.normals = None
    assert set(method.loss(batch, seeded(0)[0]).parts) == {"photograph"}


def test_depth_and_disparity_are_pictures_of_the_whole_range():
    depth, known = depth_picture(DEPTH, ALL, 0.0, 1.0)
    assert_close(depth[0, 0, 0], torch.tensor([-1, -0.5, 0, 1, 1]))
    assert known.flatten().tolist() == [True] * 4 + [False]  # the sky has no depth ...
    disparity, known = disparity_picture(DEPTH, ALL, 0.0, 1.0)
    assert_close(disparity[0, 0, 0], 2 / DEPTH[0, 0, 0] - 1)
    assert known.all()  # ... but a disparity


def test_training_wants_noise():
    with pytest.raises(UsageError, match="pass a generator"):
        made().loss(tiny.batch())


def test_saved_latents_have_deviation_one_and_the_same_round_trip(tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "NEW_SHARE", 0.5)
    method, rgb = made().train(), torch.rand(4, 3, 16, 24) * 2 - 1
    batch = tiny.batch(4, 16, 24)
    batch.rgb, batch.depth_m, batch.normals = rgb, None, None
    for _ in range(40):  # nothing is learnt: only the mean square is followed
        with torch.no_grad():
            method.loss(batch, seeded(0)[0])
    with torch.inference_mode():
        before = method.eval()(rgb)["picture"]
        method.save(tmp_path / "latents")
        again = Autoencoder.load(tmp_path / "latents").eval()
        assert_close(again(rgb)["picture"], before)
        assert_close(
            latent.encode(again.autoencoder, rgb).square().mean(), torch.tensor(1.0), rtol=1e-2, atol=0
        )
        assert_close(method(rgb)["picture"], before)  # saving changes nothing
    assert again.card.method == "autoencoder"


def test_other_methods_decode_by_the_saved_folder(tmp_path):
    method, rgb = made().eval(), torch.rand(1, 3, 16, 24) * 2 - 1
    method.save(tmp_path / "latents", fp16=True)
    network = weights.load_network(tmp_path / "latents" / "vae", weights.AUTOENCODERS)
    assert next(network.parameters()).dtype == torch.float32
    with torch.inference_mode():
        rebuilt = latent.decode(network, latent.encode(network, rgb)).clamp(-1, 1)
        assert_close(rebuilt, method(rgb)["picture"], rtol=0, atol=5e-3)  # weights were rounded to float16


def test_it_predicts_no_geometry(tmp_path):
    made().save(tmp_path / "latents")
    with pytest.raises(KindError, match="gives pictures, no geometry"):
        predict.load(tmp_path / "latents", device="cpu")
