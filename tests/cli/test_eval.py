"""`leadline eval`: words reach the engine, a table and exit codes come back."""

from __future__ import annotations

import json

import measured
import numpy as np
import pytest

from leadline import protocols
from leadline.evaluate.results import read


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return f"folder={measured.pairs(tmp_path_factory.mktemp('pairs'), 4)}"


@pytest.fixture
def measure(run, tiny_model, data, tmp_path):
    return lambda *words: run("eval", "-m", tiny_model, "-d", data, "-o", tmp_path / "run", *words)


def test_a_table_on_stdout_and_every_choice_on_stderr(measure, tmp_path):
    done = measure()
    assert done.code == 0
    title, row = done.out.splitlines()
    assert title.split()[:6] == ["model", "data", "protocol", "pictures", "absrel", "%"]
    assert row.split()[1:4] == ["folder", "marigold-disparity", "3"]
    for words in ("4 pictures that lie there", "aligned by disparity", "seed 1234", "results.json"):
        assert words in done.err
    figure = read(tmp_path / "run")["results"][0]["figures"]["absrel"]["value"]
    assert float(row.split()[4]) == round(100 * figure, 1)


def test_json_is_the_file(measure, tmp_path):
    done = measure("--json", "-q")
    assert done.err == ""
    assert json.loads(done.out) == json.loads((tmp_path / "run" / "results.json").read_text())


def test_the_same_command_goes_on(measure, tmp_path):
    measure("--limit", 2, "-q")
    assert "other settings" in measure("-q").err
    measure("--overwrite", "-q")
    (journal,) = (tmp_path / "run").rglob("records-*.jsonl")
    before = journal.read_text()
    measure("-q")
    assert journal.read_text().count('"place"') == before.count('"place"')


def test_shards_say_who_writes_the_results(measure, tmp_path):
    first = measure("--shard", "1/2")
    assert first.code == 0
    assert "is written with the last one" in first.err
    assert not (tmp_path / "run" / "results.json").exists()
    assert measure("--shard", "2/2").out


def test_failures_are_named_and_end_in_1(run, tiny_model, tmp_path):
    folder = measured.pairs(tmp_path / "pairs", 3)
    (folder / "depth" / "1.npy").write_bytes(b"")
    done = run("eval", "-m", tiny_model, "-d", f"folder={folder}", "-o", tmp_path / "run")
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith("failed: ")]
    assert "1.npy" in line


def test_predictions_made_elsewhere_need_no_model(run, data, tmp_path):
    folder = tmp_path / "lr=3e-5" / "images"
    folder.mkdir(parents=True)
    for seed in range(4):
        np.save(folder / f"pred_{seed}.npy", measured.guess(measured.scene(seed).rgb))
    words = ("eval", "--predictions", f"theirs={folder.parent}", "-d", data, "-o", tmp_path / "run")
    assert "add --kind" in run(*words).err
    done = run(*words, "--kind", "affine_depth")
    assert done.code == 0
    assert done.out.splitlines()[1].split()[:3] == ["theirs", "folder", "marigold"]


def test_models_are_combined_and_ranked(run, tiny_model, data, tmp_path):
    models = [word for name in ("a", "b") for word in ("-m", f"{name}={tiny_model}")]
    both = ("-m", "average:a+b", "-m", "oracle:a+b")
    done = run("eval", *models, *both, "-d", data, "-o", tmp_path / "run", "--limit", 2)
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[1:5]] == ["a", "b", "average:a+b", "oracle:a+b"]
    assert "average rank (depth): a 1.0, b 1.0, average:a+b 1.0" in done.out


def test_protocols_are_listed(run):
    text = run("eval", "--protocols").out
    for name in protocols.NAMES:
        assert f"{name} {protocols.load(name).version} ({protocols.load(name).hash[:12]})" in text


def test_a_metric_model_is_aligned_only_when_it_is_said(run, tmp_path, data):
    folder = tmp_path / "theirs" / "images"
    folder.mkdir(parents=True)
    for seed in range(4):
        np.save(folder / f"pred_{seed}.npy", 3 * measured.scene(seed).depth_m)
    words = (
        "eval",
        "--predictions",
        folder.parent,
        "--kind",
        "metric_depth",
        "-d",
        data,
        "-p",
        "marigold",
        "-q",
    )
    refused = run(*words, "-o", tmp_path / "a")
    assert refused.code == 2
    assert "--set align.metric_depth=depth" in refused.err
    done = run(*words, "-o", tmp_path / "a", "--set", "align.metric_depth=depth")
    assert done.code == 0
    document = read(tmp_path / "a")
    (rules,) = document["protocols"].values()
    assert rules["changes"] == ["align.metric_depth=depth"]
    assert document["results"][0]["figures"]["absrel"]["value"] < 1e-5


@pytest.mark.parametrize("label", ["", "mine="])
def test_a_folder_may_have_a_sign_of_equality_in_its_name(run, tmp_path, label):
    (tmp_path / "lr=3e-5" / "model").mkdir(parents=True)
    done = run("eval", "-m", f"{label}{tmp_path}/lr=3e-5/model", "-d", "scenes", "-o", tmp_path / "run")
    assert f"{tmp_path}/lr=3e-5/model" in done.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-d scenes", "at least one model"),
        ("-m small", "at least one model and one data set"),
        ("-m smal -d scenes", "did you mean 'small'"),
        ("-m small -d scene", "did you mean 'scenes'"),
        ("-m small -d scenes -p marigold", "marigold-disparity"),
        ("-m small -d scenes -p marigolt", "did you mean 'marigold'"),
        ("-m small -d scenes --set seed=3", "of which protocol"),
        ("-m small -d scenes -p da2k", "no protocol here has data set 'scenes'"),
        ("-m small -d scenes -p marigold-disparity --set sed=3", "did you mean 'seed'"),
        ("-m small -d scenes --shard 0/4", "1 <= i <= n"),
        ("-m small -d scenes --limit 0", "--limit"),
        ("-m small -d scenes -m average:small+x", "no model is 'x'"),
        ("-m small -d scenes --device cuda:99", "cuda:99"),
        ("-m small -d nyuv2 --lists nowhere", "no such list"),
    ],
)
def test_mistakes_are_named_in_one_line(run, tmp_path, words, expected):
    done = run("eval", *words.split(), "-o", tmp_path / "run", "-q")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert expected in line


def test_a_wrong_kind_is_asked_about(run, tmp_path, data):
    folder = tmp_path / "theirs" / "images"
    folder.mkdir(parents=True)
    for seed in range(4):
        np.save(folder / f"pred_{seed}.npy", measured.scene(seed).depth_m)
    words = ("eval", "--predictions", folder.parent, "-d", data)
    wrong = run(*words, "-o", tmp_path / "wrong", "--kind", "affine_disparity").err
    assert "3 of 3 predictions run against the known depths (negative scale): is its kind right?" in wrong
    assert "against" not in run(*words, "-o", tmp_path / "right", "--kind", "affine_depth").err
