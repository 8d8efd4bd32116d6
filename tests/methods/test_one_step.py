"""The engine's fast way in one step and the networks as they are, held together."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from leadline import weights
from leadline.cards import Card, Defaults
from leadline.methods import e2e_ft, marigold
from leadline.methods.e2e_ft import E2EFT
from leadline.methods.marigold import Marigold
from leadline.networks import upsample
from leadline.networks.banded import Banded
from leadline.networks.one_step import FirstChannels, OneStep, TwoTokens
from leadline.predict import Model
from leadline.prediction import Kind

UNET: dict[str, Any] = tiny.UNET | {  # Stable Diffusion 2 in small: four levels, heads of one width
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "block_out_channels": [8, 16, 32, 32],
    "norm_num_groups": 4,
    "attention_head_dim": [2, 4, 8, 8],
}
SIZES = [(33, 75), (96, 8), (41, 27)]


@pytest.fixture(autouse=True)
def small_maps_are_doubled_as_large_ones(monkeypatch):
    monkeypatch.setattr(upsample, "LEAST_PIXELS", 1)


def networks(channels: int = 8) -> tuple[nn.Module, nn.Module]:
    return copy.deepcopy(built(channels))


@cache
def built(channels: int) -> tuple[nn.Module, nn.Module]:
    unet, autoencoder = weights.build(UNET | {"in_channels": channels}), weights.build(tiny.AUTOENCODER)
    tiny.fill(unet, "unet.")
    tiny.fill(autoencoder, "vae.")
    return unet, autoencoder


def regressor(noise: str = "zeros", **options: Any) -> E2EFT:
    config = e2e_ft.Config(noise=noise, **options)
    return E2EFT(config, *networks(4 if noise == "none" else 8), empty_text=text(config.text_tokens))


def diffuser(**options: Any) -> Marigold:
    config = marigold.Config(**options)
    kind = Kind.normals if config.target == "normals" else Kind.affine_depth
    card = Card(name="tiny", method="marigold", kind=kind, defaults=Defaults(steps=1))
    return Marigold(config, *networks(), empty_text=text(config.text_tokens), card=card)


def text(tokens: int) -> torch.Tensor:
    return tiny.fixed(f"text_{tokens}", 1, tokens, 24)


MODELS = {
    "e2e-ft": regressor,
    "e2e-ft normals": lambda: regressor(target="normals"),
    "e2e-ft disparity": lambda: regressor(target="disparity", clamp=False),
    "e2e-ft 77 tokens": lambda: regressor(text_tokens=77, train_text_tokens=77),
    "e2e-ft no noise": lambda: regressor("none"),
    "e2e-ft gaussian": lambda: regressor("gaussian"),
    "e2e-ft pyramid": lambda: regressor("pyramid", target="normals"),
    "e2e-ft trained": lambda: regressor(
        train_autoencoder=True, checkpoint_unet=True, checkpoint_autoencoder=True
    ),
    "marigold": diffuser,
    "marigold normals": lambda: diffuser(target="normals"),
    "marigold 77 tokens": lambda: diffuser(text_tokens=77),
    "marigold lcm": lambda: diffuser(sampler="lcm"),
    "marigold checkpointed": lambda: diffuser(checkpoint_unet=True),
    "marigold leading": lambda: diffuser(spacing="leading", compat="diffusers"),
}


@pytest.fixture(params=MODELS)
def model(request) -> Model:
    return Model(MODELS[request.param](), device="cpu")


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def plain(model: Model) -> Model:
    """The same weights, without the fast way."""
    return Model(model.method, device="cpu", fast=False)


def assert_same(found, expected, tolerance=1e-4):
    """Largest difference against the range of what is expected."""
    assert found.values.shape == expected.values.shape
    difference = np.abs(found.values - expected.values).max()
    assert difference <= tolerance * np.ptp(expected.values)


def kinds(module: nn.Module) -> set[type]:
    return {type(part) for part in module.modules()}


FAST = {OneStep, TwoTokens, FirstChannels, Banded}


def test_both_ways_agree_at_any_size(model):
    for rgb in pictures(*SIZES):
        assert_same(model(rgb, processing_res=0), plain(model)(rgb, processing_res=0))


def test_both_ways_agree_in_batches_and_at_a_second_resolution(model):
    rgbs = pictures((40, 56), (40, 56), (40, 56))
    for resolution in (0, 72):
        options = {"processing_res": resolution, "batch_size": 3}
        for one, other in zip(model(rgbs, **options), plain(model)(rgbs, **options), strict=True):
            assert_same(one, other)


def test_members_of_an_ensemble_agree():
    model, (rgb,) = Model(diffuser(), device="cpu"), pictures((40, 56))
    options = {"processing_res": 0, "ensemble_size": 3, "uncertainty": True}
    one, other = (way(rgb, **options) for way in (model, plain(model)))
    assert_same(one, other, 1e-3)  # the solver's rounding on top
    np.testing.assert_allclose(one.uncertainty, other.uncertainty, atol=1e-3)


def calls(model: Model, monkeypatch: pytest.MonkeyPatch, **options: Any) -> set[type]:
    """Which forms of the networks a prediction runs through."""
    seen: set[type] = set()
    hooks = nn.modules.module.register_module_forward_pre_hook(lambda module, _: seen.add(type(module)))
    encode = Banded.encode
    monkeypatch.setattr(Banded, "encode", lambda self, x: seen.add(Banded) or encode(self, x))
    try:
        model(*pictures((40, 56)), processing_res=0, **options)
    finally:
        hooks.remove()
    return seen & FAST


@pytest.mark.parametrize("name", ["e2e-ft", "marigold"])
def test_one_step_is_fast(name, monkeypatch):
    found = calls(Model(MODELS[name](), device="cpu"), monkeypatch)
    assert found == (FAST if name == "e2e-ft" else FAST - {FirstChannels})


def test_the_start_latent_is_read_unless_it_is_zeros(monkeypatch):
    found = calls(Model(regressor("gaussian"), device="cpu"), monkeypatch)
    assert OneStep in found
    assert FirstChannels not in found


def test_several_steps_have_the_fast_autoencoder_and_the_option_has_none(monkeypatch):
    model = Model(diffuser(), device="cpu")
    assert calls(model, monkeypatch, steps=2) == {Banded}
    assert calls(model, monkeypatch, steps=1) > {Banded, OneStep}
    for steps in (1, 2):
        assert calls(plain(model), monkeypatch, steps=steps) == set()


@pytest.mark.parametrize("name", ["marigold", "marigold normals", "marigold lcm"])
def test_both_ways_agree_in_several_steps(name):
    model, rgbs = Model(MODELS[name](), device="cpu"), pictures((40, 56), (40, 56))
    options = {"processing_res": 0, "steps": 3, "batch_size": 2}
    for one, other in zip(model(rgbs, **options), plain(model)(rgbs, **options), strict=True):
        assert_same(one, other)


MAKERS = ["e2e-ft", "e2e-ft trained", "marigold", "marigold normals"]


@pytest.mark.parametrize("name", MAKERS)
def test_training_never_sees_the_fast_networks(name):
    """A model that has predicted learns what one learns that has not."""
    used, fresh = MODELS[name](), MODELS[name]()
    Model(used, device="cpu")(*pictures((40, 56)))
    assert not kinds(used) & FAST
    batch, losses = tiny.batch(), []
    batch.valid[:], batch.depth_m[:] = True, batch.depth_m.clamp(min=1)
    for method in (used, fresh):
        method.train().unet.requires_grad_(True)
        losses.append(method.loss(batch, torch.Generator().manual_seed(0)).total)
        losses[-1].backward()
    torch.testing.assert_close(*losses)
    for one, other in zip(used.unet.parameters(), fresh.unet.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)
    assert used.unet.time_embedding.linear_1.weight.grad.abs().max() > 0  # folded in the fast one


@pytest.mark.parametrize("name", MAKERS)
def test_saving_never_sees_the_fast_networks(name, tmp_path):
    used, fresh = MODELS[name](), MODELS[name]()
    Model(used, device="cpu")(*pictures((40, 56)))
    used.save(tmp_path / "used")
    loaded = type(used).load(tmp_path / "used")
    assert loaded.card.parameters == sum(p.numel() for p in fresh.parameters())
    saved, wanted = loaded.state_dict(), fresh.state_dict()
    assert saved.keys() == wanted.keys()
    assert all(torch.equal(saved[key], wanted[key]) for key in wanted)


def test_the_bundled_networks_have_no_other_way():
    method = tiny.small()
    assert kinds(method.for_prediction()) == kinds(method)
    rgb = pictures((33, 47))[0]
    one, other = (Model(method, device="cpu", fast=fast)(rgb, processing_res=32) for fast in (True, False))
    np.testing.assert_array_equal(one.values, other.values)


def test_a_model_done_again_in_float32_is_folded_again(monkeypatch):
    """In half precision the fast networks hold half-precision weights of their own."""
    model, (rgb,) = Model(regressor(), device="cpu", dtype="bfloat16"), pictures((40, 56))
    forward = E2EFT.forward

    def overflowing(self, rgb, **options):
        outputs = forward(self, rgb, **options)
        return outputs if rgb.dtype == torch.float32 else {k: x * torch.nan for k, x in outputs.items()}

    with monkeypatch.context() as patch:
        patch.setattr(E2EFT, "forward", overflowing)
        again = model(rgb, processing_res=0)
    assert again.settings["dtype"] == "float32"
    assert_same(again, Model(regressor().bfloat16(), device="cpu", dtype="float32")(rgb, processing_res=0))
    assert model(rgb, processing_res=0).settings["dtype"] == "bfloat16"
