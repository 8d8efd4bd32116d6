"""Scale and shift although some of the known depths are wrong.

Shapes as in `leadline.align.fits`. How far off a pixel may be is 5 % of its target, or `limit` in the
target's unit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.align.fits import Fit, fit, per_image

TOLERANCE = 0.05
Line = tuple[Tensor, Tensor]  # scale and shift of one image, [] each
CHUNK = 1 << 24  # residuals held at a time


def huber(pred: Tensor, target: Tensor, valid: Tensor, *, limit: float | None = None) -> Fit:
    """Errors beyond the limit count linearly: least squares again and again, with weight limit / |r| there.

    Until nothing changes by more than 1e-12, 100 rounds at most.
    """

    def solve(p: Tensor, g: Tensor) -> Line:
        limits, line = _limits(g, limit), _line(p, g)
        for _ in range(100):
            error = _residual(p, g, line)
            new = _line(p, g, torch.where(error <= limits, 1, limits / error))
            done = all(torch.isclose(a, b, rtol=0, atol=1e-12) for a, b in zip(line, new, strict=True))
            line = new
            if done:
                break
        return line

    return per_image(pred, target, valid, solve)


def trimmed(pred: Tensor, target: Tensor, valid: Tensor, *, keep: float = 0.8, rounds: int = 20) -> Fit:
    """Least squares on the share `keep` of the pixels that the last fit met best, `rounds` times."""

    def solve(p: Tensor, g: Tensor) -> Line:
        line = _line(p, g)
        for _ in range(rounds):
            best = _residual(p, g, line).sort(stable=True).indices[: max(int(keep * len(p)), 1)]
            line = _line(p[best], g[best])
        return line

    return per_image(pred, target, valid, solve)


def ransac(
    pred: Tensor,
    target: Tensor,
    valid: Tensor,
    *,
    limit: float | None = None,
    pairs: Tensor | int = 500,
    seed: int = 0,
) -> Fit:
    """Of the lines through pairs of pixels the one that most pixels agree with, then least squares on these.

    pairs: how many are drawn, or [K,2] numbers of valid pixels in row-major order. Lines that do not rise
    count for nothing; of equal ones the first wins; (0, 0) if there is none.
    """

    def solve(p: Tensor, g: Tensor) -> Line:
        drawn = _draw(len(p), pairs, seed) if isinstance(pairs, int) else pairs
        scale, shift, agreeing = consensus(p, g, drawn.to(p.device), _limits(g, limit))
        best = int(agreeing.argmax())
        if agreeing[best] < 1:
            return p.new_zeros(()), p.new_zeros(())
        inside = _residual(p, g, (scale[best], shift[best])) < _limits(g, limit)
        return _line(p[inside], g[inside])

    return per_image(pred, target, valid, solve)


def consensus(p: Tensor, g: Tensor, pairs: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lines through pairs [K,2] of pixels [N]: scale, shift, and how many agree; -1 for one to reject."""
    i, j = pairs.long().unbind(1)
    run = p[i] - p[j]
    apart = run.abs() >= 1e-6
    scale = (g[i] - g[j]) / torch.where(apart, run, 1)  # [K]
    shift = g[i] - scale * p[i]
    size = max(CHUNK // len(p), 1)
    parts = [slice(start, start + size) for start in range(0, len(pairs), size)]
    inside = [(_residual(p, g, (scale[k, None], shift[k, None])) < limits).sum(1) for k in parts]
    return scale, shift, torch.cat(inside).where(apart & (scale > 0), -1)


def _draw(pixels: int, pairs: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(pixels, (pairs, 2), generator=generator)


def _limits(g: Tensor, limit: float | None) -> Tensor:
    return TOLERANCE * g.abs() if limit is None else torch.full_like(g, limit)


def _residual(p: Tensor, g: Tensor, line: Line) -> Tensor:
    return (line[0] * p + line[1] - g).abs()


def _line(p: Tensor, g: Tensor, weight: Tensor | None = None) -> Line:
    """`fit` of vectors."""
    p, g = p.view(1, 1, 1, -1), g.view(1, 1, 1, -1)
    weight = None if weight is None else weight.view_as(p)
    scale, shift = fit(p, g, torch.ones_like(p, dtype=torch.bool), weight=weight)
    return scale.view(()), shift.view(())
