"""Start latents of a diffusion model: zeros, Gaussian, pyramid. Every image has a generator of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from leadline.errors import UsageError

STRENGTH = 0.9  # of a pyramid's coarse levels: Marigold's and E2E-FT's code
LEVELS = 10  # at most
Name = Literal["zeros", "gaussian", "pyramid"]
Levels = Literal["original", "every_layer", "power_of_two", "random_step"]
Normal = Callable[[tuple[int, ...]], Tensor]  # shape -> standard normal numbers of that shape
Uniform = Callable[[], float]  # -> one number in [0, 1)


def like(z: Tensor, kind: Name, generators: Sequence[Generator] | None = None) -> Tensor:
    """A start latent with the shape, type and device of z [B,C,h,w].

    Each image draws from its own generator as though it were alone, in float32 where that generator lives,
    so company and batch size change nothing. "zeros" needs no generators.

    >>> z = torch.zeros(2, 4, 3, 5); g = [torch.Generator().manual_seed(s) for s in (0, 1)]
    >>> like(z, "pyramid", g).shape
    torch.Size([2, 4, 3, 5])
    """
    if kind == "zeros":
        return torch.zeros_like(z)
    if kind not in ("gaussian", "pyramid"):
        raise UsageError(f"noise {kind!r} is unknown: use zeros, gaussian or pyramid")
    if generators is None or len(generators) != len(z):
        found = "none" if generators is None else len(generators)
        raise UsageError(
            f"{kind} noise for {len(z)} images needs one generator each, found {found}: pass generators"
        )
    shape = (1, *z.shape[1:])
    draw = gaussian if kind == "gaussian" else pyramid
    return torch.cat([draw(shape, *sources(generator)) for generator in generators]).to(z)


def members(seed: int, count: int) -> list[Generator]:
    """Generators of one image's ensemble. The first is that of the image alone, the others follow from the
    seed and their number.

    >>> [g.initial_seed() for g in members(7, 2)][0]
    7
    """
    seeds = [seed] + [_mixed(seed, number) for number in range(1, count)]
    return [Generator().manual_seed(s) for s in seeds]


def _mixed(seed: int, number: int) -> int:
    """Far from each other's for neighbouring seeds and numbers: torch uses the lower 32 bits only."""
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def sources(generator: Generator) -> tuple[Normal, Uniform]:
    """The two sources of random numbers, normal and uniform, both from one generator."""

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device)

    def uniform() -> float:
        return torch.rand((), generator=generator, device=generator.device).item()

    return normal, uniform


def gaussian(shape: tuple[int, ...], normal: Normal, uniform: Uniform) -> Tensor:
    """Independent standard normal numbers."""
    return normal(shape)


def pyramid(
    shape: tuple[int, ...],
    normal: Normal,
    uniform: Uniform,
    strength: float | Tensor = STRENGTH,
    levels: Levels = "original",
) -> Tensor:
    """Multi-resolution noise [B,C,h,w] (Whitaker) with deviation 1, as in Marigold's and E2E-FT's code.

    Coarse noise of each of `sizes` is enlarged and added with weight strength^i. Marigold anneals it:
    strength [B,1,1,1] is 0.9 t / T.
    """
    noise = normal(shape)
    size = (shape[-2], shape[-1])
    for i, coarse in enumerate(sizes(*size, uniform, levels)):
        enlarged = F.interpolate(normal((*shape[:-2], *coarse)), size, mode="bilinear", align_corners=False)
        noise = noise + enlarged * strength**i
    return noise / noise.std()


def sizes(height: int, width: int, uniform: Uniform, levels: Levels) -> Iterator[tuple[int, int]]:
    """Heights and widths of a pyramid's coarse levels, up to the one that is one pixel wide or high.

    Level i is the last one's size divided by r^i ("original") or r ("random_step"), r uniform in 2..4; by 2^i
    ("power_of_two") or 2 ("every_layer"). Kept as models were trained: where a power is taken, sizes shrink
    cumulatively and level 0 is a second full-size noise of weight 1.

    >>> list(sizes(12, 16, lambda: 0.5, "every_layer"))
    [(6, 8), (3, 4), (1, 2)]
    """
    if levels == "every_layer" and min(height, width) == 1:
        return
    for i in range(LEVELS):
        r = uniform() * 2 + 2 if levels in ("original", "random_step") else 2
        divisor = r**i if levels in ("original", "power_of_two") else r
        height, width = max(1, int(height / divisor)), max(1, int(width / divisor))
        yield height, width
        if min(height, width) == 1:
            return
