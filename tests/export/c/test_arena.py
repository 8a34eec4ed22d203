"""Two results share memory only if they are never needed at the same time."""

import random

import pytest

from understudy.export.c.arena import Arena, Buffer, plan


def check(buffers: list[Buffer], arena: Arena) -> None:
    for one in buffers:
        assert arena.offsets[one.name] >= 0
        assert arena.offsets[one.name] + one.size <= arena.size
        for other in buffers:
            if one is not other and one.meets(other):
                first, second = arena.offsets[one.name], arena.offsets[other.name]
                assert first + one.size <= second or second + other.size <= first


@pytest.mark.parametrize("seed", range(50))
def test_nothing_that_is_in_use_is_overwritten(seed: int) -> None:
    rng = random.Random(seed)
    starts = [rng.randrange(12) for _ in range(14)]
    buffers = [
        Buffer(str(number), rng.randint(1, 40), start, start + rng.randrange(5))
        for number, start in enumerate(starts)
    ]
    arena = plan(buffers)
    check(buffers, arena)
    most = max(
        sum(one.size for one in buffers if one.first <= step <= one.last) for step in range(17)
    )
    assert most <= arena.size <= 1.5 * most


def test_a_chain_needs_its_largest_neighbours() -> None:
    sizes = [30, 160, 40, 80, 20]
    buffers = [Buffer(str(at), size, at, at + 1) for at, size in enumerate(sizes)]
    assert plan(buffers).size == 200


def test_smallest_gap_that_fits_is_taken() -> None:
    buffers = [
        Buffer("a", 50, 0, 1),  # leaves a gap of 50 at 0 from step 2 on
        Buffer("b", 40, 0, 9),
        Buffer("c", 30, 0, 1),  # leaves a gap of 30 at 90
        Buffer("d", 26, 0, 9),
        Buffer("e", 25, 2, 9),
    ]
    assert plan(buffers).offsets["e"] == 90


def test_no_buffers_need_no_memory() -> None:
    assert plan([]) == Arena(0, {})
