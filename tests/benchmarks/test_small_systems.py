"""The reports of FiffDepth and MetricGold, smaller still: every stage with tiny networks, known answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
import tiny
import tiny_primedepth
from PIL import Image

import leadline
from leadline import recipe
from leadline.data.sets import open_set
from leadline.errors import UsageError
from leadline.methods import fiffdepth, metricgold
from leadline.prediction import Kind

ROOT = Path(__file__).parents[2]
WORDS = ("yes", "no", "undecided")
TEXT = tiny.fixed("empty_text_embedding", 1, 2, 24)
NETWORKS = {"autoencoder": tiny.AUTOENCODER, "unet": tiny.UNET, "size": {"processing_res": 32}}
ONE = NETWORKS | {"unet": tiny.UNET | {"in_channels": 4}}
MODELS = {
    "fiffdepth": lambda: fiffdepth.FiffDepth.random(fiffdepth.Config(**ONE), 0, TEXT),
    "fiffdepth-images": lambda: fiffdepth.FiffDepth.random(fiffdepth.Config(**ONE), 1, TEXT),
    "metricgold": lambda: metric(objective="one_step", camera="canonical_width"),
    "metricgold-diffusion": lambda: metric(),
    "metricgold-vae": lambda: metric(stage="vae"),
    "primedepth": lambda: tiny_primedepth.small(size={"processing_res": 32}),
    "primedepth-latent": lambda: tiny_primedepth.small(loss="latent", size={"processing_res": 32}),
}


def metric(**options):
    return metricgold.MetricGold.random(metricgold.Config(**NETWORKS, **options), 0, TEXT)


@pytest.fixture(scope="module")
def systems():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import frames
        import small_measure
        import small_systems
        import systems_measure
        import systems_page

        parts = {"run": small_systems, "measure": systems_measure, "page": systems_page}
        yield SimpleNamespace(**parts, frames=frames, small=small_measure)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def built(systems, tmp_path_factory):
    """All stages but the trainings, on random networks."""
    home = tmp_path_factory.mktemp("systems")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(systems.run, "RESULTS", home / "results")
        patch.setattr(systems.run, "PAIR", home / "images/fiffdepth_pair.png")
        patch.setattr(systems.page, "MEMBERS", 2)
        patch.setattr(systems.page, "FEWEST", 2)
        patch.setattr(systems.frames, "SCENE_SIZE", (24, 32))
        patch.setattr(systems.small, "RENDERED", (16, 24))
        for name, value in (("POINTS", 5), ("BANDS", 2), ("STEPS", 2), ("MEMBERS", 2)):
            patch.setattr(systems.measure, name, value)
        for name, make in MODELS.items():
            make().save(home / name / "model")
            log = [{"event": "train", "step": s, "images": 4.0, "seconds": 36.0} for s in (50, 100)]
            (home / name / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
        done = []
        for report in systems.run.REPORTS:
            wanted = systems.run.chosen(report, [])
            options = {"retrain": False, "data": None, "images": 2}
            done += list(systems.run.stages(report, wanted, home, **options))
        facts = {r: systems.page.build(r, home / "results", home) for r in systems.run.REPORTS}
    return SimpleNamespace(home=home, done=done, facts=facts)


def test_every_training_is_a_recipe_that_starts_from_an_earlier_one(systems):
    for trainings in systems.run.REPORTS.values():
        seen = set()
        for training in trainings:
            _, file, _, folder, *overrides = systems.run.small_scale.command(training, Path("runs"))
            chosen = recipe.load(Path(file), overrides)
            assert folder == f"runs/{training.name}"
            assert training.start is None or training.start in seen
            assert chosen.start == (f"runs/{training.start}/model" if training.start else "prior")
            seen.add(training.name)
    untaught = recipe.load(Path(file).parent / "small-fiffdepth.yaml", [systems.run.without_photographs()])
    assert set(untaught.data) == {"scenes", "streets"}


def test_research_frames_become_pairs_with_their_cameras(systems, monkeypatch, tmp_path):
    folder = tmp_path / "data/kitti"
    for name in ("image", "lidar_depth"):
        (folder / name).mkdir(parents=True)
    for stem in ("a", "b", "c"):
        Image.new("RGB", (6, 4)).save(folder / f"image/{stem}.png")
        Image.fromarray(np.full((4, 6), 512, np.uint16)).save(folder / f"lidar_depth/{stem}.png")
    (folder / "frames.csv").write_text("frame,fx,fy,cx,cy,width,height\na,5,5,2.5,1.5,6,4\nb,,,,,6,4\n")
    which = systems.frames.FrameSet(
        "few", "train", "kitti/lidar_depth/*.png", 2, 256, 80, image="kitti/image/{stem}.png", stop=-1
    )
    monkeypatch.setattr(systems.frames, "SETS", (which,))
    systems.run.research(tmp_path / "data", tmp_path / "research")
    pairs = open_set("manifest", tmp_path / "research/pairs.csv")
    assert [pair.name for pair in pairs] == ["few/image_a.png", "few/image_b.png"]
    assert pairs[0].camera.K[0].tolist() == [5, 0, 3]
    assert pairs[1].camera is None
    np.testing.assert_allclose(pairs[0].depth_m, 2)


def test_without_research_frames_their_training_is_left_out(systems, monkeypatch, tmp_path):
    monkeypatch.setattr(systems.run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(systems.run.small_scale, "SCENES", {})
    monkeypatch.setattr(systems.run, "keep", lambda *_: None)
    monkeypatch.setattr(systems.measure, "bundled", lambda *_: {})
    wanted = systems.run.chosen("metricgold", [systems.run.RESEARCH])
    todo = list(systems.run.stages("metricgold", wanted, tmp_path, retrain=True, data=None, images=1))
    assert ("leaving out, for want of --data,", systems.run.RESEARCH) in todo
    assert not any(what == "training" for what, _ in todo)


def test_what_the_trainings_learn_of_is_made_first_and_photographs_asked_for(systems, monkeypatch, tmp_path):
    monkeypatch.setattr(systems.run.small_scale, "SCENES", {"mixed": (2, ("--size", "16x16"))})
    options = {"retrain": True, "data": None, "images": 1}
    wanted = systems.run.chosen("fiffdepth", ["fiffdepth"])
    todo = systems.run.stages("fiffdepth", wanted, tmp_path, **options)
    assert next(todo) == ("rendering", "mixed")
    assert next(todo)[0] == "labelling photographs"
    assert len(list((tmp_path / "mixed").rglob("*.npz"))) == 2
    with pytest.raises(UsageError, match="textures holds no photographs for the teacher to label"):
        next(todo)
    assert not (tmp_path / "labelled").exists()
    untaught = systems.run.chosen("fiffdepth", ["fiffdepth-no-teacher"])
    todo = systems.run.stages("fiffdepth", untaught, tmp_path, **options)
    assert next(todo) == ("training", "fiffdepth-no-teacher")  # it has no photographs


def systems_average(built):
    """The average's name; of each frame its figures are neither model's."""
    name = "primedepth+small"
    own, one = (
        json.loads((built.home / f"results/{n}.json").read_text())["figures"] for n in (name, "primedepth")
    )
    assert own["scenes"].keys() == one["scenes"].keys()
    assert own["scenes"]["absrel"] != one["scenes"]["absrel"]
    return name


def test_the_better_of_two_is_as_good_as_either(built):
    oracle = built.facts["primedepth"]["means"]["the better of primedepth and small"]["scenes"]
    for name in ("primedepth", "small"):
        own = built.facts["primedepth"]["means"][name]["scenes"]
        assert oracle["absrel"] <= own["absrel"]
        assert oracle["delta1"] >= own["delta1"]


def test_everything_trained_is_measured_and_every_figure_is_finite(built):
    assert {name for what, name in built.done if what == "measuring"} == {
        *MODELS,
        "small",
        "metric",
        systems_average(built),
    }
    one = json.loads((built.home / "results/fiffdepth.json").read_text())["figures"]
    assert {"scenes", "scenes, 5 points", "scenes, filtered", "scenes, spectrum"} == set(one)
    assert {"delta1", "absrel", "boundary_f1"} == set(one["scenes"])
    metres = json.loads((built.home / "results/metricgold.json").read_text())["figures"]
    assert {"scenes", "scenes, one factor", "scenes, no camera"} == set(metres)
    several = json.loads((built.home / "results/metricgold-diffusion.json").read_text())["figures"]
    assert {"scenes", "scenes x2"} < set(several)
    ceiling = json.loads((built.home / "results/metricgold-vae.json").read_text())["figures"]
    assert set(ceiling["scenes"]) == {"absrel", "absrel_original"}
    for figures in (one, metres, several, ceiling):
        values = [x for own in figures.values() for each in own.values() for x in each]
        assert np.isfinite(values).all()


def test_pages_say_what_is_there_and_what_is_not(built):
    page = (built.home / "small_fiffdepth.md").read_text()
    assert "| `fiffdepth` | 100 | 400 | 1 |" in page
    answers = built.facts["fiffdepth"]["answers"]
    assert answers["the teacher helps"] == {}
    assert answers["a blend of picture and depth is better than pictures"] == {"scenes": ANY}
    assert {a for given in answers.values() for a in given.values()} <= {*WORDS, "too low"}
    assert "the teacher helps" in page[page.index("**Not measured**") :].splitlines()[0]
    assert "octave 1" in page
    assert "](images/fiffdepth_pair.png)" in page
    with Image.open(built.home / "images/fiffdepth_pair.png") as picture:
        assert picture.width == 960
    assert "**Not measured**: without signal" in (built.home / "small_leakage.md").read_text()


def found_of(**models):
    """Model -> label -> values of AbsRel, as they are stored."""
    return {
        name: {"figures": {label: {"absrel": list(values)} for label, values in own.items()}}
        for name, own in models.items()
    }


LOW, HIGH, MIXED = [0.1, 0.2, 0.1, 0.2] * 2, [0.4, 0.5, 0.6, 0.4] * 2, [0.9, 0.1, 0.3, 0.2] * 2


def test_answers_follow_from_the_differences(systems, monkeypatch):
    monkeypatch.setattr(systems.page, "FEWEST", 8)
    question = systems.page.Question("it", "a", "b", tails=("", ", later"))

    def answers(first, second):
        found = found_of(a={"kitti": first, "kitti, later": [9.0] * 8}, b={"kitti, later": second})
        return systems.page.answers(question, found)

    assert answers(LOW, HIGH) == {"kitti": "yes"}
    assert answers(HIGH, LOW) == {"kitti": "no"}
    assert answers(MIXED, MIXED[::-1]) == {"kitti": "undecided"}
    assert answers(LOW[:4], HIGH[:4]) == {}  # too few
    assert answers(LOW, HIGH * 2) == {}  # other frames


def test_boundaries_that_neither_has_are_not_compared(systems):
    question = systems.page.Question("it", "a", "b", systems.page.EDGES)
    for best, said in ((0.01, "too low"), (0.5, "yes")):
        found = {
            name: {"figures": {"scenes": {systems.page.EDGES: [value] * 8}}}
            for name, value in (("a", best), ("b", 0.001))
        }
        assert systems.page.answers(question, found) == {"scenes": said}


def test_a_reading_says_on_which_frames_a_claim_holds(systems, monkeypatch):
    found = found_of(
        a={"kitti": LOW, "livingroom": LOW, "scenes": LOW},
        b={"kitti": HIGH, "livingroom": LOW, "scenes": LOW},
        c={"kitti": MIXED, "scenes": MIXED},
        d={"kitti": [0.0] * 8, "livingroom": HIGH},
    )
    pairs = {"it helps": "ab", "it harms": "ba", "now and then": "ad", "who knows": "cc", "nobody": "ae"}
    questions = tuple(systems.page.Question(asks, *pair) for asks, pair in pairs.items())
    monkeypatch.setitem(systems.page.QUESTIONS, "leakage", questions)
    words = list(systems.page.reading("leakage", found))
    holds, fails = (f"- **{kind}**: " for kind in (systems.page.HOLDS, systems.page.FAILS))
    assert f"{holds}it helps (on kitti; undecided on livingroom, scenes)." in words
    assert f"{fails}it harms (on kitti; undecided on livingroom, scenes)." in words
    assert "- **Depends on the frames**: now and then (on livingroom, not on kitti)." in words
    assert "- **Undecided**: who knows." in words
    assert "- **Not measured**: nobody." in words


def test_how_far_a_scale_follows_the_truth_is_a_slope_with_its_interval(systems):
    rng = np.random.default_rng(0)
    truth, error = rng.normal(size=60), rng.normal(size=60)
    found = {}
    for name, slope in (("metricgold-cured", 0.8), ("metricgold-leaking", 0.1)):
        bias = 0.3 + slope * truth + 0.2 * error - truth
        own = {"log_truth": truth.tolist(), "log_bias": bias.tolist()}
        found[name] = {"figures": {"scenes": own}}
        slopes = systems.page._slopes(own)
        assert slopes[0] == pytest.approx(np.polyfit(truth, truth + bias, 1)[0])
        assert slopes[1:].std() == pytest.approx(0.2 / np.sqrt(60), rel=0.35)  # as of least squares
    rows = [line for line in systems.page.followed(found) if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == [
        *("| `metricgold-cured`", "| `metricgold-leaking`", "| by how much more")
    ]
    assert " | 0.7 [0.7, 0.7] | " in rows[-1]  # the error is the same


def test_frames_have_noise_of_their_own(systems):
    model = leadline.Model(metric(), device="cpu")
    frame = systems.frames.Frame(
        "a", np.zeros((24, 32, 3), np.uint8), np.ones((24, 32), np.float32), np.ones((24, 32), bool), 80
    )
    one, same, other = (dict(systems.measure._metric(model, frame, "scenes", i)) for i in (0, 0, 1))
    assert one == same
    assert one["scenes"]["log_bias"] != other["scenes"]["log_bias"]


def test_twenty_points_do_not_count_and_a_factor_is_found(systems):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (24, 32)).astype(np.float32)
    frame = systems.frames.Frame("a", np.zeros((24, 32, 3), np.uint8), depth, np.ones((24, 32), bool), 80)
    known = systems.measure.points(frame, 3)
    assert known.sum() == systems.measure.POINTS
    double = leadline.external(lambda rgb: 2 * depth, Kind.metric_depth)
    found = dict(systems.measure.of_frame(double, frame, "scenes", 0))
    assert found["scenes"]["log_bias"] == pytest.approx(np.log(2), abs=1e-5)
    assert found["scenes"]["absrel"] == pytest.approx(1, abs=1e-5)
    assert found["scenes, one factor"]["absrel"] == pytest.approx(0, abs=1e-5)
    affine = leadline.external(lambda rgb: 0.1 * depth - 3, Kind.affine_depth)
    found = dict(systems.measure.of_frame(affine, frame, "scenes", 0))
    assert found[f"scenes, {systems.measure.POINTS} points"]["absrel"] == pytest.approx(0, abs=1e-4)


def test_a_smooth_map_has_less_of_the_finest_octave(systems):
    rough = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    smooth = (rough + np.roll(rough, 1, 0) + np.roll(rough, 1, 1) + np.roll(rough, 1, (0, 1))) / 4
    of_smooth, of_rough = (systems.measure.spectrum(x, (64, 64)) for x in (smooth, rough))
    assert of_smooth[-1] < of_rough[-1]


def test_a_spectrum_counts_detail_and_not_the_jump_from_one_end_to_the_other(systems):
    slope = np.linspace(0, 1, 64, dtype=np.float32)[:, None].repeat(80, 1)
    detail = 0.01 * np.random.default_rng(0).standard_normal((64, 80)).astype(np.float32)
    plain, fine = (systems.measure.spectrum(x, (64, 80)) for x in (slope, slope + detail))
    assert fine[-1] > 100 * plain[-1]


def test_photographs_are_labelled_once_and_read_as_pairs(systems, tmp_path):
    (tmp_path / "photos").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "photos/a.png")
    systems.run.label(tmp_path / "photos", tmp_path / "labelled")
    said = tmp_path / "labelled/pseudo/a.png.npy"
    np.save(said, np.load(said) * 0 + 7)
    systems.run.label(tmp_path / "photos", tmp_path / "labelled")  # what is there stays
    sample = open_set("folder", tmp_path / "labelled")[0]
    assert (sample.pseudo.mean(), sample.pseudo_kind) == (7, "affine_disparity")


def test_mistakes_are_named(systems):
    with pytest.raises(UsageError, match="did you mean 'metricgold-linear'"):
        systems.run.chosen("metricgold", ["metricgold-liner"])
