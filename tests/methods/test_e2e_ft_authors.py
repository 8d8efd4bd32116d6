"""E2E-FT: the authors' pipeline and training step."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tiny
import torch
from tiny import seeded
from torch.testing import assert_close

from leadline import coding, noise, sizes
from leadline.networks import latent, stable_diffusion
from leadline.predict import Model

# The authors' pipeline, from the 8-bit picture to the map at its size


def authors_start(kind, shape):
    """The start latent of their script with seed 2024, whose DataLoader draws one number first."""
    (generator,) = seeded(2024)
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    normal, _ = noise.sources(generator)
    draw = {"zeros": lambda s, *_: torch.zeros(s), "gaussian": noise.gaussian, "pyramid": noise.pyramid}[kind]
    return draw(shape, normal, random.Random(2024).random)


@pytest.mark.parametrize("resolution", [0, 40])
@pytest.mark.parametrize("kind", ["zeros", "gaussian", "pyramid"])
@pytest.mark.parametrize("target", ["depth", "normals"])
def test_pipeline_matches_reference(target, kind, resolution, golden):
    g = golden("e2e/tiny_pipelines")
    model = tiny.published(target=target, noise=kind, frame="e2e_ft", compat="e2e-ft")
    picture = sizes.prepare(g.image.numpy(), replace(model.size_rule, processing_res=resolution))
    height, width = picture.tensor.shape[2:]
    with torch.inference_mode():
        out = model(picture.tensor, z_T=authors_start(kind, (1, 4, height // 8, width // 8)))[target]
        found = coding.publish(out, model.kind, model.preset, partial(sizes.restore, prepared=picture))[0]
    expected = g[f"e2e_{target}_{kind}_res{resolution}"]
    if target == "normals":
        expected = -expected  # theirs: x left, y up, z towards the viewer
    assert_close(found.reshape(expected.shape), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("resolution", [0, 40])
@pytest.mark.parametrize("target", ["depth", "normals"])
def test_prediction_by_the_preset_matches_reference(target, resolution, golden):
    g = golden("e2e/tiny_pipelines")
    model = Model(tiny.published(target=target, frame="e2e_ft", compat="e2e-ft"), device="cpu")
    result = model(g.image.numpy(), processing_res=resolution)
    expected = g[f"e2e_{target}_zeros_res{resolution}"].numpy()
    expected = -expected.transpose(1, 2, 0) if target == "normals" else expected
    np.testing.assert_allclose(result.values, expected, rtol=0, atol=1e-4)


def test_the_map_before_it_is_resized_matches_reference(golden):
    g, model = golden("e2e/tiny_pipelines"), tiny.published(compat="e2e-ft")
    picture = sizes.prepare(g.image.numpy(), replace(model.size_rule, processing_res=40))
    with torch.inference_mode():
        out = model(picture.tensor)["depth"]
    assert picture.processed == (25, 40)  # the autoencoder drops the last row, as theirs does
    assert_close(coding.stretch(out)[0, 0], g.e2e_depth_zeros_res40_nomatch, rtol=0, atol=1e-4)


def test_77_tokens_give_the_stored_output(golden):
    g, model = golden("e2e/tiny_pipelines"), tiny.published(text_tokens=77, train_text_tokens=77)
    assert torch.equal(model.empty_text, g.emb77)
    assert torch.equal(tiny.published().empty_text, g.emb2)
    picture = sizes.prepare(g.image.numpy(), replace(model.size_rule, processing_res=0)).tensor
    with torch.inference_mode():
        x = latent.encode(model.autoencoder, picture)
        seen = torch.cat([x, torch.zeros_like(x)], dim=1)
        found = stable_diffusion.output(model.unet, seen, 999, model.empty_text)
    assert_close(found, g.unet_out_t999_zeros_emb77, rtol=0, atol=1e-4)


def test_gaussian_noise_comes_from_the_images_generator(golden):
    g = golden("e2e/tiny_pipelines")
    model = tiny.published(noise="gaussian", compat="e2e-ft")
    picture = sizes.prepare(g.image.numpy(), replace(model.size_rule, processing_res=40))
    height, width = picture.tensor.shape[2:]
    (generator,) = seeded(5)
    given = model(picture.tensor, generators=seeded(5))["depth"]
    z_T = torch.randn((1, 4, height // 8, width // 8), generator=generator)
    assert torch.equal(given, model(picture.tensor, z_T=z_T)["depth"])


def test_the_stored_weights_follow_from_their_names(golden):
    g, model = golden("e2e/tiny_pipelines"), tiny.published()
    networks = {"unet": model.unet.state_dict(), "vae": model.autoencoder.state_dict()}
    stored = [key for key in g if key.startswith("w_")]
    assert len(stored) == 8
    for key in stored:
        network, name = key.removeprefix("w_").split(".", 1)
        assert torch.equal(networks[network][name], g[key])
    assert torch.equal(tiny.fixed("noise", 1, 4, 6, 9), g.noise)


# The authors' training step


@pytest.fixture(params=["depth", "normals"])
def step(request, golden):
    """One micro-step and one optimiser step of their script: (target, stored arrays, model, loss)."""
    g = golden("e2e/tiny_training")
    options = {"target": request.param, "text_tokens": 77, "train_text_tokens": 77, "percentiles": None}
    model = tiny.published(compat="e2e-ft", **options).train()
    batch = tiny.batch(2, 48, 64)
    batch = replace(batch, rgb=g.rgb, valid=g.mask, depth_m=g.metric, normals=g.normals)
    loss = model.loss(batch)
    loss.total.backward()
    return request.param, g, model, loss


def test_training_loss_and_gradient_match_reference(step):
    target, g, model, loss = step
    assert_close(loss.total.detach(), g[f"{target}_loss"].squeeze(), rtol=1e-4, atol=0)
    norm = torch.nn.utils.clip_grad_norm_(model.unet.parameters(), 1.0)
    assert_close(norm, g[f"{target}_gradnorm"].squeeze(), rtol=1e-3, atol=0)
    named, prefix = dict(model.unet.named_parameters()), f"{target}_clippedgrad_"
    stored = [key for key in g if key.startswith(prefix)]
    assert len(stored) == 4
    for key in stored:
        grad = named[key.removeprefix(prefix)].grad
        assert_close(grad, g[key], rtol=0, atol=1e-3 * g[key].abs().max().item())


def test_one_optimiser_step_matches_reference(step):
    target, g, model, _ = step
    torch.nn.utils.clip_grad_norm_(model.unet.parameters(), 1.0)
    before = model.unet.conv_in.weight.detach().clone()
    torch.optim.AdamW(model.unet.parameters(), lr=3e-5, weight_decay=1e-2).step()
    expected = g[f"{target}_conv_in_after"]
    # Adam's first step has the gradient's sign, which is uncertain where it is rounding noise
    wrong = (model.unet.conv_in.weight - expected).abs() > 1e-6
    assert wrong.float().mean() < 1e-3
    assert (expected - before).abs().max() > 1e-5


@pytest.mark.parametrize("target", ["depth", "normals"])
def test_unet_and_decoder_match_reference(target, golden):
    g = golden("e2e/tiny_training")
    model = tiny.published(target=target, text_tokens=77, clamp=False)
    seen = {}
    model.unet.register_forward_hook(lambda *call: seen.update(v=call[-1].sample))
    model.autoencoder.decoder.register_forward_hook(lambda *call: seen.update(decoded=call[-1]))
    with torch.inference_mode():
        out = model(g.rgb)[target]
    decoded = g[f"{target}_decoded"]
    assert_close(seen["v"], g[f"{target}_unet_out"], rtol=0, atol=1e-4)
    assert_close(seen["decoded"], decoded, rtol=0, atol=1e-4)
    if target == "depth":
        assert_close(out, decoded.mean(dim=1, keepdim=True), rtol=0, atol=1e-4)
