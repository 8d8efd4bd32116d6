"""Runs: stopped, killed and shared out they leave the digits of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import measured
import numpy as np
import processes
import pytest

from leadline.errors import DataError, KindError, UsageError
from leadline.evaluate import Shard, Stored, measure
from leadline.evaluate.results import read, without_machine
from leadline.prediction import Kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return measured.pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def oriented(tmp_path_factory) -> Path:
    return measured.pairs(tmp_path_factory.mktemp("oriented"), normals=True)


def mine(calls: list | None = None, name: str = "mine", seed: int = 0):
    def function(rgb):
        if calls is not None:
            calls.append(rgb)
        return measured.guess(rgb, seed)

    return measured.model(function, Kind.affine_disparity, name)


def normals():
    return measured.model(measured.guess_normals, Kind.normals, "mine")


def document(out: Path) -> str:
    return json.dumps(without_machine(read(out)))


def run(out, folder, models=None, **options):
    return measure(models or [mine()], [f"folder={folder}"], out, **options)


def test_a_run_leaves_everything_in_its_folder(tmp_path, folder):
    outcome = run(tmp_path, folder)
    (entry,) = outcome.document["results"]
    assert (entry["model"], entry["data"], entry["protocol"]) == ("mine", "folder", "marigold-disparity")
    assert entry["pictures"] == 5
    assert entry["skipped"] == [["images/2.png", "no pixel counts: none is valid, in range and in the box"]]
    assert outcome.failed == []
    figure = entry["figures"]["absrel"]
    assert figure["low"] < figure["value"] < figure["high"]
    assert entry["alignment"] == [["disparity"]]
    settings = entry["settings"]
    assert settings["models"][0]["name"] == "mine"
    assert len(settings["rows_sha256"]) == 64
    assert entry["machine"]["seconds_per_picture"]["pictures"] == 6
    assert entry["machine"]["processes"][0]["versions"]["torch"]
    assert outcome.document["protocols"][entry["protocol_hash"]]["name"] == "marigold-disparity"
    table = (tmp_path / entry["table"]).read_text().splitlines()
    assert table[0].startswith("filename,abs_relative_difference,squared_relative_difference,rmse_linear")
    assert [line.split(",")[0] for line in table[1:]] == [f"images/pred_{i}.npy" for i in (0, 1, 3, 4, 5)]
    values = [float(line.split(",")[1]) for line in table[1:]]
    assert np.mean(values) == pytest.approx(figure["value"], rel=1e-14)


def test_every_choice_is_said(tmp_path, folder):
    said = []
    run(tmp_path, folder, say=said.append, limit=2, seed=7)
    assert said[0] == "folder: the first 2 of 6 pictures that lie there, without a list; layout pairs"
    for word in ("aligned by disparity", "protocol marigold-disparity 1, ", "over 1e-05 m", "seed 7"):
        assert word in said[1]


def test_what_is_done_is_not_done_again(tmp_path, folder):
    calls = []
    first = run(tmp_path, folder, [mine(calls)])
    assert len(calls) == 6
    again = run(tmp_path, folder, [mine(calls)])
    assert len(calls) == 6
    assert without_machine(again.document) == without_machine(first.document)
    run(tmp_path, folder, [mine(calls)], overwrite=True)
    assert len(calls) == 12


def test_batches_give_the_digits_of_single_pictures(tmp_path, folder):
    run(tmp_path / "a", folder)
    run(tmp_path / "b", folder, batch_size=4)
    assert document(tmp_path / "a") == document(tmp_path / "b")


@pytest.mark.parametrize("count", [2, 3, 6])
def test_shards_give_the_digits_of_one_process(tmp_path, folder, oriented, count):
    for name, data, model in [("depth", folder, mine), ("normals", oriented, normals)]:
        run(tmp_path / name, data, [model()])
        outcomes = [
            run(tmp_path / f"{name}-shards", data, [model()], shard=Shard(i, count)) for i in range(count)
        ]
        assert [outcome.document is None for outcome in outcomes] == [True] * (count - 1) + [False]
        assert document(tmp_path / name) == document(tmp_path / f"{name}-shards")


def test_a_launcher_shares_out_the_work(tmp_path, folder, monkeypatch):
    calls = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        run(tmp_path / "a", folder, [mine(calls)])
        assert len(calls) == 3 * (int(rank) + 1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    run(tmp_path / "b", folder)
    assert document(tmp_path / "a") == document(tmp_path / "b")


KILLED = """
import os, signal
import measured
from leadline.evaluate import measure

def kill(done, total, name):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)

for out, data, kind, function in {jobs}:
    child = os.fork()  # of a process that has imported everything
    if not child:
        model = measured.model(getattr(measured, function), kind, "mine")
        measure([model], ["folder=" + data], out, progress=kill)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_killed_run_goes_on_to_the_same_digits(tmp_path, folder, oriented):
    cases = {"depth": (folder, mine(), "guess"), "normals": (oriented, normals(), "guess_normals")}
    jobs = [
        (str(tmp_path / name), str(data), str(model.kind), function)
        for name, (data, model, function) in cases.items()
    ]
    assert processes.run(f"-c {KILLED.format(jobs=jobs)}").returncode == 0
    for name, (data, model, _) in cases.items():
        (journal,) = (tmp_path / name).rglob("records-*.jsonl")
        assert journal.read_text().count('"place"') == 4
        with journal.open("a") as file:
            file.write('{"place": 4, "name": "im')  # as a kill in the middle of a line leaves it
        run(tmp_path / name, data, [model])
        run(tmp_path / "whole" / name, data, [model])
        assert document(tmp_path / name) == document(tmp_path / "whole" / name)


def test_one_of_several_processes_cannot_overwrite(tmp_path, folder):
    with pytest.raises(UsageError, match="delete .* before"):
        run(tmp_path, folder, shard=Shard(0, 2), overwrite=True)


def test_two_processes_that_undo_each_others_heap_are_found_out(tmp_path, oriented):
    for out in ("a", "b"):
        run(tmp_path / out, oriented, [normals()], limit=3 if out == "b" else None)
    whole, part = (next((tmp_path / out).rglob("errors-*.npz")) for out in ("a", "b"))
    for journal in (tmp_path / "a").rglob("records-*.jsonl"):
        journal.rename(journal.with_name("records-2-of-2.jsonl"))
    whole.rename(whole.with_name("errors-2-of-2.npz"))
    whole.with_name("errors-1-of-2.npz").write_bytes(part.read_bytes())
    with pytest.raises(UsageError, match="the same pictures"):
        run(tmp_path / "a", oriented, [normals()])


def test_predictions_that_run_against_the_truth_are_named(tmp_path, folder):
    truths = {int(measured.scene(i).rgb[0, 0, 0]): measured.scene(i).depth_m for i in range(6)}
    model = measured.model(lambda rgb: truths[int(rgb[0, 0, 0])], Kind.affine_disparity, "mine")
    assert len(run(tmp_path, folder, [model]).document["results"][0]["reversed"]) == 5


def test_ctrl_c_finishes_the_picture_and_the_next_run_goes_on(tmp_path, folder):
    def interrupt(done, total, name):
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    outcome = run(tmp_path / "a", folder, progress=interrupt)
    assert outcome.interrupted
    assert outcome.document is None
    calls = []
    run(tmp_path / "a", folder, [mine(calls)])
    assert len(calls) < 6
    run(tmp_path / "b", folder)
    assert document(tmp_path / "a") == document(tmp_path / "b")


@pytest.mark.parametrize(
    ("options", "word"),
    [({"seed": 3}, "seed"), ({"limit": 3}, "pictures"), ({"changes": ["rank=[absrel]"]}, "protocols")],
)
def test_other_settings_do_not_mix(tmp_path, folder, options, word):
    run(tmp_path, folder, protocol="marigold-disparity")
    with pytest.raises(UsageError, match=f"figures of other settings .*{word}"):
        run(tmp_path, folder, protocol="marigold-disparity", **options)
    run(tmp_path, folder, protocol="marigold-disparity", **options, overwrite=True)


def test_another_model_of_the_same_name_does_not_mix(tmp_path, folder):
    run(tmp_path, folder, ["mine=small"], limit=1, device="cpu")
    with pytest.raises(UsageError, match="other settings"):
        run(tmp_path, folder, limit=1)


def test_a_picture_that_cannot_be_predicted_costs_no_other(tmp_path, folder):
    broken = [True]

    def function(rgb):
        return (
            np.full(rgb.shape[:2], np.nan)
            if broken and rgb[0, 0, 0] == measured.scene(4).rgb[0, 0, 0]
            else (measured.guess(rgb))
        )

    model = measured.model(function, Kind.affine_disparity, "mine")
    outcome = run(tmp_path / "a", folder, [model])
    (entry,) = outcome.document["results"]
    (line,) = outcome.failed
    assert line.startswith("mine on folder, images/4.png: ")
    assert "not finite" in line
    assert entry["failed"][0][0] == "images/4.png"
    assert entry["pictures"] == 4
    broken.clear()
    run(tmp_path / "a", folder, [model])  # what has failed is tried again
    run(tmp_path / "b", folder, [model])
    assert document(tmp_path / "a") == document(tmp_path / "b")


def test_a_sample_that_cannot_be_read_is_named(tmp_path):
    folder = measured.pairs(tmp_path / "pairs", 3)
    (folder / "depth" / "1.npy").write_bytes(b"no array")
    outcome = run(tmp_path / "run", folder)
    (line,) = outcome.failed
    assert "1.npy: damaged" in line
    assert outcome.document["results"][0]["pictures"] == 1


def test_kept_predictions_are_scored_without_the_model(tmp_path, folder, oriented):
    for name, data, model in [("depth", folder, mine()), ("normals", oriented, normals())]:
        run(tmp_path / name, data, [model], save_predictions=True)
        (kept,) = (tmp_path / name).rglob("predictions")
        run(tmp_path / f"{name}-stored", data, [Stored(kept, "mine")])
        first, stored = (read(tmp_path / x)["results"][0] for x in (name, f"{name}-stored"))
        assert stored["figures"] == first["figures"]
        assert "seconds_per_picture" not in stored["machine"]


def test_a_run_reads_the_predictions_that_it_has_kept(tmp_path, folder):
    calls = []
    first = run(tmp_path, folder, [mine(calls)], save_predictions=True)
    (journal,) = tmp_path.rglob("records-*.jsonl")
    journal.unlink()
    next(tmp_path.rglob("pred_3.npy")).write_bytes(b"damaged")
    again = run(tmp_path, folder, [mine(calls)], save_predictions=True)
    assert again.document["results"][0]["figures"] == first.document["results"][0]["figures"]
    assert len(calls) == 6 + 1


def test_predictions_made_elsewhere_have_marigolds_names(tmp_path, folder):
    other = tmp_path / "elsewhere"
    for seed in range(5):
        (other / "images").mkdir(parents=True, exist_ok=True)
        np.save(other / "images" / f"pred_{seed}.npy", measured.guess(measured.scene(seed).rgb)[None])
    with pytest.raises(UsageError, match="add --kind"):
        Stored(other)
    outcome = run(tmp_path / "run", folder, [Stored(other, kind="affine_disparity")])
    wanted = run(tmp_path / "live", folder, limit=5).document["results"][0]["figures"]
    entry = outcome.document["results"][0]
    assert entry["pictures"] == 4
    # a live model's map is stretched to [0,1], and its lowest pixel, 0, is left out of the fit
    assert entry["figures"]["absrel"]["value"] == pytest.approx(wanted["absrel"]["value"], rel=1e-3)
    assert "pred_5.npy: No such file" in outcome.failed[0]


def test_several_models_and_their_combinations(tmp_path, folder):
    models = [mine(), mine(None, "other", 1), "average:mine+other", "oracle:mine+other"]
    outcome = run(tmp_path, folder, models)
    entries = {entry["model"]: entry for entry in outcome.document["results"]}
    assert list(entries) == ["mine", "other", "average:mine+other", "oracle:mine+other"]
    values = {name: entry["figures"]["absrel"]["value"] for name, entry in entries.items()}
    best = values["oracle:mine+other"]
    assert best <= min(values.values())
    shares = entries["oracle:mine+other"]["shares"]
    assert all(sum(share.values()) == pytest.approx(100) for share in shares.values())
    assert set(outcome.document["ranks"]["depth"]) == {"mine", "other", "average:mine+other"}


def test_an_average_is_the_mean_of_what_its_members_say(tmp_path, folder):
    """The same from stored predictions, and from a member alone twice under two names."""
    twins = [mine(), mine(None, "twin"), "average:mine+twin"]
    figures = [e["figures"] for e in run(tmp_path / "a", folder, twins).document["results"]]
    for name, figure in figures[2].items():
        assert figure["value"] == pytest.approx(figures[0][name]["value"], rel=1e-5)
    pair = [mine(), mine(None, "other", 1)]
    run(tmp_path / "b", folder, [*pair, "average:mine+other"], save_predictions=True)
    kept = {path.parents[1].name: path for path in (tmp_path / "b").rglob("predictions")}
    stored = [Stored(kept["mine"], "mine"), Stored(kept["other"], "other"), "average:mine+other"]
    run(tmp_path / "c", folder, stored)
    for name in ("b", "c"):
        assert (tmp_path / name / "average-mine+other").is_dir()
    last = [read(tmp_path / name)["results"][2]["figures"] for name in "bc"]
    assert last[0] == last[1]


@pytest.mark.parametrize("kind", [Kind.affine_disparity, Kind.affine_depth, Kind.metric_depth])
def test_members_of_an_average_are_each_aligned_by_their_own_protocol(tmp_path, folder, kind):
    truths = {int(measured.scene(i).rgb[0, 0, 0]): measured.scene(i).depth_m for i in range(6)}

    def knowing(own: Kind, name: str):
        return measured.model(lambda rgb: measured.as_kind(truths[int(rgb[0, 0, 0])], own), own, name)

    first, second = knowing(kind, "first"), knowing(Kind.affine_depth, "second")
    models, both = [first, second, "average:first+second"], ["marigold", "marigold-disparity", "metric"]
    outcome = run(tmp_path, folder, models, protocol=both, changes=["sets.folder.range=[0.001,null]"])
    assert outcome.failed == []
    joined = outcome.document["results"][2]
    assert [own[0] for own in joined["alignment"]] == [
        {"affine_depth": "depth", "affine_disparity": "disparity"}.get(kind, "none"),
        "depth",
    ]
    assert joined["figures"]["delta1"]["value"] == 1
    assert joined["figures"]["absrel"]["value"] == pytest.approx(0, abs=1e-3)
    assert not [name for name in joined["figures"] if "@" in name]  # what one member alone has


def test_a_second_command_adds_to_the_run(tmp_path, folder):
    run(tmp_path, folder)
    document = run(tmp_path, folder, [mine(None, "other", 1)]).document
    assert [entry["model"] for entry in document["results"]] == ["mine", "other"]
    assert set(document["ranks"]["depth"]) == {"mine", "other"}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["average:mine+other"], "no model is 'other': known are mine"),
        (["average:mine"], "two or more different models"),
        (["oracle:mine+mine"], "two or more different models"),
    ],
)
def test_impossible_combinations_are_refused_before_the_work(tmp_path, folder, models, message):
    calls = []
    with pytest.raises(UsageError, match=message):
        run(tmp_path, folder, [mine(calls), *models])
    assert calls == []


def test_an_oracle_of_pooled_pixels_is_refused(tmp_path, oriented):
    other = measured.model(measured.guess_normals, Kind.normals, "other")
    with pytest.raises(UsageError, match="pools the pixels"):
        run(tmp_path, oriented, [normals(), other, "oracle:mine+other"])
    models = [normals(), other, "oracle:mine+other"]
    assert run(tmp_path, oriented, models, protocol="marigold-normals").document


def test_an_average_of_normals_is_refused(tmp_path, oriented):
    other = measured.model(measured.guess_normals, Kind.normals, "other")
    with pytest.raises(UsageError, match="no known depths to align to"):
        run(tmp_path, oriented, [normals(), other, "average:mine+other"])


def test_two_models_need_two_names(tmp_path, folder):
    with pytest.raises(UsageError, match="labels"):
        run(tmp_path, folder, [mine(), mine()])


def test_two_folders_need_two_names(tmp_path, folder, oriented):
    calls = []
    with pytest.raises(UsageError, match=r"'folder' is given twice: .*sets: {NAME: {data: folder}}"):
        measure([mine(calls)], [f"folder={folder}", f"folder={oriented}"], tmp_path)
    assert calls == []


def test_a_kind_that_the_protocol_cannot_score_is_refused_before_the_work(tmp_path, folder):
    calls = []
    with pytest.raises(KindError, match="marigold does not score affine_disparity"):
        run(tmp_path, folder, [mine(calls)], protocol="marigold")
    assert calls == []


def test_a_missing_data_set_is_named_before_the_work(tmp_path, folder):
    calls = []
    with pytest.raises(DataError, match="nowhere: No such file"):
        measure([mine(calls)], [f"folder={folder}", f"nyuv2={tmp_path / 'nowhere'}"], tmp_path)
    assert calls == []


def test_groups_are_reported_apart(tmp_path):
    folder = measured.pairs(tmp_path / "pairs", 6)
    lines = [
        f'{{"image": "images/{i}.png", "depth": "depth/{i}.npy", "group": "{i % 2}"}}' for i in (0, 1, 3, 5)
    ]
    (folder / "table.jsonl").write_text("\n".join(lines))
    (entry,) = measure([mine()], [f"manifest={folder / 'table.jsonl'}"], tmp_path / "run").document["results"]
    assert {name: group["pictures"] for name, group in entry["groups"].items()} == {"0": 1, "1": 3}
    whole, parts = entry["figures"]["delta1"]["value"], entry["groups"]
    means = [group["pictures"] * group["figures"]["delta1"]["value"] for group in parts.values()]
    assert sum(means) / 4 == pytest.approx(whole)
    low, middle, high = parts["1"]["figures"]["delta1"]["quartiles"]
    assert low <= middle <= high


def test_pooled_figures_are_those_of_all_pixels_at_once(tmp_path, oriented):
    entry = run(tmp_path, oriented, [normals()]).document["results"][0]
    assert entry["protocol"] == "dsine-normals"
    errors = []
    for seed in range(6):
        sample = measured.scene(seed)
        pred = measured.guess_normals(sample.rgb)
        cosine = (pred * sample.normals).sum(-1) / np.linalg.norm(pred, axis=-1)
        errors.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))).ravel())
    errors = np.concatenate(errors)
    figures = {name: figure["value"] for name, figure in entry["figures"].items()}
    assert figures["mean"] == pytest.approx(errors.mean(), abs=1e-3)
    assert figures["median"] == pytest.approx(np.median(errors), abs=1e-3)
    assert figures["within30"] == pytest.approx(100 * (errors < 30).mean(), abs=0.1)


def test_the_mirrored_picture_counts_where_the_protocol_says_so(tmp_path, folder):
    seen = []

    def function(rgb):
        seen.append(rgb)
        return np.tile(np.linspace(1, 3, rgb.shape[1], dtype=np.float32), (rgb.shape[0], 1))

    model = measured.model(function, Kind.metric_depth, "mine")
    run(tmp_path, folder, [model], protocol="zoedepth-metric", limit=1, save_predictions=True)
    np.testing.assert_array_equal(seen[0], seen[1][:, ::-1])
    (kept,) = tmp_path.rglob("pred_0.npy")
    np.testing.assert_allclose(np.load(kept), 2, atol=1e-6)
