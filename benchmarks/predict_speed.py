"""What it costs to predict: start, load, one photograph, memory, and whether memory grows.

    python benchmarks/predict_speed.py --model small --threads 2

The model runs in a process of its own, so that peak memory is that of `import leadline`, loading and
predicting alone. A photograph is a 640x480 JPEG; its time runs from the file's path to the depth at its size
in memory. Memory after image 20 and after image 200 tells whether a long folder run grows. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 2**20


def resident() -> float:
    """This process's memory now, MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def photograph(file: Path) -> None:
    """A 640x480 JPEG with soft shapes and grain: as much work to decode as a photograph."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-8, 9, smooth.shape, dtype=np.int16)
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(file, quality=90)


def child(model_name: str, image: Path, threads: int, images: int) -> dict[str, float | str]:
    """Load and predict in this process; seconds and MiB by name."""
    start = time.perf_counter()
    import torch

    import leadline

    torch.set_num_threads(threads)
    imported = time.perf_counter()
    model = leadline.load(model_name, device="cpu")
    loaded = time.perf_counter()
    model(image)  # warm-up
    first = time.perf_counter()
    seconds, memory = [], {}
    for number in range(2, images + 1):
        begin = time.perf_counter()
        model(image)
        seconds.append(time.perf_counter() - begin)
        if number in (20, images):
            memory[number] = resident()
    return {
        "model": model.describe(),
        "import_s": imported - start,
        "load_s": loaded - imported,
        "first_image_s": first - loaded,
        "image_s": statistics.median(seconds),
        "image_p95_s": statistics.quantiles(seconds, n=20)[-1],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "mib_after_20": memory[20],
        f"mib_after_{images}": memory[images],
        "growth": memory[images] / memory[20] - 1,
    }


def help_seconds(runs: int = 5) -> float:
    """Median wall time of `leadline --help`, interpreter start included."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "leadline", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    about = __doc__ or ""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small", help="name or folder")
    parser.add_argument("--image", type=Path, help="photograph to use instead of the generated one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.images <= 20:
        parser.error("--images: more than 20 are needed to see growth")
    if args.child:
        print(json.dumps(child(args.model, args.image, args.threads, args.images)))
        return
    with tempfile.TemporaryDirectory() as folder:
        image = args.image or Path(folder) / "photograph.jpg"
        if args.image is None:
            photograph(image)
        options = [f"--{name}={getattr(args, name)}" for name in ("model", "threads", "images")]
        command = [sys.executable, __file__, "--child", f"--image={image}", *options]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures = {"help_s": help_seconds(), **json.loads(output.splitlines()[-1])}
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, {os.cpu_count()} cores")
    for name, value in figures.items():
        print(f"{name:16} {value:.3f}" if isinstance(value, float) else f"{name:16} {value}")
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}))


if __name__ == "__main__":
    main()
