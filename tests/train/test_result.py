"""Finished models: a folder that others read, and a card that says where it comes from."""

from __future__ import annotations

import shutil
import warnings

import diffusers
import numpy as np
import published
import pytest
import torch
from PIL import Image

import leadline
from leadline import cards, recipe
from leadline.train import build, result, train

ONE_STEP = {  # what these recipes share
    "data": {"scenes": {"options": {"count": 2, "seed": 1}, "sizes": [[32, 48]]}},
    "optimiser": {"lr": 1e-4},
    "steps": 1,
    "every": {"validate": 0, "sample": 0},
    "workers": 0,
    "device": "cpu",
}


@pytest.mark.parametrize(
    ("method", "target", "pipeline"),
    [
        ("marigold", "depth", "MarigoldDepthPipeline"),
        ("e2e-ft", "depth", "MarigoldDepthPipeline"),
        ("e2e-ft", "normals", "MarigoldNormalsPipeline"),
    ],
)
def test_diffusers_reads_what_was_trained_and_predicts_the_same(method, target, pipeline, tmp_path):
    """Without a word about text: its encoder is that of the start."""
    start = published.stable_diffusion(tmp_path / "start")
    (start / "tokenizer/tokenizer_config.json").write_text(
        '{"model_max_length": 77}'
    )  # as published ones have
    text = {
        "method": method,
        "start": str(start),
        "card": "marigold-normals-v1-1" if target == "normals" else "marigold-depth-v1-1",
        "model": {"target": target, "size": {"processing_res": 40}},
        "defaults": {"steps": 2, "ensemble": 1},
    } | ONE_STEP
    model = train(recipe.load(str(text)), tmp_path / "run").model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = diffusers.DiffusionPipeline.from_pretrained(model)
    assert type(pipe).__name__ == pipeline
    rgb = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    ours = leadline.load(model, device="cpu", compat="diffusers")(rgb, seed=5)
    noise = torch.randn((1, 4, 4, 5), generator=torch.Generator().manual_seed(5))
    latents = noise if method == "marigold" else torch.zeros_like(noise)
    theirs = pipe(Image.fromarray(rgb), latents=latents, match_input_resolution=True).prediction[0]
    found = ours.normals * np.array([1, -1, -1]) if target == "normals" else ours.depth[..., None]
    off = np.abs(theirs - found)
    if target == "depth":
        assert off.max() < 1e-4
    else:  # diffusers cuts what the decoder says to [-1,1] before it makes unit vectors, E2E-FT does not
        assert np.quantile(off, 0.9) < 1e-4


def test_a_start_that_is_gone_at_the_end_costs_its_words_alone(tmp_path):
    start = published.stable_diffusion(tmp_path / "start")
    text = {
        "method": "marigold",
        "start": str(start),
        "card": "marigold-depth-v1-1",
    } | ONE_STEP
    chosen = recipe.load(str(text))
    method = build.method(chosen)
    shutil.rmtree(start)
    outcome = train(chosen, tmp_path / "run", method=method)
    assert outcome.finished
    assert (outcome.model / "README.md").is_file()
    assert not (outcome.model / "text_encoder").exists()
    leadline.load(outcome.model, device="cpu")


def test_a_card_says_what_it_was_made_from_and_nothing_of_what_that_was_good_for(tmp_path):
    text = {
        "method": "e2e-ft",
        "start": "small",
        "licence": "CC-BY-NC-SA-3.0",
        "terms": "trained on street scenes that are not for sale",
        "model": {"target": "normals", "frame": "opencv", "loss": "paper", "log_weight": 0},
    } | ONE_STEP
    chosen = recipe.load(str(text))
    start = cards.get("small")
    assert start.limits
    folder = result.save(build.method(chosen), tmp_path / "model", chosen, 1, "mine")
    card = cards.read(folder / "card.yaml")
    assert (card.name, card.licence, card.terms) == ("mine", chosen.licence, chosen.terms)
    assert card.summary == "normals by e2e-ft, trained from small"
    assert card.training_data == f"{start.training_data}; then scenes"
    assert (card.limits, card.intended_use, card.results) == ("", "", {})
    assert chosen.terms in (folder / "README.md").read_text()
    plain = chosen.model_copy(update={"licence": None, "terms": ""})
    again = result.save(build.method(plain), tmp_path / "again", plain, 1, "other")
    assert cards.read(again / "card.yaml").licence == start.licence
