"""One step of an evaluation, from prediction to figures, against Marigold's formulas as they are written.

    python benchmarks/metrics.py --threads 1

Maps of KITTI's size after the benchmark's crop, 352x1216, with a truth as sparse as the laser's (--share of
the pixels), and a dense one. Both sides start from the same float32 arrays, mark what counts (range, Eigen's
box), fit, clip and measure; they take turns, and their ten numbers are printed side by side. Ours is what
`leadline eval` calls for each picture. Marigold's side fits with numpy's lstsq, clips the whole map, and
evaluates each metric over all pixels, with zeros outside the mask; before, it is checked against stored
figures of the released code. Seconds: the least of all rounds. The last line is one JSON object;
`speed_ratio` is of the sparse truth, `max_difference` relative where a number is above 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from leadline import protocols
from leadline.data.sample import Sample
from leadline.evaluate.score import score
from leadline.metrics.depth import MARIGOLD_NAMES
from leadline.prediction import Kind, Prediction

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "eval" / "chain.npz"
HEIGHT, WIDTH, NEAR_M, FAR_M = 352, 1216, 1e-5, 80.0
PROTOCOL = protocols.load("marigold")
RULE = PROTOCOL.rule("kitti")


def ours(pred: np.ndarray, depth_m: np.ndarray) -> dict[str, float]:
    """A picture's figures as the protocol of Marigold's table says for KITTI."""
    nothing = np.zeros((*depth_m.shape, 3), np.uint8)
    sample = Sample(rgb=nothing, depth_m=depth_m, valid=depth_m > 0, name="picture")
    return score([Prediction(pred, Kind.affine_depth)], sample, PROTOCOL, RULE).values


def marigold(pred: np.ndarray, depth_m: np.ndarray) -> dict[str, float]:
    """The order and the formulas of Marigold's loader and evaluation script."""
    valid = (depth_m > NEAR_M) & (depth_m < FAR_M)
    height, width = depth_m.shape
    box = np.zeros_like(valid)
    box[
        int(0.3324324 * height) : int(0.91351351 * height), int(0.0359477 * width) : int(0.96405229 * width)
    ] = True
    return evaluate(pred, depth_m, valid & box, NEAR_M, FAR_M)


def evaluate(
    pred: np.ndarray, depth_m: np.ndarray, valid: np.ndarray, near: float, far: float
) -> dict[str, float]:
    """Its part after the mask is known."""
    scale, shift = least_squares(pred[valid], depth_m[valid])
    depth = np.clip(np.clip(pred * scale + shift, near, far), 1e-6, None)
    maps = torch.from_numpy(depth), torch.from_numpy(depth_m), torch.from_numpy(valid)
    return {name: formula(*maps).item() for name, formula in FORMULAS.items()}


def least_squares(pred: np.ndarray, depth_m: np.ndarray) -> tuple[np.float32, np.float32]:
    columns = np.concatenate([pred.reshape(-1, 1), np.ones((pred.size, 1), np.float32)], axis=1)  # [N,2]
    scale, shift = np.linalg.lstsq(columns, depth_m.reshape(-1, 1), rcond=None)[0][:, 0]
    return scale, shift


def zeroed(x: Tensor, valid: Tensor) -> Tensor:
    x[~valid] = 0
    return x


def mean(x: Tensor, valid: Tensor) -> Tensor:
    return x.sum((-1, -2)) / valid.sum((-1, -2))


def absrel(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
    return mean(zeroed((p - g).abs() / g, valid), valid)


def sqrel(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
    return mean(zeroed((p - g).abs() ** 2 / g, valid), valid)


def rmse(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
    return mean(zeroed(p - g, valid) ** 2, valid).sqrt()


def rmse_log(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
    return mean(zeroed(p.log() - g.log(), valid) ** 2, valid).sqrt()


def log10(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
    return (p[valid].log10() - g[valid].log10()).abs().mean()


def delta(limit: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def within(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
        return mean(zeroed((torch.maximum(p / g, g / p) < limit).float(), valid), valid)

    return within


def irmse(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
    return mean(zeroed(1 / p - 1 / g, valid) ** 2, valid).sqrt()


def silog(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
    e = zeroed(p.log() - g.log(), valid)
    return (mean(e**2, valid) - mean(e, valid) ** 2).sqrt() * 100


FORMULAS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "absrel": absrel,
    "sqrel": sqrel,
    "rmse": rmse,
    "rmse_log": rmse_log,
    "log10": log10,
    "delta1": delta(1.25),
    "delta2": delta(1.25**2),
    "delta3": delta(1.25**3),
    "irmse": irmse,
    "silog": silog,
}


def check_marigold() -> None:
    """That side must give the figures of the released code."""
    with np.load(GOLDEN) as stored:
        for case in ("nyu", "kitti", "scannet", "diode"):  # eth3d's fit sees columns of the map only
            maps = (stored[f"{case}/{name}"] for name in ("pred", "gt", "mask"))
            found = list(evaluate(*maps, *stored[f"{case}/min_max"]).values())
            np.testing.assert_allclose(found, stored[f"{case}/metrics"], rtol=1e-5, atol=1e-6)


def frame(share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Affine prediction and depth [H,W], 0 where unknown: a street's range of depths, errors of a tenth."""
    random = np.random.default_rng(seed)
    depth_m = np.exp(random.uniform(np.log(2), np.log(100), (HEIGHT, WIDTH)))
    wrong = depth_m * random.lognormal(0, 0.1, depth_m.shape)
    known = random.random(depth_m.shape) < share
    return (wrong / 90 - 0.02).astype(np.float32), np.where(known, depth_m, 0).astype(np.float32)


def compare(share: float, rounds: int) -> dict[str, float]:
    """Both sides in turn on one frame: seconds each, and how far their numbers are apart."""
    maps = frame(share)
    seconds: dict[str, float] = {}
    for _ in range(rounds):
        for name, step in (("ours", ours), ("marigold", marigold)):
            start = time.perf_counter()
            step(*maps)
            seconds[name] = min(seconds.get(name, np.inf), time.perf_counter() - start)
    mine, theirs = ours(*maps), marigold(*maps)
    for name in MARIGOLD_NAMES:
        print(f"  {name:9} {mine[name]:.9g}  {theirs[name]:.9g}")
    difference = max(abs(mine[name] - theirs[name]) / max(1, abs(theirs[name])) for name in MARIGOLD_NAMES)
    return {
        "ours_ms": 1e3 * seconds["ours"],
        "marigold_ms": 1e3 * seconds["marigold"],
        "speed_ratio": seconds["marigold"] / seconds["ours"],
        "max_difference": difference,
    }


def main() -> None:
    about = __doc__ or ""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.2, help="of the pixels that a laser measures")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    check_marigold()
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads; ours, then Marigold's")
    figures = {}
    for name, share in (("dense_", 1.0), ("", args.share)):
        print(f"{share:.0%} of the pixels known:")
        figures |= {name + key: value for key, value in compare(share, args.rounds).items()}
    for name, value in figures.items():
        print(f"{name:22} {value:.3g}")
    print(json.dumps({name: float(f"{value:.6g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
