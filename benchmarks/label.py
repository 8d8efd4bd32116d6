"""What labelling costs beyond its network: the engines beside a bare loop of the same model.

    python benchmarks/label.py --photographs 128 --rounds 5

Three ways over the same 640x480 JPEGs, in turn, each in a process of its own, with one processor for the
network: a loop that reads, predicts and keeps nothing; `leadline label`, which also encodes, hashes, writes
and syncs shards; and the same on Ray with one worker. Loading the model counts for none of them; what a run
does once (plan, index, contact sheet, starting a worker) is printed apart: on Ray, a photograph takes what
all of them take longer than half of them. The overhead is the median over rounds of seconds per photograph,
as a share of the bare loop's. The last line is one JSON object: plain_overhead, ray_overhead (null without
Ray).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from predict_speed import photograph

SIDES = ("bare", "plain", "ray")
BATCH = 4


def photographs(folder: Path, count: int) -> list[Path]:
    """Copies of one generated photograph under their own names."""
    folder.mkdir()
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    photograph(paths[0])
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    return paths


def bare(model: str, paths: list[Path], threads: int) -> dict[str, float]:
    """Read and predict; keep nothing."""
    import torch

    import leadline

    torch.set_num_threads(threads)
    loaded = leadline.load(model, device="cpu")
    loaded(paths[0])  # warm-up
    begin = time.perf_counter()
    for _ in loaded.stream(paths, batch_size=BATCH):
        pass
    return {"seconds": (time.perf_counter() - begin) / len(paths), "once": 0.0}


def plain(model: str, paths: list[Path], threads: int, per_shard: int) -> dict[str, float]:
    """Label into shards; their own seconds count."""
    import torch

    from leadline.label import Order, label, run

    torch.set_num_threads(threads)
    order = Order(depth=model, device="cpu", batch_size=BATCH)
    networks = run.load(order)
    assert networks.depth is not None
    networks.depth(paths[0])  # warm-up
    run.load = lambda order: networks
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        label(paths, out, order, per_shard=per_shard)
        whole = time.perf_counter() - begin
        lines = [json.loads(line) for line in (Path(out) / "runs.jsonl").read_text().splitlines()]
    seconds = sum(line["seconds"] for line in lines if "seconds" in line)
    return {"seconds": seconds / len(paths), "once": whole - seconds}


def on_ray(model: str, paths: list[Path], per_shard: int) -> dict[str, float]:
    """The same by one worker: all, and half of them."""
    from leadline.label import Order, label

    order = Order(depth=model, device="cpu", batch_size=BATCH)

    def whole(some: list[Path]) -> float:
        with tempfile.TemporaryDirectory() as out:
            begin = time.perf_counter()
            label(some, out, order, per_shard=per_shard, engine="ray", workers=1)
            return time.perf_counter() - begin

    whole(paths[:1])  # Ray starts
    half = len(paths) // 2
    first, both = whole(paths[:half]), whole(paths)
    seconds = (both - first) / (len(paths) - half)
    return {"seconds": seconds, "once": first - half * seconds}


def child(side: str, args: argparse.Namespace) -> dict[str, float]:
    paths = sorted(args.folder.iterdir())
    if side == "bare":
        return bare(args.model, paths, args.threads)
    if side == "plain":
        return plain(args.model, paths, args.threads, args.per_shard)
    return on_ray(args.model, paths, args.per_shard)


def measure(side: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """One side in a process of its own."""
    options = [
        f"--{name.replace('_', '-')}={getattr(args, name)}" for name in ("model", "threads", "per_shard")
    ]
    command = [sys.executable, __file__, f"--child={side}", f"--folder={folder}", *options]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small", help="name or folder of a model of depth")
    parser.add_argument("--photographs", type=int, default=128)
    parser.add_argument("--per-shard", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--without-ray", action="store_true")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.child, args)))
        return
    has_ray = importlib.util.find_spec("ray") is not None and not args.without_ray
    sides = SIDES if has_ray else SIDES[:2]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {args.threads} thread(s)")
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "photographs"
        photographs(folder, args.photographs)
        for number in range(args.rounds):
            for side in sides if number % 2 == 0 else reversed(sides):
                found[side].append(measure(side, folder, args))
                last = found[side][-1]
                print(f"{side:6} {last['seconds']:.4f} s a photograph, {last['once']:.2f} s once", flush=True)
    medians = {side: statistics.median(one["seconds"] for one in found[side]) for side in sides}
    overhead = {f"{side}_overhead": round(medians[side] / medians["bare"] - 1, 4) for side in sides[1:]}
    print(json.dumps({"plain_overhead": None, "ray_overhead": None} | overhead))


if __name__ == "__main__":
    main()
