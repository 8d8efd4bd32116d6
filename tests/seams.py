"""How visible the borders of tiles are in a map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from leadline.tiles import Window

NEAR = 16  # pixels on both sides with which a border is compared


def seam_ratio(x: Tensor, windows: Sequence[Window], order: int) -> float:
    """Of a map [1,1,H,W]: its mean absolute differences of an order across the lines where tiles begin or
    end, in shares of those nearby, at the worst line. Without a seam it is about 1.
    """
    down = [_worst(x.mT, {w.top for w in windows} | {w.top + w.height for w in windows}, order)]
    return max(down + [_worst(x, {w.left for w in windows} | {w.left + w.width for w in windows}, order)])


def _worst(x: Tensor, lines: set[int], order: int) -> float:
    width = x.shape[3]
    steps = x.double().diff(n=order, dim=3).abs().mean(dim=(0, 1, 2))  # [W - order]
    lines = lines - {0, width}
    crossing = {i for line in lines for i in range(line - order, line)}
    worst = 0.0
    for line in lines:
        near = [
            steps[i] for i in range(max(0, line - NEAR), min(len(steps), line + NEAR)) if i not in crossing
        ]
        across = max(steps[i] for i in range(line - order, line))
        worst = max(worst, float(across / (sum(near) / len(near))))
    return worst
