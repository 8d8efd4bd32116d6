"""Marigold: the authors' training step, and what holds for every training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from tiny import seeded
from tiny_marigold import published
from torch.testing import assert_close

from leadline.errors import DataError
from leadline.networks import latent
from leadline.schedule import Schedule


def batch_of(valid):
    """Random pictures with truth, everywhere or nowhere by image."""
    batch = tiny.batch(len(valid))
    batch.valid[:] = torch.tensor(valid).view(-1, 1, 1, 1)
    return replace(batch, depth_m=batch.depth_m.clamp(min=1))


def test_training_step_matches_reference(golden):
    g = golden("e2e/marigold_training")
    model = published(Schedule(zero_snr=True)).train()
    with torch.no_grad():
        x, z_0 = (
            latent.encode(model.autoencoder, picture)
            for picture in (g.rgb, g.mar_depth_norm.expand(-1, 3, -1, -1))
        )
    assert_close(model.schedule.noisy(z_0, g.mar_noise, g.mar_t), g.mar_noisy, rtol=0, atol=1e-4)
    assert_close(model.schedule.target(z_0, g.mar_noise, g.mar_t), g.mar_target, rtol=0, atol=1e-4)
    assert torch.equal(latent.whole(g.mar_mask, 8).expand(-1, 4, -1, -1), g.mar_mask_down)
    loss = model.compare(x, z_0, g.mar_noise, g.mar_t, g.mar_mask)
    assert_close(loss.total.detach(), g.mar_loss.squeeze(), rtol=1e-4, atol=0)
    loss.total.backward()
    largest = g.mar_grad_conv_in.abs().max().item()
    assert_close(model.unet.conv_in.weight.grad, g.mar_grad_conv_in, rtol=0, atol=1e-3 * largest)


def test_timesteps_and_noise_of_training_match_reference(golden, monkeypatch):
    g, model, seen = golden("e2e/marigold_training"), published(), {}
    monkeypatch.setattr(model, "compare", lambda x, z_0, noise, t, valid: seen.update(noise=noise, t=t))
    model.loss(tiny.batch(2, 48, 64), seeded(123)[0])
    assert torch.equal(seen["t"], g.mar_t)
    assert_close(seen["noise"], g.mar_noise, rtol=0, atol=1e-6)


def test_depth_is_normalised_as_the_authors_do(golden):
    g = golden("e2e/normaliser")
    batch = replace(tiny.batch(1, 48, 64), depth_m=g.depth[None], valid=g.valid[None])
    wanted, valid = published()._wanted(batch)
    assert_close(wanted[:, :1], g.marigold_norm_filled[None], rtol=0, atol=1e-6)
    assert torch.equal(valid[0], g.valid)


@pytest.mark.parametrize("target", ["depth", "normals"])
def test_gradient_reaches_the_whole_unet_and_nothing_frozen(target):
    model = published(target=target).train()
    model.loss(batch_of([True, True]), seeded(0)[0]).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.unet.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.autoencoder.parameters())
    assert not model.autoencoder.training


@pytest.mark.parametrize("valid", [[True, False], [False, False]])
def test_empty_masks_are_harmless(valid):
    model = published().train()
    loss = model.loss(batch_of(valid), seeded(0)[0])
    loss.total.backward()
    assert (loss.total > 0) == any(valid)
    assert all(p.grad.isfinite().all() for p in model.unet.parameters())


def test_what_is_not_valid_is_not_compared():
    model, batch = published(), batch_of([True, True])
    batch.valid[:, :, :, 24:] = False
    x = latent.encode(model.autoencoder, batch.rgb)
    z_0, t = torch.randn_like(x), torch.tensor([100, 900])
    spoiled = z_0.clone()
    spoiled[..., 3:] = torch.nan
    with torch.no_grad():
        out = model.schedule.target(z_0, x, t)
        model._output = lambda *_: out + 1
        assert model.compare(x, spoiled, x, t, batch.valid).total == pytest.approx(1, abs=1e-5)


def test_loss_of_training_follows_from_the_generator():
    model, batch = published(), batch_of([True, True])
    one, same, other = (model.loss(batch, seeded(seed)[0]).total for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_normals_are_trained_in_the_networks_frame():
    batch = tiny.batch()
    wanted, _ = published(target="normals")._wanted(batch)
    assert torch.equal(wanted, batch.normals * torch.tensor([1, -1, -1]).view(1, 3, 1, 1))


def test_a_batch_without_truth_is_refused():
    batch = tiny.batch()
    batch.depth_m = batch.normals = None
    for target in ("depth", "normals"):
        with pytest.raises(DataError, match=f"no {target}"):
            published(target=target).loss(batch, seeded(0)[0])
