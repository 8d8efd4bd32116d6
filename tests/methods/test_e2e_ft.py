"""E2E-FT: what holds for every model of this method, its files, and what it refuses."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import tiny
import torch
from pydantic import ValidationError
from tiny import seeded
from torch.testing import assert_close

from leadline import coding, losses, methods
from leadline.cards import Card
from leadline.errors import DataError, DocumentError, LeadlineError, ShapeError, UsageError, WeightsError
from leadline.methods import Method
from leadline.methods.e2e_ft import E2EFT, Config
from leadline.prediction import Kind
from leadline.sizes import SizeRule

MODELS = {
    "published": partial(tiny.published),
    "normals": partial(tiny.published, target="normals"),
    "gaussian": partial(tiny.published, noise="gaussian"),
    "small": tiny.small,
    "light": partial(
        tiny.small,
        unet=tiny.PLAIN_UNET | {"in_channels": 8, "out_channels": 4},
        autoencoder=tiny.TINY_AUTOENCODER,
        noise="zeros",
        target="depth",
        loss="paper",
    ),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def test_output_has_the_pictures_size_and_the_promised_range(model):
    rgb = torch.rand(2, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        out = model(rgb, generators=seeded(0, 1))
    ((name, value),) = out.items()
    assert (
        model.kind == {"depth": "affine_depth", "disparity": "affine_disparity", "normals": "normals"}[name]
    )
    if name == "normals":
        assert_close(value.norm(dim=1), torch.ones(2, 32, 48))
    else:
        assert value.shape == (2, 1, 32, 48)
        assert model.config.clamp is False or value.abs().max() <= 1


def test_alone_equals_in_a_batch(model):
    rgb = torch.rand(3, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (together,) = model(rgb, generators=seeded(0, 1, 2)).values()
        for i in range(3):
            (alone,) = model(rgb[i : i + 1], generators=seeded(i)).values()
            atol = 1e-4 if model.kind is Kind.normals else 2e-5  # short vectors are made long
            assert_close(together[i : i + 1], alone, rtol=0, atol=atol)


def test_channels_last_changes_rounding_only(model):
    rgb = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (plain,) = model(rgb, generators=seeded(0)).values()
        model.to(memory_format=torch.channels_last)
        (turned,) = model(rgb.to(memory_format=torch.channels_last), generators=seeded(0)).values()
    assert_close(turned, plain, rtol=0, atol=1e-4)


@pytest.mark.parametrize("trainer", [False, True])
def test_before_equals_after_saving(model, tmp_path, trainer):
    model.train(trainer).save(tmp_path / "model")
    again = E2EFT.load(tmp_path / "model")
    rgb = torch.rand(2, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (before,) = model.eval()(rgb, generators=seeded(0, 1)).values()
        (after,) = again.eval()(rgb, generators=seeded(0, 1)).values()
    assert torch.equal(before, after)
    assert again.config == model.config.model_copy(update={"unet": {}, "autoencoder": {}})
    assert again.schedule == model.schedule
    assert again.size_rule == model.size_rule
    assert again.card.parameters == sum(p.numel() for p in model.parameters())


def test_half_precision_files_change_little(model, tmp_path):
    model.save(tmp_path, fp16=True)
    rgb = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (full,) = model(rgb, generators=seeded(0)).values()
        (half,) = E2EFT.load(tmp_path).eval()(rgb, generators=seeded(0)).values()
    assert 0 < (half - full).abs().max() < 0.05 * (full.amax() - full.amin())


def test_gradient_reaches_the_whole_unet_and_nothing_frozen(model):
    model.train().loss(tiny.batch(), seeded(0)[0]).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.unet.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.autoencoder.parameters())


@pytest.mark.parametrize("config", [tiny.AUTOENCODER, tiny.TINY_AUTOENCODER])
def test_an_autoencoder_can_be_trained_along(config):
    unet = tiny.PLAIN_UNET | {"in_channels": 4, "out_channels": 4}
    model = tiny.small(unet=unet, autoencoder=config, train_autoencoder=True).train()
    model.loss(tiny.batch()).total.backward()
    trained = [
        name for name, p in model.autoencoder.named_parameters() if p.grad is not None and p.grad.any()
    ]
    assert {name.split(".")[0] for name in trained} >= {"encoder", "decoder"}
    assert model.autoencoder.training
    assert not tiny.small(unet=unet, autoencoder=config).train().autoencoder.training


@pytest.mark.parametrize("config", [tiny.AUTOENCODER, tiny.TINY_AUTOENCODER])
def test_the_decoder_alone_can_be_tuned(config):
    """Tab. A-2: latents stay what the UNet knows."""
    unet = tiny.PLAIN_UNET | {"in_channels": 4, "out_channels": 4}
    model = tiny.small(unet=unet, autoencoder=config, train_autoencoder="decoder").train()
    model.loss(tiny.batch()).total.backward()
    trained = {
        name for name, p in model.autoencoder.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert {name.split(".")[0] for name in trained} - {"post_quant_conv"} == {"decoder"}
    assert all(p.requires_grad == (name in trained) for name, p in model.autoencoder.named_parameters())


@pytest.mark.parametrize("empty", ["one", "all"])
def test_empty_masks_are_harmless(model, empty):
    batch = tiny.batch()
    batch.valid[0 if empty == "one" else slice(None)] = False
    loss = model.train().loss(batch, seeded(0)[0])
    loss.total.backward()
    assert loss.total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.unet.parameters())
    assert (loss.total == 0) == (empty == "all")


@pytest.mark.parametrize("target", ["depth", "disparity"])
def test_infinite_depth_is_far_disparity_and_no_depth(target):
    model = tiny.small(target=target, loss="paper", clamp=True)
    batch = tiny.batch()
    batch.valid[:] = True
    batch.depth_m = batch.depth_m.clamp(min=1)
    batch.depth_m[:, :, :8] = torch.inf
    wanted, valid = model._wanted(batch)
    assert wanted[valid].isfinite().all()
    assert valid[:, :, :8].all() == (target == "disparity")
    assert valid[:, :, 8:].all()
    assert model.loss(batch).total.isfinite()


@pytest.mark.parametrize("option", ["checkpoint_unet", "checkpoint_autoencoder"])
def test_recomputed_activations_change_no_gradient(option):
    gradients = []
    for value in (False, True):
        model = tiny.published(**{option: value}).train()
        model.loss(tiny.batch()).total.backward()
        gradients.append([p.grad for p in model.unet.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_recomputation_of_a_trained_decoder_saves_memory():
    kept = []
    for value in (False, True):
        sizes_kept = []
        model = tiny.published(checkpoint_autoencoder=value, train_autoencoder=True).train()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, s=sizes_kept: s.append(x.numel()) or x, lambda x: x
        ):
            model.loss(tiny.batch(1, 64, 64))
        kept.append(sum(sizes_kept))
    assert kept[1] < 0.6 * kept[0]


def test_clamped_values_get_no_gradient():
    decoded = (
        torch.tensor([-3.0, -0.5, 0.5, 3.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2).clone().requires_grad_()
    )
    tiny.small(target="depth", clamp=True).head(decoded).sum().backward()
    assert decoded.grad[0, 0].flatten().tolist() == pytest.approx([0, 1 / 3, 1 / 3, 0])


def test_noise_of_training_follows_from_the_generator():
    model, batch = tiny.published(noise="pyramid"), tiny.batch()
    one, same, other = (model.loss(batch, seeded(seed)[0]).total for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_no_global_random_state_is_touched(model, tmp_path):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    model.loss(tiny.batch(), seeded(0)[0])
    model.save(tmp_path)
    E2EFT.load(tmp_path)
    tiny.small()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()


def test_training_may_follow_prediction():
    model = tiny.published()
    with torch.inference_mode():
        model(torch.zeros(1, 3, 16, 16))
    model.loss(tiny.batch()).total.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.unet.parameters())


def test_a_unet_without_text_ignores_it():
    model, rgb = tiny.small(), torch.rand(1, 3, 16, 16)
    assert torch.equal(model(rgb, text=torch.rand(1, 2, 24))["disparity"], model(rgb)["disparity"])


def test_text_of_training_may_be_longer_than_of_prediction():
    model, batch = tiny.published(train_text_tokens=77), tiny.batch()
    seen = []
    model.unet.register_forward_pre_hook(lambda _, args: seen.append(args[2].shape[1]))
    model.loss(batch)
    model(batch.rgb)
    assert seen == [77, 2]


def test_the_loss_of_half_precision_is_taken_in_float32():
    model, batch = tiny.small(), tiny.batch()
    with torch.autocast("cpu", torch.bfloat16):
        pred, loss = model(batch.rgb)["disparity"], model.loss(batch)
    assert pred.dtype == torch.bfloat16
    expected = losses.midas(pred.float(), *coding.disparity(batch.depth_m, batch.valid))
    assert torch.equal(loss.total, expected.total)


def test_sizes_fit_the_networks():
    assert tiny.published().size_rule == SizeRule(768, multiple=8, pad="replicate")
    assert tiny.published(compat="e2e-ft").size_rule.multiple == 1
    rule = tiny.small(size={"processing_res": 384, "multiple": 12}).size_rule
    assert (rule.processing_res, rule.multiple) == (384, 24)


def test_maps_without_bounds_are_stretched():
    assert tiny.small().preset.stretch
    assert not tiny.published().preset.stretch


def test_normals_are_turned_into_the_opencv_frame():
    rgb = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        cv, gl, ft = (
            tiny.published(target="normals", frame=f)(rgb)["normals"] for f in ("opencv", "opengl", "e2e_ft")
        )
    assert_close(gl, cv * torch.tensor([1, -1, -1]).view(1, 3, 1, 1))
    assert_close(ft, -cv)


# Files


def test_a_folder_says_what_it_holds(tmp_path):
    tiny.published(target="normals", frame="opengl", size={"processing_res": 512}).save(tmp_path)
    again = E2EFT.load(tmp_path)
    assert again.card.kind is Kind.normals
    assert again.card.frame == again.config.frame == "opengl"
    assert again.card.size_rule == {"processing_res": 512}
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        "card.yaml", "model_index.json", "empty_text.safetensors", "scheduler/scheduler_config.json",
        "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
    }  # fmt: skip


def test_a_folder_without_a_card_takes_one(tmp_path):
    tiny.published().save(tmp_path)
    (tmp_path / "card.yaml").unlink()
    with pytest.raises(LeadlineError, match=r"card\.yaml"):
        E2EFT.load(tmp_path)
    card = Card(
        name="given", method="e2e-ft", kind=Kind.normals, frame="e2e_ft", config={"target": "normals"}
    )
    assert E2EFT.load(tmp_path, card).config.frame == "e2e_ft"


def test_options_replace_entries_of_the_card(tmp_path):
    tiny.small().save(tmp_path)
    assert E2EFT.load(tmp_path, loss="paper", gradient_weight=2).config.loss == "paper"
    with pytest.raises(DocumentError, match="did you mean 'gradient_weight'"):
        E2EFT.load(tmp_path, gradient_weigth=2)


def test_saving_twice_replaces(tmp_path):
    tiny.small().save(tmp_path)
    other = E2EFT.random(
        Config(**{**tiny.SMALL, "unet": tiny.PLAIN_UNET, "autoencoder": tiny.BLOCKS}), seed=9
    )
    other.save(tmp_path)
    assert torch.equal(E2EFT.load(tmp_path).unet.conv_in.weight, other.unet.conv_in.weight)


# Refusals


def test_a_batch_without_truth_is_refused():
    batch = tiny.batch()
    batch.depth_m = batch.normals = None
    for target in ("depth", "normals"):
        with pytest.raises(DataError, match=f"no {target}"):
            tiny.published(target=target).loss(batch)


def test_a_missing_empty_prompt_is_named():
    networks = tiny.published()
    with pytest.raises(WeightsError, match="0 tokens"):
        E2EFT(Config(), networks.unet, networks.autoencoder)
    with pytest.raises(WeightsError, match="needs 77"):
        E2EFT(Config(text_tokens=77), networks.unet, networks.autoencoder, empty_text=networks.empty_text)


def test_noise_without_generators_is_refused():
    with pytest.raises(UsageError, match="one generator each"):
        tiny.published(noise="gaussian")(torch.zeros(1, 3, 16, 16))


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError):
        tiny.small()(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize(
    "options",
    [
        {"target": "normals", "loss": "midas"},
        {"target": "height"},
        {"compat": "e2e"},
        {"size": {"processing_size": 512}},
        {"size": {"multiple": 0}},
        {"unknown": 1},
    ],
)
def test_impossible_configs_are_refused(options):
    with pytest.raises(ValidationError):
        Config(**options)


def test_the_engines_contract_is_kept():
    kept: Method = tiny.small()
    assert methods.get("e2e-ft") == (E2EFT, Config)
    assert [hasattr(kept, name) for name in ("kind", "card", "preset", "size_rule", "loss", "save")] == [
        True
    ] * 6
    with pytest.raises(UsageError, match="did you mean 'e2e-ft'"):
        methods.get("e2eft")
