"""The paper at small scale, smaller still: every stage with tiny networks, and verdicts on known figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

from leadline import cards, recipe
from leadline.errors import UsageError
from leadline.methods import autoencoder, e2e_ft, latent_diffusion, marigold

ROOT = Path(__file__).parents[2]
ONE = tiny.UNET | {"in_channels": 4}
NETWORKS = {"autoencoder": tiny.TINY_AUTOENCODER, "unet": tiny.UNET}
TEXT = tiny.fixed("empty_text_embedding", 1, 2, 24)
MODELS = {
    "vae": lambda: autoencoder.Autoencoder.random(autoencoder.Config(autoencoder=tiny.TINY_AUTOENCODER)),
    "prior": lambda: latent_diffusion.LatentDiffusion.random(
        latent_diffusion.Config(**(NETWORKS | {"unet": ONE}))
    ),
    "marigold": lambda: marigold.Marigold.random(marigold.Config(**NETWORKS), 0, TEXT),
    "e2e-prior": lambda: e2e_ft.E2EFT.random(e2e_ft.Config(**NETWORKS), 0, TEXT),
    "e2e-random": lambda: e2e_ft.E2EFT.random(e2e_ft.Config(noise="gaussian", **NETWORKS), 1, TEXT),
    "e2e-normals": lambda: e2e_ft.E2EFT.random(e2e_ft.Config(target="normals", **NETWORKS), 0, TEXT),
}


@pytest.fixture(scope="module")
def small():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import small_measure
        import small_page
        import small_scale

        yield SimpleNamespace(scale=small_scale, measure=small_measure, page=small_page)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def built(small, tmp_path_factory):
    """All stages but the trainings, on random networks: results and page."""
    home = tmp_path_factory.mktemp("small")
    changes = {"SIZE": (16, 24), "RENDERED": (16, 24), "STEPS": (1, 2), "SPREAD_STEPS": 3, "MEMBERS": 2}
    changes |= {"ENSEMBLED": (("leading", 1), ("trailing", 2)), "DRAWN": 2, "SHOWN": 2}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(small.measure, name, value)
        patch.setattr(small.page, "STEPS", (1, 2))
        patch.setattr(small.scale, "RESULTS", home / "docs" / "results")
        patch.setattr(small.scale, "PICTURES", home / "docs" / "images" / "small_scale")
        for name, make in MODELS.items():
            make().save(home / name / "model")
            log = [{"event": "train", "step": s, "images": 4.0, "seconds": 36.0} for s in (50, 100)]
            (home / name / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
        wanted = small.scale.chosen([])
        done = list(small.scale.stages(wanted, home, retrain=False, images=3))
        facts = small.page.build(home / "docs" / "results", home / "docs")
    return SimpleNamespace(
        home=home, done=done, facts=facts, page=(home / "docs" / "small_scale.md").read_text()
    )


def test_every_training_is_a_recipe_that_starts_from_an_earlier_one(small):
    seen = set()
    for training in small.scale.TRAININGS:
        _, file, run, folder, *overrides = small.scale.command(training, Path("runs"))
        chosen = recipe.load(Path(file), overrides)
        assert (run, folder) == ("--run", f"runs/{training.name}")
        assert training.start is None or training.start in seen
        if training.start:
            assert chosen.start == f"runs/{training.start}/model"
        else:
            assert chosen.start is None or cards.has(chosen.start)
        seen.add(training.name)


def test_no_training_sees_the_held_out_scenes(small):
    for training in small.scale.TRAININGS:
        chosen = recipe.load(small.scale.RECIPES / f"{training.recipe}.yaml")
        seeds = {entry.options.get("seed") for entry in (*chosen.data.values(), *chosen.validation.values())}
        assert small.measure.SEED not in seeds


def test_findings_are_of_trainings_and_labels_that_there_are(small, built):
    names = set(small.scale.BY_NAME)
    assert {model for f in small.page.FINDINGS for model, _ in (f.better, f.worse)} <= names
    assert {name for names in small.page.SECTIONS.values() for name in names} == names


def test_all_that_is_trained_is_measured(built):
    assert {name for _, name in built.done} == set(MODELS)
    means = built.facts["means"]
    assert set(means["vae"]) == {"photograph", "depth", "disparity", "normals"}
    assert set(means["marigold"]) == {
        *(f"{spacing} {n}" for spacing in ("leading", "trailing") for n in (1, 2)),
        *("leading 1 x2", "trailing 2 x2", "spread leading", "spread trailing"),
    }
    assert set(means["e2e-random"]) == {"one step", "no network"}
    assert 0 < means["e2e-normals"]["one step"]["degrees"] < 180
    assert means["prior"]["pictures"]["roughness"] > 0


def test_length_and_images_are_recorded(built):
    stored = json.loads((built.home / "docs" / "results" / "prior.json").read_text())
    assert (stored["steps"], stored["pictures"], stored["hours"]) == (100, 400, 1.0)
    assert len(stored["figures"]["pictures"]["roughness"]) == 3


def test_the_page_shows_what_there_is_and_says_what_is_not(built):
    assert "| `e2e-random` | one step |" in built.page
    assert "images/small_scale/marigold.png" in built.page
    assert "not trained yet" in built.page
    assert "| `marigold-normals` |" not in built.page


def test_verdicts_follow_from_the_interval_of_the_difference(small):
    finding = small.page.Finding("a beats b", "", ("a", "one step"), ("b", "one step"))
    no_worse = small.page.Finding("a is no worse than b", "", ("a", "one step"), ("b", "one step"))

    def said(one, b):
        found = {"a": [1.0, 2.0, 3.0, 4.0], "b": b}
        return small.page.verdict(
            one, {n: {"figures": {"one step": {"absrel": x}}} for n, x in found.items() if x}
        )

    assert said(finding, [1.1, 2.1, 3.2, 4.1]) == "holds"  # paired: the images' own spread does not count
    assert said(finding, [0.9, 1.9, 2.8, 3.9]) == "does not hold"
    assert said(finding, [1.1, 1.9, 3.1, 3.9]) == "undecided"
    assert said(no_worse, [1.1, 1.9, 3.1, 3.9]) == "holds"
    assert said(no_worse, [0.9, 1.9, 2.8, 3.9]) == "does not hold"
    assert said(finding, None) == "not trained yet"


def test_a_training_waits_for_what_it_starts_from(small, tmp_path):
    with pytest.raises(UsageError, match="e2e-prior starts from prior: train that first"):
        small.scale.train(small.scale.BY_NAME["e2e-prior"], tmp_path)
    with pytest.raises(UsageError, match="did you mean 'e2e-prior'"):
        small.scale.chosen(["e2e-priors"])


def test_trainings_are_run_once_and_measured_once(small, tmp_path, monkeypatch):
    ran, rendered = [], []

    def run(words, check):
        ran.append(words[words.index("--run") + 1])
        Path(ran[-1], "model").mkdir(parents=True)
        Path(ran[-1], "model", "card.yaml").touch()
        return SimpleNamespace(returncode=0)

    def measured(training, runs, images):
        (tmp_path / f"{training.name}.json").touch()

    monkeypatch.setattr(small.scale.subprocess, "run", run)
    monkeypatch.setattr(small.scale, "measure", measured)
    monkeypatch.setattr(small.scale, "RESULTS", tmp_path)
    monkeypatch.setattr(small.scale, "render", lambda name, runs: rendered.append(name))
    wanted = small.scale.chosen(["vae", "prior"])
    first, again = (list(small.scale.stages(wanted, tmp_path, retrain=True, images=1)) for _ in "ab")
    told = [("training", "vae"), ("measuring", "vae"), ("training", "prior"), ("measuring", "prior")]
    assert [one for one in first if one[0] != "rendering"] == told
    assert sorted(rendered) == ["mixed", "streets"]
    assert again == []
    assert len(ran) == 2
