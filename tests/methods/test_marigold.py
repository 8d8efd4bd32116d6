"""Marigold: what holds for every model of this method, and what it refuses."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tiny
import torch
from pydantic import ValidationError
from tiny import seeded
from tiny_marigold import published, stored
from torch.testing import assert_close

from leadline import methods
from leadline.cards import Defaults
from leadline.errors import ShapeError, UsageError, WeightsError
from leadline.methods import Method
from leadline.methods.marigold import Config, Marigold
from leadline.predict import Model
from leadline.prediction import Kind

MODELS = {
    "depth": published,
    "normals": partial(published, target="normals"),
    "lcm": partial(published, sampler="lcm"),
    "leading": partial(stored, "l"),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def test_output_has_the_pictures_size_and_the_promised_range(model):
    with torch.inference_mode():
        ((name, value),) = model(torch.rand(2, 3, 32, 48) * 2 - 1, generators=seeded(0, 1)).items()
    assert model.kind == {"depth": "affine_depth", "normals": "normals"}[name]
    if name == "normals":
        assert_close(value.norm(dim=1), torch.ones(2, 32, 48))
    else:
        assert value.shape == (2, 1, 32, 48)
        assert value.abs().max() <= 1


def test_alone_equals_in_a_batch(model):
    rgb = torch.rand(3, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (together,) = model(rgb, generators=seeded(0, 1, 2)).values()
        for i in range(3):
            (alone,) = model(rgb[i : i + 1], generators=seeded(i)).values()
            # short vectors are made long
            assert_close(
                together[i : i + 1], alone, rtol=0, atol=1e-3 if model.kind is Kind.normals else 5e-5
            )


def test_members_are_what_their_noise_gives_alone(model):
    rgb = torch.rand(2, 3, 16, 24) * 2 - 1
    with torch.inference_mode():
        (all_members,) = model(rgb, generators=seeded(0, 1, 2, 3, 4, 5)).values()
        for e in range(3):
            (alone,) = model(rgb, generators=seeded(e, 3 + e)).values()
            assert torch.equal(all_members[e::3], alone)


def test_the_last_of_its_steps_is_the_result(model):
    rgb = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (result,) = model(rgb, generators=seeded(0), steps=3).values()
        *earlier, last = model.each_step(rgb, generators=seeded(0), steps=3)
    assert len(earlier) == 2
    assert (last - result).abs().mean() < 0.02  # the result keeps the noise of the first level
    assert (earlier[0] - result).abs().mean() > 0.02


@pytest.mark.parametrize("fp16", [False, True])
def test_before_equals_after_saving(model, tmp_path, fp16):
    model.save(tmp_path / "model", fp16=fp16)
    again = Marigold.load(tmp_path / "model")
    rgb = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (before,) = model(rgb, generators=seeded(0)).values()
        (after,) = again.eval()(rgb, generators=seeded(0)).values()
    assert (before - after).abs().mean() < (0.05 if fp16 else 1e-5)  # where weights lie changes rounding
    assert again.config == model.config
    assert again.schedule == model.schedule
    assert (again.size_rule, again.steps, again.members) == (model.size_rule, model.steps, model.members)
    assert again.card.parameters == sum(p.numel() for p in model.parameters())


def test_no_global_random_state_is_touched(model):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    model.loss(tiny.batch(), seeded(0)[0])
    Model(model, device="cpu")(np.zeros((16, 24, 3), np.uint8), processing_res=0, ensemble_size=2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_normals_leave_in_the_opencv_frame_whatever_the_network_has():
    rgb = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        cv, gl, ft = (
            published(target="normals", frame=f)(rgb, generators=seeded(0))["normals"]
            for f in ("opencv", "opengl", "e2e_ft")
        )
    assert_close(gl, cv * torch.tensor([1, -1, -1]).view(1, 3, 1, 1))
    assert_close(ft, -cv)


@pytest.mark.parametrize(
    "name", ["leadline", "diffusers", "marigold-v0", "marigold-v1", "marigold-v1.1", "e2e-ft"]
)
@pytest.mark.parametrize("target", ["depth", "normals"])
def test_every_preset_predicts(name, target):
    model = Model(published(target=target, compat=name), device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    result = model(image, processing_res=24, steps=2, ensemble_size=2, uncertainty=True)
    assert result.values.shape[:2] == result.uncertainty.shape == (21, 34)
    assert np.isfinite(result.values).all()
    assert result.settings["preset"] == name


@pytest.mark.parametrize(
    ("options", "most"), [({}, 1000), ({"sampler": "lcm"}, 50), ({"spacing": "leading"}, 999)]
)
def test_more_steps_than_there_are_are_refused_before_the_work(options, most):
    model = Model(published(**options), device="cpu")
    model.stream([], steps=most)
    with pytest.raises(UsageError, match=f"{most + 1} "):
        model.stream(iter(lambda: pytest.fail("read"), None), steps=most + 1)


def test_presets_differ_where_the_programs_do():
    first, later = (published(compat=name) for name in ("marigold-v0", "marigold-v1"))
    rgb, z_T = torch.rand(1, 3, 16, 24) * 2 - 1, torch.randn(1, 4, 2, 3)
    with torch.inference_mode():
        assert torch.equal(first(rgb, z_T=z_T)["depth"], later((rgb + 1) / 2, z_T=z_T)["depth"])
        clean, ended = (published(compat=n)(rgb, z_T=z_T, steps=1) for n in ("e2e-ft", "marigold-v1.1"))
    assert 1e-4 < (clean["depth"] - ended["depth"]).abs().max() < 0.1
    assert (first.steps, first.members, published(compat="e2e-ft").steps, published().steps) == (10, 10, 1, 2)


def test_defaults_are_the_cards():
    model = published(defaults=Defaults(steps=3, ensemble=4))
    assert (model.steps, model.members) == (3, 4)
    result = Model(model, device="cpu")(np.zeros((16, 24, 3), np.uint8), processing_res=0)
    assert (result.settings["steps"], result.settings["ensemble_size"]) == (3, 4)


# Refusals


def test_missing_noise_and_text_are_named():
    model = published()
    with pytest.raises(UsageError, match="one generator each"):
        model(torch.zeros(1, 3, 16, 16))
    with pytest.raises(UsageError, match="one generator each"):
        model(torch.zeros(2, 3, 16, 16), generators=seeded(0, 1, 2))
    with pytest.raises(UsageError, match="pass a generator"):
        model.loss(tiny.batch())
    with pytest.raises(WeightsError, match="0 tokens"):
        Marigold(Config(), model.unet, model.autoencoder)
    with pytest.raises(ShapeError):
        model(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ShapeError, match="z_T"):
        model(torch.zeros(1, 3, 16, 16), z_T=torch.zeros(1, 4, 3, 2))


@pytest.mark.parametrize(
    "options", [{"target": "height"}, {"compat": "marigold"}, {"sampler": "euler"}, {"size": {"multiple": 0}}]
)
def test_impossible_configs_are_refused(options):
    with pytest.raises(ValidationError):
        Config(**options)


def test_the_engines_contract_is_kept():
    kept: Method = published()
    assert methods.get("marigold") == (Marigold, Config)
    assert kept.kind is Kind.affine_depth
    made = Marigold.random(
        Config(unet=tiny.UNET, autoencoder=tiny.AUTOENCODER), empty_text=torch.zeros(1, 2, 24)
    )
    assert made.schedule.zero_snr
