"""Marigold: released pipelines, by stored arrays and side by side with diffusers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tiny
import torch
from tiny import seeded
from tiny_marigold import SCHEDULES, published, stored
from torch.testing import assert_close

from leadline import coding, ensemble, sizes, weights
from leadline.cards import Card
from leadline.methods.marigold import Marigold
from leadline.networks import latent, stable_diffusion
from leadline.predict import Model
from leadline.schedule import Schedule


def finished(model, image, resolution, **options):
    """From the 8-bit picture to what users get, [C,H,W], by the model's preset; of ensembles the uncertainty
    too, at the size at which they were made.
    """
    picture = sizes.prepare(image.numpy(), replace(model.size_rule, processing_res=resolution))
    restore, uncertainty = partial(sizes.restore, prepared=picture), None
    with torch.inference_mode():
        (out,) = model(picture.tensor, **options).values()
        out = sizes.unpad(out, picture)
        if len(out) > 1:
            out, uncertainty = ensemble.merge(out, model.kind, model.preset.ensembling)
        value = coding.publish(out, model.kind, model.preset, restore)[0]
    return value if uncertainty is None else (value, uncertainty, restore(uncertainty))


def theirs(values):
    """Stored normals, in their frame, -> [3,H,W] in OpenCV's."""
    values = values.permute(2, 0, 1) if values.shape[-1] == 3 else values
    return values * torch.tensor([1, -1, -1]).view(3, 1, 1)


# diffusers' pipeline, part by part


def test_networks_give_the_stored_outputs(golden):
    g, model = golden("e2e/marigold_pipelines"), stored("t", compat="diffusers")
    picture = sizes.prepare(g.image.numpy(), replace(model.size_rule, processing_res=0)).tensor
    assert_close(picture, g.vae_in, rtol=0, atol=1e-5)
    z, text = tiny.fixed("noise", 1, 4, 6, 9), model.empty_text
    with torch.inference_mode():
        moments = model.autoencoder.encode(picture).latent_dist.parameters
        assert_close(moments, g.vae_moments, rtol=0, atol=1e-4)
        x = latent.encode(model.autoencoder, picture)
        assert_close(x, g.rgb_latent, rtol=0, atol=1e-4)
        for t in (0, 1, 500, 999):
            out = stable_diffusion.output(model.unet, torch.cat([x, z], dim=1), t, text)
            assert_close(out, g[f"unet_out_t{t}"], rtol=0, atol=1e-4)
        assert_close(latent.decode(model.autoencoder, z), g.decoded_noise, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_denoised_latents_and_maps_before_resizing_match_diffusers(schedule, steps, golden):
    g, model = golden("e2e/marigold_pipelines"), stored(schedule, compat="diffusers")
    with torch.inference_mode():
        z = model.denoise(g.rgb_latent, tiny.fixed("noise", 1, 4, 6, 9), steps)
        assert_close(z, g[f"dfs_depth_{schedule}_n{steps}_res0_latent"], rtol=0, atol=1e-4)
        picture = sizes.prepare(g.image.numpy(), replace(model.size_rule, processing_res=40))
        out = model(picture.tensor, z_T=tiny.fixed("noise_small", 1, 4, 4, 5), steps=steps)["depth"]
    found = (sizes.unpad(out, picture) + 1) / 2
    assert_close(found[0, 0], g[f"dfs_depth_{schedule}_n{steps}_res40_nomatch"], rtol=0, atol=1e-4)


# Released pipelines, from the 8-bit picture to the map at its size


@pytest.mark.parametrize("resolution", [0, 40])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_depth_matches_diffusers(schedule, steps, resolution, golden):
    g = golden("e2e/marigold_pipelines")
    z_T = tiny.fixed("noise", 1, 4, 6, 9) if resolution == 0 else tiny.fixed("noise_small", 1, 4, 4, 5)
    found = finished(stored(schedule, compat="diffusers"), g.image, resolution, z_T=z_T, steps=steps)
    expected = g[f"dfs_depth_{schedule}_n{steps}_res{resolution}"]
    assert_close(found, expected.reshape(found.shape), rtol=0, atol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("steps", "resolution"), [(1, 0), (2, 40)])
def test_normals_match_diffusers(schedule, steps, resolution, golden):
    g = golden("e2e/marigold_pipelines")
    z_T = tiny.fixed("noise", 1, 4, 6, 9) if resolution == 0 else tiny.fixed("noise_small", 1, 4, 4, 5)
    model = stored(schedule, target="normals", compat="diffusers")
    found = finished(model, g.image, resolution, z_T=z_T, steps=steps)
    expected = theirs(g[f"dfs_normals_{schedule}_n{steps}_res{resolution}"])
    assert_close(found, expected, rtol=0, atol=1e-4)


def test_half_the_z_range_matches_diffusers(golden):
    g = golden("e2e/marigold_pipelines")
    model = stored("t", target="normals", compat="diffusers", full_z_range=False)
    found = finished(model, g.image, 0, z_T=tiny.fixed("noise", 1, 4, 6, 9), steps=1)
    assert_close(found, theirs(g.dfs_normals_t_n1_res0_halfz), rtol=0, atol=1e-4)


def test_noise_of_a_seed_is_diffusers(golden):
    g = golden("e2e/marigold_pipelines")
    model = Model(stored("tz", compat="diffusers"), device="cpu")
    found = model(g.image.numpy(), processing_res=40, steps=1, seed=2024).values
    np.testing.assert_allclose(found, g.dfs_depth_gen2024.squeeze().numpy(), rtol=0, atol=1e-4)


def test_start_latents_may_be_zeros(golden):
    g = golden("e2e/marigold_pipelines")
    found = finished(stored("tz", compat="diffusers"), g.image, 40, z_T=torch.zeros(1, 4, 4, 5), steps=1)
    assert_close(found, g.dfs_depth_tz_zeros_res40.reshape(found.shape), rtol=0, atol=1e-4)


@pytest.mark.parametrize("resolution", [0, 40])
@pytest.mark.parametrize("steps", [1, 4])
def test_prediction_matches_the_authors(steps, resolution, golden):
    g = golden("e2e/marigold_pipelines")
    model = Model(stored("tz", compat="marigold-v1.1"), device="cpu")
    found = model(g.image.numpy(), processing_res=resolution, steps=steps, seed=2024)
    expected = g[f"mar11_depth_n{steps}_res{resolution}_gen2024"].squeeze().numpy()
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=5e-4 if steps > 1 else 1e-4)


def test_predicted_normals_match_the_authors(golden):
    g = golden("e2e/marigold_pipelines")
    model = Model(stored("tz", target="normals", compat="marigold-v1.1"), device="cpu")
    found = model(g.image.numpy(), processing_res=40, steps=4, seed=2024).values
    expected = theirs(g.mar11_normals_n4_res40_gen2024).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4)


def test_ensembles_match_diffusers(golden):
    g, z_T = golden("e2e/marigold_pipelines"), tiny.fixed("noise_ens", 3, 4, 4, 5)
    model = stored("tz", target="normals", compat="diffusers")
    value, _, uncertainty = finished(model, g.image, 40, z_T=z_T, steps=1)
    assert_close(value, theirs(g.dfs_normals_ens3), rtol=0, atol=1e-4)
    assert_close(uncertainty.squeeze(), g.dfs_normals_ens3_unc.squeeze(), rtol=0, atol=1e-4)
    model = stored("tz", compat="diffusers")
    value, _, uncertainty = finished(model, g.image, 40, z_T=z_T, steps=1)
    assert (value.squeeze() - g.dfs_depth_ens3.squeeze()).abs().mean() < 0.03  # their solver is loose
    assert (uncertainty.squeeze() - g.dfs_depth_ens3_unc.squeeze()).abs().mean() < 0.03


def test_ensembles_match_the_authors(golden):
    g, (generator,) = golden("e2e/marigold_pipelines"), seeded(2024)
    z_T = torch.cat([torch.randn(1, 4, 3, 5, generator=generator) for _ in range(3)])
    value, uncertainty, _ = finished(stored("tz", compat="marigold-v1.1"), g.image, 40, z_T=z_T, steps=1)
    assert (value.squeeze() - g.mar11_depth_ens3.squeeze()).abs().mean() < 0.03
    assert (uncertainty.squeeze() - g.mar11_depth_ens3_unc.squeeze()).abs().mean() < 0.03


# diffusers' pipelines, side by side with other weights


def pipeline(target, sampler="ddim", **scheduler):
    """Their pipeline with random weights, and its empty prompt."""
    diffusers = pytest.importorskip("diffusers")
    unet, autoencoder = weights.build(tiny.UNET), weights.build(tiny.AUTOENCODER)
    tiny.fill(unet, "other.")
    tiny.fill(autoencoder, "another.")
    config = Schedule(zero_snr=True).to_config() | scheduler
    name = "LCMScheduler" if sampler == "lcm" else "DDIMScheduler"
    kind = diffusers.MarigoldDepthPipeline if target == "depth" else diffusers.MarigoldNormalsPipeline
    pipe = kind(unet, autoencoder, getattr(diffusers, name).from_config(config), None, None)
    return with_text(pipe)


def with_text(pipe):
    pipe.set_progress_bar_config(disable=True)
    pipe.empty_text_embedding = tiny.fixed("another text", 1, 2, 24)
    return pipe


def predicted_by(pipe, image, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pipe(image[None] / 255.0, generator=seeded(5)[0], **options).prediction[0]
    return found[..., 0] if found.shape[-1] == 1 else found * np.array([1, -1, -1])


@pytest.mark.parametrize(("target", "sampler"), [("depth", "ddim"), ("normals", "ddim"), ("depth", "lcm")])
def test_a_checkpoint_of_diffusers_gives_the_same_here(target, sampler, tmp_path):
    pipe = pipeline(target, sampler)
    pipe.save_pretrained(tmp_path)
    np.save(tmp_path / "text.npy", pipe.empty_text_embedding.numpy())
    card = Card(name="theirs", method="marigold", kind="normals" if target == "normals" else "affine_depth")
    options = {"target": target, "sampler": sampler, "compat": "diffusers"}
    ours = Marigold.load(tmp_path, card, empty_text=tmp_path / "text.npy", **options)
    rng = np.random.default_rng(1)
    for (height, width), resolution, steps in (((37, 53), 0, 1), ((61, 29), 40, 4)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        found = Model(ours, device="cpu")(image, processing_res=resolution, steps=steps, seed=5).values
        expected = predicted_by(pipe, image, num_inference_steps=steps, processing_resolution=resolution)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("target", "sampler"), [("depth", "ddim"), ("normals", "ddim"), ("depth", "lcm")])
def test_ours_saved_loads_in_diffusers(target, sampler, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    model = published(target=target, sampler=sampler, compat="diffusers", size={"processing_res": 40})
    model.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nothing = {"text_encoder": None, "tokenizer": None}
        pipe = with_text(diffusers.DiffusionPipeline.from_pretrained(tmp_path, **nothing))
    assert (
        type(pipe).__name__
        == {"depth": "MarigoldDepthPipeline", "normals": "MarigoldNormalsPipeline"}[target]
    )
    assert (pipe.default_denoising_steps, pipe.default_processing_resolution) == (2, 40)
    pipe.empty_text_embedding = weights.load_state(tmp_path / "empty_text.safetensors")["empty_text"]
    image = np.random.default_rng(2).integers(0, 256, (37, 53, 3), np.uint8)
    found = Model(model, device="cpu")(image, seed=5).values
    np.testing.assert_allclose(found, predicted_by(pipe, image), rtol=0, atol=1e-4)
