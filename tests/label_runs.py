"""Networks of a few lines that label, and labelling that is killed: on the plain engine and on Ray.

`python label_runs.py plain IN OUT KILLS SEED`: runs that are killed at random moments, KILLS of them;
whenever all is done they begin anew.
`python label_runs.py everywhere IN OUT`: runs that are each killed before another request to the disk.
`python label_runs.py driver IN OUT KILLS SEED`: runs on Ray with two workers whose driver is killed.
`python label_runs.py worker IN OUT KILLS SEED`: runs on Ray with two workers that die one after the other.
`python label_runs.py predict IN OUT KILLS SEED`: the same for predictions.
`python label_runs.py short IN OUT`: one driver and one worker of each that are killed.
Each compares what is there at the end, byte for byte, with an undisturbed run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import folder_runs
import numpy as np
from folder_runs import die_before, in_child

from leadline import jobs
from leadline.jobs import on_cluster as predicting
from leadline.label import Order, Summary, label, on_cluster, run
from leadline.label.order import Networks
from leadline.label.plan import load as load_plan
from leadline.label.shard import read_record
from leadline.networks.labellers import Classes
from leadline.prediction import Kind, Prediction

PER_SHARD = 4
PIDS = "LABEL_RUNS_PIDS"  # names the file where actors say who they are
ORDER = Order(depth="fake", classes="fake", captions="fake", confidence="mirror", batch_size=3, device="cpu")


class Depth:
    """A model of depth: the mean of the channels, a bit more on the left."""

    kind, dtype = Kind.affine_disparity, "float32"
    card = SimpleNamespace(name="fake", hub=None)
    network = SimpleNamespace(state_dict=dict)

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds

    def stream(self, pictures: Iterable[Any], **options: Any) -> Iterator[Prediction]:
        for picture in pictures:
            time.sleep(self.seconds)
            lean = np.linspace(0.1, 0, picture.width, dtype=np.float32)
            values = picture.rgb.mean(axis=-1).astype(np.float32) / 255 + lean
            yield Prediction(values, self.kind, camera=picture.camera)


class Segmenter:
    name, names = "fake", ["wall", "building"]
    network = SimpleNamespace(state_dict=dict)

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Classes]:
        grey = [picture.mean(axis=-1, dtype=np.float32) / 255 for picture in pictures]
        return [Classes((g > 0.5).astype(np.int32), np.maximum(g, 1 - g).astype(np.float32)) for g in grey]


class Captioner:
    name = "fake"
    network = SimpleNamespace(state_dict=dict)

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[str]:
        return [f"a picture of {int(picture.sum(dtype=np.int64))}" for picture in pictures]


def networks(order: Order, seconds: float = 0) -> Networks:
    """In place of `leadline.label.order.load`."""
    return Networks(
        order,
        Depth(seconds) if order.depth else None,
        Segmenter() if order.classes else None,
        Captioner() if order.captions else None,
    )


class Actor(on_cluster.Worker):
    """A worker on Ray with these networks, slow enough to be hit."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        on_cluster.load = lambda order: networks(order, seconds=0.02)
        if self.networks is None:
            say_who()
        return super().__call__(row)


def say_who() -> None:
    """Where somebody wants to know, this process's number."""
    if PIDS in os.environ:
        with open(os.environ[PIDS], "a") as file:
            file.write(f"{os.getpid()}\n")


def slow_fake() -> folder_runs.Fake:
    """A model for predictions on Ray."""
    say_who()
    return folder_runs.Fake(seconds=0.02)


def plain(inputs: Path, out: Path, seconds: float = 0.003) -> Summary:
    run.load = lambda order: networks(order, seconds)
    return label([inputs], out, ORDER, per_shard=PER_SHARD)


def on_ray(inputs: Path, out: Path) -> Summary:
    on_cluster.Worker = Actor
    return label([inputs], out, ORDER, per_shard=PER_SHARD, engine="ray", workers=2)


def predict_on_ray(inputs: Path, out: Path) -> jobs.Summary:
    predicting.CHUNK = 4
    crew = predicting.crew(slow_fake, workers=2, device="cpu")
    formats = folder_runs.FORMATS
    return jobs.files([inputs], out, model=folder_runs.Fake(), formats=formats, recursive=True, crew=crew)


def results(out: Path) -> dict[str, bytes]:
    """Every file of a folder but the log of runs."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "runs.jsonl"}


def check(out: Path, whole: dict[str, bytes], count: int) -> None:
    """No label lost, none twice, none half; and the very bytes of the undisturbed run."""
    shards, _ = load_plan(out)
    records = [read_record(out, shard.number) for shard in shards]
    keys = [sample["key"] for record in records for sample in record["samples"]]
    assert len(keys) == len(set(keys)) == count
    assert results(out) == whole


def killed_at_random(inputs: Path, out: Path, kills: int, seed: int) -> int:
    """How many folders were filled."""
    begun = time.monotonic()
    assert in_child(lambda: plain(inputs, Path(f"{out}.whole")))
    longest, chance = (time.monotonic() - begun) * 0.6, random.Random(seed)
    whole, folders = results(Path(f"{out}.whole")), 0
    while kills:
        here = Path(f"{out}.{folders}")
        while kills and not in_child(lambda here=here: plain(inputs, here), chance.uniform(0, longest)):
            kills -= 1
        assert in_child(lambda here=here: plain(inputs, here))
        check(here, whole, len(list(inputs.iterdir())))
        folders += 1
    return folders


def killed_everywhere(inputs: Path, out: Path) -> int:
    """How many requests to the disk there are."""
    assert in_child(lambda: plain(inputs, Path(f"{out}.whole"), 0))
    whole, step = results(Path(f"{out}.whole")), 0
    while True:
        here = Path(f"{out}.{step}")
        ended = in_child(lambda step=step, here=here: (die_before(step), plain(inputs, here, 0)))
        if here.exists():
            standing = {
                name: data for name, data in results(here).items() if not name.startswith(".leadline-")
            }
            assert standing.items() <= whole.items(), f"half a file after step {step}: {sorted(standing)}"
        if ended:
            return step
        assert in_child(lambda here=here: plain(inputs, here, 0))
        check(here, whole, len(list(inputs.iterdir())))
        step += 1


def _start(what: str, inputs: Path, out: Path, pids: Path | None = None) -> subprocess.Popen[bytes]:
    more = {PIDS: str(pids)} if pids else {}
    command = [sys.executable, __file__, what, str(inputs), str(out)]
    return subprocess.Popen(command, env={**os.environ, **more}, stdin=subprocess.DEVNULL)


def _shards(out: Path) -> int:
    return len(list(out.glob("shard-*.json")))


def driver_killed(inputs: Path, out: Path, kills: int, seed: int) -> int:
    """The driver dies a moment after another shard has appeared; how many folders were filled."""
    plain(inputs, Path(f"{out}.whole"), 0)
    whole, chance, folders, total = results(Path(f"{out}.whole")), random.Random(seed), 0, 0
    while kills:
        here = Path(f"{out}.{folders}")
        folders += 1
        while kills:
            driver, before = _start("label-once", inputs, here), _shards(here)
            while driver.poll() is None and _shards(here) == before:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.2))
            if driver.poll() is not None:
                break  # all was done before
            driver.kill()
            driver.wait()
            kills, total = kills - 1, total + 1
        last = _start("label-once", inputs, here)
        assert last.wait() == 0
        check(here, whole, len(list(inputs.iterdir())))
    return folders


def worker_killed(inputs: Path, out: Path, kills: int, seed: int) -> int:
    """Workers die one after the other, some moments after they have begun; how many folders were filled."""
    plain(inputs, Path(f"{out}.whole"), 0)
    whole, chance, folders = results(Path(f"{out}.whole")), random.Random(seed), 0
    while kills:
        here = Path(f"{out}.{folders}")
        kills -= _kill_workers("label-once", inputs, here, kills, chance)
        check(here, whole, len(list(inputs.iterdir())))
        folders += 1
    return folders


def predictions_killed(inputs: Path, out: Path, kills: int, seed: int) -> int:
    """The same for predictions: every file of an undisturbed run, and no other; how many folders."""
    folder_runs.run(inputs, Path(f"{out}.whole"))
    whole, chance, folders = folder_runs.results(Path(f"{out}.whole")), random.Random(seed), 0
    while kills:
        here = Path(f"{out}.{folders}")
        kills -= _kill_workers("predict-once", inputs, here, kills, chance)
        standing = folder_runs.results(here)
        assert {name: x for name, x in standing.items() if "/.leadline-" not in f"/{name}"} == whole
        again = folder_runs.run(inputs, here)
        assert (again.done, again.skipped) == (0, len(list(inputs.iterdir())))
        folders += 1
    return folders


def _kill_workers(what: str, inputs: Path, out: Path, most: int, chance: random.Random) -> int:
    """One run on Ray whose workers are killed; how many were."""
    pids, dead = Path(f"{out}.pids"), 0
    driver = _start(what, inputs, out, pids)
    while driver.poll() is None:
        known = pids.read_text().split() if pids.exists() else []
        if dead < most and len(known) > dead:
            time.sleep(chance.uniform(0, 0.3))
            if driver.poll() is None:
                os.kill(int(known[dead]), signal.SIGKILL)
                dead += 1
        time.sleep(0.01)
    assert driver.returncode == 0
    assert dead, "nobody was hit"
    return dead


def short(inputs: Path, out: Path) -> str:
    """A driver dies, then a worker of the run after it, then one that predicts."""
    driver_killed(inputs, Path(f"{out}.driver"), 1, 0)
    worker_killed(inputs, Path(f"{out}.worker"), 1, 0)
    predictions_killed(inputs, Path(f"{out}.predictions"), 1, 0)
    return "3 killed"


if __name__ == "__main__":
    import label_runs  # by its name: actors have to find what it defines

    mode, inputs, out, *numbers = sys.argv[1:]
    modes: dict[str, Any] = {"plain": killed_at_random, "everywhere": killed_everywhere, "short": short}
    modes |= {"driver": driver_killed, "worker": worker_killed, "predict": predictions_killed}
    modes |= {"label-once": label_runs.on_ray, "predict-once": label_runs.predict_on_ray}
    print(modes[mode](Path(inputs), Path(out), *map(int, numbers)))
