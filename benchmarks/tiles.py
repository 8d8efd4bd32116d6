"""What tiles bring: a model on rendered scenes as a whole, at once at a larger size, and there in tiles.

    python benchmarks/tiles.py --model small --size 768 --tile 256

Scenes with exact depth, long side `size`, seeds from a million on. Each result is fitted to the truth by
least squares in the model's space, clipped to 0.1..80 m, and scored on pixels nearer than 80 m: delta1 (share
of pixels within 25 %) over all of them and over those at edges of the truth, and Depth Pro's boundary F1.
Seconds are medians. The last line is one JSON object with the figures by way and name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import leadline
from leadline import align, metrics, scenes

FAR_M = 80.0
FIRST_SEED = 10**6
EDGE = 1.25  # ratio of the farthest to the nearest depth within REACH pixels that makes an edge
REACH = 9


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--model", default="small")
    options.add_argument("--size", type=int, default=768)
    options.add_argument("--tile", type=int, default=256)
    options.add_argument("--scenes", type=int, default=16)
    options.add_argument("--device", default="auto")
    chosen = options.parse_args()
    model = leadline.load(chosen.model, device=chosen.device)
    ways: dict[str, dict[str, Any]] = {
        "whole": {},
        "at_once": {"processing_res": 0},
        "tiles": {"processing_res": 0, "tile": chosen.tile},
    }
    scores: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for seed in range(FIRST_SEED, FIRST_SEED + chosen.scenes):
        scene = scenes.render(seed=seed, size=(chosen.size * 3 // 4, chosen.size))
        for way, how in ways.items():
            scores[way].append(score(model, scene, how))
    figures = {way: _averages(rows) for way, rows in scores.items()}
    for way, row in figures.items():
        print(way.ljust(8), "  ".join(f"{name} {value:.4g}" for name, value in row.items()))
    flat = {f"{way}_{name}": round(v, 4) for way, row in figures.items() for name, v in row.items()}
    print(json.dumps({"size": chosen.size, "tile": chosen.tile, **flat}))


def score(model: leadline.Model, scene: scenes.Scene, how: dict[str, Any]) -> dict[str, float]:
    """One way's figures on one scene."""
    start = time.perf_counter()
    result = model(scene.rgb, **how)
    seconds = time.perf_counter() - start
    depth = scene.depth[None]  # [1,1,H,W]
    near = depth.isfinite() & (depth > 0) & (depth < FAR_M)
    truth = depth.where(near, 1)
    metres = align.to(result, truth[0, 0].numpy(), near[0, 0].numpy(), near_m=0.1, far_m=FAR_M).metres()
    pred = torch.from_numpy(metres)[None, None]
    return {
        "delta1": metrics.delta1(pred, truth, near).item(),
        "edge_delta1": metrics.delta1(pred, truth, near & edges(depth.clamp(max=FAR_M))).item(),
        "boundary_f1": metrics.boundary_f1(pred, truth, near).item(),
        "seconds": seconds,
    }


def edges(depth: Tensor) -> Tensor:
    """Where depth [1,1,H,W] jumps nearby, bool."""
    farthest, nearest = (F.max_pool2d(x, REACH, 1, REACH // 2) for x in (depth, -depth))
    return farthest > -EDGE * nearest


def _averages(rows: list[dict[str, float]]) -> dict[str, float]:
    means = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    return {**means, "seconds": statistics.median(row["seconds"] for row in rows)}


if __name__ == "__main__":
    main()
