"""One training step of a full-sized E2E-FT model: ours against the same step done the authors' way.

    python benchmarks/train_step.py --threads 2

Stable Diffusion 2's UNet and autoencoder with random weights, float32, a picture of 480x640, the paper's
loss. Both recompute the UNet's blocks in the backward pass, as the authors do; they keep the decoder's maps,
we recompute them. Each side runs in a process of its own, on gradients that are there already (the second
batch of an accumulation), and leaves its gradients in a file. A third process takes whole steps with
Adafactor: does it stay within a card of 16 GiB, and within what the memory plan said?

Memory: the peak beyond weights, gradients and optimiser state. Time: of the processor, which other processes
disturb less than the clock. The last line is one JSON object; gradient_difference is |ours - theirs| /
|theirs|, plan_error is relative, peak_gib that of the third process, its interpreter and libraries included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from one_step import AUTOENCODER, SIZES, UNET, Memory, _status, networks
from torch import Tensor, nn

from leadline import coding, recipe
from leadline.data.sample import Batch
from leadline.losses import scale_shift_l1
from leadline.methods.e2e_ft import E2EFT, Config
from leadline.schedule import Schedule
from leadline.train import memory

GIB = 2**30
Loss = Callable[[Batch], Tensor]


def batch(height: int, width: int) -> Batch:
    """A picture of noise, and a slanted wavy surface in front of the camera, partly unknown."""
    rgb = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(4)) * 2 - 1
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    depth = (2 + 3 * y + (9 * x).sin() / 2)[None, None]
    valid = (x + y > 0.1)[None, None]
    return Batch(rgb, valid, torch.where(valid, depth, 0), None, [None], ["noise"])


def ours(unet: nn.Module, autoencoder: nn.Module, text: Tensor) -> Loss:
    config = Config(
        compat="e2e-ft", checkpoint_unet=True, checkpoint_autoencoder=True, train_text_tokens=77, clamp=False
    )
    model = E2EFT(config, unet, autoencoder, Schedule(), text).train()
    return lambda batch: model.loss(batch).total


def authors(unet: Any, autoencoder: Any, text: Tensor) -> Loss:
    """Their training script's step, with diffusers' modules alone."""
    autoencoder.requires_grad_(False)
    unet.enable_gradient_checkpointing()
    unet.train()
    alpha_bar = Schedule().alphas_cumprod[-1]

    def loss(batch: Batch) -> Tensor:
        x = autoencoder.encode(batch.rgb).latent_dist.mode() * autoencoder.config.scaling_factor
        z_T = torch.zeros_like(x)
        v = unet(torch.cat([x, z_T], dim=1), torch.tensor([999]), text).sample
        z_0 = alpha_bar.sqrt() * z_T - (1 - alpha_bar).sqrt() * v
        picture = autoencoder.decode(z_0 / autoencoder.config.scaling_factor).sample
        assert batch.depth_m is not None
        wanted, valid = coding.clip_to_percentiles(batch.depth_m, batch.valid)
        return scale_shift_l1(picture.mean(1, keepdim=True), wanted, valid, compat=True)

    return loss


SIDES: dict[str, Callable[..., Loss]] = {"ours": ours, "authors": authors, "adafactor": ours}


def settings(args: argparse.Namespace) -> recipe.Recipe:
    """The recipe whose memory plan is put to the test: that of the third process."""
    unet, autoencoder = SIZES[args.size]
    return recipe.Recipe.model_validate(
        {
            "method": "e2e-ft",
            "model": {
                **{"unet": UNET | unet, "autoencoder": AUTOENCODER | autoencoder, "compat": "e2e-ft"},
                **{"checkpoint_unet": True, "checkpoint_autoencoder": True, "clamp": False},
            },
            "data": {"scenes": {"sizes": [args.picture]}},
            "optimiser": {"name": "adafactor", "lr": 3e-5},
            "batch": {"size": 1, "accumulate": 2},
            "steps": 1,
        }
    )


def child(args: argparse.Namespace) -> dict[str, float]:
    """One side in this process."""
    torch.set_num_threads(args.threads)
    before = _status("VmRSS")
    unet, autoencoder, _ = networks(args.size, torch.float32, "cpu")
    text = torch.randn(
        1, 77, SIZES[args.size][0]["cross_attention_dim"], generator=torch.Generator().manual_seed(3)
    )
    loss = SIDES[args.child](unet, autoencoder, text)
    for p in unet.parameters():
        p.grad = torch.empty_like(p).fill_(0)  # filled: pages that were never written take no memory
    samples = batch(*args.picture)
    if args.child == "adafactor":
        return _whole(unet, lambda: loss(samples).backward(), before)
    held = Memory("cpu")
    wall, processor = time.perf_counter(), time.process_time()
    value = loss(samples)
    value.backward()
    figures = {
        "loss": float(value.detach()),
        "wall": time.perf_counter() - wall,
        "seconds": time.process_time() - processor,
        "bytes": held.peak(),
    }
    _write(unet, args.folder / f"{args.child}.bin")
    return figures


def _whole(unet: nn.Module, backward: Callable[[], None], before: int) -> dict[str, float]:
    """Two steps with Adafactor: the second meets the state that the first has made."""
    optimiser = torch.optim.Adafactor(unet.parameters(), lr=3e-5)
    Memory("cpu")  # from here on
    for _ in range(2):
        backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
    return {"bytes": _status("VmHWM") - before, "peak": _status("VmHWM")}


def _write(unet: nn.Module, path: Path) -> None:
    with open(path, "wb") as file:
        for p in unet.parameters():
            assert p.grad is not None
            p.grad.contiguous().numpy().tofile(file)


def difference(folder: Path) -> float:
    """|ours - theirs| / |theirs| of the gradients in the files, a piece at a time."""
    a, b = (np.memmap(folder / f"{side}.bin", np.float32, "r") for side in ("ours", "authors"))
    error = norm = 0.0
    for first in range(0, len(a), 2**24):
        p, q = (x[first : first + 2**24].astype(np.float64) for x in (a, b))
        error, norm = error + float(((p - q) ** 2).sum()), norm + float((q**2).sum())
    return float((error / norm) ** 0.5)


def turn(side: str, args: argparse.Namespace) -> dict[str, float]:
    """One side in a process of its own, whose idle threads sleep."""
    options = [f"--size={args.size}", f"--threads={args.threads}", f"--folder={args.folder}"]
    picture = ["--picture", *map(str, args.picture)]
    command = [sys.executable, __file__, f"--child={side}", *options, *picture]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    print(side, {key: round(value, 4) for key, value in figures.items()}, flush=True)
    return figures


def planned(args: argparse.Namespace) -> memory.Need:
    """What the memory plan says of the third process."""
    chosen = settings(args)
    text = torch.zeros(1, 77, SIZES[args.size][0]["cross_attention_dim"])
    return memory.need(chosen, lambda recipe: E2EFT.random(Config(**recipe.model), 0, text))


def arguments() -> argparse.Namespace:
    about = __doc__ or ""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="full", help="of the networks")
    parser.add_argument("--picture", type=int, nargs=2, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.child:
        print(json.dumps(child(args)))
        return
    plan = planned(args)
    print(f"planned with Adafactor: {plan.total / GIB:.2f} GiB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        theirs, mine = turn("authors", args), turn("ours", args)
        apart = difference(args.folder)
    whole = turn("adafactor", args)
    figures = {
        "memory_ratio": mine["bytes"] / theirs["bytes"],
        "time_ratio": mine["seconds"] / theirs["seconds"],
        "gradient_difference": apart,
        "plan_error": abs(plan.total / whole["bytes"] - 1),
        "peak_gib": whole["peak"] / GIB,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
