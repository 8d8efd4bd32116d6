"""One cell of a benchmark, in this process: `python -m leadline.bench.measure CELL`, as JSON.

A picture's way is split at the network, which is waited for on both sides: reading the file; before the
network (size, noise); the network; after it (back to the picture's size, to main memory); writing. "predict"
is the middle three, from the decoded picture to numbers: what papers call the time of a picture.
"""

from __future__ import annotations

import gc
import json
import platform
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from leadline import devices, image, save
from leadline.bench.plan import Cell
from leadline.errors import LeadlineError
from leadline.machine import environment
from leadline.predict import Model, load

PARTS = ("read", "pre", "network", "post", "write", "predict", "total")
MIB = 2**20


def measure(cell: Cell) -> dict[str, Any]:
    """Seconds as medians and 95th percentiles, memory in MiB, and what was measured. Raises LeadlineError."""
    start = time.perf_counter()
    model = load(cell.model, device=cell.device, dtype=cell.dtype, fast=cell.fast)
    wait(model.device)
    loaded = time.perf_counter() - start
    model.runner = watch = Watch(model.runner)  # type: ignore[assignment]
    peak = Peak(model.device)
    with tempfile.TemporaryDirectory() as folder:
        file = _photograph(Path(folder), cell)
        for _ in range(cell.warm_up):
            _once(model, watch, file, cell)
        times = [_once(model, watch, file, cell) for _ in range(cell.repeats)]
    return {
        "about": model.describe(),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "load_s": loaded,
        "seconds": {part: _summary([one[part] for one in times]) for part in PARTS},
        "memory_mib": {
            "weights": sum(x.numel() * x.element_size() for x in model.network.parameters()) / MIB,
            **peak.mib(),
        },
        "machine": environment() | {"processor": processor()},
    }


class Watch:
    """A model's runner that notes when the network begins and ends; `began` is 0 before it does."""

    def __init__(self, runner: Any) -> None:
        self.runner, self.began, self.ended = runner, 0.0, 0.0

    def __call__(self, *args: Any, **options: Any) -> Any:
        wait(self.runner.device)
        self.began = self.began or time.perf_counter()
        result = self.runner(*args, **options)
        wait(self.runner.device)
        self.ended = time.perf_counter()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)


class Peak:
    """The most memory held from here on: of the device, or of the process where that is a processor's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        devices.give_back_freed_memory()
        self.before, self.start = self._most(), self._now()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5")

    def mib(self) -> dict[str, float | None]:
        """In all since the process began, and beyond what was held at the start; None where it is unknown."""
        most = self._most()
        if most is None or self.before is None or self.start is None:
            return {"peak": None, "beyond_weights": None}
        return {"peak": max(most, self.before) / MIB, "beyond_weights": (most - self.start) / MIB}

    def _most(self) -> int | None:
        cuda = self.device.type == "cuda"
        return torch.cuda.max_memory_allocated(self.device) if cuda else _status("VmHWM")

    def _now(self) -> int | None:
        cuda = self.device.type == "cuda"
        return torch.cuda.memory_allocated(self.device) if cuda else _status("VmRSS")


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def processor() -> str:
    """Its name, as far as the system tells."""
    found = re.search(r"model name\s*:\s*(.+)", _text("/proc/cpuinfo"))
    return found[1].strip() if found else platform.processor() or platform.machine()


def _once(model: Model, watch: Watch, file: Path, cell: Cell) -> dict[str, float]:
    """Seconds of each part, for one picture."""
    clock = time.perf_counter
    watch.began = 0.0
    options: dict[str, Any] = {} if cell.own_resolution else {"processing_res": 0}
    start = clock()
    picture = image.read(file)
    read = clock()
    prediction = model(picture, steps=cell.steps, ensemble_size=cell.ensemble_size, **options)
    predicted = clock()
    save.write(prediction, file.parent / "out", "picture")
    end = clock()
    return {
        "read": read - start,
        "pre": watch.began - read,
        "network": watch.ended - watch.began,
        "post": predicted - watch.ended,
        "write": end - predicted,
        "predict": predicted - read,
        "total": end - start,
    }


def _photograph(folder: Path, cell: Cell) -> Path:
    """A JPEG of the size, as smooth and as rough as photographs are."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize((cell.width, cell.height), Image.Resampling.BICUBIC), np.int16)
    grain = random.integers(-12, 13, smooth.shape, np.int16)
    file = folder / "picture.jpg"
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(file, quality=92)
    return file


def _summary(seconds: list[float]) -> dict[str, float]:
    median, late = np.quantile(seconds, [0.5, 0.95]).tolist()
    return {"median": median, "p95": late}


def _status(key: str) -> int | None:
    """Of this process, in bytes; Linux."""
    found = re.search(rf"{key}:\s+(\d+) kB", _text("/proc/self/status"))
    return int(found[1]) * 1024 if found else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    try:
        answer = measure(Cell(**json.loads(sys.argv[1])))
    except LeadlineError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
