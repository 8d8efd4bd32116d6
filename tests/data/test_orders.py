"""Orders: the released programs' own numbers, and what ranks make of them."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.data import orders

SETS = ([21, 10], [0.9, 0.1])


def numbered(order: orders.Order, steps: range, offset: int, width: int = 2) -> list[list[int]]:
    """Per step the pictures' numbers, the second set's counted on from `offset`; -1 fills short batches."""
    turns = [order.turn(step) for step in steps]
    return [[*(i + offset * t.source for i in t.items), *([-1] * (width - len(t.items)))] for t in turns]


def test_marigolds_order_is_its_samplers(golden):
    g = golden("e2e/loaders")
    order = orders.make("marigold", *SETS, batch=2, seed=(2024, 0))
    length = int(g.marigold_len)
    assert numbered(order, range(length), 21) == g.marigold_epoch1.tolist()
    assert numbered(order, range(length, 2 * length), 21) == g.marigold_epoch2.tolist()


def test_e2e_fts_order_is_its_loaders(golden):
    g = golden("e2e/loaders")
    order = orders.make("e2e-ft", *SETS, batch=2, seed=(5,))
    length = int(g.e2e_len)
    assert numbered(order, range(length), 100) == g.e2e_epoch_batches.tolist()
    flags = [order.turn(step).source == 0 for step in range(length)]
    assert flags == g.e2e_epoch_flags.tolist()
    fractions = [flags.count(True) / 11, flags.count(False) / 5]  # of 11 and 5 batches
    assert int(g.e2e_frac[0] * 11) == fractions[0] * 11
    assert int(g.e2e_frac[1] * 5) == fractions[1] * 5


@pytest.mark.parametrize(("first", "second"), [(2999, 100), (53, 7), (900, 100), (7, 59), (1290, 143)])
def test_the_parts_of_e2e_fts_epoch_are_rounded_as_theirs(first, second):
    """Their formula for 9:1, where rounding can cost a batch."""
    shares = min(second / first * 9, 1), min(first / second / 9, 1)
    order = orders.E2EFT([first, second], [0.9, 0.1], 1, 0)
    sources = [source for source, _ in next(order.epochs())]
    assert sources.count(0) == int(first * shares[0])
    assert sources.count(1) == int(second * shares[1])


def test_an_epoch_of_e2e_ft_has_the_published_length():
    """59,543 and 21,260 pictures: 33,080 batches, of which a tenth are of the second set."""
    order = orders.E2EFT([59543, 21260], [0.9, 0.1], 2, 0)
    (epoch,) = (next(order.epochs()) for _ in range(1))
    assert len(epoch) == 33080
    assert sum(source for source, _ in epoch) == 33080 - 29772


@pytest.mark.parametrize("name", orders.ORDERS)
def test_a_step_follows_from_the_seed_and_its_number(name):
    walked, other = (orders.make(name, [30, 9], [0.9, 0.1], 2, (seed,)) for seed in (7, 8))
    drawn = [walked.turn(step) for step in range(60)]
    again = orders.make(name, [30, 9], [0.9, 0.1], 2, (7,))
    assert [again.turn(step) for step in (59, 3, 30)] == [drawn[59], drawn[3], drawn[30]]
    assert [other.turn(step).items for step in range(60)] != [turn.items for turn in drawn]


@pytest.mark.parametrize("name", ["marigold", "e2e-ft"])
def test_places_never_recur(name):
    order = orders.make(name, [7, 5], [0.5, 0.5], 2, (1,))
    places = [place for step in range(40) for place in order.turn(step).places]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", ["marigold", "e2e-ft"])
def test_sets_smaller_than_a_batch_are_used(name):
    order = orders.make(name, [1, 1], [0.5, 0.5], 4, (1,))
    seen = {order.turn(step).source for step in range(40)}
    assert seen == {0, 1}


def test_exact_ratios_are_those_of_the_recipe():
    order = orders.make("exact", [50, 50], [0.9, 0.1], 2, (0,))
    assert np.mean([order.turn(step).source for step in range(1000)]) == pytest.approx(0.1, abs=1e-3)
