"""Every published model's architecture at tiny size, found by its name: its card says what comes out."""

from __future__ import annotations

import huggingface_hub
import numpy as np
import published
import pytest
import torch
from numpy.testing import assert_allclose

import leadline
from leadline import cards
from leadline.methods import METHODS
from leadline.prediction import Kind

NAMES = [name for name in cards.names() if not cards.is_bundled(name)]
RES = 32  # pixels; networks of 14-pixel patches take 42


def architecture(name: str) -> str:
    """What makes one model work otherwise than another; sizes of encoders do not, all are tiny here."""
    card = cards.get(name)
    config = {key: value for key, value in card.config.items() if key != "encoder"}
    return repr((card.method, card.kind, card.frame, sorted(config.items())))


DISTINCT = list({architecture(name): name for name in NAMES}.values())
NORMALS = [name for name in NAMES if cards.get(name).kind is Kind.normals]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The hub's cache with every published model."""
    home = tmp_path_factory.mktemp("hub")
    folder = published.stable_diffusion(home / "diffusion")
    for card in map(cards.get, NAMES):
        if card.method == "depth-anything":
            own = published.transformers(home / card.name, card.config)
            published.into_cache(card, own, home)
        elif card.method == "primedepth":
            own = published.primedepth(home / card.name, card.config)
            published.into_cache(card, own, home)
        elif card.method == "geowizard":
            own = published.geowizard(home / card.name, card.config["version"])
            published.into_cache(card, own, home)
        else:
            published.into_cache(card, folder, home)
    published.into_cache(cards.PRIORS["stable-diffusion-2"], folder, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home))
        yield home


def load(name, **options):
    if cards.get(name).method not in METHODS:
        pytest.skip(f"needs the method {cards.get(name).method}")
    return leadline.load(name, device="cpu", **options)


def predict(model, images, **options):
    """At 32 pixels, in two steps where there can be several."""
    several = {"steps": 2, "ensemble_size": 1} if model.method.steps else {}
    return model(images, processing_res=RES, **several, **options)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (35, 50, 3), np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_comes_out(name):
    model, card = load(name), cards.get(name)
    result = predict(model, picture())
    assert result.kind is card.kind is model.kind
    assert result.values.shape == (35, 50, 3)[: 3 if card.kind is Kind.normals else 2]
    assert result.values.dtype == np.float32
    assert (result.model, result.revision) == (name, published.COMMIT)
    if card.kind is Kind.normals:
        assert_allclose(np.linalg.norm(result.values, axis=-1), 1, atol=1e-5)
    else:
        assert 0 <= result.values.min() <= result.values.max() <= card.config.get("max_depth_m", 1)


@pytest.mark.parametrize("name", DISTINCT)
def test_the_same_again_alone_in_a_batch_and_after_saving(name, tmp_path):
    model = load(name)
    one, other = picture(), picture(1)
    alone = predict(model, one).values
    assert np.array_equal(predict(model, one).values, alone)
    second, first = predict(model, [other, one], batch_size=2)
    scale = np.ptp(alone)
    assert_allclose(first.values, alone, atol=1e-4 * scale)
    assert np.abs(second.values - alone).max() > 1e-3 * scale
    model.method.save(tmp_path)
    again = predict(leadline.load(tmp_path, device="cpu"), one)
    assert_allclose(again.values, alone, atol=1e-4 * scale)


@pytest.mark.parametrize("name", DISTINCT)
def test_bfloat16_is_near_float32(name):
    full = predict(load(name), picture()).values
    half = predict(load(name, dtype="bfloat16"), picture()).values
    assert half.dtype == np.float32
    assert np.abs(half - full).mean() < 0.05 * np.ptp(full)


@pytest.mark.parametrize("name", NORMALS)
def test_walls_floors_and_ceilings_look_where_they_should(name):
    """The decoder's constant output, in the frame of the card's makers, against OpenCV's."""
    model = load(name)
    right = -1.0 if cards.get(name).frame == "e2e_ft" else 1.0  # theirs has x to the left
    scene = {  # network's frame, y up and z towards the viewer -> OpenCV
        "wall ahead": ((0, 0, 1), (0, 0, -1)),
        "floor": ((0, 1, 0), (0, -1, 0)),
        "ceiling": ((0, -1, 0), (0, 1, 0)),
        "wall on the left": ((right, 0, 0), (1, 0, 0)),
    }
    last = model.method.autoencoder.decoder.conv_out
    last.weight.zero_()
    for what, (seen, expected) in scene.items():
        last.bias.copy_(torch.tensor(seen))
        assert_allclose(predict(model, picture()).values[17, 25], expected, atol=1e-5, err_msg=what)


def test_an_encoded_prompt_given_by_path_takes_the_encoders_place(tmp_path):
    text = np.random.default_rng(0).standard_normal((2, 24)).astype(np.float32)
    np.save(tmp_path / "text.npy", text)
    own = load("marigold-e2e-ft-depth", empty_text=tmp_path / "text.npy")
    assert np.array_equal(own.method.empty_text[0].numpy(), text)
    assert not np.array_equal(
        own(picture(), processing_res=RES).values, predict(load(own.card.name), picture()).values
    )


JOINT = [name for name in NAMES if cards.get(name).method == "geowizard"]


@pytest.mark.parametrize("name", JOINT)
def test_joint_models_give_depth_and_normals_either_first(name):
    first = predict(load(name), picture(), also=["normals"])
    second = predict(load(name, task="normals"), picture(), also=["depth"])
    for depth, normals in ((first, first.also["normals"]), (second.also["depth"], second)):
        assert depth.kind is Kind.affine_depth
        assert normals.kind is Kind.normals
        assert normals.values.shape == (35, 50, 3)
    assert_allclose(second.values, first.also["normals"].values, atol=1e-3)
    assert_allclose(second.also["depth"].values, first.values, atol=1e-4)


@pytest.mark.parametrize("name", JOINT)
def test_joint_models_are_told_the_domain(name):
    one, other = (
        predict(load(name, config={"domain": domain}), picture()) for domain in ("indoor", "outdoor")
    )
    assert other.settings["domain"] == "outdoor"
    assert np.abs(one.values - other.values).max() > 1e-3


def test_a_task_that_a_model_does_not_do_is_refused():
    with pytest.raises(
        leadline.LeadlineError, match="marigold-e2e-ft-depth gives affine_depth, which is not"
    ):
        load("marigold-e2e-ft-depth", task="normals")
    with pytest.raises(leadline.LeadlineError, match="did you mean 'normals'"):
        load("geowizard-v1", task="normal")
    with pytest.raises(leadline.LeadlineError, match="did you mean 'domain'"):
        load("geowizard-v1", config={"domian": "outdoor"})
    assert load("marigold-e2e-ft-depth", task="depth").kind is Kind.affine_depth


def test_a_measured_model_has_the_kind_of_its_task():
    from leadline.evaluate import Live

    asked = {"device": "cpu", "task": "normals", "config": {"domain": "outdoor"}}
    live = Live("geowizard-v1", **asked)
    assert live.kind is Kind.normals
    live.start()
    facts = live.facts()
    assert (facts["kind"], facts["target"], facts["domain"]) == ("normals", "normals", "outdoor")
