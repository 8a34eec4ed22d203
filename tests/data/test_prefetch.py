"""Prefetching: the results in order, and no more made ahead than the depth allows."""

from collections.abc import Callable, Iterator

import pytest

from understudy.data.prefetch import ahead


def makers(count: int, taken: list[int]) -> Iterator[Callable[[], int]]:
    """Makers of the squares 0, 1, 4, ...; ``taken`` lists those that were taken so far."""
    for number in range(count):
        taken.append(number)
        yield lambda number=number: number**2


@pytest.mark.parametrize("depth", [0, 1, 2, 9])
def test_results_come_in_order(depth: int) -> None:
    assert list(ahead(makers(5, []), depth)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(("depth", "expected"), [(0, 1), (1, 2), (2, 3), (9, 5)])
def test_so_many_are_made_ahead(depth: int, expected: int) -> None:
    taken: list[int] = []
    results = ahead(makers(5, taken), depth)
    assert next(results) == 0 and len(taken) == expected
    results.close()


def test_two_are_made_ahead_by_default() -> None:
    taken: list[int] = []
    results = ahead(makers(9, taken))
    next(results)
    next(results)
    assert len(taken) == 4
    results.close()


def test_exception_is_raised_when_its_item_is_due() -> None:
    def fail() -> int:
        raise OSError("no such file")

    results = ahead([lambda: 1, fail, lambda: 3])
    assert next(results) == 1
    with pytest.raises(OSError, match="no such file"):
        next(results)
