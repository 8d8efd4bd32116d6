"""MetricGold: stored pipelines and formulas, metres and cameras, both stages of training, what is refused."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from pydantic import ValidationError
from tiny import seeded
from tiny_fiffdepth import parts
from torch import nn
from torch.testing import assert_close

from leadline import cards, image, losses, methods, weights
from leadline.camera import Camera
from leadline.cards import Card, Defaults
from leadline.coding import Codec
from leadline.data.sample import Batch
from leadline.errors import CameraError, DataError, ShapeError, UsageError, WeightsError
from leadline.methods import Method
from leadline.methods.metricgold import Config, MetricGold
from leadline.methods.metricgold import autoencoder as depth_stage
from leadline.networks import conv_in, latent
from leadline.predict import Model
from leadline.prediction import Kind
from leadline.report import spread
from leadline.schedule import Schedule
from leadline.train import validate

RANGE = {"codec": "log", "near_m": 0.1, "far_m": 80.0}
CARD = Card(
    name="tiny",
    method="metricgold",
    kind=Kind.metric_depth,
    defaults=Defaults(steps=2, ensemble=1),
    config=RANGE,
)


def published(**options):
    """In the published layout, with weights that follow from their names."""
    unet, autoencoder = weights.build(tiny.UNET), weights.build(tiny.AUTOENCODER)
    tiny.fill(unet, "unet.")
    tiny.fill(autoencoder, "vae.")
    text = tiny.fixed("empty_text_embedding", 1, 2, 24)
    return MetricGold(Config(**options), unet, autoencoder, empty_text=text, card=CARD).eval()


def scaled(**options):
    """With an autoencoder of its own for depth, whose latents have another scale."""
    model = published()
    config, own = Config(depth_latent_scale=0.5, **options), copy.deepcopy(model.autoencoder)
    given = (model.unet, model.autoencoder, None, model.empty_text, CARD)
    return MetricGold(config, *given, depth_autoencoder=own).eval()


MODELS = {
    "diffusion": published,
    "one step": partial(published, objective="one_step"),
    "by width": partial(published, camera="canonical_width", far_m=160),
    "fixed": partial(published, camera="canonical_fixed"),
    "field of view": partial(published, camera="fov"),
    "linear": partial(published, codec="linear"),
    "own autoencoder": scaled,
}


def rooms(count=2, cameras=True) -> Batch:
    """Depths to 9 m with cameras; one cell of the latents is unknown."""
    batch = tiny.batch(count)
    batch.valid[:] = True
    batch.valid[..., :8, :8] = False
    batch.depth_m.clamp_(min=1)
    views = [Camera.from_fov(48, 32, horizontal=50 + 10 * i) if cameras else None for i in range(count)]
    return replace(batch, cameras=views)


def cameras(count, width=48, height=32):
    return [Camera.from_fov(width, height, horizontal=60)] * count


# Stored arrays


@pytest.mark.parametrize("name", ["leading", "trailing", "trailing_zsnr"])
def test_the_stored_pipeline_is_met_from_noise_to_metres(name, golden):
    g, first = golden("metricgold/tiny_metric_pipeline"), golden("fiffdepth/tiny_pipeline")
    unet, autoencoder, text = parts(first, in_channels=8)
    config = Config(spacing=name.partition("_")[0], zero_snr=name.endswith("zsnr"))
    model = MetricGold(config, unet, autoencoder, empty_text=text, card=CARD).eval()
    rgb = first.image_u8.float() / 255 * 2 - 1
    with torch.inference_mode():
        x = latent.encode(autoencoder, rgb)
        assert_close(x, first.rgb_latent, rtol=0, atol=1e-4)
        for e in range(4):
            z = model.denoise(x, g.noise[e : e + 1], 4)
            assert_close(z, g[f"latent_final_{name}"][e : e + 1], rtol=0, atol=1e-4)
            code = model.head(z)
            assert_close(code, g[f"decoded_mean_{name}"][e : e + 1], rtol=0, atol=1e-4)
        # latents of the network's own size, as in the stored run: nothing is padded
        model.preset = replace(model.preset, size=replace(model.preset.size, processing_res=0, pad="none"))
        whole = Model(model, device="cpu", fast=False)
        found = stored_noise(whole, g.noise, rgb, first)
    median = model.codec.decode(g[f"median_norm_{name}"])
    assert_close(found[0], median, rtol=1e-3, atol=0)
    assert_close(found[1], g[f"depth_metres_{name}"], rtol=1e-3, atol=0)


def stored_noise(model, noise, rgb, first):
    """Metres from stored start latents: merged, and then at the picture's size, as the engines do it."""
    from leadline import coding, ensemble, sizes

    method = model.method
    members = method(rgb, z_T=noise, steps=4)["depth"]  # [4,1,h,w]
    merged, _ = ensemble.merge(members, Kind.metric_depth, method.preset.ensembling)
    prepared = sizes.prepare(first.image_u8[0].permute(1, 2, 0).numpy(), method.preset.size)
    restore = partial(sizes.restore, prepared=prepared)
    return merged, coding.publish(merged, Kind.metric_depth, method.preset, restore)[0, 0]


def test_masks_and_codes_of_holes_and_sky_are_as_stored(golden):
    g = golden("metricgold/invalid_and_sky")
    depth = g.depth[None, None]
    batch = replace(tiny.batch(1), depth_m=torch.where(depth.isfinite(), depth, 0))
    batch.valid = depth.isfinite() & (depth > 0)
    for far, valid, mask in (
        ("mask", g.valid_strict, g.latent_mask_strict),
        ("supervise", g.valid_sky_supervised, g.latent_mask_sky_supervised),
    ):
        y, known = published(far=far, known_share=0).label(batch)
        assert_close(y[0, 0], g.codec_input, rtol=0, atol=1e-5)
        assert torch.equal(known[0, 0], valid.bool())
        assert torch.equal(latent.whole(known, 8)[0, 0], mask.bool())


def test_canonical_depths_are_as_stored(golden):
    g = golden("metricgold/canonical_camera")
    (height, width), (fx, fy, cx, cy) = g.orig_hw.tolist(), g.intrinsics_f64.tolist()
    camera = Camera(fx, fy, cx + 0.5, cy + 0.5, width, height)
    depth = g.depth_f64[None, None]
    fixed = published(camera="canonical_fixed")
    assert_close(
        depth / fixed._scale([camera], depth), g.depth_canonical_label_f64[None, None], rtol=1e-9, atol=0
    )
    label_camera = Camera(*g.intrinsics_canonical_label_f64.tolist(), width, height)
    assert fixed._scale([label_camera], depth).item() == pytest.approx(1, rel=1e-9)
    # the same camera at the network's resolution takes canonical depth back to metres
    h, w = g.resized_hw.tolist()
    seen = replace(camera, fx=fx * g.resize_scale_f64.item(), fy=fy * g.resize_scale_f64.item())
    scale = fixed._scale([seen], g.pred_canonical_f64)
    assert_close(scale.flatten(), g.decanonical_scale_f64, rtol=1e-9, atol=0)
    metres = (g.pred_canonical_f64 * scale[0, 0]).clamp(0, 300)
    assert_close(metres, g.pred_metric_f64, rtol=1e-9, atol=0)
    assert_close(metres, g.pred_metric_via_label_scale_f64, rtol=1e-9, atol=0)
    assert_close(1 / scale.flatten(), g.label_scale_factor_meanfocal_f64, rtol=1e-9, atol=0)
    wide = Camera.from_focal_px(g.dp_f_px_f64.item(), int(g.dp_width.item()), 375)
    by_width = published(camera="canonical_width")._scale([wide], depth)[0, 0]
    inverse = (g.canon_inv_f64 / by_width).clamp(1e-4, 1e4)  # Depth Pro predicts inverse canonical depth
    assert_close(1 / inverse, g.dp_depth_f64, rtol=1e-9, atol=0)
    assert (h, w) == (321, 1064)


def test_losses_of_the_autoencoder_are_as_stored(golden):
    g = golden("metricgold/vae_losses")
    moments = g.moments.clone().requires_grad_()
    kl = losses.kl(*moments.chunk(2, dim=1))
    kl.mean().backward()
    assert_close(kl.detach(), g.kl_per_sample, rtol=1e-5, atol=0)
    assert_close(kl.mean().detach(), g.kl_batch_mean.squeeze(), rtol=1e-5, atol=0)
    assert_close(moments.grad, g.kl_grad, rtol=1e-5, atol=1e-7)
    known, three = g.mask.bool(), g.target.expand(-1, 3, -1, -1)
    recon = g.recon.clone().requires_grad_()
    l1 = losses.l1(recon, three, known)
    l1.backward()
    assert_close(l1.detach(), g.l1_masked_3ch.squeeze(), rtol=1e-5, atol=0)
    assert_close(recon.grad, g.l1_grad, rtol=1e-5, atol=1e-9)
    assert_close(
        losses.l1(g.recon.mean(1, keepdim=True), g.target, known),
        g.l1_masked_chmean.squeeze(),
        rtol=1e-5,
        atol=0,
    )
    assert_close(losses.diffusion(g.recon, three, known).total, g.l2_masked_3ch.squeeze(), rtol=1e-5, atol=0)
    # latent diffusion's convention: the sum over what is known of a picture, of which ours is the mean
    summed = losses.l1(g.recon, three, known) * known.expand_as(three).sum() / len(known)
    assert_close(summed, g.nll_sum_per_sample.squeeze(), rtol=1e-5, atol=0)
    assert_close(summed + 1e-6 * kl.mean().detach(), g.ldm_total.squeeze(), rtol=1e-5, atol=0)


class Stored(nn.Module):
    """An autoencoder that gives the stored code, and decodes anything to the stored picture."""

    def __init__(self, g) -> None:
        super().__init__()
        self.g, self.config, self.decoded = g, SimpleNamespace(scaling_factor=0.18215), []

    def encode(self, _):
        return SimpleNamespace(latent_dist=DiagonalGaussianDistribution(self.g.moments))

    def decode(self, z):
        self.decoded.append(z)
        return SimpleNamespace(sample=self.g.recon)


def test_the_papers_first_stage_adds_a_millionth_of_the_penalty_as_stored(golden, monkeypatch):
    g = golden("metricgold/vae_losses")
    monkeypatch.setattr(torch, "randn", lambda *_, **__: g.noise)
    model, own = published(stage="vae", depth_vae="paper"), Stored(g)
    found = depth_stage.rebuilding(own, g.target, g.mask.bool(), model.config, model.codec, seeded(0)[0])
    assert_close(own.decoded[0], g.z, rtol=1e-5, atol=1e-6)
    assert_close(latent.encode(own, g.recon) / 0.18215, g["mode"], rtol=1e-5, atol=0)
    assert_close(found.total, g.total_l1_kl1em6.squeeze(), rtol=1e-5, atol=0)
    assert_close(found.parts["code"], g.l1_masked_3ch.squeeze(), rtol=1e-5, atol=0)


# Prediction


@pytest.mark.parametrize("name", MODELS)
def test_alone_equals_in_a_batch_and_after_saving_in_metres_within_the_range(name, tmp_path):
    model, rgb = MODELS[name](), torch.rand(2, 3, 32, 48) * 2 - 1
    known = cameras(2)
    model.save(tmp_path / "model")
    again = MetricGold.load(tmp_path / "model").eval()
    assert again.config == model.config
    with torch.inference_mode():
        together = model(rgb, generators=seeded(0, 1), camera=known)["depth"]
        scale = model._scale(known, rgb)
        assert (together / scale).min() >= model.codec.near_m * 0.999
        assert (together / scale).max() <= model.codec.far_m * 1.001
        for i in range(2):
            alone = again(rgb[i : i + 1], generators=seeded(i), camera=known[:1])["depth"]
            assert_close(together[i : i + 1], alone, rtol=2e-5, atol=0)


def test_members_are_what_their_noise_gives_alone_and_merge_in_metres():
    model, rgb = published(), torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.inference_mode():
        three = model(rgb, generators=seeded(0, 1, 2))["depth"]
        for e in range(3):
            assert torch.equal(three[e : e + 1], model(rgb, generators=seeded(e))["depth"])
    result = Model(model, device="cpu")(
        np.zeros((21, 34, 3), np.uint8), processing_res=32, ensemble_size=3, uncertainty=True
    )
    assert (result.kind, result.unit) == (Kind.metric_depth, "metre")
    assert result.uncertainty.min() >= 0
    assert 0.1 <= result.values.min() <= result.values.max() <= 80.001


def test_what_each_step_takes_for_the_result_is_in_metres_and_knows_the_camera():
    rgb, view = torch.rand(1, 3, 16, 24) * 2 - 1, Camera.from_fov(24, 16, horizontal=70)
    with torch.inference_mode():
        plain, canonical = (
            list(published(camera=camera).each_step(rgb, generators=seeded(0), steps=3, camera=[view]))
            for camera in ("none", "canonical_width")
        )
        with pytest.raises(CameraError):
            list(published(camera="fov").each_step(rgb, generators=seeded(0), steps=3))
    assert len(plain) == len(canonical) == 3
    for x, y in zip(plain, canonical, strict=True):
        assert_close(y, x * view.fx / view.width, rtol=1e-5, atol=0)


def test_how_far_steps_agree_is_told_in_shares_of_the_distance():
    model = published(camera="canonical_width")
    seen = spread.each_step(Model(model, device="cpu"), image.Picture(np.zeros((32, 48, 3), np.uint8)), 3)
    assert seen.shape[0] == 3
    wide = Camera.from_fov(48, 32, horizontal=60)  # where nobody knows it
    near, far = (np.log(m * wide.fx / wide.width) for m in (model.codec.near_m, model.codec.far_m))
    assert near - 1e-3 <= seen.min() < seen.max() <= far + 1e-3


def test_half_precision_holds_the_metres():
    for options in ({"objective": "one_step"}, {"objective": "one_step", "camera": "canonical_width"}):
        model, image = published(**options), np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
        view = {"camera": Camera.from_fov(48, 32, horizontal=60), "processing_res": 0}
        full, half = (
            Model(model, device="cpu", dtype=dtype)(image, **view) for dtype in ("float32", "bfloat16")
        )
        ratio = np.log(half.values / full.values)
        # one step of bfloat16 near the codes' ends, 2^-8 of [-1,1], is 0.013 in the logarithm; 0.024 was seen
        assert np.abs(ratio).mean() < 0.04
        assert abs(ratio.mean()) < 0.01
        assert half.values.dtype == np.float32


def test_metres_are_resized_as_logarithms():
    """Between 1 m and 4 m lies 2 m: the fade of an edge is a fade of ratios."""
    model = published(objective="one_step", size={"processing_res": 32})
    code = model.codec.encode(torch.tensor([1.0, 4.0]))
    model.head = lambda z: code.repeat_interleave(16).expand(len(z), 1, 32, 32)
    model.for_prediction = lambda steps=None: model
    values = Model(model, device="cpu")(np.zeros((64, 64, 3), np.uint8)).values
    edge = values[10]
    assert edge[0] == pytest.approx(1, rel=1e-5)
    assert edge[-1] == pytest.approx(4, rel=1e-5)
    assert edge[31] * edge[32] == pytest.approx(4, rel=1e-4)


def test_a_longer_lens_shows_the_same_picture_farther_off():
    rgb = torch.rand(2, 3, 32, 48) * 2 - 1
    short, long = Camera.from_focal_px(24, 48, 32), Camera.from_focal_px(72, 48, 32)
    for options in ({"camera": "canonical_width"}, {"camera": "canonical_fixed", "focal_px": 40}):
        model = published(objective="one_step", **options)
        with torch.inference_mode():
            near, far = (model(rgb, camera=[one, one])["depth"] for one in (short, long))
        assert_close(far, 3 * near)
        label, _ = model.label(replace(rooms(), cameras=[long, long]))
        canonical = model.codec.decode(label[..., 8:, 8:])
        assert_close(
            canonical * model._scale([long, long], canonical), rooms().depth_m[..., 8:, 8:], rtol=1e-4, atol=0
        )


def test_the_network_is_told_the_field_of_view_and_at_first_does_not_care():
    model, plain, rgb = published(camera="fov"), published(), torch.rand(1, 3, 32, 48) * 2 - 1
    narrow, wide = (([Camera.from_fov(48, 32, vertical=angle)]) for angle in (20, 90))
    with torch.inference_mode():
        before = plain(rgb, generators=seeded(0))["depth"]
        assert torch.equal(model(rgb, generators=seeded(0), camera=narrow)["depth"], before)
        model.view.layers[2].weight.data.normal_()
        one, other = (model(rgb, generators=seeded(0), camera=view)["depth"] for view in (narrow, wide))
        assert not torch.allclose(one, other)
        assert torch.equal(plain(rgb, generators=seeded(0))["depth"], before)  # the hook is gone


@pytest.mark.parametrize("name", ["by width", "fixed", "field of view"])
def test_a_camera_is_assumed_in_words_where_none_is_known(name, caplog):
    model, image = Model(MODELS[name](), device="cpu"), np.zeros((32, 48, 3), np.uint8)
    with caplog.at_level("WARNING"):
        result = model(image, processing_res=32)
    assert (result.camera_source, round(result.camera.fov[0])) == ("assumed", 60)
    assert "60 degrees across are assumed" in caplog.text
    caplog.clear()
    given = model(image, processing_res=32, camera=Camera.from_fov(48, 32, horizontal=60))
    np.testing.assert_allclose(given.values, result.values)
    assert (given.camera_source, caplog.text) == ("given", "")
    with pytest.raises(CameraError, match="needs the camera of each picture: give --fov or --focal-px"):
        model.method(torch.zeros(1, 3, 32, 48), generators=seeded(0), camera=[None])


@pytest.mark.parametrize("masked", [False, True])
def test_what_lies_at_the_ranges_end_is_counted_and_marked_if_wished(masked):
    model = published(objective="one_step", far_mask=masked)
    model.for_prediction = lambda steps=None: model
    code = torch.tensor([-2.0, 0.0, 2.0, 0.5]).repeat_interleave(8)
    model.head = lambda z: code.expand(len(z), 1, 32, 32)
    result = Model(model, device="cpu")(np.zeros((32, 32, 3), np.uint8), processing_res=0)
    assert result.settings["share_at_range_end"] == 0.5
    assert (result.values.min(), result.values.max()) == pytest.approx((0.1, 80))
    if not masked:
        assert result.valid is None
    else:
        assert result.valid[0, ::8].tolist() == [False, True, False, True]


@pytest.mark.parametrize("name", MODELS)
def test_the_ranges_end_is_where_it_is_for_the_camera_of_a_shrunk_and_padded_picture(name):
    """82x60 pixels are worked on as 41x30, padded to 48x32, half of them at the far end."""
    model = MODELS[name](far_mask=True)
    model.for_prediction = lambda steps=None: model
    code = torch.where(torch.arange(48) < 20, 0.0, 2.0)
    model.head = lambda z: code.expand(len(z), 1, 32, 48)
    view = Camera.from_fov(82, 60, horizontal=70)
    result = Model(model, device="cpu")(np.zeros((60, 82, 3), np.uint8), processing_res=41, camera=view)
    assert result.valid[:, :38].all()
    assert not result.valid[:, 42:].any()
    assert 40 / 82 <= result.settings["share_at_range_end"] <= 44 / 82


def test_the_ranges_end_of_a_picture_seen_in_tiles_is_that_of_the_whole():
    model = published(objective="one_step", camera="canonical_fixed", far_mask=True)
    model.for_prediction = lambda steps=None: model
    model.head = lambda z: torch.full((len(z), 1, z.shape[2] * 8, z.shape[3] * 8), 2.0)
    view = Camera.from_fov(128, 96, horizontal=70)
    picture = np.zeros((96, 128, 3), np.uint8)
    for more in ({"processing_res": 64}, {"processing_res": 128, "tile": 64}):
        result = Model(model, device="cpu")(picture, camera=view, **more)
        assert result.settings["share_at_range_end"] == 1
    assert result.settings["tiles"]["count"] > 1


@pytest.mark.parametrize("name", MODELS)
def test_the_fast_form_gives_the_same_metres(name):
    model = MODELS[name]()
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    more = {"camera": Camera.from_fov(48, 32, horizontal=60)}
    fast, plain = (
        Model(model, device="cpu", fast=way)(image, processing_res=0, **more) for way in (True, False)
    )
    np.testing.assert_allclose(fast.values, plain.values, rtol=2e-3)


# Training


@pytest.mark.parametrize("name", MODELS)
def test_gradient_reaches_what_is_trained_and_nothing_frozen(name):
    model = MODELS[name]().train()
    loss = model.loss(rooms(), seeded(0)[0])
    loss.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.unet.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.autoencoder.parameters())
    assert not model.autoencoder.training
    assert published(stage="vae", camera="fov").view is None
    if model.view is not None:  # its first layer learns once the second is not zero any more
        assert model.view.layers[2].weight.grad.abs().sum() > 0
    assert ("diffusion" in loss.parts) != ("absrel" in loss.parts)


@pytest.mark.parametrize("preset", ["decoder", "paper"])
def test_the_first_stage_trains_the_depths_autoencoder_alone(preset, tmp_path):
    model = published(stage="vae", depth_vae=preset).train()
    loss = model.loss(rooms(), seeded(0)[0])
    loss.total.backward()
    assert {"code", "absrel", "deviation"} <= set(loss.parts)
    trained = {
        name.partition(".")[0] for name, p in model.depth_autoencoder.named_parameters() if p.requires_grad
    }
    decoding = {"decoder", "post_quant_conv"}
    assert trained == (decoding if preset == "decoder" else decoding | {"encoder", "quant_conv"})
    for network, wanted in ((model.unet, False), (model.autoencoder, False), (model.depth_autoencoder, True)):
        gradients = [p.grad is not None and bool((p.grad != 0).any()) for p in network.parameters()]
        assert any(gradients) == wanted
        assert network.training == wanted
    rebuilt = validate.seen(model.eval(), rooms(), seeded(0, 1))["depth"]
    assert rebuilt.shape == (2, 1, 32, 48)
    model.save(tmp_path / "first")
    second = MetricGold.load(tmp_path / "first", stage="unet", depth_latent_scale=0.5)
    assert all(p.requires_grad for p in second.unet.parameters())
    assert not any(p.requires_grad for p in second.depth_autoencoder.parameters())
    assert latent.scale(second.depth_autoencoder) == 0.5
    assert latent.scale(second.autoencoder) == 0.18215
    kept = model.depth_autoencoder.state_dict()
    assert all(torch.equal(x, kept[key]) for key, x in second.depth_autoencoder.state_dict().items())


def test_a_scale_of_latents_that_no_autoencoder_has_is_refused():
    with pytest.raises(UsageError, match="depth_latent_scale"):
        published(depth_latent_scale=0.5)


def test_the_depths_latents_come_from_its_own_autoencoder():
    model = published(stage="vae")
    model.depth_autoencoder.encoder.conv_in.weight.data.mul_(2)
    y, known = model.label(rooms())
    picture = y.expand(-1, 3, -1, -1)
    assert not torch.allclose(latent.encode(model.own, picture), latent.encode(model.autoencoder, picture))
    assert known.any()


def test_the_target_of_denoising_is_v_in_cells_that_are_known():
    model, batch = published(), rooms()
    y, known = model.label(batch)
    x, z_0 = (latent.encode(model.autoencoder, p) for p in (batch.rgb, y.expand(-1, 3, -1, -1)))
    epsilon, t = torch.randn_like(z_0), torch.tensor([999, 3])
    v = model.schedule.velocity(z_0, epsilon, t)
    assert_close(v[0], -z_0[0])  # with zero-terminal SNR nothing of the truth is left to read at the end
    model._output = lambda *_: v + 2
    assert model.compare(x, z_0, epsilon, t, known).total == pytest.approx(4, rel=1e-4)
    spoiled = z_0.clone()
    spoiled[..., :1, :1] = torch.nan
    assert model.compare(x, spoiled, epsilon, t, known).total == pytest.approx(4, rel=1e-4)


@pytest.mark.parametrize("noise", ["gaussian", "pyramid"])
def test_denoising_is_of_the_depths_latent_beside_the_pictures_at_the_drawn_times(noise, monkeypatch):
    """Eq. 2 of DDPM by hand; both latents by their own autoencoders, at all times that there are."""
    model, batch = scaled(noise=noise), rooms(4)
    times, drawn = torch.tensor([0, 3, 500, 999]), []
    monkeypatch.setattr(torch, "randint", lambda *given, **_: drawn.append(given) or times)
    shown = torch.randn(4, 4, 4, 6)
    makes = "pyramid" if noise == "pyramid" else "gaussian"
    monkeypatch.setattr(f"leadline.noise.{makes}", lambda shape, *_: shown)
    seen = {}
    model.output = lambda both, t, text: seen.update(both=both, t=t) or torch.zeros(4, 4, 4, 6)
    loss = model.loss(batch, seeded(0)[0])
    y, known = model.label(batch)
    x, z_0 = latent.encode(model.autoencoder, batch.rgb), latent.encode(model.own, y.expand(-1, 3, -1, -1))
    signal = model.schedule.alphas_cumprod[times].view(4, 1, 1, 1)
    assert drawn == [(0, 1000, (4,))]
    assert torch.equal(seen["t"], times)
    assert_close(seen["both"], torch.cat([x, signal.sqrt() * z_0 + (1 - signal).sqrt() * shown], dim=1))
    v = signal.sqrt() * shown - (1 - signal).sqrt() * z_0
    cells = latent.whole(known, 8).expand_as(v)
    assert_close(loss.total, v[cells].square().mean())


def test_without_zero_snr_the_last_level_holds_the_mean_of_the_truth():
    for zero, left in ((True, 0.0), (False, 0.0683)):
        schedule = published(zero_snr=zero).schedule
        one = torch.ones(1, 4, 2, 2)
        assert schedule.noisy(one, 0 * one, 999).mean().item() == pytest.approx(left, abs=1e-4)


def test_pictures_that_teach_the_wrong_thing_are_left_out():
    batch = rooms(3)
    batch.valid[0, :, :20] = False  # too few known
    batch.depth_m[1, :, :, :4] = 0.05  # too many at the lens
    _, known = published().label(batch)
    assert known.any(dim=-1).any(dim=-1).flatten().tolist() == [False, False, True]
    assert published().loss(replace(batch, valid=batch.valid & False), seeded(0)[0]).total == 0


@pytest.mark.parametrize(("focal", "metres", "teaches"), [(144, 0.2, False), (24, 0.08, True)])
def test_too_near_is_what_the_code_cannot_say_with_the_camera(focal, metres, teaches):
    """0.2 m at f = 3 W are 0.07 of canonical depth, 0.08 m at f = W / 2 0.16."""
    batch = replace(rooms(1), cameras=[Camera.from_focal_px(focal, 48, 32)])
    batch.depth_m[..., :4] = metres
    _, known = published(camera="canonical_width").label(batch)
    assert known.any() == teaches


@pytest.mark.parametrize("noise", ["gaussian", "pyramid"])
def test_loss_of_training_follows_from_the_generator(noise):
    model, batch = published(noise=noise), rooms()
    one, same, other = (model.loss(batch, seeded(seed)[0]).total for seed in (1, 1, 2))
    assert one == same
    assert one != other


# Files, starts, refusals


def test_stable_diffusions_unet_is_widened_when_training_starts(tmp_path):
    model = published()
    model.save(tmp_path / "prior")
    narrow = weights.build(tiny.UNET | {"in_channels": 4})
    tiny.fill(narrow, "unet.")
    shutil.rmtree(tmp_path / "prior/unet")
    weights.save_network(narrow, tmp_path / "prior/unet")
    started = MetricGold.load(tmp_path / "prior", widen=True)
    assert_close(started.unet.conv_in.weight, narrow.conv_in.weight.repeat(1, 2, 1, 1) / 2)
    assert torch.equal(started.unet.conv_in.bias, narrow.conv_in.bias)
    assert conv_in.widen(started.unet, 8) is started.unet


def test_a_checkpoint_always_says_its_range_and_none_is_guessed(tmp_path):
    published().save(tmp_path / "model")
    card = cards.read(tmp_path / "model/card.yaml")
    assert card.config | RANGE == card.config
    with pytest.raises(WeightsError, match="does not say near_m, far_m, so its numbers are no metres"):
        MetricGold.load(tmp_path / "model", card.model_copy(update={"config": {"codec": "log"}}))
    assert MetricGold.load(tmp_path / "model", card, far_m=10).codec == Codec(0.1, 10)


def test_parts_that_a_folder_names_are_not_replaced_in_silence(tmp_path):
    scaled().save(tmp_path / "own")
    shutil.rmtree(tmp_path / "own/depth_vae")
    with pytest.raises(WeightsError, match="own/depth_vae"):
        MetricGold.load(tmp_path / "own")
    published(camera="fov").save(tmp_path / "told")
    shutil.rmtree(tmp_path / "told/field_of_view")
    with pytest.raises(WeightsError, match="told/field_of_view"):
        MetricGold.load(tmp_path / "told")
    published().save(tmp_path / "plain")  # a start, which learns of cameras now
    assert MetricGold.load(tmp_path / "plain", camera="fov").view is not None
    published(stage="vae", camera="fov").save(tmp_path / "first")
    assert MetricGold.load(tmp_path / "first", stage="unet").view is not None


@pytest.mark.parametrize("fast", [True, False])
def test_a_first_stage_predicts_nothing(fast):
    model = Model(published(stage="vae"), device="cpu", fast=fast)
    with pytest.raises(UsageError, match="tiny is a first stage, .* train a second one"):
        model(np.zeros((32, 48, 3), np.uint8))
    with pytest.raises(UsageError, match="first stage"):
        next(model.method.each_step(torch.zeros(1, 3, 32, 48), generators=seeded(0), steps=2))


def test_a_network_that_predicts_noise_has_no_zero_snr(tmp_path):
    published().save(tmp_path / "model")
    entry = tmp_path / "model/scheduler/scheduler_config.json"
    entry.write_text(json.dumps(Schedule(prediction_type="epsilon").to_config()))
    with pytest.raises(UsageError, match="or model.zero_snr=false"):
        MetricGold.load(tmp_path / "model")
    plain = MetricGold.load(tmp_path / "model", zero_snr=False).eval()
    with torch.inference_mode():
        metres = plain(torch.rand(1, 3, 32, 48), generators=seeded(0))["depth"]
    assert metres.isfinite().all()


@pytest.mark.parametrize(
    "option", [{"known_share": 2}, {"near_share": -1}, {"depth_latent_scale": -1}, {"kl_weight": -1}]
)
def test_options_outside_of_their_range_are_refused(option):
    with pytest.raises(ValidationError, match=next(iter(option))):
        Config(**option)


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="pass a generator"):
        published().loss(rooms())
    with pytest.raises(UsageError, match="pass a generator"):
        published(stage="vae", depth_vae="paper").loss(rooms())
    with pytest.raises(DataError, match="no depth"):
        published().loss(replace(rooms(), depth_m=None), seeded(0)[0])
    with pytest.raises(CameraError, match="train on data that have one"):
        published(camera="canonical_width").loss(rooms(cameras=False), seeded(0)[0])
    with pytest.raises(ShapeError, match="z_T: the shape is"):
        published()(torch.zeros(1, 3, 32, 48), z_T=torch.zeros(1, 4, 4, 5))
    with pytest.raises(ValidationError, match="the far end must be farther"):
        Config(near_m=2, far_m=1)
    plain = {"unet": tiny.PLAIN_UNET | {"in_channels": 96}, "autoencoder": tiny.BLOCKS}
    with pytest.raises(WeightsError, match="SpaceToDepth codes without a distribution"):
        MetricGold.random(Config(**plain, stage="vae", depth_vae="paper"))
    with pytest.raises(WeightsError, match="SpaceToDepth has no decoder to train"):
        MetricGold.random(Config(**plain, stage="vae"))


def test_the_engines_contract_is_kept():
    kept: Method = published()
    assert methods.get("metricgold") == (MetricGold, Config)
    assert (kept.kind, kept.steps, kept.members) == (Kind.metric_depth, 2, 1)
    assert (published(objective="one_step").steps, published(objective="one_step").members) == (None, None)
