"""Many predictions of one picture -> one, and how much they disagree.

Affine depth has a free scale and shift in every member, so members are aligned first: by `gauge`, closed form
(ours), or by minimising a cost as released programs do. That cost has its true minimum where all scales
vanish; the programs are saved by few and coarse steps of their solver, which is therefore kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from leadline.errors import UsageError, check_shape
from leadline.prediction import Kind

Reduction = Literal["median", "lower_median", "mean"]
NormalsReduction = Literal["closest", "mean", "member"]
SMALLEST = 1e-6  # range of a map that counts as flat
ROUNDS = 5  # of gauge: it changes nothing visible after two or three


@dataclass(frozen=True)
class Ensembling:
    """How members become one map. The defaults are ours; released programs differ (leadline.presets)."""

    align: Literal["gauge", "pairs", "joint"] = "gauge"  # pairs, joint: the cost summed, or under one root
    reduction: Reduction = "median"  # lower_median: torch's, of two middle values the smaller
    normals: NormalsReduction = "closest"  # to the mean, by pixel; "member": the whole map of one
    logs: bool = True  # metric depth: logarithms are reduced, so that a factor up weighs what one down does
    harmonise: bool = False  # metric depth: members are brought to one scale first, the middle of theirs
    shift: bool = True  # members have a free shift beside their scale; for pairs and joint
    regularizer: float = 0.02  # of pairs and joint: pulls the result to [0,1]
    max_iter: int = 2
    tol: float = 1e-3
    max_res: int | None = None  # longer maps are made smaller to be aligned


def merge(members: Tensor, kind: Kind, how: Ensembling) -> tuple[Tensor, Tensor]:
    """Members [E,C,h,w] as networks return them -> one map [1,C,h,w] of the same range, and uncertainty
    [1,1,h,w]: of affine maps in shares of their range, of metric depth in shares of it, of normals in half
    turns.
    """
    if kind is Kind.normals:
        return normals(members, how.normals)
    if kind is Kind.metric_depth:
        return metric(members, how)
    value, uncertainty = depth((members + 1) / 2, how)
    return 2 * value - 1, uncertainty


def metric(members: Tensor, how: Ensembling | None = None) -> tuple[Tensor, Tensor]:
    """Metres [E,1,h,w], all of one scale -> one map, and how far they spread in shares of it: 0.1 is 10 %.

    Nothing is aligned, and equal members come back as they are. The spread is a factor less 1: of the median
    distance from the median, or the standard deviation around the mean, of logarithms.

    >>> value, spread = metric(torch.tensor([1.0, 4.0]).view(2, 1, 1, 1))
    >>> value.item(), spread.item()
    (2.0, 1.0)
    """
    how = how or Ensembling()
    check_shape(members, "E 1 h w", "ensemble")
    members = members.clamp(min=torch.finfo(members.dtype).tiny)
    if how.harmonise:
        middle = members.log().flatten(1).sort(dim=1).values
        own = (middle[:, (middle.shape[1] - 1) // 2] + middle[:, middle.shape[1] // 2]) / 2  # [E]
        members = members * (_median(own, "median") - own).exp().view(-1, 1, 1, 1)
    logs = members.log()
    middle, spread = _reduce(logs, how.reduction)
    if not how.logs:
        return _reduce(members, how.reduction)[0], spread.expm1()
    if how.reduction == "median":  # exact where the two middle members agree
        ranked, last = members.sort(dim=0).values, len(members) - 1
        return (ranked[last // 2] * ranked[last - last // 2]).sqrt()[None], spread.expm1()
    return middle.exp(), spread.expm1()


def depth(members: Tensor, how: Ensembling | None = None) -> tuple[Tensor, Tensor]:
    """Maps [E,1,h,w] of which each has a scale and a shift of its own -> one in [0,1], and uncertainty.

    Uncertainty [1,1,h,w] is the spread of the aligned members in shares of the result's range: the median
    distance from the median, or the standard deviation around the mean.

    >>> d = torch.rand(1, 1, 8, 8); d = (d - d.min()) / (d.max() - d.min())
    >>> value, uncertainty = depth(torch.cat([0.5 * d + 0.1, 0.2 * d + 0.7, d]))
    >>> bool((value - d).abs().max() < 1e-5), bool(uncertainty.max() < 1e-5)
    (True, True)
    """
    how = how or Ensembling()
    check_shape(members, "E 1 h w", "ensemble")
    scale, shift = gauge(members, how) if how.align == "gauge" else _split(solve(members, how), how)
    return combine(members, scale, shift, how)


def combine(members: Tensor, scale: Tensor, shift: Tensor, how: Ensembling) -> tuple[Tensor, Tensor]:
    """Members [E,1,h,w], scales and shifts [E] -> `depth`'s two maps."""
    value, uncertainty = _reduce(_aligned(members, scale, shift), how.reduction)
    low = value.min() if how.shift else value.new_zeros(())
    extent = (value.max() - low).clamp(min=SMALLEST)
    return (value - low) / extent, uncertainty / extent


def gauge(members: Tensor, how: Ensembling) -> tuple[Tensor, Tensor]:
    """Scales and shifts [E] by least squares to the members' own median, which is kept in [0,1].

    That gauge is what makes it safe: the scales cannot all vanish. A member that is flat, or runs against
    the rest, counts as flat.
    """
    d = members.flatten(1).float()  # [E,P]
    low, high = d.aminmax(dim=1)
    scale = 1 / (high - low).clamp(min=SMALLEST)
    shift = -scale * low
    centred = d - d.mean(dim=1, keepdim=True)
    variance = centred.square().mean(dim=1)
    for _ in range(ROUNDS):
        p, _ = _reduce(scale[:, None] * d + shift[:, None], how.reduction)  # [1,P]
        p = (p - p.min()) / (p.max() - p.min()).clamp(min=SMALLEST)
        covariance = (centred * p).mean(dim=1)
        scale = torch.where(variance > 0, covariance / torch.where(variance > 0, variance, 1), 0).clamp(min=0)
        shift = p.mean() - scale * d.mean(dim=1)
    return scale, shift


def solve(members: Tensor, how: Ensembling) -> np.ndarray:
    """The released programs' alignment, [s_1..s_E, t_1..t_E], without t unless members have shifts.

    BFGS with numerical gradients of a cost in float32: coarse by design, see above. Needs scipy; results
    differ in the third digit between its versions and between processors.
    """
    small = _shrunk(members.float(), how.max_res)
    # "joint" starts in float32, from which scipy concludes that differences need 20,000 times the step
    first = start(small, how).astype(np.float32 if how.align == "joint" else np.float64)
    options: dict[str, Any] = {"maxiter": how.max_iter, "disp": False}
    found = _solver(how)(cost(small, how), first, method="BFGS", tol=how.tol, options=options)
    return np.asarray(found.x)


def check(kind: Kind, how: Ensembling) -> None:
    """Raises UsageError if members of this kind cannot be merged like this here, for want of scipy."""
    if how.align != "gauge" and kind in (Kind.affine_depth, Kind.affine_disparity):
        _solver(how)


def _solver(how: Ensembling) -> Any:
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise UsageError(
            f"alignment {how.align!r} needs scipy, which is not installed: install the extra 'compat', "
            "or use the alignment 'gauge'"
        ) from None
    return minimize


def start(members: Tensor, how: Ensembling) -> np.ndarray:
    """Where `solve` begins: every member stretched to [0,1], or to a maximum of 1."""
    low, high = members.flatten(1).aminmax(dim=1)
    if how.shift:
        scale = 1 / (high - low).clamp(min=SMALLEST)
        return torch.cat([scale, -scale * low]).double().cpu().numpy()
    return (1 / high.clamp(min=SMALLEST)).double().cpu().numpy()


def cost(members: Tensor, how: Ensembling) -> Callable[[np.ndarray], float]:
    """What `solve` minimises: how far members are apart, computed in their type, and the result from [0,1].

    "pairs" sums over pairs in double precision; "joint" stays in the members' type to the end.
    """

    def of(x: np.ndarray) -> float:
        aligned = _aligned(members, *_split(x, how))
        value, _ = _reduce(aligned, how.reduction)
        near, far = value.min().abs(), (1 - value.max()).abs()
        differences = (a - b for a, b in combinations(aligned, 2))
        if how.align == "joint":
            apart = torch.stack(list(differences)).square().mean().sqrt()
            return float(apart + how.regularizer * (near + far))
        pairs: float = sum(d.square().mean().sqrt().item() for d in differences)
        return pairs + how.regularizer * (near.item() + far.item())

    return of


def normals(members: Tensor, reduction: NormalsReduction = "closest") -> tuple[Tensor, Tensor]:
    """Unit vectors [E,3,h,w] -> one map [1,3,h,w], and uncertainty [1,1,h,w]: the members' mean angle to
    their mean direction, in half turns.

    closest: by pixel the member nearest to the mean direction; mean: that direction itself; member: the whole
    map of the member nearest to the mean angles (GeoWizard, E2E-FT), which are wrong where they wrap.

    >>> up, right = torch.tensor([0.0, 1, 0]), torch.tensor([1.0, 0, 0])
    >>> value, uncertainty = normals(torch.stack([up, right]).view(2, 3, 1, 1), "mean")
    >>> [round(x, 3) for x in value.flatten().tolist()], round(uncertainty.item(), 3)
    ([0.707, 0.707, 0.0], 0.25)
    """
    check_shape(members, "E 3 h w", "ensemble")
    mean = members.mean(dim=0, keepdim=True)
    mean = mean / torch.linalg.vector_norm(mean, dim=1, keepdim=True).clamp(min=1e-6)
    cosine = (mean * members).sum(dim=1, keepdim=True).clamp(-1, 1)  # [E,1,h,w]
    uncertainty = cosine.arccos().mean(dim=0, keepdim=True) / torch.pi
    if reduction == "mean":
        return mean, uncertainty
    if reduction == "member":
        best = _best_member(members)
        return members[best : best + 1], uncertainty
    index = cosine.argmax(dim=0, keepdim=True).expand(1, 3, -1, -1)
    return members.gather(0, index), uncertainty


def _best_member(members: Tensor) -> int:
    x, y, z = members.unbind(dim=1)  # [E,h,w] each
    phi = torch.atan2(y, x).mean(dim=0)
    theta = torch.atan2(torch.hypot(x, y), z).mean(dim=0)
    mean = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()])  # [3,h,w]
    cosine = (members * mean).sum(dim=1).clamp(-0.999, 0.999)
    return int(cosine.arccos().flatten(1).sum(dim=1).argmin())


def _reduce(members: Tensor, reduction: Reduction) -> tuple[Tensor, Tensor]:
    """[E,...] -> the middle and the spread around it, [1,...] each."""
    if reduction == "mean":
        return members.mean(dim=0, keepdim=True), members.std(dim=0, keepdim=True)
    middle = _median(members, reduction)
    return middle, _median((members - middle).abs(), reduction)


def _median(x: Tensor, reduction: Reduction) -> Tensor:
    """Over the first axis, which is kept."""
    if reduction == "lower_median":
        return x.median(dim=0, keepdim=True).values
    ranked, last = x.sort(dim=0).values, len(x) - 1
    return (ranked[last // 2] + ranked[last - last // 2])[None] / 2


def _aligned(members: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return members * scale.to(members).view(-1, 1, 1, 1) + shift.to(members).view(-1, 1, 1, 1)


def _split(x: np.ndarray, how: Ensembling) -> tuple[Tensor, Tensor]:
    parameters = torch.from_numpy(x)
    if not how.shift:
        return parameters, torch.zeros_like(parameters)
    scale, shift = parameters.chunk(2)
    return scale, shift


def _shrunk(x: Tensor, max_res: int | None) -> Tensor:
    h, w = x.shape[2:]
    longest = max(h, w)
    if max_res is None or longest <= max_res:
        return x
    size = tuple(max(1, side * max_res // longest) for side in (h, w))
    return F.interpolate(x, size, mode="nearest-exact")
