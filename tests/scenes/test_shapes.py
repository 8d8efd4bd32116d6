"""leadline.scenes.shapes: rays against convex solids."""

import numpy as np
import pytest
import torch

from leadline.scenes import shapes


def one(
    kind: int, half: tuple[float, float, float] = (1, 1, 1), centre: tuple[float, float, float] = (0, 0, 5)
) -> shapes.Solids:
    h = torch.tensor([half], dtype=torch.float32)
    return shapes.Solids(
        torch.tensor([kind]), torch.diag_embed(1 / h), torch.tensor([centre], dtype=torch.float32), h
    )


def cast(solids: shapes.Solids, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays [3,P] from the origin, as one bundle."""
    t, index = shapes.cast(solids, torch.zeros(3, 1), direction[None])
    return t[0], index[0]


def blocked(solids: shapes.Solids, direction: torch.Tensor, reach: float) -> torch.Tensor:
    return shapes.blocked(solids, torch.zeros(1, 3, 1), direction[None], reach)[0]


def rays(count: int = 4000) -> torch.Tensor:
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.4, 0.4, (2, count))
    return torch.tensor(np.vstack([xy, np.ones(count)]), dtype=torch.float32)


INSIDE = {
    shapes.BOX: lambda p: p.abs().amax(0) <= 1,
    shapes.SPHERE: lambda p: p.square().sum(0) <= 1,
    shapes.CYLINDER: lambda p: (p[0] ** 2 + p[2] ** 2 <= 1) & (p[1].abs() <= 1),
    shapes.GABLE: lambda p: (p[0].abs() <= (p[1] + 1) / 2) & (p[1] <= 1) & (p[2].abs() <= 1),
    shapes.PYRAMID: lambda p: (torch.maximum(p[0].abs(), p[2].abs()) <= (p[1] + 1) / 2) & (p[1] <= 1),
    shapes.FRUSTUM: lambda p: (
        (p[0].abs() <= 0.9 + 0.1 * p[1]) & (p[2].abs() <= 0.8 + 0.2 * p[1]) & (p[1].abs() <= 1)
    ),
}


@pytest.mark.parametrize("kind", INSIDE)
def test_a_hit_is_where_marching_along_the_ray_first_enters(kind: int) -> None:
    solid, d = one(kind, (0.9, 1.1, 0.7)), rays()
    t, index = cast(solid, d)
    steps = torch.linspace(3, 7, 2001)
    points = d[:, :, None] * steps
    inside = INSIDE[kind](
        torch.einsum("ij,jps->ips", solid.to_object[0], points - solid.centre[0][:, None, None])
    )
    marched = torch.where(inside.any(1), steps[inside.float().argmax(1)], torch.inf)
    assert (index >= 0).sum() > 300
    clear = (index >= 0) == inside.any(1)
    assert clear.float().mean() > 0.995, "grazing rays only may differ"
    both = (index >= 0) & inside.any(1)
    assert ((marched - t)[both].abs() < 0.0025).float().mean() > 0.995


@pytest.mark.parametrize("kind", INSIDE)
def test_normals_point_away_from_the_solid(kind: int) -> None:
    solid, d = one(kind, (0.9, 1.1, 0.7)), rays()
    t, index = cast(solid, d)
    hit = index >= 0
    points = (d * t)[:, hit]
    normal, uv = shapes.surface(solid, index[hit], points)
    assert torch.isfinite(uv).all()
    assert ((normal * d[:, hit]).sum(0) <= 1e-4).all()
    outside = torch.einsum("ij,jp->ip", solid.to_object[0], points + 1e-2 * normal - solid.centre[0][:, None])
    within = torch.einsum("ij,jp->ip", solid.to_object[0], points - 1e-2 * normal - solid.centre[0][:, None])
    assert not INSIDE[kind](outside).any()
    assert INSIDE[kind](within).float().mean() > 0.9


def test_from_inside_the_far_wall_is_seen() -> None:
    t, index = cast(one(shapes.BOX, (2, 2, 3), (0, 0, 0)), torch.tensor([[0.0], [0.0], [1.0]]))
    assert index.item() == 0
    assert t.item() == pytest.approx(3.0)


def test_the_nearest_of_several_wins_and_nothing_is_index_minus_one() -> None:
    h = torch.ones(2, 3)
    two = shapes.Solids(
        torch.tensor([shapes.BOX, shapes.SPHERE]),
        torch.diag_embed(1 / h),
        torch.tensor([[0.0, 0, 9], [0, 0, 5]]),
        h,
    )
    t, index = cast(two, torch.tensor([[0.0, 0.9], [0.0, 0.9], [1.0, 1.0]]))
    assert index.tolist() == [1, -1]
    assert t[0].item() == pytest.approx(4.0)
    assert torch.isinf(t[1])


def test_blocked_looks_only_as_far_as_the_light() -> None:
    solid, path = one(shapes.BOX), torch.tensor([[0.0], [0.0], [1.0]])
    assert blocked(solid, path, 10.0).item()
    assert not blocked(solid, path, 3.9).item()
    assert not blocked(solid, -path, 10.0).item()


def test_leaves_lie_on_a_sphere_and_let_some_rays_through() -> None:
    solid, ball, d = one(shapes.LEAVES), one(shapes.SPHERE), rays()
    t, index = cast(solid, d)
    near, met = cast(ball, d)
    hit, within = index >= 0, met >= 0
    assert not (hit & ~within).any()
    assert 0.02 < (within & ~hit).float().sum() / within.float().sum() < 0.3, "gaps through both sides"
    radius = (d * t)[:, hit] - solid.centre[0][:, None]
    assert torch.allclose(radius.norm(dim=0), torch.ones(()), atol=1e-4)
    behind = t[hit] > near[hit] + 1e-3
    assert 0.05 < behind.float().mean() < 0.5, "the far side, seen through a gap"
    normal, uv = shapes.surface(solid, index[hit], (d * t)[:, hit])
    assert torch.isfinite(uv).all()
    assert torch.allclose(normal, radius, atol=1e-4)


def test_leaves_shade_in_patches() -> None:
    solid, d = one(shapes.LEAVES), rays()
    seen = cast(solid, d)[1] >= 0
    assert torch.equal(blocked(solid, d, 10.0), seen)
    assert not blocked(solid, d, 3.9).any()


def test_bundles_meet_only_the_solids_that_are_near_them() -> None:
    """With every pair that matters marked, the answer is that of all pairs; unmarked solids are not seen."""
    h = torch.ones(3, 3)
    solids = shapes.Solids(
        torch.tensor([shapes.BOX, shapes.SPHERE, shapes.LEAVES]),
        torch.diag_embed(1 / h),
        torch.tensor([[-2.0, 0, 6], [2.0, 0, 6], [0.0, 0, 9]]),
        h,
    )
    bundles = rays(600).view(3, 3, 200).transpose(0, 1).contiguous()  # [T,3,R]
    everything = shapes.cast(solids, torch.zeros(3, 1), bundles)
    near = torch.stack([(everything[1] == n).any(1) for n in range(3)], dim=1)  # [T,N]
    some = shapes.cast(solids, torch.zeros(3, 1), bundles, near)
    assert torch.equal(everything[0], some[0])
    assert torch.equal(everything[1], some[1])
    none = shapes.cast(solids, torch.zeros(3, 1), bundles, torch.zeros_like(near))
    assert (none[1] == -1).all()
    dark = shapes.blocked(solids, torch.zeros(3, 3, 200), bundles, 50.0, near)
    assert torch.equal(dark, everything[1] >= 0)
