"""How sharp depth edges are, and in the right place: Depth Pro's boundary F1 and recall.

Two neighbours form an edge of threshold t if the inverse depth of one is more than t times the other's. The
four directions (which side is nearer) are counted apart and averaged. Scores are blind to scale, not to
shift: see `with_zero` for maps without a zero.

Shapes: maps [B,1,H,W] float -> [B] float64. Counting needs one look at each pair of neighbours, whatever the
number of thresholds: an edge that two maps share at t is where the smaller of their ratios exceeds t.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from leadline.errors import DataError, KindError, check_shape
from leadline.prediction import Kind

THRESHOLDS = torch.linspace(1.05, 1.25, 10, dtype=torch.float64)
WEIGHTS = THRESHOLDS / THRESHOLDS.sum()
SMALLEST_M = 1e-6  # depths below count as this one
OPAQUE = 0.1  # from where on a matte is foreground


def boundary_f1(pred: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Agreement of the edges of two depth maps, 0 to 1: F1 at ten thresholds, averaged with weight t.

    Pairs of neighbours with a pixel outside `valid` [B,1,H,W], or without a number, are edges in neither map.
    A map without edges scores 0, also against another such.

    >>> square = torch.ones(1, 1, 4, 4).index_fill(3, torch.tensor([1, 2]), 2.0)
    >>> boundary_f1(5 * square, square).item(), boundary_f1(square * 0 + 1, square).item()
    (0.5, 0.0)
    """
    return f1(*precision_and_recall(pred, target, valid)) @ WEIGHTS.to(pred.device)


def boundary_recall(pred: Tensor, matte: Tensor) -> Tensor:
    """Share of a matte's outline that a depth map shows as an edge, 0 to 1, averaged with weight t.

    matte: opacity of the foreground in [0,1], or bool; its edges are where it crosses 0.1. Edges of the
    prediction are thinned first: of each run of neighbours the steepest step counts. Raises DataError for a
    matte in 8-bit numbers.
    """
    return matte_recall(pred, matte) @ WEIGHTS.to(pred.device)


def f1(precision: Tensor, recall: Tensor) -> Tensor:
    """Their harmonic mean; 0 where both are 0."""
    total = precision + recall
    return torch.where(total > 0, 2 * precision * recall / total.where(total > 0, 1), 0)


def precision_and_recall(pred: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Means over the four directions at each threshold, [B,10] each."""
    size = check_shape(target, "B 1 H W", "target")
    check_shape(pred, "B 1 H W", "pred", **size)
    p, g = _inverse(pred), _inverse(target)
    if valid is not None:
        check_shape(valid, "B 1 H W", "valid", **size)
        p, g = p.where(valid, torch.nan), g.where(valid, torch.nan)
    counts = torch.stack([_shared_edges(x[0], y[0]) for x, y in zip(p, g, strict=True)])  # [B,4,3,10]
    both, in_pred, in_target = counts.double().unbind(2)
    return (both / in_pred.clamp(min=1)).mean(1), (both / in_target.clamp(min=1)).mean(1)


def matte_recall(pred: Tensor, matte: Tensor) -> Tensor:
    """Mean recall over the four directions at each threshold, [B,10]."""
    check_shape(matte, "B 1 H W", "matte", **check_shape(pred, "B 1 H W", "pred"))
    if matte.dtype != torch.bool and (not matte.is_floating_point() or bool((matte > 1).any())):
        raise DataError(f"the matte is {matte.dtype} up to {matte.max()}, 0 to 1 is needed: divide by 255")
    foreground = matte if matte.dtype == torch.bool else matte > OPAQUE
    return torch.stack([_outline_found(q[0], m[0]) for q, m in zip(_inverse(pred), foreground, strict=True)])


def with_zero(values: Tensor, kind: Kind) -> Tensor:
    """A map of any depth-like kind as depth whose ratios mean something, for scenes without true depths.

    Metric depth stays. Affine depth in [0,1] becomes value + 0.1, so that far is 11 times as far as near.
    Affine disparity gets the smallest shift that makes it 1 % of its maximum or more, and is inverted. Scores
    depend on this choice: state it with them. With true depths at hand, align instead (`leadline.align`).
    """
    if kind is Kind.metric_depth:
        return values
    if kind is Kind.affine_depth:
        return values + 0.1
    if kind is not Kind.affine_disparity:
        raise KindError(f"{kind} has no edges of depth: use a depth model")
    low, high = values.amin(dim=(1, 2, 3), keepdim=True), values.amax(dim=(1, 2, 3), keepdim=True)
    return 1 / (values + ((0.01 * high - low) / 0.99).clamp(min=0))


def _inverse(depth: Tensor) -> Tensor:
    return 1 / depth.clamp(min=SMALLEST_M)  # NaN stays


def _sides(x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The near and the far side of all pairs of neighbours: left, top, right, bottom is nearer.

    Vertical pairs come transposed, so that lines of pairs always lie along the last axis.
    """
    across, along = (x[:, :-1], x[:, 1:]), (x.T[:, :-1], x.T[:, 1:])
    yield across
    yield along
    yield across[::-1]
    yield along[::-1]


def _shared_edges(p: Tensor, g: Tensor) -> Tensor:
    """Inverse depths [H,W] -> numbers of edges in both, in p, in g, by direction and threshold: [4,3,10]."""
    rows = []
    for (p_near, p_far), (g_near, g_far) in zip(_sides(p), _sides(g), strict=True):
        ratio_p, ratio_g = p_near / p_far, g_near / g_far
        rows.append(torch.stack([_above(torch.minimum(ratio_p, ratio_g)), _above(ratio_p), _above(ratio_g)]))
    return torch.stack(rows)


def _above(ratio: Tensor) -> Tensor:
    """How many exceed each threshold, [10]."""
    thresholds = THRESHOLDS.to(ratio.device)
    steep = ratio[ratio > thresholds[0]].double()  # a few per cent of all; NaN is not among them
    passed = torch.bucketize(steep, thresholds)  # thresholds below each
    return torch.bincount(passed, minlength=11)[1:].flip(0).cumsum(0).flip(0)


def _outline_found(q: Tensor, foreground: Tensor) -> Tensor:
    """Inverse depth and foreground [H,W] -> recall at each threshold [10]."""
    recalls = []
    for (near, far), (inside, outside) in zip(_sides(q), _sides(foreground), strict=True):
        ratio, outline = (near / far).contiguous(), (inside & ~outside).flatten()
        found = torch.stack([outline[_steepest(ratio, t)].sum() for t in THRESHOLDS.tolist()])
        recalls.append(found.double() / outline.sum().clamp(min=1))
    return torch.stack(recalls).mean(0)


def _steepest(ratio: Tensor, threshold: float) -> Tensor:
    """Places in the flattened [h,w] of the first largest ratio of each run above the threshold."""
    places = (ratio.flatten() > threshold).nonzero().flatten()
    starts = torch.ones_like(places, dtype=torch.bool)
    starts[1:] = (places[1:] != places[:-1] + 1) | (places[1:] % ratio.shape[1] == 0)
    run = starts.cumsum(0) - 1  # number of the run that a place belongs to
    values = ratio.flatten()[places]
    largest = values.new_zeros(int(starts.sum())).scatter_reduce(0, run, values, "amax")
    at_top = (values == largest[run]).nonzero().flatten()
    first = torch.ones_like(at_top, dtype=torch.bool)
    first[1:] = run[at_top[1:]] != run[at_top[:-1]]
    return places[at_top[first]]
