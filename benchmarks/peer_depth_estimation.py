"""Our figures beside those of the package depth-estimation 0.1.3, on the same arrays: what differs, and why.

    pip install --no-deps depth-estimation==0.1.3
    python benchmarks/peer_depth_estimation.py

Six made-up pictures of KITTI's size, with more pixels known and larger errors in each than in the one
before. Each block of the table has one thing in which the two may differ; `docs/evaluation.md` explains them.
The last line is one JSON object: the largest relative difference of a metric in each block, null where one
side has no figures.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leadline import align, crops, metrics

OURS = {
    "abs_rel": "absrel", "sq_rel": "sqrel", "rmse": "rmse", "rmse_log": "rmse_log",
    "delta1": "delta1", "delta2": "delta2", "delta3": "delta3",
}  # fmt: skip
HEIGHT, WIDTH, NEAR_M, FAR_M = 352, 1216, 1e-3, 80.0
Figures = Mapping[str, float]


class Frame(NamedTuple):
    """A picture's prediction of affine depth, one of disparity, its truth, and where it counts: [1,1,H,W]."""

    depth: Tensor
    disparity: Tensor
    truth: Tensor
    valid: Tensor


def frames(count: int = 6) -> list[Frame]:
    return [frame(share=0.02 * 1.8**i, error=0.05 * 1.3**i, seed=i) for i in range(count)]


def frame(share: float, error: float, seed: int) -> Frame:
    random = np.random.default_rng(seed)
    truth = np.exp(random.uniform(np.log(2), np.log(100), (HEIGHT, WIDTH)))
    wrong = truth * random.lognormal(0, error, truth.shape)
    known = (random.random(truth.shape) < share) & crops.box("garg", HEIGHT, WIDTH).mask(HEIGHT, WIDTH)
    truth = np.where(known, truth, 0)
    maps = (wrong / 120 - 0.01, 2 / wrong + 0.1, truth, (truth > NEAR_M) & (truth < FAR_M))
    return Frame(
        *(torch.from_numpy(x if x.dtype == bool else x.astype(np.float32))[None, None] for x in maps)
    )


# --- ours ---


def fitted(one: Frame, space: str = "depth") -> Tensor:
    """A picture's depth, fitted in a space and limited to the benchmark's range."""
    raw = one.depth if space == "depth" else one.disparity
    return align.clip(align.depths(raw, one.truth, one.valid, space=space).depth_m, NEAR_M, FAR_M)


def mean_of_pictures(maps: Iterable[Tensor], pictures: list[Frame]) -> dict[str, float]:
    scores = metrics.Scores()
    for place, (depth, one) in enumerate(zip(maps, pictures, strict=True)):
        found = metrics.every(depth, one.truth, one.valid, OURS.values())
        scores.add(place, str(place), {theirs: found[name].item() for theirs, name in OURS.items()})
    return scores.means()


# --- the package's ---


def fitted_by_peer(one: Frame, space: str = "depth") -> Tensor:
    """As its `evaluate` treats a relative model: a line in depth, whatever the model predicts; no range."""
    from depth_estimation.evaluation import align_least_squares

    raw = one.depth if space == "depth" else one.disparity
    scale, shift = align_least_squares(*(x[0, 0].numpy() for x in (raw, one.truth, one.valid)))
    return (scale * raw + shift).clamp(min=1e-6)


def pooled_by_peer(maps: Iterable[Tensor], pictures: list[Frame]) -> dict[str, float]:
    from depth_estimation.evaluation import Evaluator

    evaluator = Evaluator()
    for depth, one in zip(maps, pictures, strict=True):
        evaluator.update(depth, one.truth, one.valid)
    found: dict[str, float] = evaluator.compute()
    return {name: found[name] for name in OURS}


def blocks() -> dict[str, tuple[Figures, Figures]]:
    """What is compared -> our figures and the package's."""
    pictures = frames()
    one = pictures[-1:]
    ready = [fitted(picture) for picture in pictures]
    theirs = [fitted_by_peer(picture) for picture in pictures]
    flat = [picture._replace(depth=torch.full_like(picture.depth, 0.5)) for picture in one]
    empty = [picture._replace(valid=torch.zeros_like(picture.valid)) for picture in one]
    return {
        "formulas": (mean_of_pictures(ready[-1:], one), pooled_by_peer(ready[-1:], one)),
        "average": (mean_of_pictures(ready, pictures), pooled_by_peer(ready, pictures)),
        "range": (mean_of_pictures(ready[-1:], one), pooled_by_peer(theirs[-1:], one)),
        "space": (
            mean_of_pictures([fitted(picture, "disparity") for picture in one], one),
            pooled_by_peer([fitted_by_peer(picture, "disparity") for picture in one], one),
        ),
        "flat": (mean_of_pictures(map(fitted, flat), flat), pooled_by_peer(map(fitted_by_peer, flat), flat)),
        "empty": (mean_of_pictures(ready[-1:], empty), pooled_by_peer(ready[-1:], empty)),
    }


TITLES = {
    "formulas": "one picture, aligned and clipped alike",
    "average": "six pictures, aligned and clipped alike: mean over pictures, over pixels",
    "range": "one picture, each in its own way: clipped to 80 m, not clipped",
    "space": "one picture, a model of disparity: aligned in disparity, in depth",
    "flat": "one picture, a flat prediction",
    "empty": "one picture without a known pixel",
}


def relative(mine: Figures, peer: Figures) -> float | None:
    """Largest relative difference; None where one side has no figures."""
    if mine.keys() != peer.keys():
        return None
    return max(abs(mine[name] - peer[name]) / max(abs(mine[name]), 1e-12) for name in mine)


def main() -> int:
    try:
        import depth_estimation  # noqa: F401
    except ImportError:
        print(
            "error: the package to compare with is missing: pip install --no-deps depth-estimation==0.1.3",
            file=sys.stderr,
        )
        return 1
    figures: dict[str, float | None] = {}
    for name, (mine, peer) in blocks().items():
        print(f"\n{TITLES[name]}\n  {'':9} {'leadline':>12} {'peer':>12} {'difference':>11}")
        for key in OURS:
            ours = mine.get(key, math.nan)
            print(f"  {key:9} {ours:12.6g} {peer[key]:12.6g} {peer[key] / ours - 1:+11.2%}")
        figures[f"{name}_difference"] = relative(mine, peer)
    print(json.dumps({name: value and float(f"{value:.3g}") for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
