"""A model of a few lines, folders of small pictures, and runs that are killed.

`python folder_runs.py random IN OUT KILLS SEED`: runs over IN, KILLS of them killed at random moments;
whenever all is done they begin anew.
`python folder_runs.py everywhere IN OUT`: runs over IN, each killed before another request to the disk.
Both fork, so they live in a process without threads.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from leadline import jobs
from leadline.image import Picture
from leadline.prediction import Kind, Prediction

FORMATS = ("npy", "png16", "png", "json")


class Fake:
    """A model's face: the depth is the mean of the channels; the seed is added to it."""

    dtype = "float32"
    method = SimpleNamespace(preset=SimpleNamespace(name="plain"))
    network = SimpleNamespace(state_dict=dict)

    def __init__(self, kind: str = "affine_depth", name: str = "fake", seconds: float = 0) -> None:
        self.kind, self.seconds = Kind(kind), seconds
        self.card = SimpleNamespace(name=name, hub=None)
        self.seen: list[str] = []  # names of pictures
        self.breaks: Callable[[Picture], Exception | None] = lambda picture: None

    def stream(
        self, images: Iterable[Picture], *, processing_res: Any = None, seed: int = 0, batch_size: int = 1
    ) -> Iterator[Any]:
        images = iter(images)
        while batch := list(islice(images, batch_size)):
            self.seen += [os.path.basename(picture.name) for picture in batch]
            for error in map(self.breaks, batch):
                if error is not None:
                    raise error
            time.sleep(self.seconds * len(batch))
            for picture in batch:
                grey = picture.rgb.mean(axis=-1).astype(np.float32) / 255 + seed
                values = np.stack([grey, 0 * grey, -1 + grey], -1) if self.kind is Kind.normals else grey
                yield Prediction(values, self.kind, camera=picture.camera, model=self.card.name)


def photographs(folder: Path, names: Iterable[str], size: tuple[int, int] = (12, 10)) -> Path:
    """Different small pictures of these names, stored as PNG whatever their suffix."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(name.encode()))
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path, "PNG")
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the manifest, by name."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.jsonl")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run(inputs: Path, out: Path) -> jobs.Summary:
    """The run that is killed here and undisturbed elsewhere."""
    return jobs.files([inputs], out, model=Fake(seconds=0.003), formats=FORMATS, recursive=True)


def in_child(work: Callable[[], object], after: float | None = None) -> bool:
    """Do it in a forked process, killed after so many seconds; whether it came to its end."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def die_before(step: int) -> None:
    """Have this process kill itself before its so-many-th request to the disk that changes something."""
    left = step

    def counted(request: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return request(*arguments, **options)

        return instead

    for name in ("write", "fsync", "replace", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def killed_at_random(inputs: Path, out: Path, kills: int, seed: int) -> int:
    """Runs killed at random moments, and one that is not; into a new folder whenever all is done.

    However fast the machine is at any time, the kills are so many. Returns the number of folders.
    """
    begun = time.monotonic()
    assert in_child(lambda: run(inputs, Path(f"{out}.whole")))
    longest, chance = (time.monotonic() - begun) / 5, random.Random(seed)
    whole, folders, left = results(Path(f"{out}.whole")), 0, kills
    while left:
        here = Path(f"{out}.{folders}")
        while left and not in_child(lambda here=here: run(inputs, here), chance.uniform(0, longest)):
            left -= 1
        assert in_child(lambda here=here: run(inputs, here))
        assert results(here) == whole
        folders += 1
    return folders


def killed_everywhere(inputs: Path, out: Path) -> int:
    """Into new folders, one run that dies before its n-th request, one that goes on; how many there are."""
    assert in_child(lambda: run(inputs, Path(f"{out}.whole")))
    whole = results(Path(f"{out}.whole"))
    step = 0
    while True:
        here = Path(f"{out}.{step}")
        ended = in_child(lambda step=step, here=here: (die_before(step), run(inputs, here)))
        standing = {name: data for name, data in results(here).items() if "/.leadline-" not in name}
        assert standing.items() <= whole.items(), f"half a file after step {step}: {sorted(standing)}"
        if ended:
            return step
        assert in_child(lambda here=here: run(inputs, here))
        assert results(here) == whole, f"not whole again after step {step}: {sorted(results(here))}"
        step += 1


if __name__ == "__main__":
    mode, inputs, out, *numbers = sys.argv[1:]
    killed = {"random": killed_at_random, "everywhere": killed_everywhere}[mode]
    print(killed(Path(inputs), Path(out), *map(int, numbers)))
