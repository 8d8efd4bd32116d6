"""Rays against convex solids: the geometry of the procedural worlds, exact to rounding.

Every solid is a unit shape (box [-1,1]^3, sphere, upright cylinder, gable, pyramid, frustum), a unit square
or a unit sphere's skin of leaves with gaps between them, seen through an affine map `to_object`. An affine
map keeps the ray parameter, so with rays whose z is 1 in the camera frame that parameter is the planar depth
itself: no conversion from distance to depth exists here, and none can be forgotten.

A convex solid cuts a ray in one interval [enter, leave]; solids differ only in how that interval is found. Of
squares and leaves, which are thin, both ends are the one point that is hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BOX, SPHERE, CYLINDER, SQUARE, GABLE, PYRAMID, FRUSTUM, LEAVES = range(8)
NEAREST_HIT = 1e-4  # metres: closer is the surface that the ray starts on
PAIRS = 64  # of solid and bundle of rays at once: few calls, and the numbers stay in the processor's cache

# Half-spaces n.p <= b of the shapes with slanted faces; y points down, the ridge, tip or top is at y = -1.
_GABLE = ((1, -0.5, 0, 0.5), (-1, -0.5, 0, 0.5), (0, 1, 0, 1), (0, 0, 1, 1), (0, 0, -1, 1))
_PYRAMID = ((1, -0.5, 0, 0.5), (-1, -0.5, 0, 0.5), (0, -0.5, 1, 0.5), (0, -0.5, -1, 0.5), (0, 1, 0, 1))
_FRUSTUM = (
    (1, -0.1, 0, 0.9),
    (-1, -0.1, 0, 0.9),
    (0, -0.2, 1, 0.8),
    (0, -0.2, -1, 0.8),
    (0, 1, 0, 1),
    (0, -1, 0, 1),
)
HALF_SPACES = {GABLE: _GABLE, PYRAMID: _PYRAMID, FRUSTUM: _FRUSTUM}


@dataclass(frozen=True)
class Solids:
    """N solids. `kind` [N] int64; `to_object` [N,3,3]; `centre` [N,3] and `half` [N,3] in metres, world frame
    (y down).
    """

    kind: Tensor
    to_object: Tensor
    centre: Tensor
    half: Tensor

    def __len__(self) -> int:
        return len(self.kind)

    def radius(self) -> Tensor:
        """Radius of a sphere about `centre` that holds the solid, [N]."""
        return length(self.half.T)

    def take(self, index: Tensor) -> Solids:
        return Solids(self.kind[index], self.to_object[index], self.centre[index], self.half[index])


def cast(
    solids: Solids, origin: Tensor, direction: Tensor, near: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """First solid along each ray, for T bundles of R rays.

    Shapes: origin [3,1], direction [T,3,R], near [T,N] bool: which solids a bundle can meet (None: any) ->
    ray parameter [T,R] (inf where nothing is hit), index [T,R] (-1 there; of solids at one distance the first
    one).
    """
    nearest = torch.full((len(direction), direction.shape[2]), torch.inf, device=direction.device)
    found = []
    for bundle, solid, enter, leave in _meetings(solids, origin[None], direction, near):
        t = torch.where(enter > NEAREST_HIT, enter, leave)  # [n,R]
        t.masked_fill_((enter > leave) | (t <= NEAREST_HIT) | ~torch.isfinite(t), torch.inf)
        nearest.scatter_reduce_(0, bundle[:, None].expand_as(t), t, "amin")
        found.append((bundle, solid, t))
    nothing = len(solids)
    first = torch.full(nearest.shape, nothing, device=direction.device)
    for bundle, solid, t in found:
        mine = torch.where((t == nearest[bundle]) & (t < torch.inf), solid[:, None], nothing)
        first.scatter_reduce_(0, bundle[:, None].expand_as(mine), mine, "amin")
    return nearest, torch.where(first == nothing, -1, first)


def blocked(
    solids: Solids, origin: Tensor, direction: Tensor, reach: float, near: Tensor | None = None
) -> Tensor:
    """Whether anything stands between `origin` and `origin + reach * direction`: [T,3,R] each, near [T,N] as
    in `cast` -> bool [T,R].
    """
    result = torch.zeros(len(direction), direction.shape[2], dtype=torch.bool, device=direction.device)
    for bundle, _, enter, leave in _meetings(solids, origin, direction, near):
        between = (enter <= leave) & (leave > NEAREST_HIT) & (enter < reach)  # [n,R]
        row, ray = between.nonzero(as_tuple=True)
        result[bundle[row], ray] = True
    return result


def surface(solids: Solids, index: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Outward normals and texture coordinates of surface points.

    Shapes: index [P], points [3,P] world -> unit normals [3,P] world, coordinates [2,P] in metres along the
    surface.
    """
    to_object = solids.to_object[index]  # [P,3,3]
    local = torch.einsum("pij,jp->ip", to_object, points - solids.centre[index].T)  # [3,P]
    metres = local * solids.half[index].T
    normal = torch.zeros_like(local)
    uv = torch.zeros_like(local[:2])
    kinds = solids.kind[index]
    for kind, describe in _SURFACES.items():
        here = (kinds == kind).nonzero()[:, 0]
        if len(here):
            normal[:, here], uv[:, here] = describe(local[:, here], metres[:, here])
    world = torch.einsum("pij,ip->jp", to_object, normal)
    return world / length(world).clamp(min=1e-12), uv


def length(vectors: Tensor) -> Tensor:
    """Euclidean length over the first dimension, [C,...] -> [...]; several times faster than `Tensor.norm`
    along it.
    """
    return (vectors * vectors).sum(0).sqrt()


def _meetings(
    solids: Solids, origin: Tensor, direction: Tensor, near: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Each bundle with each solid that it can meet, many pairs at once: numbers of bundle and solid [n],
    enter and leave [n,R]. origin [1|T,3,1|R].
    """
    if near is None:
        near = torch.ones(len(direction), len(solids), dtype=torch.bool, device=direction.device)
    bundles, numbers = near.nonzero(as_tuple=True)  # [Q] each
    kinds = solids.kind[numbers]
    for kind, interval in _INTERVALS.items():
        members = (kinds == kind).nonzero()[:, 0]
        for part in (members[i : i + PAIRS] for i in range(0, len(members), PAIRS)):
            bundle, number = bundles[part], numbers[part]
            to_object = solids.to_object[number]
            start = origin if len(origin) == 1 else origin[bundle]
            o = torch.matmul(to_object, start - solids.centre[number][:, :, None])  # [n,3,1|R]
            d = torch.matmul(to_object, direction[bundle])  # [n,3,R]
            yield bundle, number, *interval(o, d)


def _slab(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """|o + t d| <= 1, elementwise. A ray parallel to the slab gives -inf..inf inside it and an empty interval
    outside.
    """
    inverse = 1 / torch.where(d.abs() < 1e-12, torch.full_like(d, 1e-12), d)
    a, b = (-1 - o) * inverse, (1 - o) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def _box(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    enter, leave = _slab(o, d)
    return enter.amax(dim=1), leave.amin(dim=1)


def _quadric(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """a t^2 + 2 b t + c <= 0 with a >= 0."""
    a = a.clamp(min=1e-12)
    discriminant = b * b - a * c
    root = discriminant.clamp(min=0).sqrt()
    enter = torch.where(discriminant > 0, (-b - root) / a, torch.inf)
    return enter, (-b + root) / a


def _sphere(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    return _quadric((d * d).sum(1), (o * d).sum(1), (o * o).sum(1) - 1)


def _leaves(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """The skin of a sphere where leaves are: a ray may enter through a gap and meet the far side, or none."""
    enter, leave = _sphere(o, d)
    t = torch.full_like(enter, torch.inf)
    row, ray = (enter.isfinite() & (leave > 0)).nonzero(as_tuple=True)  # most rays miss: waves cost
    o, d, enter, leave = o.expand_as(d)[row, :, ray], d[row, :, ray], enter[row, ray], leave[row, ray]
    near, far = (_is_leaf(o + x[:, None] * d) for x in (enter, leave))  # [h] each
    first = torch.where(far, leave, torch.inf)
    t[row, ray] = torch.where(near & (enter > NEAREST_HIT), enter, first)
    return t, t


def _is_leaf(p: Tensor) -> Tensor:
    """Whether points of the unit sphere, [h,3], lie on a leaf rather than in a gap, [h]: warped waves."""
    x, y, z = p.unbind(1)
    waves = (15 * x + 9 * y * y).sin() + (13 * y + 9 * z * z).sin() + (14 * z + 9 * x * x).sin()
    return waves > -0.8


def _cylinder(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    ox, oz, dx, dz = o[:, 0], o[:, 2], d[:, 0], d[:, 2]
    enter, leave = _quadric(dx * dx + dz * dz, ox * dx + oz * dz, ox * ox + oz * oz - 1)
    low, high = _slab(o[:, 1], d[:, 1])
    return torch.maximum(enter, low), torch.minimum(leave, high)


def _square(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    t = -o[:, 1] / torch.where(d[:, 1].abs() < 1e-12, torch.full_like(d[:, 1], 1e-12), d[:, 1])
    outside = ((o[:, 0] + t * d[:, 0]).abs() > 1) | ((o[:, 2] + t * d[:, 2]).abs() > 1)
    return torch.where(outside, torch.inf, t), t


def _half_spaces(kind: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def interval(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        faces = torch.tensor(HALF_SPACES[kind], device=d.device, dtype=d.dtype)  # [F,4]
        room = faces[None, :, 3:] - torch.matmul(faces[:, :3], o)  # [n,F,1 or P]
        speed = torch.matmul(faces[:, :3], d)  # [n,F,P]
        t = room / torch.where(speed.abs() < 1e-12, torch.full_like(speed, 1e-12), speed)
        enter = torch.where(speed < 0, t, -torch.inf).amax(dim=1)
        return enter, torch.where(speed >= 0, t, torch.inf).amin(dim=1)

    return interval


def _box_surface(local: Tensor, metres: Tensor) -> tuple[Tensor, Tensor]:
    axis = local.abs().argmax(dim=0)  # [P]
    normal = torch.nn.functional.one_hot(axis, 3).T * local.sign()
    u = torch.where(axis == 0, metres[2], metres[0])
    v = torch.where(axis == 1, metres[2], metres[1])
    return normal, torch.stack([u, v])


def _sphere_surface(local: Tensor, metres: Tensor) -> tuple[Tensor, Tensor]:
    radius = length(metres)
    angle = torch.atan2(local[0], local[2])
    return local, torch.stack([angle * radius, local[1].clamp(-1, 1).asin() * radius])


def _cylinder_surface(local: Tensor, metres: Tensor) -> tuple[Tensor, Tensor]:
    cap = local[1].abs() > length(local[[0, 2]])
    side = torch.stack([local[0], torch.zeros_like(local[0]), local[2]])
    up = torch.stack([torch.zeros_like(local[0]), local[1].sign(), torch.zeros_like(local[0])])
    around = torch.atan2(local[0], local[2]) * length(metres[[0, 2]])
    return torch.where(cap, up, side), torch.where(cap, metres[[0, 2]], torch.stack([around, metres[1]]))


def _square_surface(local: Tensor, metres: Tensor) -> tuple[Tensor, Tensor]:
    normal = torch.zeros_like(local)
    normal[1] = -1
    return normal, metres[[0, 2]]


def _half_space_surface(kind: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def describe(local: Tensor, metres: Tensor) -> tuple[Tensor, Tensor]:
        faces = torch.tensor(HALF_SPACES[kind], device=local.device, dtype=local.dtype)
        face = (faces[:, :3] @ local - faces[:, 3:]).argmax(dim=0)  # the face that the point lies on
        normal = faces[face, :3].T
        return normal, torch.stack([metres[0] + metres[2], metres[1]])

    return describe


_INTERVALS: dict[int, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    BOX: _box,
    SPHERE: _sphere,
    CYLINDER: _cylinder,
    SQUARE: _square,
    GABLE: _half_spaces(GABLE),
    PYRAMID: _half_spaces(PYRAMID),
    FRUSTUM: _half_spaces(FRUSTUM),
    LEAVES: _leaves,
}
_SURFACES: dict[int, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    BOX: _box_surface,
    SPHERE: _sphere_surface,
    CYLINDER: _cylinder_surface,
    SQUARE: _square_surface,
    GABLE: _half_space_surface(GABLE),
    PYRAMID: _half_space_surface(PYRAMID),
    FRUSTUM: _half_space_surface(FRUSTUM),
    LEAVES: _sphere_surface,
}
