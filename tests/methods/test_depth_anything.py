"""Depth Anything: the authors' network and preprocessing, transformers' own model, and properties."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
import transformers
from pydantic import ValidationError
from tiny_depth_anything import NETWORK, VARIANTS, authors, card, made, output, pictures
from torch.testing import assert_close

import leadline
from leadline import cards, methods, sizes
from leadline.errors import DataError, DocumentError, ImageError, UsageError, WeightsError
from leadline.methods.depth_anything import MEAN, STD, Config, DepthAnything, silog
from leadline.predict import Model
from leadline.prediction import Kind
from leadline.sizes import SizeRule


def normalised(rgb: torch.Tensor) -> torch.Tensor:
    return ((rgb + 1) / 2 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.fixture(params=VARIANTS)
def model(request) -> DepthAnything:
    return made(**VARIANTS[request.param])


# Equal to transformers and to the authors


@pytest.mark.parametrize("name", ["up", "down"])
def test_equals_transformers_own_model_fed_the_authors_preprocessing(model, name, golden, tmp_path):
    g = golden("geowizard/depth_anything_resize")
    model.save(tmp_path)
    theirs = transformers.AutoModelForDepthEstimation.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        wanted = theirs(pixel_values=g[f"net_input_{name}"][None]).predicted_depth[:, None]
    picture = sizes.prepare(g[f"image_{name}"].numpy(), model.size_rule)
    found = output(model, picture.tensor)
    assert wanted.amax() - wanted.amin() > 1e-3
    assert_close(found, wanted, rtol=1e-5, atol=1e-5)

    wanted = F.interpolate(
        wanted, (picture.height, picture.width), mode="bilinear", align_corners=model.size_rule.corners_out
    )
    values = torch.from_numpy(Model(model, device="cpu")(g[f"image_{name}"].numpy()).values)
    if model.kind is Kind.affine_disparity:
        wanted = (wanted - found.amin()) / (found.amax() - found.amin())
    assert_close(values, wanted[0, 0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("max_depth", [None, 80])
def test_the_authors_files_give_the_authors_output(max_depth, tmp_path):
    theirs = authors(max_depth)
    torch.save(theirs.state_dict(), tmp_path / "depth_anything_v2_vits.pth")
    model = DepthAnything.load(tmp_path, card(**({"max_depth_m": max_depth} if max_depth else {})))
    rgb = pictures(2, 70, 70)
    with torch.inference_mode():
        wanted = theirs(normalised(rgb))
    assert wanted.amax() - wanted.amin() > 1e-3
    assert_close(output(model, rgb), wanted, rtol=1e-5, atol=1e-5)


def test_pictures_come_in_by_the_authors_rule_and_go_back_by_their_versions():
    rule = made(size={}).size_rule
    authors_rule = SizeRule(
        518, "short", "cover", multiple=14, filter="bicubic", antialias=False, filter_out="bilinear"
    )
    assert made(size={}, version=1).size_rule == authors_rule
    assert rule == replace(authors_rule, corners_out=True)
    assert not made(size={}, compat="transformers").size_rule.corners_out
    assert sizes.processed_size(300, 400, rule) == (518, 686)
    with pytest.raises(ImageError, match="1000x1 would be worked on at 518000x518"):
        sizes.processed_size(1, 1000, rule)


@pytest.mark.parametrize("name", ["up", "down"])
def test_preprocessing_of_transformers_is_an_option(name, golden):
    g = golden("geowizard/depth_anything_resize")
    model = made(compat="transformers")
    tensor = sizes.prepare(g[f"image_{name}"].numpy(), model.size_rule).tensor
    difference = (normalised(tensor[0]) - g[f"hf_input_{name}"]).abs()
    assert (difference > 0.03).float().mean() < 0.01  # theirs is also cut to 8 bits between its two passes
    assert difference.max() < 0.2
    assert Model(model, device="cpu")(g[f"image_{name}"].numpy()).settings["preset"] == "transformers"


# Properties


def test_outputs_have_the_kind_size_and_range_that_the_card_says(model):
    value = output(model, pictures(2, 28, 56))
    assert value.shape == (2, 1, 28, 56)
    assert value.min() >= 0
    metric = model.config.max_depth_m
    assert model.kind == model.card.kind == (Kind.metric_depth if metric else Kind.affine_disparity)
    if metric:
        assert value.max() <= metric
        assert value.mean() > metric / 10  # metres, not a share of the range


@pytest.mark.parametrize(("height", "width"), [(1, 3), (17, 60), (45, 31)])
def test_predictions_have_the_pictures_size_and_unit(model, height, width):
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    result = Model(model, device="cpu")(rgb)
    assert result.values.shape == (height, width)
    assert result.kind is model.kind
    if model.kind is Kind.metric_depth:
        assert 0 <= result.metres().min() <= result.metres().max() <= model.config.max_depth_m
        assert result.unit == "metre"
    else:
        assert 0 <= result.values.min() <= result.values.max() <= 1
        assert height == 1 or np.ptp(result.values) > 0.5


def test_bicubic_leaves_no_depth_behind_the_camera():
    model = made(max_depth_m=20, size={"processing_res": 28, "filter_out": "bicubic"})
    edge = torch.zeros(1, 1, 28, 28)
    edge[..., 14:] = 20
    model.forward = lambda *_, **__: {"depth": edge}
    assert Model(model, device="cpu")(np.zeros((99, 99, 3), np.uint8)).values.min() == 0


def test_alone_equals_in_a_batch(model):
    rgb = pictures(3)
    together = output(model, rgb)
    for i in range(3):
        assert_close(together[i : i + 1], output(model, rgb[i : i + 1]), rtol=1e-5, atol=1e-5)


def test_before_equals_after_saving(model, tmp_path):
    model.save(tmp_path / "model")
    again = DepthAnything.load(tmp_path / "model")
    rgb = pictures()
    assert torch.equal(output(model, rgb), output(again, rgb))
    assert again.config == model.config.model_copy(update={"network": {}})
    assert again.size_rule == model.size_rule
    assert cards.read(tmp_path / "model" / "card.yaml").parameters == sum(
        p.numel() for p in model.parameters()
    )
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "card.yaml",
        "config.json",
        "model.safetensors",
    }


def test_half_precision_files_change_little(model, tmp_path):
    model.save(tmp_path, fp16=True)
    rgb = pictures()
    full, half = output(model, rgb), output(DepthAnything.load(tmp_path), rgb)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.05 * full.max()


def test_half_precision_runs(model):
    rgb = pictures()
    full, half = output(model, rgb), output(model.bfloat16(), rgb.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half - full).abs().max() < 0.1 * full.max()


def test_no_global_random_state_is_touched(tmp_path):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    model = DepthAnything.random(Config(network=NETWORK))
    model.loss(tiny.batch(2, 28, 42))
    model.save(tmp_path)
    DepthAnything.load(tmp_path)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()


def test_the_seed_decides_about_random_weights():
    one, same, other = (
        DepthAnything.random(Config(network=NETWORK), seed).state_dict()["network.head.conv1.weight"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# Training


def test_gradient_reaches_all_that_is_read(model):
    model.train().loss(tiny.batch(2, 28, 42)).total.backward()
    without = {name for name, p in model.network.named_parameters() if p.grad is None or not p.grad.any()}
    # masks are for pretraining; the coarsest fusion has nothing to join
    assert all("mask_token" in name or "fusion_stage.layers.0.residual_layer1" in name for name in without)


@pytest.mark.parametrize("empty", ["one", "all"])
def test_empty_masks_are_harmless(model, empty):
    batch = tiny.batch(2, 28, 42)
    batch.valid[0 if empty == "one" else slice(None)] = False
    loss = model.loss(batch)
    loss.total.backward()
    assert loss.total.isfinite()
    assert (loss.total == 0) == (empty == "all")
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_silog_is_the_authors_formula_and_harmless_at_zero():
    pred, target, valid = (
        torch.rand(2, 1, 5, 6) + 0.1,
        torch.rand(2, 1, 5, 6) + 0.1,
        torch.rand(2, 1, 5, 6) > 0.3,
    )
    d = target[valid].log() - pred[valid].log()
    assert_close(silog(pred, target, valid), (d.pow(2).mean() - 0.5 * d.mean().pow(2)).sqrt())
    spoiled = torch.where(valid, target, torch.nan)
    assert_close(silog(pred, spoiled, valid), silog(pred, target, valid))
    pred = target.clone().requires_grad_()
    silog(pred, target, valid).backward()
    assert (pred.grad == 0).all()


def test_depth_beyond_the_range_is_not_trained_on():
    model, batch = made(max_depth_m=20), tiny.batch(2, 28, 42)
    before = model.loss(batch).total
    batch.depth_m[~batch.valid] = 5
    batch.valid[:] = True
    batch.depth_m[:, :, :9] = 30
    changed = model.loss(batch).total
    batch.depth_m[:, :, :9] = torch.inf
    assert model.loss(batch).total == changed != before


@pytest.mark.parametrize(
    ("options", "kind"), [({}, "affine_disparity"), ({"max_depth_m": 20}, "metric_depth")]
)
def test_another_models_words_of_its_kind_teach_it_as_depths_do(options, kind):
    model, batch = made(**options), tiny.batch(2, 28, 42)
    batch.depth_m.clamp_(1, 19)
    batch.valid[:] = True
    wanted = model.loss(batch).total
    batch.pseudo = batch.depth_m if options else 1 / batch.depth_m
    batch.depth_m, batch.pseudo_kind = None, Kind(kind)
    assert_close(model.loss(batch).total, wanted, rtol=1e-4, atol=0)


def test_a_batch_without_depth_is_refused():
    batch = tiny.batch(2, 28, 42)
    batch.depth_m = None
    with pytest.raises(DataError, match="the batch has no depth"):
        made().loss(batch)


# Cards, options, refusals


def test_options_replace_entries_of_the_card(tmp_path):
    made().save(tmp_path)
    assert DepthAnything.load(tmp_path, compat="transformers").preset.name == "transformers"
    assert leadline.load(tmp_path, compat="transformers", device="cpu").method.preset.name == "transformers"
    with pytest.raises(UsageError, match="preset 'diffusers' is unknown: known are leadline, transformers"):
        leadline.load(tmp_path, compat="diffusers", device="cpu")
    with pytest.raises(DocumentError, match="did you mean 'compat'"):
        DepthAnything.load(tmp_path, compatt="transformers")


def test_the_method_is_known_by_its_name():
    assert methods.get("depth-anything") == (DepthAnything, Config)


def test_a_card_of_another_kind_or_range_is_refused(tmp_path):
    made(max_depth_m=20).save(tmp_path)
    for wrong in ({}, {"max_depth_m": 80}):
        with pytest.raises(WeightsError, match=r"range ends at 20 m, its card's at (None|80) m"):
            DepthAnything.load(tmp_path, card(**wrong))
    with pytest.raises(WeightsError, match="card says affine_disparity, its config makes metric_depth"):
        DepthAnything.load(tmp_path, card().model_copy(update={"config": {"max_depth_m": 20}}))


@pytest.mark.parametrize(
    "wrong", [{"size": {"edge_": 1}}, {"size": {"processing_res": -1}}, {"max_depth_m": 0}]
)
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValidationError):
        Config(**wrong)
