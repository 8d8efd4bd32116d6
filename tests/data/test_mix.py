"""The mix: ratios, order, sizes and shards as functions of (seed, step, rank, world)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from leadline.data import open_set
from leadline.data.mix import Mix, Source, Stages
from leadline.data.sample import Sample
from leadline.errors import DataError, UsageError


@dataclass
class Numbers:
    """Pictures that hold their own number."""

    count: int
    size: tuple[int, int] = (4, 6)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        height, width = self.size
        return Sample(
            np.full((height, width, 3), index, np.uint8), np.ones((height, width), bool), name=str(index)
        )


class Rendered(Numbers):
    def at(self, index: int, size: tuple[int, int]) -> Sample:
        return Numbers(self.count, size)[index]


def mix(*sources: Source, batch: int = 4, seed: tuple[int, ...] = (7,), rank: int = 0, world: int = 1) -> Mix:
    return Mix(sources, batch, seed, rank, world)


def items(mixed: Mix, steps: range, source: int = 0) -> list[int]:
    return [i for step in steps for draw in [mixed.draw(step)] if draw.source == source for i in draw.items]


def test_ratios_are_exact_over_every_thousand_steps():
    mixed = mix(Source(Numbers(50), 0.9), Source(Numbers(50), 0.07), Source(Numbers(50), 0.03))
    for start in (0, 1000, 5000):
        counts = Counter(mixed.draw(step).source for step in range(start, start + 1000))
        assert abs(counts[0] - 900) <= 1
        assert abs(counts[1] - 70) <= 1
        assert abs(counts[2] - 30) <= 1


def test_ratios_are_relative_and_hold_on_average_where_they_are_no_thousandths():
    mixed = mix(Source(Numbers(50), 2), Source(Numbers(50), 1))
    share = np.mean([mixed.draw(step).source for step in range(30_000)])
    assert abs(share - 1 / 3) < 2e-4


def test_sets_are_mixed_and_not_dealt_in_turn():
    mixed = mix(Source(Numbers(50)), Source(Numbers(50)))
    choices = [mixed.draw(step).source for step in range(1000)]
    runs = 1 + sum(a != b for a, b in zip(choices, choices[1:], strict=False))
    assert 400 < runs < 600


def test_turns_alternate_and_their_sets_keep_their_ratios():
    rooms, streets = Source(Numbers(50), 0.9, turn="scenes"), Source(Numbers(50), 0.1, turn="scenes")
    mixed = mix(rooms, Source(Numbers(50), turn="photographs"), streets)
    choices = [mixed.draw(step).source for step in range(2000)]
    assert set(choices[1::2]) == {1}
    assert Counter(choices[:1000:2]) == {0: 450, 2: 50}


def test_every_picture_comes_once_per_pass_in_another_order():
    mixed = mix(Source(Numbers(12)), Source(Numbers(5), 0.5))
    seen = items(mixed, range(100))
    passes = [seen[start : start + 12] for start in range(0, 48, 12)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4


def test_a_step_does_not_depend_on_the_steps_before_it():
    sources = [Source(Numbers(30), 0.9, sizes=((4, 6), (8, 8))), Source(Numbers(9), 0.1)]
    walked = mix(*sources)
    drawn = [walked.draw(step) for step in range(2500)]
    assert mix(*sources).draw(2499) == drawn[2499]
    assert [mix(*sources).draw(step) for step in (1000, 17, 999)] == [drawn[1000], drawn[17], drawn[999]]


def test_seeds_give_different_orders():
    orders = {
        tuple(items(mix(Source(Numbers(30)), seed=seed), range(7))) for seed in ((1,), (2,), (1, 1), (1, 2))
    }
    assert len(orders) == 4


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_out_what_one_process_would_see(world):
    sources = [Source(Numbers(100), 0.7, sizes=((4, 6), (8, 8))), Source(Numbers(40), 0.3)]
    alone = mix(*sources, batch=2 * world)
    ranks = [mix(*sources, batch=2, rank=rank, world=world) for rank in range(world)]
    for step in range(50):
        draws = [one.draw(step) for one in ranks]
        together = tuple(item for draw in draws for item in draw.items)
        whole = alone.draw(step)
        assert together == whole.items
        assert {(draw.source, draw.size) for draw in draws} == {(whole.source, whole.size)}


def test_a_batch_has_one_size_drawn_by_weight():
    source = Source(Rendered(10), sizes=((4, 6), (8, 8)), size_weights=(3, 1))
    mixed = mix(source)
    for step in range(5):
        assert {sample.size for sample in mixed[step]} == {mixed.draw(step).size}
    counts = Counter(mixed.draw(step).size for step in range(4000))
    assert 0.72 < counts[4, 6] / 4000 < 0.78


def test_sets_that_scale_are_asked_for_the_size_and_others_are_cut():
    for data in (Rendered(10), Numbers(10, (9, 12))):
        samples = mix(Source(data, sizes=((6, 8),)))[3]
        assert all(sample.size == (6, 8) for sample in samples)
        assert [int(sample.name) for sample in samples] == [int(sample.rgb[0, 0, 0]) for sample in samples]


def test_stages_number_their_batches_through():
    first, second = mix(Source(Numbers(10)), batch=2), mix(Source(Numbers(10)), batch=3, seed=(8,))
    stages = Stages([(first, 4), (second, 5)])
    assert len(stages) == 9
    assert [len(stages[step]) for step in (0, 3, 4, 8)] == [2, 2, 3, 3]
    assert [s.name for s in stages[6]] == [s.name for s in second[2]]
    assert stages.describe(4).startswith("batch 4: ")


def test_mistakes_are_named():
    with pytest.raises(DataError, match="data set photos is empty"):
        mix(Source(Numbers(0), name="photos"))
    with pytest.raises(DataError, match=r"ratios \[1, 0\]"):
        mix(Source(Numbers(1), 1), Source(Numbers(1), 0))
    with pytest.raises(UsageError, match="'scene' is unknown here: did you mean 'scenes'"):
        open_set("scene", {})
    with pytest.raises(DataError, match="scenes: option seed is 'x': Input should be a valid integer"):
        open_set("scenes", {"seed": "x"})
    with pytest.raises(DataError, match="option 'sede' is unknown: did you mean 'seed'"):
        open_set("scenes", {"sede": 1})


@pytest.mark.parametrize("order", ["marigold", "e2e-ft"])
def test_ranks_share_out_the_released_programs_orders_too(order):
    """Whole batches are those of one process; a short one is filled up from its beginning."""
    sources = [Source(Numbers(21), 0.9), Source(Numbers(10), 0.1)]
    alone = Mix(sources, 4, (5,), order=order)
    ranks = [Mix(sources, 2, (5,), rank, 2, order) for rank in range(2)]
    for step in range(40):
        whole, draws = alone.draw(step), [one.draw(step) for one in ranks]
        together = tuple(item for draw in draws for item in draw.items)
        assert together == tuple(np.resize(whole.items, 4).tolist())
        assert {draw.source for draw in draws} == {whole.source}


def test_a_batch_that_takes_long_is_described_by_its_pictures_names():
    class Named(Numbers):
        def name_of(self, index: int) -> str:
            return f"room_{index}.png"

    stages = Stages([(mix(Source(Named(3), name="rooms"), batch=2), 4)])
    first, second = stages.mixes[0].draw(1).items
    assert stages.describe(1) == f"batch 1: rooms, pictures room_{first}.png, room_{second}.png"
