"""Latents on disk: the same numbers, encoded once, never those of another picture or autoencoder."""

from __future__ import annotations

import pytest
import tiny
import torch
from training import small_recipe

from leadline import weights
from leadline.errors import DataError, TrainError
from leadline.methods.e2e_ft import E2EFT, Config
from leadline.networks import kept, latent
from leadline.recipe import load
from leadline.train import checkpoint, preflight, train


@pytest.fixture
def autoencoder():
    return weights.build(tiny.AUTOENCODER, seed=1).eval().requires_grad_(False)


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many pictures were encoded, call by call."""
    made: list[int] = []
    plain = latent._encode
    monkeypatch.setattr(latent, "_encode", lambda a, x: (made.append(len(x)), plain(a, x))[1])
    return made


def test_a_picture_is_encoded_once_and_its_latent_is_the_same_to_the_bit(autoencoder, tmp_path, calls):
    x = torch.rand(3, 3, 16, 24)
    expected = torch.cat([latent.encode(autoencoder, picture) for picture in torch.split(x, 1)])
    latent.keep(autoencoder, tmp_path)
    first = latent.encode(autoencoder, x[:2])
    again = latent.encode(autoencoder, x)
    assert torch.equal(first, expected[:2])
    assert torch.equal(again, expected)
    assert calls == [1] * 3 + [1] * 3  # three without, then each once


def test_other_pictures_sizes_and_weights_have_latents_of_their_own(autoencoder, tmp_path, calls):
    latent.keep(autoencoder, tmp_path)
    x = torch.zeros(1, 3, 16, 32)
    for picture in (x, x.reshape(1, 3, 32, 16), x + 1e-6, x.flip(3)):
        latent.encode(autoencoder, picture)
    assert sum(calls) == 3  # mirrored zeros are zeros
    other = weights.build(tiny.AUTOENCODER, seed=2).eval()
    latent.keep(other, tmp_path)
    latent.encode(other, x)
    assert sum(calls) == 4
    with torch.autocast("cpu", torch.bfloat16):
        latent.encode(autoencoder, x)
    assert sum(calls) == 5


def test_another_factor_has_latents_of_its_own_and_another_place_has_not(autoencoder, tmp_path, calls):
    x = torch.rand(1, 3, 16, 16)
    latent.keep(autoencoder, tmp_path)
    first = latent.encode(autoencoder, x)
    autoencoder.register_to_config(_name_or_path="elsewhere")
    latent.keep(autoencoder, tmp_path)
    assert torch.equal(latent.encode(autoencoder, x), first)
    assert sum(calls) == 1
    autoencoder.register_to_config(scaling_factor=2 * autoencoder.config.scaling_factor)
    latent.keep(autoencoder, tmp_path)
    torch.testing.assert_close(latent.encode(autoencoder, x), 2 * first)


def test_a_damaged_file_is_made_again(autoencoder, tmp_path, calls):
    latent.keep(autoencoder, tmp_path)
    x = torch.rand(1, 3, 16, 16)
    expected = latent.encode(autoencoder, x)
    (file,) = tmp_path.rglob("*.npy")
    for damage in (file.read_bytes()[:50], b""):
        file.write_bytes(damage)
        assert torch.equal(latent.encode(autoencoder, x), expected)
    assert isinstance(autoencoder.kept_latents, kept.Latents)


def model(**options) -> E2EFT:
    config = Config(unet=tiny.UNET, autoencoder=tiny.AUTOENCODER, **options)
    return E2EFT.random(config, 0, torch.ones(1, 2, 24))


def test_a_training_is_the_same_with_kept_latents(tmp_path, calls):
    small = [
        "data={ramps: {options: {count: 2, size: [16, 24]}}}",
        "stages={}",
        "steps=2",
        "augment={flip: 0}",
    ]
    few = [*small, "ema.decay=0", "validation={}", "batch.size=1"]
    trained = []
    for name, more in {"plain": [], "first": ["latents=L"], "again": ["latents=L"]}.items():
        calls.clear()
        recipe = small_recipe(*few, *[word.replace("L", str(tmp_path / "latents")) for word in more])
        train(recipe, tmp_path / name, method=model())
        trained.append(checkpoint.load(tmp_path / name / "checkpoints", 2)["weights"])
    assert not calls  # the second training with them encodes nothing
    torch.testing.assert_close(trained[1], trained[0])
    torch.testing.assert_close(trained[2], trained[1], rtol=0, atol=0)


def test_what_makes_new_pictures_forbids_it():
    text = "{method: e2e-ft, data: {scenes: 1}, optimiser: {lr: 1e-3}, steps: 6, latents: here}"
    preflight.check_latents(load(text), model())
    with pytest.raises(DataError, match=r"augment.crop makes a new picture of each one of scenes every time"):
        preflight.check_latents(load(text, ["augment.crop=0.8"]), model())
    with pytest.raises(DataError, match=r"augment.noise"):
        preflight.check_latents(load(text, ["data.scenes={augment: {noise: 0.1}}"]), model())
    with pytest.raises(TrainError, match="no frozen encoder"):
        preflight.check_latents(load(text), model(train_autoencoder=True))
