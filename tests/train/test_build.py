"""A training starts from random weights, or from any model that can be loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import published
import pytest
import tiny
import tiny_primedepth
import torch

import leadline
from leadline import cards, recipe, weights
from leadline.cards import Card
from leadline.errors import DocumentError, WeightsError
from leadline.methods import marigold
from leadline.prediction import Kind
from leadline.train import build

NAME = "marigold-normals-lcm-v0-1"
ID = cards.get(NAME).hub.id


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The hub's cache with one published model, and its folder by itself."""
    home = tmp_path_factory.mktemp("hub")
    folder = published.stable_diffusion(home / "diffusion")
    published.into_cache(cards.get(NAME), folder, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home))
        yield home


def made(start, method="marigold", **more):
    text = {"method": method, "start": str(start), "data": {"scenes": 1}, "steps": 1, **more}
    return build.method(recipe.load(str({"optimiser": {"lr": 1e-3}} | text)))


def starts(cache):
    folder, (snapshot,) = cache / "diffusion", cache.glob("models--*/snapshots/*")
    return [
        (NAME, {}),
        (f"{NAME}@{published.COMMIT}", {}),
        (ID, {}),
        (snapshot, {}),
        (folder, {"card": NAME}),
        (folder, {"card": ID}),
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_training_starts_from_all_that_can_be_loaded(cache, number):
    start, more = starts(cache)[number]
    model, wanted = made(start, **more), leadline.load(start, **more, device="cpu").method
    assert model.config == wanted.config
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), wanted.parameters(), strict=True))


def test_primedepth_begins_on_a_prior_and_goes_on_from_its_own(tmp_path):
    prior = tiny_primedepth.small(alive=False)
    prior.save(tmp_path / "prior")
    shutil.rmtree(tmp_path / "prior" / "primedepth")
    card = Card(name="prior", method="latent-diffusion", kind=Kind.picture, config={"text_tokens": 2})
    cards.write(card, tmp_path / "prior" / "card.yaml")
    options = {"refiner_channels": 16, "classes": 5, "text_tokens": 2}
    new = made(tmp_path / "prior", "primedepth", model=options, seed=3)
    assert torch.equal(new.unet.conv_in.weight, prior.unet.conv_in.weight)
    again = made(tmp_path / "prior", "primedepth", model=options, seed=3).state_dict()
    assert all(torch.equal(x, again[name]) for name, x in new.state_dict().items())
    other = made(tmp_path / "prior", "primedepth", model=options, seed=4)
    assert not torch.equal(new.refiner.fusion[0].merge.weight, other.refiner.fusion[0].merge.weight)
    new.save(tmp_path / "new")
    second = made(tmp_path / "new", "primedepth", model={"segmentation": "keep"})
    assert torch.equal(new.refiner.fusion[0].merge.weight, second.refiner.fusion[0].merge.weight)
    assert not any(p.requires_grad for p in second.segmentation_head.parameters())


def test_a_saved_model_is_gone_on_with(cache, tmp_path):
    made(NAME, model={"noise_strength": 0.5}).save(tmp_path / "model")
    again = made(tmp_path / "model", model={"full_z_range": False})
    assert (again.config.noise_strength, again.config.full_z_range) == (0.5, False)


def test_what_is_trained_is_no_published_model_any_more(cache):
    assert leadline.load(NAME, device="cpu").card.hub.revision == published.COMMIT
    assert made(NAME).card.hub is None


def test_another_method_takes_the_weights_and_what_both_know(cache, tmp_path):
    model = made(NAME, "e2e-ft", model={"train_text_tokens": 77})
    assert (model.config.target, model.config.frame, model.config.noise) == ("normals", "opengl", "zeros")
    assert torch.equal(model.unet.conv_in.weight, made(NAME).unet.conv_in.weight)
    model.save(tmp_path / "tuned")
    assert leadline.load(tmp_path / "tuned", device="cpu").card.method == "e2e-ft"


def test_a_folder_that_nothing_describes_is_named(cache):
    with pytest.raises(WeightsError, match="diffusion has no card.yaml: say with a card"):
        made(cache / "diffusion")
    with pytest.raises(WeightsError, match="did you mean 'marigold-normals-lcm-v0-1'"):
        made(cache / "diffusion", card="marigold-normals-lcm-v01")


def test_nothing_is_downloaded_for_a_training(cache):
    with pytest.raises(WeightsError, match="not on this machine"):
        made("marigold-depth-v1-1")


def test_a_card_without_a_start_is_refused(cache):
    with pytest.raises(DocumentError, match="give start too"):
        recipe.load("{method: e2e-ft, card: small, data: {scenes: 1}, optimiser: {lr: 1e-3}, steps: 1}")


def prior(tmp_path: Path) -> Path:
    """A folder as Stable Diffusion's, whose UNet reads one latent."""
    folder = published.stable_diffusion(tmp_path / "prior")
    shutil.rmtree(folder / "unet")
    weights.save_network(weights.build(tiny.UNET | {"in_channels": 4}, seed=3), folder / "unet")
    return folder


@pytest.mark.parametrize(("method", "share", "bias"), [("marigold", False, 1), ("e2e-ft", True, 0.5)])
def test_a_training_starts_from_stable_diffusion(tmp_path, method, share, bias):
    folder = prior(tmp_path)
    one = weights.load_network(folder / "unet").conv_in
    more = {"card": "stable-diffusion-2", "model": {"share_bias": share, "target": "normals"}}
    model = made(folder, method, **more)
    two = model.unet.conv_in
    assert torch.equal(two.weight, one.weight.repeat(1, 2, 1, 1) / 2)
    assert torch.equal(two.bias, one.bias * bias)
    model.save(tmp_path / "model")
    card = leadline.load(tmp_path / "model", device="cpu").method.card
    assert (card.method, card.kind.value, card.training_data) == (method, "normals", "LAION-5B")
    assert "RAIL" in card.licence


def test_a_prior_that_is_not_here_is_named():
    with pytest.raises(WeightsError, match="stable-diffusion-2 .*not on this machine"):
        made("stable-diffusion-2")


def test_marigold_1_1_has_other_noise_levels_than_what_it_starts_from(tmp_path):
    more = {"card": "stable-diffusion-2", "model": {"zero_snr": True}}
    model = made(prior(tmp_path), **more)
    assert model.schedule.alphas_cumprod[-1] == 0
    model.save(tmp_path / "model")
    assert leadline.load(tmp_path / "model", device="cpu").method.schedule.zero_snr


def test_a_damaged_start_is_one_line(cache, tmp_path):
    folder = shutil.copytree(cache / "diffusion", tmp_path / "model")
    shutil.rmtree(folder / "unet")
    with pytest.raises(WeightsError, match=r"unet.config\.json: cannot be read"):
        made(folder, card=NAME)


def test_a_recipe_says_how_its_model_shall_predict(tmp_path):
    text = {
        "method": "marigold",
        "model": {
            "unet": tiny.PLAIN_UNET | {"in_channels": 24, "out_channels": 12},
            "autoencoder": tiny.BLOCKS | {"factor": 2},
        },
        "defaults": {"steps": 10, "ensemble": 3},
        "data": {"scenes": 1},
        "optimiser": {"lr": 1e-3},
        "steps": 1,
    }
    made = build.method(recipe.load(str(text)))
    assert (made.steps, made.members) == (10, 3)
    made.save(tmp_path)
    again = marigold.Marigold.load(tmp_path)
    assert (again.steps, again.members) == (10, 3)
