"""GeoWizard: arrays of its authors' program, what holds for every model of this method, what it refuses."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import tiny
import torch
from tiny import seeded
from tiny_geowizard import AUTOENCODER, CLIP, E2E, GOLDEN, UNET, UNET_V2, clip, published
from torch.nn.functional import linear, silu
from torch.testing import assert_close

from leadline import align, coding, colour, ensemble, methods, noise, sizes, weights
from leadline.cards import Card, Defaults
from leadline.data.view import View
from leadline.errors import DataError, ShapeError, UsageError, WeightsError
from leadline.methods import Method
from leadline.methods.geowizard import PRESETS, Config, GeoWizard, Told, annealed
from leadline.networks import geowizard, latent
from leadline.networks.geowizard import DOMAINS, class_vectors
from leadline.predict import Model
from leadline.prediction import Kind

MODELS = {
    "v1": published,
    "v1-normals": partial(published, target="normals"),
    "v1-pyramid": partial(published, noise="pyramid", spacing="trailing"),
    "v2": partial(published, version="v2", domain="object"),
    "e2e-ft": partial(published, **E2E),
}
# What a picture's company changes: 1e-5 of the range. Vectors that are nearly zero are divided by their
# length, which brings their errors up: 3e-5 was seen.
ROUNDING = {"depth": 2e-5, "normals": 1e-4}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def other(model):
    """The name of the output that is no main one."""
    (name,) = model.also
    return name


# --- the authors' numbers ---


def test_the_switcher_says_what_it_should(golden):
    g = golden("geowizard/class_embeddings")
    for domain in DOMAINS:
        vectors = class_vectors([domain])
        assert_close(vectors, g[f"v1_{domain}"], rtol=0, atol=1e-6)
        hidden = silu(linear(vectors, g.proj_w1, g.proj_b1))
        assert_close(linear(hidden, g.proj_w2, g.proj_b2), g[f"v1_{domain}_projected"], rtol=0, atol=1e-6)
        assert_close(class_vectors([domain], 4), g.v2, rtol=0, atol=1e-6)
    assert_close(class_vectors(DOMAINS), g.train_b3_mixed, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pictures", [1, 2])
def test_self_attention_is_joint(golden, pictures):
    from diffusers.models.attention_processor import Attention

    g = golden("geowizard/joint_attention")
    attention = Attention(query_dim=12, heads=3, dim_head=4)
    own = {"to_q.weight": g.to_q, "to_k.weight": g.to_k, "to_v.weight": g.to_v}
    attention.load_state_dict(own | {"to_out.0.weight": g.to_out_w, "to_out.0.bias": g.to_out_b})
    x = g[f"x_b{pictures}"]
    assert_close(attention(x), g[f"plain_b{pictures}"], rtol=0, atol=1e-5)
    attention.set_processor(geowizard.JointAttention())
    assert_close(attention(x), g[f"joint_b{pictures}"], rtol=0, atol=1e-5)


def test_ensembles_of_depth_are_the_authors(golden):
    g, how = golden("geowizard/ensembles"), PRESETS["geowizard"].ensembling
    cases = {"median": (4, "lower_median"), "mean": (4, "mean"), "median_n2": (2, "lower_median")}
    for case, (count, reduction) in cases.items():
        members = g.depth_in[:count, None]
        own = ensemble.Ensembling(**{**vars(how), "reduction": reduction})
        value, uncertainty = ensemble.depth(members, own)
        # their solver's gradients are rounding noise: members that differ by one rounding, or another
        # processor, move its end; depth then by up to 0.023 on average, of means by 1e-6
        assert (value[0, 0] - g[f"depth_{case}"]).abs().mean() <= (1e-4 if reduction == "mean" else 0.03)
        assert (uncertainty[0, 0] - g[f"unc_{case}"]).abs().mean() <= 0.03


def test_ensembles_of_normals_are_the_authors(golden):
    g, preset = golden("geowizard/ensembles"), PRESETS["geowizard"]
    members = coding.unit(g.normals_in, preset)
    value, _ = ensemble.normals(members, preset.ensembling.normals)
    assert torch.equal(value[0], members[int(g.normals_choice)])
    assert_close(value[0], g.normals_out, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("case", "t"), [("inf", [999]), ("train", [999, 250])])
def test_annealed_noise_is_the_authors(golden, case, t):
    g = golden("geowizard/pyramid_noise", case)
    draws = iter([g[name] for name in sorted(name for name in g if name.startswith("draw"))])
    uniforms = iter(g.uniforms.tolist())
    strength = torch.tensor(t).view(-1, 1, 1, 1) / 1000

    def normal(shape):
        x = next(draws)
        assert tuple(x.shape) == shape
        return x

    found = annealed(tuple(g.out.shape), normal, lambda: next(uniforms), strength)
    assert_close(found, g.out, rtol=0, atol=2e-5)
    assert next(draws, None) is next(uniforms, None) is None


@pytest.mark.parametrize(("spacing", "first"), [("leading", 901), ("trailing", 999)])
def test_pyramid_noise_is_annealed_for_the_timestep_that_denoising_begins_with(spacing, first):
    network, x = published(noise="pyramid", spacing=spacing), torch.zeros(1, 4, 8, 12)
    assert network.timesteps(10)[0] == first
    found = network.start(x, seeded(3), steps=10)
    assert torch.equal(found, annealed((1, 4, 8, 12), *noise.sources(*seeded(3)), first / 1000))


def test_weights_have_the_published_names_and_sums():
    network = published()
    listed = json.loads((GOLDEN / "tiny_unet.json").read_text())["parameters"]
    own = dict(network.unet.named_parameters())
    assert list(own) == [p["name"] for p in listed]
    for p in listed:
        assert list(own[p["name"]].shape) == p["shape"]
        assert own[p["name"]].sum().item() == pytest.approx(p["sum"], abs=1e-4)
    listed = json.loads((GOLDEN / "tiny_pipeline_keys.json").read_text())
    for part, name in ((network.autoencoder, "vae"), (network.image_encoder.clip, "clip")):
        expected = {p["name"]: p["shape"] for p in listed[f"{name}_parameters"]}
        assert {n: list(x.shape) for n, x in part.state_dict().items()} == expected


@pytest.mark.parametrize("start", ["zero", "gauss"])
@pytest.mark.parametrize("domain", ["indoor", "outdoor"])
@pytest.mark.parametrize("joint", [True, False])
def test_the_unet_says_what_the_authors_does(golden, start, domain, joint):
    g = golden("geowizard/tiny_unet_step")
    network = published(joint_attention=joint)
    told = Told(g.image_embed.repeat(2, 1, 1), class_vectors([domain]))
    z = (torch.zeros_like(g.geo_noise) if start == "zero" else g.geo_noise).repeat(2, 1, 1, 1)
    with torch.inference_mode():
        out = network.output(g.rgb_latent.repeat(2, 1, 1, 1), z, 999, told)
    name = f"out_{start}_{domain}_{'joint' if joint else 'plain'}"
    assert_close(out, g[name], rtol=0, atol=1e-5)


def test_steps_are_the_authors(golden):
    g = golden("geowizard/tiny_unet_step")
    told = Told(g.image_embed.repeat(2, 1, 1), class_vectors(["indoor"]))
    once, first = published(**E2E), published(defaults=Defaults(steps=10))
    assert (once.timesteps(1), first.timesteps(10)) == (g.e2e_timesteps.tolist(), g.v1_timesteps.tolist())
    with torch.inference_mode():
        ((ended, clean),) = once._trajectory(g.rgb_latent, torch.zeros_like(g.rgb_latent), told, 1)
        assert_close(clean, g.e2e_pred_original, rtol=0, atol=1e-5)
        assert_close(ended, g.e2e_prev_sample, rtol=0, atol=1e-5)
        found = first.denoise(g.rgb_latent, g.geo_noise, told, 10)
    assert_close(found, g.v1_10step_latent, rtol=0, atol=1e-4)


def test_every_stage_of_the_program_is_the_authors(golden):
    g, model = golden("geowizard/tiny_pipeline_e2e"), published(**E2E)
    with torch.inference_mode():
        assert_close(model.image_encoder(g.rgb_in), g.image_embed, rtol=0, atol=1e-4)
        assert_close(latent.encode(model.autoencoder, g.rgb_in), g.rgb_latent, rtol=0, atol=1e-4)
        outputs = model(g.rgb_in, also=["normals"])
    assert_close((outputs["depth"] + 1) / 2, g.depth_raw, rtol=0, atol=1e-4)
    assert_close(-outputs["normals"], g.normal_raw, rtol=0, atol=1e-4)  # theirs are turned round


@pytest.mark.parametrize("domain", DOMAINS)
def test_results_are_the_authors(golden, domain):
    g, model = golden("geowizard/tiny_pipeline_e2e"), published(domain=domain, **E2E)
    rule = sizes.SizeRule(**{**vars(model.size_rule), "processing_res": 64})
    prepared = sizes.prepare(g.image.numpy(), rule)
    assert prepared.tensor.shape == g.rgb_in.shape == (1, 3, 49, 64)
    assert_close(prepared.tensor, g.rgb_in, rtol=0, atol=1e-5)
    with torch.inference_mode():
        outputs = model(prepared.tensor, also=["normals"])
        restore = partial(sizes.restore, prepared=prepared)
        depth = coding.publish(outputs["depth"], Kind.affine_depth, model.preset, restore)[0, 0]
        normals = coding.publish(outputs["normals"], Kind.normals, model.preset, restore)[0]
    assert_close(depth, g[f"depth_{domain}"], rtol=0, atol=1e-4)
    assert_close(-normals.permute(1, 2, 0), g[f"normal_{domain}"], rtol=0, atol=1e-4)
    if domain == "indoor":
        shown = colour.picture(depth.numpy(), "affine_depth", limits=(0, 1))
        assert np.abs(shown.astype(int) - g.depth_colored.numpy()).max() <= 1
        seen = colour.normals(normals.permute(1, 2, 0).numpy(), frame="e2e_ft")
        assert np.abs(seen.astype(int) - g.normal_colored.numpy()).max() <= 1


def test_the_whole_program_is_the_authors(golden):
    g = golden("geowizard/tiny_pipeline_e2e")
    result = Model(published(**E2E), device="cpu")(g.image.numpy(), processing_res=64, also=["normals"])
    assert np.abs(result.values - g.depth_indoor.numpy()).max() < 1e-4
    assert np.abs(-result.also["normals"].values - g.normal_indoor.numpy()).max() < 2e-4


def test_joint_training_is_the_authors(golden):
    g = golden("geowizard/joint_training_loss")
    model = published(percentiles=(0, 1), **E2E).train()  # its depths are clipped already
    told = Told(g.image_embed.repeat(2, 1, 1), g.class_rows)
    batch = tiny.batch()
    batch.depth_m, batch.normals, batch.valid = g.metric, -g.normals, g.mask
    assert torch.equal(latent.whole(g.mask, 8).repeat(2, 1, 1, 1).expand_as(g.latent_mask), g.latent_mask)
    start = torch.zeros_like(g.rgb_latent)
    v = model.output(g.rgb_latent.repeat(2, 1, 1, 1), start.repeat(2, 1, 1, 1), 999, told)
    assert_close(v, g.v, rtol=0, atol=1e-5)
    pred = model.maps(model.denoise(g.rgb_latent, start, told, 1), ["depth", "normals"])
    assert_close(pred["depth"], g.depth, rtol=0, atol=1e-4)
    assert_close(pred["normals"], g.normal, rtol=0, atol=1e-4)
    loss = model.compare(pred, batch.depth_m, batch.normals, batch.valid)
    found = loss.parts | {"total": loss.total.detach()}
    for part, name in (("ssi", "loss_depth"), ("angle", "loss_angular"), ("total", "loss")):
        assert_close(found[part], g[name][0], rtol=1e-4, atol=0)
    fitted = align.fit(pred["depth"], g.metric, g.mask, compat=True)
    for part, stored in zip(fitted, (g.scale, g.shift), strict=True):
        assert_close(part.detach().flatten(), stored, rtol=1e-4, atol=1e-4)
    loss.total.backward()
    own = {name: p.grad for name, p in model.unet.named_parameters()}
    total = torch.stack([x.norm() for x in own.values()]).norm()
    assert total.item() == pytest.approx(g.grad_norm_total.item(), rel=1e-3)
    for name, norm in zip(g.grad_names, g.grad_norms.tolist(), strict=True):
        assert own[str(name)].norm().item() == pytest.approx(norm, rel=1e-3)
    assert (own["conv_in.weight"] - g.conv_in_grad).abs().max() < 1e-3 * g.conv_in_grad.abs().max()
    assert all(p.grad is None for p in model.autoencoder.parameters())


def test_the_learning_rate_falls_as_the_authors(golden):
    from leadline.recipe import Schedule
    from leadline.train.optimise import lr_factor

    g, how = golden("geowizard/joint_training_loss"), Schedule(decay="exponential", warmup=100, final=0.01)
    found = [lr_factor(step, how, 20_000) for step in g.lr_iter.tolist()]
    assert_close(torch.tensor(found, dtype=torch.float64), g.lr_factor, rtol=1e-9, atol=1e-12)


# --- what holds for every model ---


def test_outputs_have_the_pictures_size_and_the_promised_range(model):
    with torch.inference_mode():
        outputs = model(torch.rand(2, 3, 32, 48) * 2 - 1, generators=seeded(0, 1), also=tuple(model.also))
    assert list(outputs) == [model.config.target, other(model)]
    assert outputs["depth"].shape == (2, 1, 32, 48)
    assert outputs["depth"].abs().max() <= 1
    assert_close(outputs["normals"].norm(dim=1), torch.ones(2, 32, 48), rtol=0, atol=1e-3)


def test_the_main_output_is_the_same_with_and_without_the_other(model):
    rgb = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.inference_mode():
        alone = model(rgb, generators=seeded(0))
        both = model(rgb, generators=seeded(0), also=tuple(model.also))
    assert list(alone) == [model.config.target]
    assert_close(alone[model.config.target], both[model.config.target], rtol=0, atol=1e-4)


def test_alone_equals_in_a_batch(model):
    rgb = torch.rand(3, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (together,) = model(rgb, generators=seeded(0, 1, 2)).values()
        for i in range(3):
            (alone,) = model(rgb[i : i + 1], generators=seeded(i)).values()
            assert_close(together[i : i + 1], alone, rtol=0, atol=ROUNDING[model.config.target])


@pytest.mark.parametrize("name", [name for name in MODELS if name != "e2e-ft"])  # which draws nothing
def test_members_are_what_their_noise_gives_alone(name):
    model = MODELS[name]()
    rgb = torch.rand(2, 3, 16, 24) * 2 - 1
    with torch.inference_mode():
        (all_members,) = model(rgb, generators=seeded(0, 1, 2, 3, 4, 5)).values()
        for e in range(3):
            (alone,) = model(rgb, generators=seeded(e, 3 + e)).values()
            assert torch.equal(all_members[e::3], alone)


@pytest.mark.parametrize("fp16", [False, True])
def test_before_equals_after_saving(model, tmp_path, fp16):
    model.save(tmp_path / "model", fp16=fp16)
    again = GeoWizard.load(tmp_path / "model")
    rgb = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        (before,) = model(rgb, generators=seeded(0)).values()
        (after,) = again.eval()(rgb, generators=seeded(0)).values()
    assert (before - after).abs().mean() < (0.05 if fp16 else 1e-5)  # where weights lie changes rounding
    assert again.config == model.config
    assert (again.size_rule, again.steps, again.members) == (model.size_rule, model.steps, model.members)
    assert again.card.parameters == sum(p.numel() for p in model.parameters())
    assert (again.card.frame == "opencv") == (model.kind is Kind.normals)


def test_transformers_and_diffusers_read_a_saved_folder(tmp_path):
    from diffusers import UNet2DConditionModel
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    model = published()
    model.save(tmp_path)
    tower = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "image_encoder")
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    for own, read in ((model.image_encoder.clip, tower), (model.unet, unet)):
        assert all(torch.equal(x, own.state_dict()[name]) for name, x in read.state_dict().items())
    assert CLIPImageProcessor.from_pretrained(tmp_path / "feature_extractor").crop_size["height"] == 28


def test_the_fast_form_is_equal(model):
    rgb = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        plain = model(rgb, generators=seeded(0), also=tuple(model.also))
        fast = model.for_prediction().forward(rgb, generators=seeded(0), also=tuple(model.also))
    for name, x in plain.items():
        assert_close(fast[name], x, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_predicts_at_odd_sizes(model, name):
    config = model.config.model_copy(update={"compat": name})
    model = Model(GeoWizard(config, *model._parts(), model.card), device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    several = {"ensemble_size": 2, "uncertainty": True} if model.method.members else {}
    result = model(image, processing_res=25, also=list(model.method.also), **several)
    (second,) = result.also.values()
    assert result.values.shape[:2] == second.values.shape[:2] == (21, 34)
    assert np.isfinite(result.values).all()
    assert result.settings["preset"] == name
    assert result.settings["domain"] == model.method.config.domain


def test_no_global_random_state_is_touched(model):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    model.loss(tiny.batch(), seeded(0)[0])
    Model(model, device="cpu")(np.zeros((16, 24, 3), np.uint8), processing_res=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_the_last_of_its_steps_is_near_the_result():
    model, rgb = published(spacing="trailing"), torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        result = model(rgb, generators=seeded(0), steps=3)["depth"]
        *earlier, last = model.each_step(rgb, generators=seeded(0), steps=3)
    assert len(earlier) == 2
    assert (last - result).abs().mean() < 0.02
    assert (earlier[0] - result).abs().mean() > 0.02


def test_bfloat16_is_near_float32():
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    full, half = (
        Model(published(**E2E | {"compat": "leadline"}), device="cpu", dtype=dtype)(image, processing_res=0)
        for dtype in ("float32", "bfloat16")
    )
    assert np.abs(full.values - half.values).mean() < 0.05 * np.ptp(full.values)


def test_a_card_of_one_pass_takes_the_last_noise_level_whatever_a_program_would():
    for compat in PRESETS:
        once = published(objective="e2e", noise="zeros", spacing="leading", compat=compat)
        assert once.timesteps(1) == [999]
        assert (once.steps, once.members) == (None, None)
    assert published(compat="geowizard").timesteps(10)[:2] == [901, 801]
    fixed = published(compat="geowizard-e2e-ft")
    assert (fixed.timesteps(1), fixed.steps, fixed.members) == ([999], 1, 1)


def test_one_pass_starts_from_zeros_unless_another_noise_is_given(tmp_path):
    once = published(objective="e2e")
    assert (once.config.noise, once.members, Config().noise) == ("zeros", None, "gaussian")
    once(torch.zeros(1, 3, 16, 16))  # draws nothing
    for name in ("gaussian", "pyramid"):
        drawn = published(objective="e2e", noise=name)
        drawn.save(tmp_path / name)
        assert GeoWizard.load(tmp_path / name).config.noise == drawn.config.noise == name


def test_domains_change_the_result_and_each_picture_has_its_own(model):
    rgb = (torch.rand(1, 3, 16, 24) * 2 - 1).repeat(3, 1, 1, 1)
    with torch.inference_mode():
        (together,) = model(rgb, generators=seeded(0, 0, 0), text=DOMAINS).values()
        (indoor,) = model(rgb[:1], generators=seeded(0), text=["indoor"]).values()
    assert_close(together[:1], indoor, rtol=0, atol=ROUNDING[model.config.target])
    assert (together[0] - together[1]).abs().max() > 1e-3
    assert (together[1] - together[2]).abs().max() > 1e-3


# --- training ---


def test_only_the_unet_learns_and_both_halves_teach(model):
    loss = model.train().loss(tiny.batch(), seeded(0)[0])
    loss.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.unet.parameters())
    rest = [p for name, p in model.named_parameters() if not name.startswith("unet.")]
    assert all(p.grad is None for p in rest)
    assert set(loss.parts) == ({"ssi", "angle"} if model.config.objective == "e2e" else {"diffusion"})


def test_the_autoencoder_and_the_tower_stay_in_evaluation_mode():
    model = published().train()
    assert model.unet.training
    assert not model.autoencoder.training
    assert not model.image_encoder.training


@pytest.mark.parametrize("options", [{}, E2E | {"compat": "leadline"}])
def test_invalid_pixels_teach_nothing(options):
    model, batch = published(**options).train(), tiny.batch()
    for valid in (batch.valid, torch.zeros_like(batch.valid)):
        batch.valid = valid
        found = model.loss(batch, seeded(0)[0])
        spoiled = tiny.batch()
        spoiled.valid = valid
        spoiled.depth_m = torch.where(valid, spoiled.depth_m, torch.nan)
        spoiled.normals = torch.where(valid, spoiled.normals, torch.nan)
        assert torch.equal(model.loss(spoiled, seeded(0)[0]).total, found.total)
    assert found.total == 0
    found.total.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in model.unet.parameters())


def test_a_few_steps_on_two_pictures_halve_the_loss():
    model, batch = published(**E2E | {"compat": "leadline"}), tiny.batch(height=16, width=16)
    with torch.no_grad():  # what such a network can say
        said = model(batch.rgb, also=["normals"])
        for p in model.unet.conv_out.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=seeded(0)[0]))
    batch.depth_m, batch.normals = said["depth"] + 3, said["normals"]
    optimiser = torch.optim.AdamW(model.unet.parameters(), 2e-3)
    seen = []
    for _ in range(6):
        optimiser.zero_grad()
        loss = model.train().loss(batch).total
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.5 * seen[0]


def test_validation_tells_the_network_the_batchs_domains(model):
    batch = tiny.batch(2, 32, 48)
    batch.domains = ["outdoor", ""]
    generators = seeded(0, 1)
    with torch.inference_mode():
        (told,) = model.trial(batch, generators).values()
        (wanted,) = model(batch.rgb, generators=seeded(0, 1), text=["outdoor", model.config.domain]).values()
        (untold,) = model(batch.rgb, generators=seeded(0, 1)).values()
    assert torch.equal(told, wanted)
    assert not torch.equal(told, untold)


def test_the_batchs_domains_reach_the_switcher():
    model, batch = published(**E2E), tiny.batch()
    plain = model.loss(batch).total
    batch.domains = ["outdoor", ""]  # the second is the config's, indoor
    assert not torch.equal(model.loss(batch).total, plain)
    batch.domains = ["indoor", ""]
    assert torch.equal(model.loss(batch).total, plain)


def test_a_recipes_view_names_the_domain():
    from leadline.data.augment import Options, augment
    from leadline.data.sample import Sample, collate

    sample = Sample(np.zeros((16, 24, 3), np.uint8), np.ones((16, 24), bool), np.ones((16, 24), np.float32))
    seen = View(domain="outdoor").over([sample])[0]
    changed = augment(seen, np.random.default_rng(0), Options(), (8, 12))
    assert collate(
        [
            changed,
            sample,
        ][:1]
    ).domains == ["outdoor"]
    assert collate([sample]).domains == [""]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_training_begins_on_stable_diffusion(tmp_path, version):
    first = published(version=version)
    first.save(tmp_path / "first")
    four = UNET | {"in_channels": 4, "cross_attention_dim": 24}
    for key in ("class_embed_type", "projection_class_embeddings_input_dim"):
        four.pop(key)
    old = weights.build(four, seed=3)
    weights.save_network(old, tmp_path / "prior" / "unet")
    card = Card(name="untitled", method="geowizard", kind=Kind.affine_depth, config={"widen": True})
    made = GeoWizard.begin(tmp_path / "prior", card, seed=1, version=version, base=str(tmp_path / "first"))
    new = made.unet.state_dict()
    for name, x in old.state_dict().items():
        if name == "conv_in.weight":
            assert_close(new[name], x.repeat(1, 2, 1, 1) / 2)
        elif version == "v1" and ".attn2.to_k" in name or ".attn2.to_v" in name and version == "v1":
            assert new[name].shape[1] == 12
        else:
            assert torch.equal(new[name], x), name
    fresh = {name for name in new if name not in old.state_dict()}
    assert fresh == {name for name in new if name.startswith("class_embedding.")}
    again = GeoWizard.begin(tmp_path / "prior", card, seed=1, version=version, base=str(tmp_path / "first"))
    assert all(torch.equal(x, new[name]) for name, x in again.unet.state_dict().items())
    made.save(tmp_path / "made")
    assert GeoWizard.load(tmp_path / "made").config.base is None


# --- refusals ---


def test_what_takes_the_joint_attention_out_is_noticed():
    model = published()
    model.unet.set_attn_processor(
        published(joint_attention=False).unet.mid_block.attentions[0].transformer_blocks[0].attn1.processor
    )
    with pytest.raises(UsageError, match="do not see each other"):
        model(torch.zeros(1, 3, 16, 16), generators=seeded(0))
    attention = geowizard.self_attentions(published().unet)[0]
    with pytest.raises(UsageError, match="3 rows"):
        attention(torch.zeros(3, 4, attention.to_q.in_features))


def test_missing_noise_and_truth_are_named():
    model = published()
    for kind in ("gaussian", "pyramid"):
        with pytest.raises(UsageError, match="one generator each"):
            published(noise=kind)(torch.zeros(1, 3, 16, 16))
    with pytest.raises(UsageError, match="pass a generator"):
        model.loss(tiny.batch())
    for key in ("depth_m", "normals"):
        batch = tiny.batch()
        setattr(batch, key, None)
        with pytest.raises(DataError, match=key.removesuffix("_m")):
            model.loss(batch)
    with pytest.raises(ShapeError):
        model(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ShapeError, match="z_T"):
        model(torch.zeros(1, 3, 16, 16), z_T=torch.zeros(1, 4, 3, 2))
    with pytest.raises(UsageError, match="did you mean 'outdoor'"):
        model(torch.zeros(1, 3, 16, 16), generators=seeded(0), text=["outdor"])


def test_parts_of_another_model_are_refused(tmp_path):
    first, second = published(), published(version="v2")
    with pytest.raises(WeightsError, match="input_dim is 10, GeoWizard v2"):
        GeoWizard(Config(version="v2"), first.unet, first.autoencoder, None, None, second.domain_texts)
    plain = weights.build(tiny.UNET | {"cross_attention_dim": 12})
    with pytest.raises(WeightsError, match="class_embed_type is None"):
        GeoWizard(Config(), plain, first.autoencoder, None, first.image_encoder)
    with pytest.raises(UsageError, match="image encoder"):
        GeoWizard(Config(), first.unet, first.autoencoder)
    second.save(tmp_path)
    with pytest.raises(WeightsError, match="no image_encoder"):
        GeoWizard.load(tmp_path, version="v1")
    (tmp_path / "domains" / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError):
        GeoWizard.load(tmp_path)


def test_the_engines_contract_is_kept():
    kept: Method = published()
    assert methods.get("geowizard") == (GeoWizard, Config)
    assert kept.kind is Kind.affine_depth
    one = GeoWizard.random(Config(unet=UNET, autoencoder=AUTOENCODER, image_encoder=CLIP), seed=3)
    two = GeoWizard.random(Config(unet=UNET_V2, autoencoder=AUTOENCODER, version="v2"), seed=3)
    assert one.image_encoder.width == 12
    assert two.domain_texts.shape == (3, 4, 24)
    assert clip().config.projection_dim == 12
