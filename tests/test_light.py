"""A light autoencoder takes the place of a model's own, and says what that costs."""

from __future__ import annotations

import gc
import json
import logging
import re
import weakref

import huggingface_hub
import numpy as np
import pytest
import tiny
import tiny_marigold
import torch
from PIL import Image

import leadline
from leadline import cli, light, weights
from leadline.cards import Hub
from leadline.errors import UsageError, WeightsError
from leadline.hub import on_disk
from leadline.light import Light
from leadline.predict import Model
from leadline.prediction import Kind, Prediction

TAESD = tiny.TINY_AUTOENCODER | {  # the published one in small: it shrinks as much as the large one
    "encoder_block_out_channels": [8] * 4,
    "decoder_block_out_channels": [8] * 4,
    "num_encoder_blocks": [1] * 4,
    "num_decoder_blocks": [1] * 4,
}
COST = (
    r"array: autoencoder tiny takes [\d.e-]+ s, the model's own [\d.e-]+ s; "
    r"the result differs by [\d.]+ % of its range on average, [\d.]+ % at most"
)


def autoencoder(**changes):
    network = weights.build(TAESD | changes)
    tiny.fill(network, "light.")
    return Light("tiny", network)


MODELS = {
    "e2e-ft": tiny.published,
    "e2e-ft normals": lambda: tiny.published(target="normals"),
    "marigold": tiny_marigold.published,
    "marigold, released program": lambda: tiny_marigold.published(compat="marigold-v1.1"),
}


def photo(seed=0, size=(34, 45)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def with_light(method, **options):
    return Model(method, device="cpu", vae=autoencoder(), **options)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fast", [True, False])
def test_results_are_the_light_autoencoders(name, fast):
    method = MODELS[name]()
    wanted = Model(method.with_autoencoder(autoencoder().network), device="cpu", fast=fast)
    own, model = Model(MODELS[name](), device="cpu", fast=fast), with_light(method, fast=fast)
    for seed in (0, 1):
        found = model(photo(seed), processing_res=0)
        assert np.array_equal(found.values, wanted(photo(seed), processing_res=0).values)
        assert np.abs(found.values - own(photo(seed), processing_res=0).values).mean() > 0.01


def test_one_line_says_what_it_costs_with_the_first_picture(caplog):
    model, own = with_light(tiny.published()), Model(tiny.published(), device="cpu")
    first, *_ = [model(photo(seed), processing_res=0) for seed in (0, 1, 2)]
    (line,) = [record.message for record in caplog.records]
    assert re.fullmatch(COST, line)
    assert light.difference(own(photo(), processing_res=0), first) in line


def test_normals_differ_in_degrees():
    straight, turned = (
        Prediction(np.array([[[0, np.sin(a), -np.cos(a)]]], np.float32), Kind.normals) for a in (0, 0.1)
    )
    assert light.difference(straight, turned) == "5.73 degrees on average, 5.73 at most"
    assert light.difference(turned, turned) == "0 degrees on average, 0 at most"


def test_maps_without_a_range_are_compared_too():
    flat = Prediction(np.ones((2, 2), np.float32), Kind.affine_depth)
    assert light.difference(flat, flat) == "0 % of its range on average, 0 % at most"


def test_the_models_own_autoencoder_is_freed_after_the_first_picture():
    method = tiny.published()
    own, model = weakref.ref(method.autoencoder), with_light(method)
    del method
    model(photo(), processing_res=0)
    gc.collect()
    assert own() is None
    assert all(x.isfinite().all() for x in model.network.parameters())


def test_batches_and_ensembles_are_predicted_as_without_it():
    one, other = with_light(tiny_marigold.published()), with_light(tiny_marigold.published())
    options = {"processing_res": 0, "ensemble_size": 2, "uncertainty": True}
    together = list(one([photo(seed) for seed in range(3)], batch_size=3, **options))
    for seed, found in enumerate(together):
        alone = other(photo(seed), **options)
        np.testing.assert_allclose(found.values, alone.values, atol=1e-3)
        assert found.uncertainty is not None


def test_the_record_names_it(tmp_path):
    assert with_light(tiny.published())(photo(), processing_res=0).settings["vae"] == "tiny"
    assert "vae" not in Model(tiny.published(), device="cpu")(photo(), processing_res=0).settings


def test_a_picture_too_large_for_the_models_own_is_still_predicted(monkeypatch, caplog):
    method = tiny.published()

    def too_large(*_, **__):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(method, "forward", too_large)
    monkeypatch.setattr(method, "for_prediction", lambda *_: method)
    result = with_light(method)(photo(), processing_res=0)
    assert np.isfinite(result.values).all()
    assert "autoencoder tiny is not compared, the model's own fails: array: not enough memory" in caplog.text


def test_a_picture_that_cannot_be_read_is_not_the_first(caplog, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    results = list(with_light(tiny.published()).stream([tmp_path / "broken.png", photo()], processing_res=0))
    assert isinstance(results[1], Prediction)
    assert "autoencoder tiny takes" in caplog.text


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"latent_channels": 16}, "makes 16 channels at 1/8 of the picture, the model's own 4 at 1/8"),
        (tiny.TINY_AUTOENCODER, "makes 4 channels at 1/2 of the picture, the model's own 4 at 1/8"),
    ],
)
def test_autoencoders_of_other_latents_are_refused(changes, found):
    with pytest.raises(WeightsError, match=found) as error:
        Model(tiny.published(), device="cpu", vae=autoencoder(**changes))
    assert "\n" not in str(error.value)


def test_models_without_an_autoencoder_refuse_one():
    from tiny_depth_anything import made

    with pytest.raises(UsageError, match="has no autoencoder: leave out vae"):
        Model(made(), device="cpu", vae=autoencoder())


@pytest.fixture
def published(tmp_path, monkeypatch):
    """TAESD in the hub's cache, and a model's folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    home = tmp_path / "hub/models--madebyollin--taesd"
    weights.save_network(autoencoder().network, home / "snapshots" / ("a" * 40))
    (home / "refs").mkdir()
    (home / "refs/main").write_text("a" * 40)
    tiny.published().save(tmp_path / "model")
    return tmp_path / "model", on_disk(Hub(id="madebyollin/taesd"))


def test_it_is_named_as_models_are(published):
    folder, taesd = published
    named = {str(name): leadline.load(folder, device="cpu", vae=name) for name in ("tiny", taesd)}
    first, second = (model(photo(), processing_res=0) for model in named.values())
    assert np.array_equal(first.values, second.values)
    assert first.settings["vae"] == f"tiny (madebyollin/taesd at {'a' * 40})"
    with pytest.raises(UsageError, match="autoencoder 'huge' is unknown, and no folder: known are tiny"):
        leadline.load(folder, device="cpu", vae="huge")


def test_the_command_prints_what_it_costs(published, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("leadline"), "propagate", False)  # pytest would swallow the line
    folder, _ = published
    Image.fromarray(photo()).save(tmp_path / "a.png")
    words = ["predict", tmp_path / "a.png", "-o", tmp_path / "out", "-m", folder, "--vae"]
    assert cli.main([str(word) for word in [*words, "tiny"]]) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "autoencoder tiny (madebyollin" in line]
    assert len(lines) == 1
    assert json.loads((tmp_path / "out/a.json").read_text())["settings"]["vae"].startswith("tiny")
    assert cli.main([str(word) for word in [*words, "tinny"]]) == 2
    assert "did you mean 'tiny'" in capfd.readouterr().err
