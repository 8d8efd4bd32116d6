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
}


@pytest.mark.parametrize("kind", INSIDE)
def test_a_hit_is_where_marching_along_the_ray_first_enters(kind: int) -> None:
    solid, d = one(kind, (0.9, 1.1, 0.7)), rays()
    t, index = shapes.cast(solid, torch.zeros(3, 1), d)
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
    t, index = shapes.cast(solid, torch.zeros(3, 1), d)
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
    t, index = shapes.cast(
        one(shapes.BOX, (2, 2, 3), (0, 0, 0)), torch.zeros(3, 1), torch.tensor([[0.0], [0.0], [1.0]])
    )
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
    t, index = shapes.cast(two, torch.zeros(3, 1), torch.tensor([[0.0, 0.9], [0.0, 0.9], [1.0, 1.0]]))
    assert index.tolist() == [1, -1]
    assert t[0].item() == pytest.approx(4.0)
    assert torch.isinf(t[1])


def test_blocked_looks_only_as_far_as_the_light() -> None:
    solid, start, path = one(shapes.BOX), torch.zeros(3, 1), torch.tensor([[0.0], [0.0], [1.0]])
    assert shapes.blocked(solid, start, path, 10.0).item()
    assert not shapes.blocked(solid, start, path, 3.9).item()
    assert not shapes.blocked(solid, start, -path, 10.0).item()
