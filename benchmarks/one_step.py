"""One step of a full-sized network: our path against diffusers' MarigoldDepthPipeline with the same weights.

    python benchmarks/one_step.py --threads 2
    python benchmarks/one_step.py --device cuda --dtype bfloat16

Stable Diffusion 2's UNet and autoencoder with random weights from one seed, a random picture of 576x768, one
step from a start latent of zeros. The sides take turns, each time in a process of their own; picture and
depth pass through files. Seconds: the least of all timed runs, after a run that is not timed. Memory: the
peak of these runs beyond what is resident once the weights are loaded (CUDA: allocated). FLOPs are those that
a side does, counted by torch; the matrix rate is the best of square products of several sizes.
The last line is one JSON object; `share_of_peak` is ours.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from leadline import weights
from leadline.methods.e2e_ft import E2EFT, Config
from leadline.networks.banded import specialise_autoencoder
from leadline.networks.one_step import specialise_unet
from leadline.schedule import Schedule

MIB = 2**20
UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 96,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}
AUTOENCODER: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # what full size and a quick trial add to these
    "full": (
        {"block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024},
        {"block_out_channels": [128, 256, 512, 512]},
    ),
    "tiny": (
        {"block_out_channels": [40, 80, 160, 160], "cross_attention_dim": 32, "norm_num_groups": 8},
        {"block_out_channels": [16, 32, 64, 64], "norm_num_groups": 8},
    ),
}
SCHEDULE = Schedule(alpha_to_one=True)  # diffusers' last step then ends at the clean latent, as ours does
Predict = Callable[[Tensor], Tensor]  # RGB [1,3,H,W] in [0,1] -> depth [1,1,H,W] in [0,1]


def networks(size: str, dtype: torch.dtype, device: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """UNet, autoencoder and empty text [1,2,C], the same for both sides."""
    unet, autoencoder = SIZES[size]
    built = weights.build(UNET | unet, seed=1), weights.build(AUTOENCODER | autoencoder, seed=2)
    text = torch.randn(1, 2, unet["cross_attention_dim"], generator=torch.Generator().manual_seed(3))
    ready = [nn.Module.to(network, device=device, dtype=dtype).eval() for network in built]
    return ready[0], ready[1], text.to(device, dtype)


def ours(unet: nn.Module, autoencoder: nn.Module, text: Tensor, band_mib: int = 16) -> Predict:
    """E2E-FT on the specialised networks."""
    model = E2EFT(
        Config(),
        specialise_unet(unet, SCHEDULE.steps - 1, text, zero_channels=4),
        specialise_autoencoder(autoencoder, mean_channels=True, band_bytes=band_mib * MIB),
        SCHEDULE,
        text,
    ).eval()
    return lambda rgb: (model(2 * rgb - 1)["depth"] + 1) / 2


def theirs(unet: nn.Module, autoencoder: nn.Module, text: Tensor, *_: object) -> Predict:
    """diffusers' pipeline, given the empty text and a start latent of zeros, at the picture's own size."""
    from diffusers import DDIMScheduler, MarigoldDepthPipeline

    scheduler = DDIMScheduler.from_config(SCHEDULE.to_config())
    pipeline = MarigoldDepthPipeline(unet, autoencoder, scheduler, None, None, prediction_type="depth")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.empty_text_embedding = text

    def predict(rgb: Tensor) -> Tensor:
        height, width = (-(-side // 8) for side in rgb.shape[2:])
        z_T = rgb.new_zeros(1, 4, height, width)
        options = {"num_inference_steps": 1, "processing_resolution": 0, "match_input_resolution": False}
        depth: Tensor = pipeline(rgb, latents=z_T, output_type="pt", **options).prediction
        return depth

    return predict


SIDES: dict[str, Callable[..., Predict]] = {"ours": ours, "diffusers": theirs}


class Memory:
    """Bytes beyond what is held now: the most since then."""

    def __init__(self, device: str) -> None:
        gc.collect()
        self.cuda = device == "cuda"
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
        else:
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # freed but kept memory would hide some of what follows
            Path("/proc/self/clear_refs").write_text("5")
            self.start = _status("VmRSS")

    def peak(self) -> int:
        """The most since, in bytes."""
        most = torch.cuda.max_memory_allocated() if self.cuda else _status("VmHWM")
        return most - self.start


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        sys.exit(f"error: /proc/self/status has no {key}: memory is measured on Linux only")
    return int(found[1]) * 1024


def seconds(run: Callable[[], object], device: str, repeats: int) -> float:
    """The least wall time of one run."""
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def matrix_rate(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of square matrix products."""
    sides = (4096, 8192) if device == "cuda" else (1024, 2048, 4096)
    products = [torch.randn(side, side, device=device).to(dtype) for side in sides]
    return max(2 * len(a) ** 3 / seconds(lambda a=a: a @ a, device, 3) for a in products)


def flops(run: Callable[[], object]) -> int:
    """Those of convolutions and products that one run does."""
    cpu_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def count(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    counter = FlopCounterMode(display=False, custom_mapping={cpu_attention: count})
    with counter:
        run()
    return int(counter.get_total_flops())


@torch.inference_mode()
def child(args: argparse.Namespace) -> dict[str, float]:
    """One side in this process; its depth goes beside the picture."""
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    predict = SIDES[args.child](*networks(args.size, dtype, args.device), args.band_mib)
    rgb = torch.from_numpy(np.load(args.folder / "rgb.npy")).to(args.device, dtype)
    memory = Memory(args.device)
    depth = predict(rgb)  # not timed: the first run plans
    fastest = seconds(lambda: predict(rgb), args.device, args.repeats)
    most = memory.peak()
    work = flops(lambda: predict(rgb))  # afterwards: counting takes memory of its own
    np.save(args.folder / f"{args.child}.npy", depth.float().cpu().numpy())
    if args.profile:
        with torch.profiler.profile() as profile:
            predict(rgb)
        order = f"self_{'cuda' if args.device == 'cuda' else 'cpu'}_time_total"
        print(profile.key_averages().table(sort_by=order, row_limit=14, max_name_column_width=50))
    return {"seconds": fastest, "bytes": most, "flops": work, "rate": matrix_rate(dtype, args.device)}


def turn(side: str, args: argparse.Namespace) -> dict[str, float]:
    """One side in a process of its own."""
    names = ("size", "threads", "device", "dtype", "repeats", "band_mib", "folder")
    options = [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in names] + [
        "--profile"
    ] * args.profile
    command = [sys.executable, __file__, f"--child={side}", *options]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    print("\n".join(output[:-1]))
    figures: dict[str, float] = json.loads(output[-1])
    print(
        f"{side:10} {figures['seconds']:8.3f} s  {figures['bytes'] / MIB:7.0f} MiB beyond the weights",
        flush=True,
    )
    return figures


def compare(turns: dict[str, list[dict[str, float]]], depths: dict[str, np.ndarray]) -> dict[str, float]:
    """The figures of the last line: each side's best time, its highest peak, its share of the matrix rate."""
    time_s = {side: min(t["seconds"] for t in rows) for side, rows in turns.items()}
    memory = {side: max(t["bytes"] for t in rows) for side, rows in turns.items()}
    rate = max(t["rate"] for rows in turns.values() for t in rows)
    work = {side: rows[0]["flops"] for side, rows in turns.items()}
    share = {side: work[side] / time_s[side] / rate for side in turns}
    print(f"matrix rate {rate / 1e9:.0f} GFLOP/s")
    for side in turns:
        print(
            f"{side:10} {time_s[side]:8.3f} s  {memory[side] / MIB:7.0f} MiB  {work[side] / 1e12:.3f} TFLOP  "
            f"{100 * share[side]:.0f} % of the matrix rate"
        )
    wanted = depths["diffusers"]
    return {
        "time_ratio": time_s["ours"] / time_s["diffusers"],
        "memory_ratio": memory["ours"] / memory["diffusers"],
        "max_difference": float(np.abs(depths["ours"] - wanted).max() / np.ptp(wanted)),
        "share_of_peak": share["ours"],
    }


def arguments() -> argparse.Namespace:
    about = __doc__ or ""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="full", help="of the networks")
    parser.add_argument("--picture", type=int, nargs=2, default=[576, 768], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--turns", type=int, default=2, help="processes per side")
    parser.add_argument("--repeats", type=int, default=1, help="timed runs per process")
    parser.add_argument("--band-mib", type=int, default=16, help="size of our autoencoder's row bands")
    parser.add_argument("--profile", action="store_true", help="print where each side's time goes")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.child:
        print(json.dumps(child(args)))
        return
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, torch {torch.__version__}")
    turns: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        picture = np.random.default_rng(0).random((1, 3, *args.picture), dtype=np.float32)
        np.save(args.folder / "rgb.npy", picture)
        for _ in range(args.turns):
            for side in SIDES:
                turns[side].append(turn(side, args))
        depths = {side: np.load(args.folder / f"{side}.npy") for side in SIDES}
    figures = compare(turns, depths)
    print(json.dumps({name: round(value, 6) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
