"""PrimeDepth at full size: memory and time of our path, and of the same network run in its authors' order.

    python benchmarks/primedepth_memory.py --sizes 256 512
    python benchmarks/primedepth_memory.py --sizes 768 1024 --theirs computed

Stable Diffusion 2.1's networks and PrimeDepth's own with random weights from one seed, a random square
picture, the same noise and text. Each side runs in a process of its own, one after the other. Ours: the
preimage part by part beside the refiner, attention pooled while it is computed, row bands. The authors'
order: maps of all pairs of pixels in float32, pooled and freed layer by layer; the whole UNet, then fusion,
refiner and depth head. Both leave the segmentation head out, which the authors' program runs besides.

Memory: the peak beyond what is resident once the weights are loaded. `--theirs computed` counts the authors'
bytes without computing a number, for sizes that this machine has no room for; there is no time then. The last
line is one JSON object: size -> memory_ratio, time_ratio, peak_gib (of our process, weights included).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from one_step import Memory, _status, seconds
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from leadline import weights
from leadline.methods.primedepth import Config, PrimeDepth
from leadline.networks import one_step, preimage
from leadline.networks.preimage import Part
from leadline.networks.primedepth import SD_AUTOENCODER, SD_UNET
from leadline.train.memory import Peak

GIB = 2**30
SIDE = preimage.SIDE
TINY: dict[str, Any] = {  # for a quick trial
    "unet": {
        "block_out_channels": [32, 64, 128, 128],
        "attention_head_dim": [1, 2, 4, 4],
        "cross_attention_dim": 32,
    },
    "autoencoder": {"block_out_channels": [32, 32, 64, 64], "layers_per_block": 1},
    "config": {"refiner_channels": 64},
}
Predict = Callable[[Tensor], Tensor]  # RGB [1,3,H,W] in [-1,1] -> raw depth [1,1,H,W]


def model(size: str, device: str = "cpu") -> PrimeDepth:
    """The network without its segmentation head; on the device "meta" without numbers."""
    change = TINY if size == "tiny" else {"unet": {}, "autoencoder": {}, "config": {}}
    unet = weights.empty({**SD_UNET, **change["unet"]})
    autoencoder = weights.empty({**SD_AUTOENCODER, **change["autoencoder"]})
    width = {**SD_UNET, "cross_attention_dim": 1024, **change["unet"]}["cross_attention_dim"]
    text = torch.randn(1, 77, width, generator=torch.Generator().manual_seed(1))
    config = Config(segmentation="none", **change["config"])
    with torch.device("meta"):
        made = PrimeDepth(config, unet, autoencoder, text)
    if device != "meta":
        generator = torch.Generator().manual_seed(0)
        for name, p in made.named_parameters():
            fill(made.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], p.shape, generator)
    return made.requires_grad_(False).eval()


def fill(module: nn.Module, name: str, shape: torch.Size, generator: torch.Generator) -> None:
    """One weight: norms are 1 and 0, others uniform with the variance 1 / inputs."""
    if len(shape) == 1:
        x = torch.full(shape, float(name == "weight"))
    else:
        bound = (3 / shape[1:].numel()) ** 0.5
        x = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    setattr(module, name, nn.Parameter(x, requires_grad=False))


def ours(made: PrimeDepth) -> Predict:
    """As `leadline predict` runs it."""
    form = made.to(memory_format=torch.channels_last).for_prediction()
    return lambda rgb: form(rgb, noises=noises(rgb))["disparity"]


def theirs(made: PrimeDepth) -> Predict:
    """The authors' order, on diffusers' modules."""
    unet: Any = made.unet
    seen = Seen(made)
    for name, attention in unet.named_modules():
        if name.endswith((".attn1", ".attn2")):
            attention.set_processor(Materialised(seen, name))
    for coder in (made.autoencoder.encoder, made.depth_head):
        coder.mid_block.attentions[0].set_processor(Explicit())

    def predict(rgb: Tensor) -> Tensor:
        z_1 = made.noised(rgb, noises=noises(rgb))
        text = made.empty_text
        unet(z_1, 1, text)
        emb = one_step.time_embedding(unet, 1)
        refined = made.refiner(iter(seen.parts()), emb, text)
        seen.clear()
        depth: Tensor = made.depth_head(refined).mean(dim=1, keepdim=True)
        return depth

    return predict


def noises(rgb: Tensor) -> tuple[Tensor, Tensor]:
    shape = (2, 1, 4, rgb.shape[2] // 8, rgb.shape[3] // 8)
    both = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    return both[0], both[1]


class Seen:
    """What the whole UNet leaves: inputs of decoder blocks, maps by transformer."""

    def __init__(self, made: PrimeDepth) -> None:
        self.unet: Any = made.unet
        self.features: list[Tensor] = []
        self.units: dict[str, Tensor] = {}
        self.sizes: list[tuple[int, int]] = []
        self.shape = (0, 0)
        for block in self.unet.up_blocks:
            for resnet in block.resnets:
                resnet.register_forward_pre_hook(lambda _, inputs: self.features.append(inputs[0]))
        for name, module in self.unet.named_modules():
            if name.split(".")[-2:-1] == ["attentions"]:
                module.register_forward_pre_hook(
                    lambda _, inputs: setattr(self, "shape", inputs[0].shape[2:])
                )

    def clear(self) -> None:
        self.features.clear()
        self.units.clear()

    def add(self, name: str, unit: Tensor) -> None:
        """Maps of pixels come first, those of tokens join them."""
        home = name.partition(".transformer_blocks")[0]
        self.units[home] = torch.cat([self.units[home], unit], dim=1) if home in self.units else unit

    def parts(self) -> list[Part]:
        before = ["mid_block.attentions.0"]
        before += [f"up_blocks.{b}.attentions.{j}" for b in range(4) for j in range(3)]
        encoder = [f"down_blocks.{b}.attentions.{j}" if j < 2 else "" for b in range(4) for j in range(3)]
        skips = ["", *encoder[:-1]][::-1]
        made = []
        for i, features in enumerate(self.features):
            unit, own = self.units.get(before[i]), self.units.get(skips[i])
            size = self.features[min(i + 1, len(self.features) - 1)].shape[2:]
            made.append(Part(features, beside(unit, own), (size[0], size[1])))
        return made


def beside(unit: Tensor | None, own: Tensor | None) -> Tensor | None:
    if unit is None or own is None:
        return own if unit is None else unit
    if unit.shape[2:] != own.shape[2:]:
        unit = F.interpolate(unit, own.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([unit, own], dim=1)


class Explicit:
    """Attention whose probabilities exist, in float32."""

    def __call__(
        self,
        attention: Any,
        hidden: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: None = None,
        temb: None = None,
    ) -> Tensor:
        given = hidden
        if hidden.dim() == 4:
            hidden = attention.group_norm(hidden.flatten(2)).transpose(1, 2)
        keys = hidden if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            layer(x).reshape(*x.shape[:2], attention.heads, -1).transpose(1, 2).flatten(0, 1)
            for layer, x in ((attention.to_q, hidden), (attention.to_k, keys), (attention.to_v, keys))
        )
        scores = torch.einsum("bid,bjd->bij", q, k) * q.shape[-1] ** -0.5
        probability = scores.softmax(dim=-1)
        del scores
        out = torch.einsum("bij,bjd->bid", probability, v)
        self.use(probability)
        out = out.reshape(-1, attention.heads, *out.shape[1:]).transpose(1, 2).flatten(2)
        out = attention.to_out[0](out)
        return out.transpose(1, 2).reshape(given.shape) + given if given.dim() == 4 else out

    def use(self, probability: Tensor) -> None:
        """Nothing, in an autoencoder."""


class Materialised(Explicit):
    """The same in the UNet: its maps go into the preimage."""

    def __init__(self, seen: Seen, name: str) -> None:
        self.seen, self.name = seen, name

    def use(self, probability: Tensor) -> None:
        """[heads,N,M] -> [1,heads*M,h,w], of pixels pooled to 64."""
        height, width = self.seen.shape
        maps = pool(probability, height, width) if self.name.endswith("attn1") else probability
        unit = maps.transpose(1, 2).reshape(1, -1, height, width)
        self.seen.add(self.name, unit.contiguous())


def pool(maps: Tensor, height: int, width: int) -> Tensor:
    """The authors' operator, step by step: [heads,N,N] -> [heads,N,64]."""
    x = maps.reshape(*maps.shape[:2], height, width)
    kernel = max(1, height // SIDE), max(1, width // SIDE)
    more = height + SIDE - height % SIDE, width + SIDE - width % SIDE
    x = F.avg_pool2d(F.interpolate(x, more, mode="bilinear", align_corners=False), kernel, kernel)
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False).flatten(2)
    return x / x.amax(dim=(1, 2), keepdim=True)


SIDES: dict[str, Callable[[PrimeDepth], Predict]] = {"ours": ours, "theirs": theirs}


@torch.inference_mode()
def child(args: argparse.Namespace) -> dict[str, float]:
    """One side in this process; its depth goes beside the picture."""
    torch.set_num_threads(args.threads)
    predict = SIDES[args.child](model(args.networks))
    rgb = torch.from_numpy(np.load(args.folder / "rgb.npy"))
    memory = Memory("cpu")
    depth: list[Tensor] = []
    time_s = seconds(lambda: depth.append(predict(rgb)), "cpu", args.repeats)
    peak, whole = memory.peak(), _status("VmHWM")
    np.save(args.folder / f"{args.child}.npy", depth[-1].numpy())
    return {"seconds": time_s, "bytes": peak, "peak": whole}


def computed(size: int, networks: str) -> dict[str, float]:
    """The authors' bytes, of arrays that have no numbers."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        made = model(networks, "meta")
        for module in made.modules():
            for name, p in list(module._parameters.items()):
                if p is not None:
                    fake = torch.empty(p.shape, device="cpu")
                    module._parameters[name] = nn.Parameter(fake, requires_grad=False)
            for name, b in list(module._buffers.items()):
                module._buffers[name] = None if b is None else mode.from_tensor(b)
        predict = theirs(made)
        with Peak() as peak:
            predict(torch.zeros(1, 3, size, size))
    return {"bytes": peak.most}


def turn(side: str, args: argparse.Namespace) -> dict[str, float]:
    """One side in a process of its own."""
    names = ("networks", "threads", "repeats", "folder")
    options = [f"--{name}={getattr(args, name)}" for name in names]
    command = [sys.executable, __file__, f"--child={side}", *options]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    figures: dict[str, float] = json.loads(output[-1])
    return figures


def compare(size: int, args: argparse.Namespace) -> dict[str, float | None]:
    """The figures of one size."""
    picture = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32) * 2 - 1
    np.save(args.folder / "rgb.npy", picture)
    own = turn("ours", args)
    say("ours", size, own)
    other = computed(size, args.networks) if args.theirs == "computed" else turn("theirs", args)
    say("theirs", size, other)
    if "seconds" in other:
        mine, wanted = (np.load(args.folder / f"{side}.npy") for side in SIDES)
        print(
            f"largest difference {np.abs(mine - wanted).max() / np.ptp(wanted):.1e} of the range", flush=True
        )
    return {
        "memory_ratio": round(own["bytes"] / other["bytes"], 4),
        "time_ratio": round(own["seconds"] / other["seconds"], 4) if "seconds" in other else None,
        "peak_gib": round(own["peak"] / GIB, 2),
    }


def say(side: str, size: int, figures: dict[str, float]) -> None:
    time_s = f"{figures['seconds']:8.1f} s" if "seconds" in figures else "  computed"
    print(f"{side:7} {size:5} px {time_s}  {figures['bytes'] / GIB:6.2f} GiB beyond the weights", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__ or "", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 768, 1024])
    parser.add_argument("--networks", choices=["full", "tiny"], default="full")
    parser.add_argument("--theirs", choices=["run", "computed"], default="run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="runs per process; the least time counts")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.child:
        print(json.dumps(child(args)))
        return
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        figures = {str(size): compare(size, args) for size in args.sizes}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
