"""PrimeDepth: the authors' arrays at every stage, what holds for every model, its objective, its files."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import tiny_primedepth
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tiny import seeded
from tiny_primedepth import CONFIG, batch, fixed, small, thinned
from torch.testing import assert_close

from leadline import ade20k, cards, losses, methods, save
from leadline.cards import Card
from leadline.errors import DataError, DocumentError, ShapeError, UsageError, WeightsError
from leadline.image import Picture
from leadline.methods.primedepth import Config, PrimeDepth, balance
from leadline.networks import offload, preimage
from leadline.networks import primedepth as folders
from leadline.predict import Model
from leadline.prediction import Kind

CASES = {"tiny_square": ("sq", 64, 64), "tiny_nonsquare": ("ns", 75, 93)}
VARIANTS = {
    "full": {},
    "no pixels": {"self_attention": False},
    "no tokens": {"cross_attention": False},
    "no attention": {"self_attention": False, "cross_attention": False},
    "no features": {"features": False},
    "no segmentation": {"segmentation": "none"},
    "block": {"fusion": "block"},
    "latent": {"loss": "latent"},
    "tiny autoencoder": {"autoencoder": tiny.TINY_AUTOENCODER},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_primedepth.folder(tmp_path_factory.mktemp("published"))


# --- the authors' arrays ---


@pytest.mark.parametrize("form", ["plain", "in bands"])
@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_every_stage_is_the_authors(case, form, folder, golden):
    g, (tag, height, width) = golden(f"primedepth/{case}"), CASES[case]
    model = PrimeDepth.load(folder, tiny_primedepth.card())
    model = model if form == "plain" else model.for_prediction()
    h, w = height // 8, width // 8
    noises = fixed(f"input.vae_noise.{tag}", 1, 4, h, w), fixed(f"input.q_noise.{tag}", 1, 4, h, w)
    rgb = g.image_u8.permute(2, 0, 1)[None].float() / 255 * 2 - 1
    found = {}
    outputs = model(
        rgb,
        also=["segmentation"],
        text=fixed(f"input.context.{tag}", 1, 77, 24),
        noises=noises,
        watch=found.__setitem__,
    )
    found["depth"] = outputs["disparity"][0, 0]
    if form == "in bands":
        del found["depth3"]  # the mean of the three is all that is made
    assert "merge_11" in found
    assert len(found) == (72 if form == "plain" else 71)
    for name, x in found.items():
        stored = g[name].flatten()
        error = ((x if x.numel() == len(stored) else thinned(x)).flatten() - stored).abs().max()
        assert error <= 2e-5 * g[f"max_{name}"], (name, float(error / g[f"max_{name}"]))
    logits = model.segmentation_head(found["refiner_out"])
    error = (thinned(logits).flatten() - g.segmentation.flatten()).abs().max()
    assert error <= 2e-5 * g.max_segmentation
    assert torch.equal(outputs["segmentation"], logits.argmax(dim=1, keepdim=True).float())


def test_losses_are_those_of_the_formulas(golden):
    g = golden("primedepth/losses")
    pred = g.ssi_pred[None, None].requires_grad_()
    mask = g.ssi_mask[None, None]
    loss, slopes, count = losses.aligned_mse(pred, g.ssi_gt[None, None], mask)
    loss.backward()
    assert_close(loss.detach(), g.ssi_loss.view(()), rtol=1e-10, atol=1e-10)
    assert_close(pred.grad[0, 0], g.ssi_grad, rtol=1e-10, atol=1e-10)
    assert_close(slopes, g.ssi_scale.view(1), rtol=1e-10, atol=1e-10)
    assert count == 1
    logits = g.seg_logits[None].requires_grad_()
    log_q = logits.log_softmax(dim=1)
    dice = losses.dice(log_q.exp(), g.seg_labels[None])
    assert_close(torch.autograd.grad(dice, logits, retain_graph=True)[0][0], g.dice_grad)
    focal = losses.focal(log_q, g.seg_labels[None])
    assert_close(torch.autograd.grad(focal, logits)[0][0], g.focal_mean_grad)
    assert_close(dice.detach(), g.dice.view(()), rtol=1e-10, atol=1e-10)
    assert_close(focal.detach(), g.focal_mean.view(()), rtol=1e-10, atol=1e-10)
    assert_close(losses.focal(log_q, g.seg_labels[None], "sum").detach(), g.focal_sum.view(()))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_whole_objective_is_that_of_the_formula(reduction, golden):
    g = golden("primedepth/losses")
    depth, logits = g.ssi_pred[None, None].requires_grad_(), g.seg_logits[None].requires_grad_()
    ssi, _, _ = losses.aligned_mse(depth, g.ssi_gt[None, None], g.ssi_mask[None, None])
    log_q = logits.log_softmax(dim=1)
    half = losses.dice(log_q.exp(), g.seg_labels[None])
    half = half + losses.focal(log_q, g.seg_labels[None], reduction)
    factor = balance(half, ssi)
    (half + factor * ssi).backward()
    assert_close(factor, g[f"lambda_{reduction}"].view(()), rtol=1e-10, atol=1e-10)
    assert_close((half + factor * ssi).detach(), g[f"total_{reduction}"].view(()), rtol=1e-10, atol=1e-10)
    assert_close(depth.grad[0, 0], g[f"total_{reduction}_grad_depth"], rtol=1e-10, atol=1e-10)
    assert_close(logits.grad[0], g[f"total_{reduction}_grad_logits"], rtol=1e-10, atol=1e-10)


# --- what holds for every model ---


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_every_variant_predicts_alone_as_in_a_batch_and_in_bands(variant):
    model = small(**VARIANTS[variant])
    rgb = torch.rand(3, 3, 16, 24) * 2 - 1
    together = model(rgb, generators=seeded(0, 1, 2), also=list(model.also))
    assert together["disparity"].shape == (3, 1, 16, 24)
    assert ("segmentation" in together) == (variant != "no segmentation")
    scale = together["disparity"].abs().max()
    assert scale > 0.01
    for i in (2, 0):
        for form in (model, model.for_prediction()):
            alone = form(rgb[i : i + 1], generators=seeded(i))["disparity"]
            assert_close(together["disparity"][i : i + 1], alone, rtol=0, atol=float(2e-5 * scale))


@torch.inference_mode()
def test_further_outputs_are_what_they_say():
    model = small()
    out = model(torch.rand(2, 3, 16, 24) * 2 - 1, generators=seeded(0, 1), also=["attention", "segmentation"])
    assert list(out) == ["disparity", "segmentation", "attention"]
    assert out["attention"].shape == (2, 3, 16, 24)
    assert out["attention"].aminmax() == (-1, 1)
    assert set(out["segmentation"].unique().tolist()) <= set(range(5))
    assert model.also == {"segmentation": Kind.segmentation, "attention": Kind.picture}


def test_attention_is_that_of_the_last_block_that_has_some():
    fine_without = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    }
    model = small(unet=tiny_primedepth.SMALL["unet"] | fine_without)
    with torch.inference_mode():
        out = model(torch.rand(1, 3, 16, 24) * 2 - 1, generators=seeded(0), also=["attention"])
    assert out["attention"].shape == (1, 3, 16, 24)
    assert out["attention"].aminmax() == (-1, 1)


def test_principal_components_do_not_depend_on_the_signs_of_eigenvectors():
    maps = torch.randn(1, 6, 4, 5)
    assert_close(preimage.principal(maps), preimage.principal(maps.flip(1)), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_noise_is_the_seeds_and_can_be_left_out():
    rgb = torch.rand(1, 3, 16, 16) * 2 - 1
    model = small()
    first, again, other = (model(rgb, generators=seeded(s))["disparity"] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    still = small(noise=False, vae_sample="mode")
    assert torch.equal(still(rgb)["disparity"], still(rgb, generators=seeded(5))["disparity"])
    with pytest.raises(UsageError, match="one generator each"):
        model(rgb)


@torch.inference_mode()
def test_the_sign_turns_the_map_round():
    rgb = torch.rand(1, 3, 16, 16) * 2 - 1
    plus, minus = (small(output_sign=s)(rgb, generators=seeded(0))["disparity"] for s in (1, -1))
    assert torch.equal(plus, -minus)


@torch.inference_mode()
def test_sides_that_are_no_multiple_lose_their_rest_and_tiny_ones_are_refused():
    model = small()
    assert model(torch.zeros(1, 3, 19, 13), generators=seeded(0))["disparity"].shape == (1, 1, 18, 12)
    with pytest.raises(UsageError, match="9x1 pixels are too few"):
        model(torch.zeros(1, 3, 1, 9), generators=seeded(0))
    with pytest.raises(ShapeError):
        model(torch.zeros(1, 1, 16, 16), generators=seeded(0))


# --- the objective ---


def test_the_frozen_prior_gets_no_gradient_and_everything_else_does():
    model = small().train()
    model.loss(batch(), torch.Generator().manual_seed(0)).total.backward()
    reached = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"refiner", "depth_head", "segmentation_head"}
    frozen = {n.split(".")[0] for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"unet", "autoencoder"}
    assert not model.unet.training
    assert not model.autoencoder.training


@pytest.mark.parametrize(
    "variant", ["full", *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS if name != "full")]
)
def test_every_variant_learns_one_batch(variant):
    torch.manual_seed(0)
    model = small(alive=False, noise=False, vae_sample="mode", **VARIANTS[variant]).train()
    some = batch(1)
    name = "ssi"
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    first = last = None
    for _ in range(40):
        optimiser.zero_grad()
        loss = model.loss(some)
        loss.total.backward()
        optimiser.step()
        last = float(loss.parts[name])
        first = last if first is None else first
    assert last < 0.75 * first, (first, last)


def test_lambda_makes_both_halves_equal_and_its_value_says_nothing():
    loss = small().loss(batch(), torch.Generator().manual_seed(0))
    half = loss.parts["dice"] + loss.parts["focal"]
    assert_close(loss.total.detach(), 2 * half)
    assert_close(loss.parts["lambda"] * loss.parts["ssi"], half)


def test_lambda_is_guarded():
    assert balance(torch.tensor(2.0), torch.tensor(0.0)) == 1e4
    assert balance(torch.tensor(0.0), torch.tensor(3.0)) == 1  # nothing is segmented


def test_lambda_per_image_weighs_each_image_alone():
    model = small(lambda_per="image")
    loss = model.loss(batch(), torch.Generator().manual_seed(0))
    assert_close(loss.total.detach(), 2 * (loss.parts["dice"] + loss.parts["focal"]))


def test_an_image_that_does_not_count_takes_no_share_of_lambda():
    some = batch()
    some.valid[0] = False
    loss = small(lambda_per="image").loss(some, torch.Generator().manual_seed(0))
    assert_close(loss.total.detach(), 2 * (loss.parts["dice"] + loss.parts["focal"]))
    some.valid[1] = False
    loss = small(lambda_per="image").loss(some, torch.Generator().manual_seed(0))
    assert_close(loss.total.detach(), loss.parts["dice"] + loss.parts["focal"])


@pytest.mark.parametrize("per", ["batch", "image"])
def test_depth_is_learnt_also_where_no_class_is_known(per):
    some, model = batch(), small(lambda_per=per).train()
    some.classes[:] = -1
    loss = model.loss(some, torch.Generator().manual_seed(0))
    assert_close(loss.total.detach(), loss.parts["ssi"])
    loss.total.backward()
    assert any(p.grad.abs().max() > 0 for p in model.depth_head.parameters())


def test_validation_tells_the_network_the_captions():
    some = replace(batch(), captions=["a pier", "a barn"])
    model = small(noise=False, vae_sample="mode")
    shape = (1, *model.empty_text.shape[1:])
    model.prompts = SimpleNamespace(encode=lambda words: torch.full(shape, float(len(words))))
    told = model.trial(some, seeded(0, 1))["disparity"]
    assert (told - model(some.rgb, generators=seeded(0, 1))["disparity"]).abs().max() > 0
    assert torch.equal(told, model(some.rgb, generators=seeded(0, 1), text=some.captions)["disparity"])


@pytest.mark.parametrize("spoil", ["nothing valid", "flat depth", "few pixels", "no class known"])
def test_images_that_teach_nothing_cost_nothing(spoil):
    some = batch()
    if spoil == "nothing valid":
        some.valid[0] = False
    elif spoil == "flat depth":
        some.depth_m[0] = 3.0
    elif spoil == "few pixels":
        some.valid[0] = False
        some.valid[0, 0, 0, :15] = True
    else:
        some.classes[0] = -1
    model = small().train()
    loss = model.loss(some, torch.Generator().manual_seed(0))
    loss.total.backward()
    assert loss.total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    segmentation, depth = loss.terms
    no_class = spoil == "no class known"
    assert (segmentation.weight, depth.weight) == ((1, 2) if no_class else (2, 1))


def test_pixels_that_are_not_valid_are_never_looked_at():
    some, model = batch(), small()
    spoiled = batch()
    spoiled.depth_m[~spoiled.valid] = torch.nan
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    first, other = (model.loss(b, g).total for b, g in zip((some, spoiled), generators, strict=True))
    assert torch.equal(first, other)


def test_the_loss_is_blind_to_scale_shift_and_sign():
    target, valid = torch.rand(1, 1, 8, 8) + 0.1, torch.ones(1, 1, 8, 8, dtype=torch.bool)
    pred = torch.rand(1, 1, 8, 8)
    values = [float(losses.aligned_mse(x, target, valid)[0]) for x in (pred, 3 * pred - 5, -pred)]
    np.testing.assert_allclose(values, values[0], rtol=1e-4)
    assert losses.aligned_mse(torch.zeros_like(pred), target, valid)[1] == 0


def test_training_finds_the_sign(tmp_path):
    """The card of the saved model turns the map so that near is large, whatever came out."""
    model = small().train()
    some = batch(1)
    with torch.no_grad():
        raw = model.loss(some, torch.Generator().manual_seed(0)) and model.slopes.sign()
    model.save(tmp_path)
    assert cards.read(tmp_path / "card.yaml").config.get("output_sign", 1) == int(raw)
    assert int(PrimeDepth.load(tmp_path).sign) == int(raw)


def test_pseudo_labels_are_disparity_as_they_are():
    some = batch()
    some.pseudo, some.pseudo_kind = 1 / some.depth_m, Kind.affine_disparity
    model = small(segmentation="keep")
    true = model.loss(batch(), torch.Generator().manual_seed(0)).total
    some.depth_m = None
    assert_close(model.loss(some, torch.Generator().manual_seed(0)).total, true)
    some.pseudo_kind = Kind.affine_depth
    with pytest.raises(DataError, match="affine_depth, which has no inverse"):
        model.loss(some)


def test_batches_without_what_is_compared_are_refused():
    some = batch()
    some.classes = None
    with pytest.raises(DataError, match="no classes"):
        small().loss(some, torch.Generator())
    some.depth_m = None
    with pytest.raises(DataError, match="no depth"):
        small(segmentation="keep").loss(some, torch.Generator())


def test_captions_of_a_batch_are_read_and_left_out_as_often_as_told():
    some, totals = batch(), {}
    for name, dropout, captions in (("empty", 0, ()), ("read", 0, ["a", "bc"]), ("left out", 1, ["a", "bc"])):
        model = small(caption_dropout=dropout, noise=False, vae_sample="mode", segmentation="keep")
        model.prompts, some.captions = Words(), captions
        totals[name] = model.loss(some, torch.Generator().manual_seed(0)).total
    assert_close(totals["left out"], totals["empty"])
    assert not torch.allclose(totals["read"], totals["empty"])


def test_recomputing_activations_gives_the_same_gradients():
    gradients = []
    for again in (False, True):
        model = small(checkpoint_refiner=again, checkpoint_heads=again).train()
        model.loss(batch(), torch.Generator().manual_seed(0)).total.backward()
        gradients.append(model.refiner.fusion[0].merge.weight.grad)
    assert_close(gradients[0], gradients[1])


def test_a_kept_segmentation_head_stays_as_it_is():
    model = small(segmentation="keep").train()
    model.loss(batch(), torch.Generator().manual_seed(0)).total.backward()
    assert all(p.grad is None for p in model.segmentation_head.parameters())
    assert "segmentation" in model.also


@torch.inference_mode()
def test_networks_take_turns_on_a_device():
    """UNet and refiner run into each other: they have one turn."""
    model, rgb = small(), torch.rand(1, 3, 16, 24) * 2 - 1
    alone = model(rgb, generators=seeded(0), also=["segmentation"])
    form = model.for_prediction()
    order = []

    class Turns(offload.Turns):
        def pre_forward(self, module, *args, **kwargs):
            order.append(type(module).__name__)
            return super().pre_forward(module, *args, **kwargs)

    turns = Turns(torch.device("cpu"))
    turns.add(form)
    found = form(rgb, generators=seeded(0), also=["segmentation"])
    turns.end()
    assert order == ["Banded", "Interleaved", "Head", "Head"]
    assert_close(found["disparity"], alone["disparity"], rtol=0, atol=2e-5)


# --- weights ---


def test_a_model_starts_as_its_authors_does():
    model = small(alive=False)
    out = model.refiner.conv_out
    assert not out.weight.any()
    assert not model.refiner.blocks[1].resnet.conv2.weight.any()
    assert not model.refiner.blocks[0].attention.proj_out.weight.any()
    decoder = model.autoencoder.decoder.state_dict()
    head = model.depth_head.state_dict()
    assert torch.equal(head["conv_out.weight"], decoder["conv_out.weight"])
    assert torch.equal(
        head["up_blocks.1.resnets.0.conv1.weight"], decoder["up_blocks.1.resnets.0.conv1.weight"]
    )
    same = PrimeDepth.random(model.config, 0).state_dict()
    assert all(torch.equal(x, same[name]) for name, x in small(alive=False).state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_before_equals_after_saving(variant, tmp_path):
    model, rgb = small(**VARIANTS[variant]), torch.rand(1, 3, 16, 24) * 2 - 1
    before = model(rgb, generators=seeded(0))["disparity"]
    model.save(tmp_path)
    after = PrimeDepth.load(tmp_path)(rgb, generators=seeded(0))["disparity"]
    assert_close(before, after, rtol=0, atol=2e-5)  # memory is aligned otherwise
    assert methods.get("primedepth")[0] is PrimeDepth


def test_a_new_model_begins_on_a_prior(tmp_path):
    prior = small(alive=False)
    prior.save(tmp_path)
    (tmp_path / folders.OWN).unlink()
    card = Card(name="prior", method="primedepth", kind=Kind.affine_disparity)
    options = {
        key: value for key, value in tiny_primedepth.SMALL.items() if key not in ("unet", "autoencoder")
    }
    made = PrimeDepth.begin(tmp_path, card, seed=0, **options)
    state, own = prior.state_dict(), made.state_dict()
    assert all(torch.equal(x, state[name]) for name, x in own.items() if name.startswith("unet."))
    with pytest.raises(WeightsError, match="no such file"):
        PrimeDepth.load(tmp_path, card, **options)


def test_parts_that_do_not_belong_together_are_refused(tmp_path):
    model = small()
    model.save(tmp_path)
    file = tmp_path / folders.OWN
    state = load_file(file)
    del state["refiner.conv_out.bias"]
    state["refiner.more"] = torch.zeros(2)
    save_file(state, file)
    with pytest.raises(
        WeightsError, match=r"1 missing: refiner\.conv_out\.bias; 1 unexpected: refiner\.more"
    ):
        PrimeDepth.load(tmp_path)
    with pytest.raises(WeightsError, match="reads 12"):
        PrimeDepth(Config(**CONFIG, text_tokens=2), model.unet, model.autoencoder, torch.zeros(1, 3, 7))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"features": False, "self_attention": False, "cross_attention": False}, "nothing is left"),
        ({"text_layer": "first"}, "text_layer"),
        ({"output_sign": 0}, "output_sign"),
        ({"classes": 1}, "classes"),
        ({"fusions": "block"}, "fusions"),
    ],
)
def test_impossible_options_are_refused(options, word):
    with pytest.raises(ValidationError, match=word):
        Config(**options)


def test_an_unknown_option_of_a_card_is_named(tmp_path):
    small().save(tmp_path)
    with pytest.raises(DocumentError, match="did you mean 'fusion'"):
        PrimeDepth.load(tmp_path, fusoin="block")


def test_captions_need_a_text_encoder():
    with pytest.raises(UsageError, match="no text encoder"):
        small()(torch.zeros(1, 3, 16, 16), generators=seeded(0), text=["a house"])
    with pytest.raises(UsageError, match=r"this model reads \[2, 12\]"):
        small()(torch.zeros(1, 3, 16, 16), generators=seeded(0), text=torch.zeros(1, 3, 12))


# --- through `leadline.predict` ---


class Words:
    """In place of a text encoder."""

    def encode(self, caption):
        generator = torch.Generator().manual_seed(len(caption))
        return torch.randn(1, 2, 12, generator=generator)


def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (19, 26, 3), np.uint8) for _ in range(3)]


def test_segmentation_and_attention_hang_on_the_prediction_and_are_saved(tmp_path):
    model = Model(small(), device="cpu")
    result = model(pictures()[0], also=["attention", "segmentation"])
    assert result.kind is Kind.affine_disparity
    assert result.values.shape == (19, 26)
    classes = result.also["segmentation"]
    assert set(np.unique(classes.values)) <= set(range(5))
    assert set(classes.classes().values()) <= set(ade20k.NAMES)
    assert result.also["attention"].values.shape == (19, 26, 3)
    paths = save.write(result, tmp_path, "a")
    assert {"a_segmentation_colored.png", "a_segmentation.npy", "a_depth.npy"} <= {p.name for p in paths}
    words = json.loads((tmp_path / "a.json").read_text())["also"]["segmentation"]["classes"]
    assert words == {str(number): name for number, name in classes.classes().items()}
    with pytest.raises(UsageError, match="has no further output 'segmentation'"):
        Model(small(segmentation="none"), device="cpu")(pictures()[0], also=["segmentation"])


def test_classes_of_large_pictures_are_those_of_the_whole():
    large = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    model = Model(small(size={"multiple": 4, "processing_res": 96}), device="cpu")
    result = model(large, processing_res=0, tile=96, also=["segmentation"])
    assert result.values.shape == (150, 200)
    whole = model(large, also=["segmentation"]).also["segmentation"].values
    assert (result.also["segmentation"].values == whole).mean() > 0.95


def test_captions_reach_the_network_picture_by_picture():
    method = small()
    method.prompts = Words()
    model = Model(method, device="cpu")
    without = [p.values for p in model(pictures())]
    said = {"a": "a house", "b": "a tree in a meadow"}
    named = [Picture(rgb, name=name) for rgb, name in zip(pictures(), "abc", strict=True)]
    alone = [model(picture, captions=said).values for picture in named]
    together = [p.values for p in model(named, captions=said, batch_size=3)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    assert np.abs(alone[0] - without[0]).max() > 1e-3
    np.testing.assert_array_equal(alone[2], without[2])
    np.testing.assert_array_equal(model(named[0], captions="a house").values, alone[0])
    with pytest.raises(UsageError, match="reads no captions"):
        Model(small(), device="cpu")(named[0], captions="a house")
