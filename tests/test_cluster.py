"""Labelling and prediction on Ray: the plain engine's files, and killed drivers and workers lose nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import label_runs
import pytest
from folder_runs import Fake, photographs

from leadline import cluster, image, jobs
from leadline.errors import LeadlineError, UsageError
from leadline.jobs import on_cluster
from leadline.jobs.due import Task
from leadline.jobs.manifest import Stamp
from leadline.jobs.run import Order
from leadline.save import Style

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: pip install '.[ray]'"
)


def script(*words: object) -> str:
    """The last line of `label_runs.py` in a process that Ray's own processes can import; Ray prints too."""
    source = Path(label_runs.__file__)
    paths = [source.parent, source.parents[1] / "src"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, source, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


@pytest.fixture
def inputs(tmp_path) -> Path:
    return photographs(tmp_path / "in", [f"{number:02d}.png" for number in range(26)])


@needs_ray
def test_what_ray_leaves_is_what_one_process_leaves_whoever_dies(inputs, tmp_path):
    """One driver and one worker that label, and one that predicts."""
    assert script("short", inputs, tmp_path / "out") == "3 killed"


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("who", ["driver", "worker", "predict"])
def test_ten_kills_on_ray_lose_nothing_and_repeat_nothing(inputs, tmp_path, who):
    assert int(script(who, inputs, tmp_path / "out", 10, 0)) >= 1


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[ray\]'"):
        next(cluster.each([{"number": 0}], dict, {}, read=lambda row: row))


def test_more_workers_than_places_are_refused():
    assert cluster._count(None, 0, 8) == 7
    assert cluster._count(None, 4, 64) == 4
    with pytest.raises(UsageError, match="5 workers are asked for, the cluster has 4 GPUs"):
        cluster._count(5, 4, 64)


def test_of_a_chunk_that_stops_what_was_never_tried_is_not_done(tmp_path):
    photographs(tmp_path / "in", ["a.png", *(f"c{number}.png" for number in range(6))])
    (tmp_path / "in" / "b.png").write_text("no picture")
    found, known = jobs.collect([tmp_path / "in"]), {"processing_res": None, "seed": 0, "batch_size": 1}
    row = on_cluster._read(
        {"part": "manifest.part-1.jsonl", "tasks": pickle.dumps([Task(job, Stamp(1, 1)) for job in found])}
    )
    order = Order(tmp_path / "out", "5f3c", ("npy",), Style(), False, True, None, image.MAX_PIXELS, None)
    model = Fake()
    answer = on_cluster.Worker(lambda: model, order, known)(row)
    assert json.loads(answer["done"]) == ["a"]
    assert [failure[0] for failure in json.loads(answer["failed"])] == ["b"]
    assert model.seen == ["a.png"]  # captions go by the names of pictures, though their bytes have travelled


def test_errors_come_back_as_what_they_are():
    def failing(row):
        raise UsageError("of other settings")

    row = cluster._Safely(lambda: failing, {})({"number": 0})
    with pytest.raises(UsageError, match="^of other settings$"):
        cluster._checked(row)
    with pytest.raises(LeadlineError):
        cluster._checked({cluster.FAULT: "x", cluster.CLASS: "Exception"})
