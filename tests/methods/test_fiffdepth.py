"""FiffDepth: the released prediction, the paper's formulas, and what holds for every model and training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import label_runs
import numpy as np
import pytest
import tiny
import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from PIL import Image
from pydantic import ValidationError
from tiny import seeded
from tiny_fiffdepth import ONE_LATENT, published, stored, toy
from torch.testing import assert_close

from leadline import cli, coding, losses, methods, recipe, weights
from leadline.cards import Card
from leadline.errors import DataError, UsageError, WeightsError
from leadline.label import run as label_run
from leadline.methods import Method
from leadline.methods.fiffdepth import Config, FiffDepth
from leadline.networks import latent
from leadline.predict import Model
from leadline.prediction import Kind
from leadline.schedule import Schedule, scaled_linear_betas
from leadline.train import train

SPACES = ["depth", "disparity", "disparity_flipped"]


def rooms(count=2):
    """A batch with depths, of which one cell of the latents is unknown."""
    batch = tiny.batch(count)
    batch.valid[:] = True
    batch.valid[..., :8, :8] = False
    return replace(batch, depth_m=batch.depth_m.clamp(min=1))


def photographs(count=2, kind=Kind.affine_disparity):
    """A batch of pictures of which only another model has spoken."""
    batch = rooms(count)
    return replace(batch, depth_m=None, normals=None, pseudo=batch.depth_m * 0.1, pseudo_kind=kind)


# The released program's functions, and the formulas of the paper


def test_a_teachers_metres_are_taught_through_the_filter():
    """Label shards of a metric teacher hold them as truth, too."""
    said = photographs(kind=Kind.metric_depth)
    loss = published().loss(replace(said, depth_m=said.pseudo), seeded(0)[0])
    assert "filter" in loss.parts
    assert "trajectory" not in loss.parts


@pytest.mark.parametrize("kind", [Kind.affine_disparity, Kind.metric_depth])
def test_the_recipe_learns_of_what_leadline_label_writes(kind, tmp_path, monkeypatch):
    """Its own entry of photographs, from the command to a step: the teacher speaks through the filter."""
    published().save(tmp_path / "model")
    rng = np.random.default_rng(0)
    (tmp_path / "photographs").mkdir()
    for name in ("china.jpg", "pier.png"):
        Image.fromarray(rng.integers(0, 256, (20, 28, 3), np.uint8)).save(tmp_path / "photographs" / name)
    monkeypatch.setattr(label_runs.Depth, "kind", kind)
    monkeypatch.setattr(label_run, "load", label_runs.networks)
    words = ["label", str(tmp_path / "photographs"), "-o", str(tmp_path / "labels"), "--depth", "small"]
    assert cli.main([*words, "--device", "cpu", "--quiet"]) == 0
    scenes = "{set: scenes, turn: synthetic, options: {count: 4}, sizes: [[16, 24]]}"
    chosen = recipe.load(
        Path(__file__).parents[2] / "recipes" / "fiffdepth.yaml",
        [
            *(f"start={tmp_path / 'model'}", f"data.hypersim={scenes}", f"data.vkitti2={scenes}"),
            *(f"data.photographs.options.path={tmp_path / 'labels'}", "data.photographs.sizes=[[16, 24]]"),
            *("batch.accumulate=2", "steps=2", "every.log=1", "precision=float32", "workers=0", "device=cpu"),
        ],
    )
    assert train(chosen, tmp_path / "run").finished
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    parts = {key for line in lines if line["event"] == "train" for key in line if key.startswith("loss_")}
    assert {"loss_depth", "loss_trajectory", "loss_filter", "loss_detail_filtered"} <= parts


def test_the_released_pipelines_steps_are_met(golden):
    g = golden("fiffdepth/tiny_pipeline")
    model = stored(g, compat="fiffdepth", size={"processing_res": 0})
    rgb = g.image_u8.float() / 255 * 2 - 1
    with torch.inference_mode():
        x_0 = latent.encode(model.autoencoder, rgb)
        assert_close(x_0, g.rgb_latent, rtol=0, atol=1e-4)
        assert_close(model.output(x_0, 0), g.d0_latent, rtol=0, atol=1e-4)
        assert_close(model.output(g.d0_latent, -1), g.dm1_latent, rtol=0, atol=1e-4)
        decoded = latent.decode(model.autoencoder, g.d0_latent).mean(dim=1, keepdim=True)
        assert_close(decoded, g.decoded_depth_mean, rtol=0, atol=1e-4)
        found = model(rgb, also=["filtered"])
        assert_close((found["depth"] + 1) / 2, g.single_infer_01, rtol=0, atol=1e-4)
        assert_close(found["filtered"], model.head(g.dm1_latent), rtol=0, atol=1e-4)
    for fast in (True, False):
        predicted = Model(model, device="cpu", fast=fast)(g.image_u8[0].permute(1, 2, 0).numpy())
        np.testing.assert_allclose(predicted.values, g.final_depth_np.numpy(), rtol=0, atol=1e-4)


def test_a_training_step_matches_reference_with_all_gradients(golden):
    g = golden("fiffdepth/toy_training_step")
    for options, prefix in (({}, "grad_"), ({"detach_filter_input": True}, "grad_detached_")):
        model = toy(g, **options)
        assert_close(model.output(g.rgb_latent_syn, 0), g.d0_syn, rtol=0, atol=1e-5)
        assert_close(model.output(g.d0_real, -1), g.dm1_real, rtol=0, atol=1e-5)
        synthetic = model.regress(g.rgb_latent_syn, g.depth_latent_syn, g.latent_mask_syn.bool())
        l_k = model.trajectory(g.rgb_latent_syn, g.depth_latent_syn, g.t_traj, g.noise)
        everywhere = torch.ones(2, 1, 6, 8, dtype=torch.bool)
        real = model.distil(g.rgb_latent_real, g.teacher_latent_real, everywhere)
        assert_close(synthetic.total, g.loss_t0.squeeze(), rtol=0, atol=1e-5)
        assert_close(l_k, g.loss_k.squeeze(), rtol=0, atol=1e-5)
        assert_close(real.total, g.loss_tm1.squeeze(), rtol=0, atol=1e-5)
        total = synthetic.total + real.total + model.config.lambda_k * l_k
        assert_close(total, g.loss_total.squeeze(), rtol=0, atol=1e-5)
        total.backward()
        for name, parameter in model.unet.named_parameters():
            assert_close(parameter.grad, g[prefix + name.replace(".", "_")], rtol=0, atol=1e-5)


def test_the_training_step_is_made_of_its_stored_parts(golden):
    g = golden("fiffdepth/toy_training_step")
    model = toy(g)
    assert_close(model.output(g.rgb_latent_real, 0), g.d0_real, rtol=0, atol=1e-5)
    b_0 = (g.rgb_latent_syn + g.depth_latent_syn) / 2
    assert_close(model.schedule.noisy(b_0, g.noise, g.t_traj), g.bt, rtol=0, atol=1e-5)
    assert_close(model.schedule.velocity(b_0, g.noise, g.t_traj), g.vt, rtol=0, atol=1e-5)
    assert_close(model.output(g.bt, g.t_traj), g.v_pred, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("gamma", "tag"), [(0.5, "0p5"), (0.3, "0p3"), (0.0, "0"), (1.0, "1")])
def test_blends_and_their_trajectory_match_reference(gamma, tag, golden):
    g = golden("fiffdepth/blended_trajectory")
    b_0, schedule, model, seen = g[f"b0_g{tag}"], Schedule(), published(gamma=gamma), []
    model.output = lambda b_t, t: seen.append(b_t) or b_t
    model.trajectory(g.x0, g.d0, g.t, torch.zeros_like(g.eps))
    assert_close(seen[0], schedule.noisy(b_0, torch.zeros_like(b_0), g.t), rtol=0, atol=1e-5)
    if f"bt_g{tag}" not in g:  # of pictures or depths alone, the blend is what is stored
        return
    assert_close(schedule.noisy(b_0, g.eps, g.t), g[f"bt_g{tag}"], rtol=0, atol=1e-5)
    assert_close(schedule.velocity(b_0, g.eps, g.t), g[f"vt_g{tag}"], rtol=0, atol=1e-5)
    model.output = lambda *_: g.pred
    assert_close(
        model.trajectory(g.x0, g.d0, g.t, g.eps), g[f"lk_mean_g{tag}"].squeeze(), rtol=1e-5, atol=1e-5
    )
    square = (g[f"vt_g{tag}"] - g.pred).square()
    assert_close(square.mean(dim=(1, 2, 3)), g[f"lk_mean_per_sample_g{tag}"], rtol=1e-5, atol=1e-5)
    for i in range(len(g.t)):  # alone, each is its own mean, and its sum over 4 x 6 x 8 elements
        model.output = lambda *_, i=i: g.pred[i : i + 1]
        alone = model.trajectory(*(x[i : i + 1] for x in (g.x0, g.d0, g.t, g.eps)))
        assert_close(alone * 192, g[f"lk_sum_per_sample_g{tag}"][i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [320, 64, 8])
def test_timesteps_of_the_networks_are_embedded_as_stored(width, golden):
    g = golden("fiffdepth/timestep_embedding")
    found = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)(g.timesteps)
    small = g.timesteps.abs() <= 10
    assert_close(found[small], g[f"emb_{width}"][small], rtol=0, atol=1e-6)
    assert_close(found, g[f"emb_{width}"], rtol=0, atol=1e-4)
    half = width // 2  # -1 is 1 with its sines negated
    assert torch.equal(found[0, :half], found[2, :half])
    assert torch.equal(found[0, half:], -found[2, half:])


def test_the_networks_embed_times_with_cosines_first(golden):
    g = golden("fiffdepth/timestep_embedding")
    unet = weights.build(ONE_LATENT | {"block_out_channels": [64, 64]})
    assert_close(unet.time_proj(g.timesteps)[:4], g.emb_64[:4], rtol=0, atol=1e-6)
    assert (unet.time_proj(g.timesteps) - g.emb_64_sinfirst_shift1).abs().max() > 0.5
    layers = TimestepEmbedding(8, 16)  # as the UNet has it
    assert isinstance(unet.time_embedding, TimestepEmbedding)
    for name, own in (("linear_1", (g.mlp_w1, g.mlp_b1)), ("linear_2", (g.mlp_w2, g.mlp_b2))):
        layers.get_submodule(name).load_state_dict(dict(zip(("weight", "bias"), own, strict=True)))
    assert_close(layers(g.emb_8), g.mlp_out_8_16, rtol=0, atol=1e-5)


def test_noise_levels_match_reference(golden):
    g, schedule = golden("fiffdepth/schedule_sd2"), Schedule()
    assert_close(scaled_linear_betas(), g.betas, rtol=0, atol=1e-6)
    assert_close(schedule.alphas_cumprod, g.alphas_cumprod, rtol=0, atol=1e-6)
    assert_close(schedule.alphas_cumprod.double(), g.alphas_cumprod_f64, rtol=0, atol=1e-6)
    one, t = torch.ones(1000, 1, 1, 1), torch.arange(1000)
    assert_close(schedule.noisy(one, 0 * one, t).flatten(), g.sqrt_alpha, rtol=0, atol=1e-6)
    assert_close(schedule.noisy(0 * one, one, t).flatten(), g.sqrt_one_minus_alpha, rtol=0, atol=1e-6)


def test_latent_losses_match_reference(golden):
    g = golden("fiffdepth/latent_losses")
    mask = latent.whole(g.pixel_mask.bool(), 8)
    assert torch.equal(mask, g.latent_mask.bool())
    cases = {
        "mae": lambda x: losses.l1(x, g.target),
        "mae_masked": lambda x: losses.l1(x, g.target, mask),
        "gm_M": lambda x: losses.slopes(x, g.target),
        "gm_valid_mean": lambda x: losses.slopes(x, g.target, per="difference"),
        "gm_M_is_hw": lambda x: losses.slopes(x, g.target, per="cell"),
        "gm_masked": lambda x: losses.slopes(x, g.target, mask),
        "gm_multiscale3": lambda x: losses.slopes(x, g.target, scales=3),
        "depth_loss_1_0p5": lambda x: published()._compare(x, g.target, mask, "").total,
        "depth_loss_unmasked_1_0p5": lambda x: published()._compare(x, g.target, mask | True, "").total,
    }
    for name, function in cases.items():
        pred = g.pred.clone().requires_grad_()
        value = function(pred)
        value.backward()
        assert_close(value.detach(), g[name].squeeze(), rtol=0, atol=1e-6, msg=name)
        if f"{name}_grad" in g:
            assert_close(pred.grad, g[f"{name}_grad"], rtol=0, atol=1e-7, msg=name)


def test_labels_are_normalised_as_stored(golden):
    g = golden("fiffdepth/label_normalisation")
    depth, valid = g.depth[None], g.valid.bool()[None]
    batch = replace(tiny.batch(1, 40, 56), valid=valid, pseudo_kind=Kind.affine_disparity)
    for space, name in zip(SPACES, ("depth_norm", "disparity_norm", "disparity_norm_flipped"), strict=True):
        label, known = published(label_space=space).label(batch, depth)
        assert_close(label[known], g[name][None][known], rtol=0, atol=1e-5)
    raw, _ = coding.disparity(depth, valid & (depth > 0))
    assert_close(raw[valid], g.disparity[None][valid], rtol=0, atol=1e-5)
    for x, name in ((depth, "depth"), (raw, "disp")):
        low, high = coding.quantiles(x[valid & (x > 0)], 0.02, 0.98)
        assert_close(torch.stack([low, high]), torch.stack([g[f"{name}_q2"], g[f"{name}_q98"]]).flatten())
    everywhere = replace(batch, valid=torch.ones_like(valid))
    for space, name in (("disparity", "teacher_norm"), ("depth", "teacher_norm_flipped")):
        said, counts = published(label_space=space).teacher_label(everywhere, g.teacher_disparity[None])
        assert_close(said, g[name].view_as(said), rtol=0, atol=1e-5)
        assert counts.all()
    low, high = coding.quantiles(g.teacher_disparity.flatten(), 0.02, 0.98)
    assert_close(torch.stack([low, high]), torch.stack([g.teacher_q2, g.teacher_q98]).flatten())
    assert torch.equal(g.rgb_stack_example, g.depth_norm.expand(3, -1, -1).view_as(g.rgb_stack_example))


# Training


def test_the_filters_loss_reaches_the_first_pass():
    """Through both passes: without the second way, its weights' gradient is another."""
    grads = {}
    for detached in (False, True):
        model = published(detach_filter_input=detached).train()
        seen = []
        output = model.output
        model.output = lambda z, t, text=None, output=output, seen=seen: (
            seen.append((t, output(z, t))) or seen[-1][1]
        )
        total = model.loss(photographs(), seeded(0)[0]).total
        (t_first, d_0), (t_second, _) = seen
        assert (t_first, t_second) == (0, -1)
        reached = torch.autograd.grad(total, d_0, allow_unused=True, retain_graph=True)[0]
        assert (reached is None) == detached
        total.backward()
        grads[detached] = model.unet.conv_in.weight.grad
    assert grads[False].abs().sum() > 0
    assert not torch.allclose(grads[False], grads[True])


@pytest.mark.parametrize(("index", "first", "last"), [("network", 1, 999), ("paper", 1, 1000)])
def test_the_trajectory_never_takes_the_timestep_of_depth(index, first, last):
    model = published(trajectory_index=index)
    drawn = model._timesteps(200_000, seeded(0)[0])
    assert (drawn.min(), drawn.max()) == (first, last)
    told = []
    model.output = lambda z, t: told.append(t) or z
    ends = torch.tensor([first, last])
    z = torch.zeros(2, 4, 2, 2)
    model.trajectory(z, z, ends, z)
    assert torch.equal(told[0], ends)  # the network is told t, whichever level that is


@pytest.mark.parametrize("t", [-1, 1000, torch.tensor([5, -1])])
def test_timesteps_without_a_noise_level_are_refused(t):
    x = torch.zeros(2, 4, 2, 2)
    with pytest.raises(UsageError, match="has no noise level: the schedule has those of t = 0 to 999"):
        Schedule().noisy(x, x, t)


@pytest.mark.parametrize("make", [rooms, photographs], ids=["depths", "teacher"])
@pytest.mark.parametrize("space", SPACES)
def test_gradient_reaches_the_whole_unet_and_nothing_frozen(make, space):
    model = published(label_space=space).train()
    loss = model.loss(make(), seeded(0)[0])
    loss.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.unet.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.autoencoder.parameters())
    assert not model.autoencoder.training
    parts = {"depth", "depth_slopes", "trajectory"} if make is rooms else {"filter", "filter_slopes"}
    assert parts <= set(loss.parts)


def test_a_batch_with_depths_has_the_terms_of_equation_7_by_hand(monkeypatch):
    """Each pass is given what the paper gives it, at its time, and is compared with what the paper says."""
    model, batch = published(gamma=0.3), rooms()
    noise, answers, seen = torch.randn(2, 4, 4, 6), torch.randn(2, 2, 4, 4, 6), []
    monkeypatch.setattr(torch, "randn", lambda *_, **__: noise)
    model.output = lambda z, t, text=None: seen.append((z, t)) or answers[len(seen) - 1]
    found = model.loss(batch, seeded(5)[0])
    label, known = model.label(batch, batch.depth_m)
    x_0, d = (latent.encode(model.autoencoder, p) for p in (batch.rgb, label.expand(-1, 3, -1, -1)))
    cells = latent.whole(known, 8)
    (first, t_first), (second, t) = seen
    assert (torch.equal(first, x_0), t_first) == (True, 0)
    b_0, level = 0.3 * x_0 + 0.7 * d, Schedule().alphas_cumprod[t].view(2, 1, 1, 1)
    assert_close(second, level.sqrt() * b_0 + (1 - level).sqrt() * noise)
    l_k = (answers[1] - (level.sqrt() * noise - (1 - level).sqrt() * b_0)).square().mean()
    l_s = losses.l1(answers[0], d, cells) + 0.5 * losses.slopes(answers[0], d, cells)
    assert_close(found.total, l_s + 0.2 * l_k)


@pytest.mark.parametrize("index", ["network", "paper"])
def test_no_step_of_training_noises_the_timestep_of_depth(index):
    model, told = published(trajectory_index=index), []
    model.output = lambda z, t, text=None: told.append(t) or z
    generator, batch = seeded(0)[0], rooms()
    for _ in range(400):
        model._on_trajectory(losses.Loss(torch.zeros(()), {}, 1), batch.rgb, batch.rgb, generator)
    assert torch.stack(told).min() >= 1
    assert torch.stack(told).max() > 900


@pytest.mark.parametrize("step", [-1, 0])
def test_a_batch_of_photographs_is_compared_with_its_teacher_after_the_step_that_is_taught(step):
    model, batch = published(teacher_step=step), photographs()
    answers, seen = torch.randn(2, 2, 4, 4, 6), []
    model.output = lambda z, t, text=None: seen.append((z, t)) or answers[len(seen) - 1]
    found = model.loss(batch, seeded(5)[0])
    label, counts = model.teacher_label(batch, batch.pseudo)
    x_0, d = (latent.encode(model.autoencoder, p) for p in (batch.rgb, label.expand(-1, 3, -1, -1)))
    cells, said = latent.whole(counts, 8), answers[len(seen) - 1]
    assert [t for _, t in seen] == ([0, -1] if step else [0])
    assert torch.equal(seen[0][0], x_0)
    if step:
        assert torch.equal(seen[1][0], answers[0])
    assert_close(found.total, losses.l1(said, d, cells) + 0.5 * losses.slopes(said, d, cells))


def test_the_ablations_of_figure_7_are_options():
    batch, words, generator = rooms(), photographs(), seeded(0)[0]
    assert "trajectory" not in published(lambda_k=0).loss(batch).parts
    assert "teacher" in published(teacher_step=0).loss(words).parts
    with pytest.raises(DataError, match="teacher_step is null"):
        published(teacher_step=None).loss(words)
    model, seen = published(gamma=1), {}
    model.output = lambda z, t, text=None: seen.update({int(torch.as_tensor(t).max()): z}) or z
    x_0 = torch.randn(2, 4, 2, 3)
    model.trajectory(x_0, torch.full_like(x_0, 7.0), torch.tensor([1, 1]), torch.zeros_like(x_0))
    assert_close(seen[1], model.schedule.noisy(x_0, torch.zeros_like(x_0), 1))
    assert published().loss(batch, generator).total > 0


@pytest.mark.parametrize("make", [rooms, photographs], ids=["depths", "teacher"])
def test_empty_masks_and_flat_pictures_teach_nothing(make):
    model = published(lambda_k=0).train()
    empty, flat = make(), make()
    empty.valid[:] = False
    for name in ("depth_m", "pseudo"):
        if getattr(flat, name) is not None:
            setattr(flat, name, torch.full_like(getattr(flat, name), 3.0))
    for batch in (empty, flat):
        loss = model.loss(batch)
        loss.total.backward()
        assert loss.total == 0
        assert all(p.grad.abs().sum() == 0 for p in model.unet.parameters())


def test_what_is_not_valid_is_far_and_is_not_compared():
    depth = torch.tensor([[1.0, 2.0, 3.0, torch.inf, 9.0]]).view(1, 1, 1, 5)
    valid = torch.tensor([1, 1, 1, 1, 0], dtype=torch.bool).view(1, 1, 1, 5)
    batch = replace(tiny.batch(1, 1, 5), valid=valid)
    for space, far in zip(SPACES, (1, -1, 1), strict=True):
        label, known = published(label_space=space, percentiles=(0, 1)).label(batch, depth)
        assert label.flatten()[3:].tolist() == [far, far]  # the sky, and what is unknown
        assert known.flatten().tolist() == [True] * 4 + [False]
        assert label.flatten()[0] == -far


@pytest.mark.parametrize("space", SPACES)
def test_teachers_of_every_kind_have_near_and_far_where_the_labels_have_them(space):
    model, batch = published(label_space=space), tiny.batch(1)
    batch.valid[:] = True
    depth = batch.depth_m.clamp(min=1)
    wanted, _ = model.label(batch, depth)
    words = {Kind.affine_depth: depth / 7 - 3, Kind.affine_disparity: 4 / depth + 1, Kind.metric_depth: depth}
    for kind, said in words.items():
        found, counts = model.teacher_label(replace(batch, pseudo_kind=kind), said)
        assert ranks_agree(found, wanted)
        assert counts.all()
    inverted = published(label_space=space, teacher_to_depth=True)
    found, _ = inverted.teacher_label(replace(batch, pseudo_kind=Kind.affine_disparity), 1 / depth)
    assert ranks_agree(found, wanted)


def ranks_agree(a, b):
    """Whether two maps that run between -1 and 1 have their values in the same order, their ends apart."""
    inside = (a.abs() < 0.999) & (b.abs() < 0.999)
    assert inside.sum() > 100
    order = a[inside].argsort()
    return bool((b[inside][order].diff() >= -1e-5).all())


def test_batches_and_starts_that_teach_nothing_are_refused():
    batch = replace(tiny.batch(), depth_m=None)
    with pytest.raises(DataError, match="neither depth nor pseudo-labels"):
        published().loss(batch)
    with pytest.raises(UsageError, match="pass a generator"):
        published().loss(tiny.batch())
    model = published()
    model.schedule = Schedule(prediction_type="epsilon")
    with pytest.raises(UsageError, match="model.prediction_type=v_prediction"):
        model.loss(tiny.batch(), seeded(0)[0])


def test_loss_of_training_follows_from_the_generator():
    model, batch = published(), tiny.batch()
    one, same, other = (model.loss(batch, seeded(seed)[0]).total for seed in (1, 1, 2))
    assert one == same
    assert one != other


# Every model


@pytest.mark.parametrize("space", SPACES)
def test_near_and_far_are_what_the_kind_says(space):
    model = published(label_space=space)
    assert model.kind == {"depth": "affine_depth"}.get(space, "affine_disparity")
    near_in_latent = {"disparity": 1.0}.get(space, -1.0)
    last = model.autoencoder.decoder.conv_out
    last.weight.data.zero_()
    last.bias.data.fill_(near_in_latent)
    (value,) = model(torch.zeros(1, 3, 16, 16)).values()
    assert value.unique().item() == {"small": -1, "large": 1}[model.kind.near_is]


def test_prediction_draws_nothing_and_alone_equals_in_a_batch():
    model, rgb = published(), torch.rand(3, 3, 32, 48) * 2 - 1
    before = torch.get_rng_state()
    with torch.inference_mode():
        together = model(rgb, also=["filtered"])
        for i in range(3):
            alone = model(rgb[i : i + 1], also=["filtered"])
            for name in ("depth", "filtered"):
                assert alone[name].shape == (1, 1, 32, 48)
                assert_close(together[name][i : i + 1], alone[name], rtol=0, atol=5e-5)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.allclose(together["depth"], together["filtered"])


@pytest.mark.parametrize("fast", [True, False])
def test_the_filtered_map_hangs_on_the_prediction_when_asked_for(fast, tmp_path):
    model = Model(published(), device="cpu", fast=fast)
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    assert model(image, processing_res=32).also == {}
    result = model(image, processing_res=32, also=["filtered"])
    filtered = result.also["filtered"]
    assert (filtered.kind, filtered.values.shape) == (Kind.affine_depth, (21, 34))
    assert np.abs(filtered.values - result.values).max() > 1e-3
    tiled = model(image, processing_res=128, tile=64, also=["filtered"])
    assert tiled.also["filtered"].values.shape == (21, 34)
    with pytest.raises(UsageError, match="no further output 'filter': did you mean 'filtered'"):
        model(image, also=["filter"])


def test_before_equals_after_saving_without_a_scheduler(tmp_path):
    model = published(label_space="disparity_flipped", gamma=0.3)
    model.save(tmp_path / "model")
    assert not (tmp_path / "model/scheduler").exists()
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    assert (index["prediction_type"], index["timestep"], index["label_space"]) == (
        "sample",
        0,
        "disparity_flipped",
    )
    assert (index["near_value"], index["latent_scale"]) == (-1, 0.18215)
    again = FiffDepth.load(tmp_path / "model").eval()
    assert again.config == model.config
    rgb = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert_close(again(rgb)["disparity"], model(rgb)["disparity"], rtol=0, atol=1e-5)


def test_a_scheduler_entry_is_tolerated_and_others_levels_are_kept(tmp_path):
    model = published()
    model.save(tmp_path / "model")
    entry = tmp_path / "model/scheduler/scheduler_config.json"
    entry.parent.mkdir()
    other = {"_class_name": "PNDMScheduler", "clip_sample": True}  # no levels that latents can have
    entry.write_text(json.dumps(other | {"prediction_type": "v_prediction"}))
    assert FiffDepth.load(tmp_path / "model").schedule == Schedule()
    for says in ({}, {"prediction_type": "epsilon"}):  # what it says its network to predict still counts
        entry.write_text(json.dumps(other | says))
        assert FiffDepth.load(tmp_path / "model").schedule == Schedule(prediction_type="epsilon")
    entry.write_text(json.dumps(other | {"prediction_type": "flow_prediction"}))
    assert FiffDepth.load(tmp_path / "model").schedule == Schedule()
    entry.write_text(json.dumps(Schedule(prediction_type="epsilon").to_config()))
    assert FiffDepth.load(tmp_path / "model").schedule.prediction_type == "epsilon"
    agreed = FiffDepth.load(tmp_path / "model", prediction_type="v_prediction")
    assert agreed.schedule == Schedule()
    other = FiffDepth(model.config, model.unet, model.autoencoder, Schedule(beta_end=0.02), model.empty_text)
    other.save(tmp_path / "other")
    assert FiffDepth.load(tmp_path / "other").schedule == Schedule(beta_end=0.02)


def test_a_unet_alone_takes_the_rest_from_its_base(tmp_path):
    model = published()
    model.save(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole/unet", tmp_path / "alone")
    card = Card(name="alone", method="fiffdepth", kind=Kind.affine_depth)
    made = FiffDepth.load(tmp_path / "alone", card, base=str(tmp_path / "whole")).eval()
    rgb = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        assert_close(made(rgb)["depth"], model(rgb)["depth"], rtol=0, atol=1e-5)
    shutil.copytree(tmp_path / "whole/unet", tmp_path / "nested/unet")
    nested = FiffDepth.load(tmp_path / "nested", card, base=str(tmp_path / "whole")).eval()
    with torch.inference_mode():
        assert_close(nested(rgb)["depth"], model(rgb)["depth"], rtol=0, atol=1e-5)
    (tmp_path / "nested/scheduler").mkdir()  # what the folder has itself is not the base's
    entry = tmp_path / "nested/scheduler/scheduler_config.json"
    entry.write_text(json.dumps(Schedule(prediction_type="epsilon").to_config()))
    nested = FiffDepth.load(tmp_path / "nested", card, base=str(tmp_path / "whole"))
    assert nested.schedule.prediction_type == "epsilon"
    made.save(tmp_path / "again")  # whole: it needs no base any more
    assert FiffDepth.load(tmp_path / "again").config.base is None
    with pytest.raises(WeightsError, match="no-such-model"):
        FiffDepth.load(tmp_path / "alone", card, base="no-such-model")
    with pytest.raises(WeightsError, match="config.json"):
        FiffDepth.load(tmp_path / "alone", card)


def test_unets_of_other_methods_are_refused():
    eight = weights.build(tiny.UNET)
    with pytest.raises(WeightsError, match="makes 4 channels of 8, .* must make 4 of 4"):
        FiffDepth(Config(), eight, weights.build(tiny.AUTOENCODER), empty_text=torch.zeros(1, 2, 24))


@pytest.mark.parametrize(
    "options", [{"label_space": "metres"}, {"teacher_step": 1}, {"compat": "marigold-v1"}]
)
def test_impossible_configs_are_refused(options):
    with pytest.raises(ValidationError):
        Config(**options)


def test_the_engines_contract_is_kept():
    kept: Method = published()
    assert methods.get("fiffdepth") == (FiffDepth, Config)
    assert (kept.kind, kept.steps, kept.members) == (Kind.affine_depth, None, None)
    made = FiffDepth.random(
        Config(unet=ONE_LATENT, autoencoder=tiny.AUTOENCODER), empty_text=torch.zeros(1, 2, 24)
    )
    assert made.schedule == Schedule()


@pytest.mark.parametrize(
    "option",
    [
        *({"gamma": 2}, {"lambda_k": -1}, {"lambda_gm": -0.5}),
        *({"percentiles": shares} for shares in ([2, 98], [0.9, 0.1], [0.5, 0.5], [-0.1, 1])),
    ],
)
def test_options_outside_of_their_range_are_refused(option):
    with pytest.raises(ValidationError, match=next(iter(option))):
        Config(**option)
