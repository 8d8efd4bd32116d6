"""Each published recipe beside a table of its paper's numbers; each of its lines says where it is from.

Where a paper leaves a number open, the table has what was decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leadline import cards, methods, recipe
from leadline.data import orders
from leadline.data.view import View
from leadline.train import optimise

RECIPES = Path(__file__).parents[1] / "recipes"
# What all trainings of this family share: Marigold's configuration; E2E-FT Sec. 5 and Supp. B
FAMILY: dict[str, Any] = {
    "batch": (2, 16),
    "betas": (0.9, 0.999),
    "decay": ("exponential", 100, 0.01),
    "flip": 0.5,
    "precision": "float32",
    "average": 0,
    "size": (480, 640),
}
MARIGOLD = FAMILY | {
    "method": "marigold",
    "steps": 30_000,
    "length": 25_000,
    "lr": 3e-5,
    "weight_decay": 0,
    "clip": None,
    "noise": 0.9,
    "seed": 2024,
    "order": "marigold",
    "tokens": (2, 2),
}
E2E_FT = FAMILY | {
    "method": "e2e-ft",
    "steps": 20_000,
    "length": 20_000,
    "lr": 3e-5,
    "weight_decay": 0.01,
    "clip": 1.0,
    "noise": "zeros",
    "order": "e2e-ft",
    "tokens": (77, 2),
}
DEPTHS = {"ratios": (0.9, 0.1), "far": (65, 80), "percentiles": (0.02, 0.98)}
FROM_SD = {"start": "stable-diffusion-2"}
PUBLISHED: dict[str, dict[str, Any]] = {
    "marigold_depth_v1_0": MARIGOLD | DEPTHS | FROM_SD | {"zero_snr": False, "part": "marigold"},
    "marigold_depth_v1_1": MARIGOLD | DEPTHS | FROM_SD | {"zero_snr": True, "part": "marigold"},
    "marigold_normals_v1_1": MARIGOLD
    | FROM_SD
    | {"zero_snr": True, "lr": 6e-5, "ratios": (0.5, 0.49, 0.01), "frame": "opengl"},
    "e2e_ft_marigold_normals": MARIGOLD
    | FROM_SD
    | {"zero_snr": False, "ratios": (0.9, 0.1), "far": (65, 80), "frame": "e2e_ft", "part": "e2e-ft"},
    "e2e_ft_depth": E2E_FT | DEPTHS | {"start": "marigold-depth-v1-0", "part": "e2e-ft"},
    "e2e_ft_depth_sd": E2E_FT | DEPTHS | FROM_SD | {"part": "e2e-ft"},
    "e2e_ft_normals": E2E_FT
    | {"start": "gonzalomg-marigold-normals", "ratios": (0.9, 0.1), "far": (65, 80), "frame": "e2e_ft"},
    "e2e_ft_normals_sd": E2E_FT | FROM_SD | {"ratios": (0.9, 0.1), "far": (65, 80), "frame": "e2e_ft"},
    "geowizard_e2e_ft": {key: value for key, value in E2E_FT.items() if key != "tokens"}  # it reads none
    | DEPTHS
    | {"method": "geowizard", "start": "geowizard-v1", "part": "e2e-ft", "groups": {"class_embedding": 10}},
    "geowizard": FROM_SD
    | {
        "method": "geowizard",
        "lr": 3e-5,
        "groups": {"class_embedding": 10},
        "betas": (0.9, 0.999),
        "weight_decay": 0.01,
        "decay": ("constant", 0, 0.01),
        "batch": (4, 64),
        "clip": 1.0,
        "average": 0.9999,
        "seed": 1234,
        "flip": 0.4,
        "size": (576, 768),
        "percentiles": (0.02, 0.98),
        "noise": "gaussian",
    },
    "fiffdepth": FROM_SD
    | {
        "method": "fiffdepth",
        "weights": (1.0, 0.5, 0.2),  # of MAE, gradient matching and trajectory
        "gamma": 0.5,
        "teacher_step": -1,
        "percentiles": (0.02, 0.98),
        "turns": ("synthetic", "synthetic", "real"),
        "ratios": (0.9, 0.1, 1.0),
        "far": (65, 80),
        "size": (480, 640),
        "batch": (1, 32),
        "lr": 3e-5,
        "decay": ("exponential", 100, 0.01),
        "length": 25_000,
        "flip": 0.5,
        "average": 0,
        "tokens": (2, 2),
    },
    "primedepth_labels": {
        "method": "primedepth",
        "start": "stable-diffusion-2-1-base",
        "lr": 1e-5,
        "steps": 75_000,
        "batch": (4, 4),
        "size": (512, 512),
        "average": 0,
    },
    "primedepth": {
        "method": "primedepth",
        "lr": 5e-6,
        "steps": 5000,
        "batch": (4, 4),
        "ratios": (0.9, 0.1),
        "far": (65, 80),
        "size": (480, 640),
        "average": 0,
    },
    "metricgold_vae": FROM_SD
    | {
        "method": "metricgold",
        "range": ("log", 0.1, 80),
        "ratios": (0.6, 0.1, 0.3),
        "stage": "vae",
        "lr": 1e-5,
        "steps": 10_000,
        "batch": (4, 4),
        "weight_decay": 0,
    },
    "metricgold": {
        "method": "metricgold",
        "range": ("log", 0.1, 80),
        "stage": "unet",
        "steps": 16_000,
        "lr": 5e-5,
        "batch": (2, 16),
        "weight_decay": 0,
        "flip": 0.5,
        "ratios": (0.6, 0.1, 0.3),
        "noise": "gaussian",
        "zero_snr": True,
        "tokens": (2, 2),
        "defaults": (50, 10),
        "spacing": "trailing",
        "objective": "diffusion",
        "camera": "none",
    },
}
SMALL = ("small-", "e2e-small", "normals-small", "metric-small", "tiny")  # our own, at another scale


def facts(chosen: recipe.Recipe) -> dict[str, Any]:
    """A recipe's numbers by the names of the table."""
    _, config = methods.get(chosen.method)
    model: Any = config.model_validate(chosen.model)
    entries, schedule = list(chosen.data.values()), chosen.schedule
    return {
        "method": chosen.method,
        "start": chosen.start,
        "steps": chosen.total_steps,
        "lr": chosen.optimiser.lr,
        "betas": chosen.optimiser.betas,
        "weight_decay": chosen.optimiser.weight_decay,
        "decay": (schedule.decay, schedule.warmup, schedule.final),
        "length": schedule.length or chosen.total_steps,
        "batch": (chosen.batch.size, chosen.batch.accumulate),
        "clip": chosen.clip,
        "average": chosen.ema.decay,
        "precision": chosen.precision,
        "seed": chosen.seed,
        "order": chosen.order,
        "flip": chosen.augment.flip,
        "ratios": tuple(entry.ratio for entry in entries),
        "size": entries[0].sizes[0],
        "far": tuple(entry.range_m[1] for entry in entries if entry.range_m),
        "part": entries[-1].options.get("part"),
        "groups": {name: group.lr_factor for name, group in chosen.optimiser.groups.items()},
        "frame": getattr(model, "frame", None),
        "percentiles": getattr(model, "percentiles", None),
        "noise": getattr(model, "noise", None) or getattr(model, "noise_strength", None),
        "weights": tuple(getattr(model, f"lambda_{name}", None) for name in ("mae", "gm", "k")),
        "gamma": getattr(model, "gamma", None),
        "teacher_step": getattr(model, "teacher_step", None),
        "turns": tuple(entry.turn for entry in entries),
        "range": tuple(getattr(model, name, None) for name in ("codec", "near_m", "far_m")),
        "stage": getattr(model, "stage", None),
        "spacing": getattr(model, "spacing", None),
        "objective": getattr(model, "objective", None),
        "camera": getattr(model, "camera", None),
        "defaults": chosen.defaults and (chosen.defaults.steps, chosen.defaults.ensemble),
        "zero_snr": getattr(model, "zero_snr", None),
        "tokens": (getattr(model, "train_text_tokens", model.text_tokens), model.text_tokens),
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_its_papers_numbers(name):
    found = facts(recipe.load(RECIPES / f"{name}.yaml"))
    assert {key: found[key] for key in PUBLISHED[name]} == PUBLISHED[name]


def test_every_published_recipe_is_in_the_table():
    named = {path.stem for path in RECIPES.glob("*.yaml") if not path.stem.startswith(SMALL)}
    assert named == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_has_its_source(name):
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    values = [line for line in lines if not line.startswith("#") and not line.partition("#")[0].endswith(":")]
    bare = [line for line in values if " # " not in line and not line.startswith("method:")]
    assert [line for line in bare if line.strip()[-1:] != ":"] == []


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_training_starts_from_what_is_known_or_what_another_recipe_makes(path):
    start = recipe.load(path).start
    if start is not None and start.startswith("runs/"):
        maker = start.removeprefix("runs/").removesuffix("/model")
        assert any((RECIPES / name).is_file() for name in (f"{maker}.yaml", f"small-{maker}.yaml"))
    else:
        assert start is None or start in cards.PRIORS or cards.has(start)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_kernel_that_is_repeated_shares_its_bias_as_e2e_fts_code_does(name):
    chosen = recipe.load(RECIPES / f"{name}.yaml")
    of_e2e_ft = chosen.method == "e2e-ft" and chosen.start in cards.PRIORS
    assert chosen.model.get("share_bias", False) == of_e2e_ft


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"metricgold_vae"}))  # which learns from small parts
def test_virtual_kitti_is_cropped_and_never_resized(name):
    entry = recipe.load(RECIPES / f"{name}.yaml").data.get("vkitti2")
    assert entry is None or (entry.crop, entry.sizes) == ("kitti", ())


HELD_OUT = {  # sets with pictures to measure on -> parts without them
    "hypersim": ("train",),
    "hypersim-normals": ("train",),
    "vkitti2": ("marigold", "e2e-ft"),  # E2E-FT's script trains on all scenes
    "tartanair": ("train",),
}
ALL_PARTS = "marigold_normals_v1_1"  # its list of Hypersim has frames of all three


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {ALL_PARTS}))
def test_what_is_measured_on_is_not_trained_on(name):
    """Whatever lies in the folder, and in whichever layout."""
    for key, entry in recipe.load(RECIPES / f"{name}.yaml").data.items():
        data = entry.set or key
        assert data not in HELD_OUT or entry.options.get("part") in HELD_OUT[data], key
        assert data != "tartanair" or "ocean/*" in entry.options["exclude"]


def test_primedepth_reads_captions_in_both_stages():
    first, second = (recipe.load(RECIPES / f"{name}.yaml") for name in ("primedepth_labels", "primedepth"))
    assert [entry.set for entry in first.data.values()] == ["label-shards"]
    assert all("path" in entry.labels for entry in second.data.values())
    assert (first.model["segmentation"], second.model["segmentation"]) == ("train", "train")
    bare = ["data.hypersim.labels={}", "data.vkitti2.labels={}", "model.segmentation=keep"]
    assert not any(e.labels for e in recipe.load(RECIPES / "primedepth.yaml", bare).data.values())


def test_fiffdepths_photographs_are_what_leadline_label_writes():
    entry = recipe.load(RECIPES / "fiffdepth.yaml").data["photographs"]
    assert (entry.set, entry.options, entry.turn) == (
        "label-shards",
        {"path": "labels", "fields": ["depth"]},
        "real",
    )


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_diffusion_model_predicts_in_too_few_leading_steps(path):
    """Their first step is told of less noise than there is (E2E-FT Sec. 3.2): one step would be noise."""
    chosen = recipe.load(path)
    _, config = methods.get(chosen.method)
    model: Any = config.model_validate(chosen.model)
    denoises = chosen.method == "marigold" or getattr(model, "objective", None) == "diffusion"
    if denoises and getattr(model, "stage", "unet") == "unet":
        assert chosen.defaults is not None
        assert model.spacing == "trailing" or chosen.defaults.steps >= 10


def test_rates_fall_to_a_hundredth_when_the_papers_say():
    marigold = recipe.load(RECIPES / "marigold_depth_v1_0.yaml")
    assert optimise.lr_at(25_000, marigold) == pytest.approx(3e-7)
    assert optimise.lr_at(29_999, marigold) == pytest.approx(3e-7)


def test_a_set_without_a_view_is_itself():
    assert set(orders.ORDERS) == {"exact", "marigold", "e2e-ft"}
    data = object()
    assert View().over(data) is data
