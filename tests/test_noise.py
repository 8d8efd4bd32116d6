"""Start latents: the authors' numbers, and each image's own."""

from __future__ import annotations

import random

import pytest
import torch
from torch.testing import assert_close

from leadline import noise
from leadline.errors import UsageError


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_pyramid_matches_reference(case, golden):
    expected = golden("e2e/noise")[f"e2e_pyramid_{case}"]
    (generator,) = generators(0)
    normal, _ = noise.sources(generator)
    found = noise.pyramid(tuple(expected.shape), normal, random.Random(0).random)
    assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_marigolds_noise_matches_reference(case, golden):
    g = golden("e2e/marigold_noise")
    for key, strength in (
        (f"mr_original_09_{case}", 0.9),
        (f"mr_annealed_{case}", 0.9 * g[f"mr_annealed_t_{case}"].view(-1, 1, 1, 1) / 1000),
    ):
        found = noise.pyramid(tuple(g[key].shape), *noise.sources(generators(42)[0]), strength)
        assert_close(found, g[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.parametrize("levels", ["every_layer", "power_of_two", "random_step"])
def test_other_levels_of_marigolds_noise_match_reference(levels, case, golden):
    expected = golden("e2e/marigold_noise")[f"mr_{levels}_09_{case}"]
    found = noise.pyramid(tuple(expected.shape), *noise.sources(generators(42)[0]), 0.9, levels)
    assert_close(found, expected, rtol=0, atol=1e-6)


def test_members_begin_with_the_image_alone_and_never_repeat():
    assert noise.members(7, 1)[0].initial_seed() == 7
    seeds = [g.initial_seed() for seed in range(20) for g in noise.members(seed, 20)]
    assert len({seed % 2**32 for seed in seeds}) == 400
    assert [g.initial_seed() for g in noise.members(7, 5)] == [g.initial_seed() for g in noise.members(7, 9)][
        :5
    ]


@pytest.mark.parametrize("kind", ["gaussian", "pyramid"])
def test_company_and_order_change_nothing(kind):
    z = torch.zeros(3, 4, 6, 9)
    together = noise.like(z, kind, generators(5, 6, 7))
    turned = noise.like(z, kind, generators(7, 5, 6))
    assert torch.equal(together, turned[[1, 2, 0]])
    for i, seed in enumerate((5, 6, 7)):
        assert torch.equal(together[i : i + 1], noise.like(z[:1], kind, generators(seed)))


def test_gaussian_is_the_generators_own_draw():
    found = noise.like(torch.zeros(1, 4, 2, 3), "gaussian", generators(3))
    assert torch.equal(found, torch.randn((1, 4, 2, 3), generator=generators(3)[0]))


def test_pyramid_has_unit_deviation_and_more_power_in_coarse_waves():
    shape = (1, 4, 32, 32)
    fine, coarse = (noise.like(torch.zeros(shape), kind, generators(1)) for kind in ("gaussian", "pyramid"))
    assert_close(coarse.std(), torch.tensor(1.0))
    blocks = torch.nn.functional.avg_pool2d
    assert blocks(coarse, 8).std() > 2 * blocks(fine, 8).std()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 3)])
def test_pyramid_of_the_smallest_maps_is_finite(size):
    assert noise.like(torch.zeros(1, 4, *size), "pyramid", generators(0)).isfinite().all()


@pytest.mark.parametrize("kind", ["zeros", "gaussian", "pyramid"])
def test_no_global_random_state_is_touched(kind):
    before = torch.get_rng_state(), random.getstate()
    noise.like(torch.zeros(2, 4, 5, 5), kind, generators(0, 1))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


def test_zeros_need_no_generator_and_take_the_latents_type():
    assert noise.like(torch.ones(2, 4, 3, 3, dtype=torch.float16), "zeros").dtype == torch.float16


@pytest.mark.parametrize("given", [None, generators(0)])
def test_missing_generators_are_named(given):
    with pytest.raises(UsageError, match="one generator each"):
        noise.like(torch.zeros(2, 4, 3, 3), "gaussian", given)


def test_unknown_noise_is_refused():
    with pytest.raises(UsageError, match="pyramid"):
        noise.like(torch.zeros(1, 4, 3, 3), "perlin", generators(0))
