"""Rounding and borders of the integer arithmetic."""

import numpy as np
import torch

from understudy.export.int8.network import Input, Lookup, MeanPool, Sum
from understudy.export.int8.reference import apply

SOURCE = Input(name="x", inputs=("image",), shape=(1, 2, 2), scale=1.0, zero_point=0, table=None)
COMMON = {"name": "y", "inputs": ("x",), "scale": 1.0, "zero_point": 0}


def values(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers).view(1, 1, 1, -1)


def test_halves_are_rounded_away_from_zero() -> None:
    half = Sum(**COMMON, shape=(1, 1, 4), multipliers=(1, 0), shift=1)
    found = apply(half, [values(1, -1, 3, -3), values(0, 0, 0, 0)], [SOURCE, SOURCE])
    assert found.flatten().tolist() == [1, -1, 2, -2]


def test_sums_are_clipped_to_eight_bits() -> None:
    plain = Sum(**COMMON, shape=(1, 1, 2), multipliers=(2, 2), shift=1)
    found = apply(plain, [values(100, -100), values(100, -100)], [SOURCE, SOURCE])
    assert found.flatten().tolist() == [127, -128]


def test_table_begins_at_the_lowest_value() -> None:
    table = Lookup(**COMMON, shape=(1, 1, 2), table=np.arange(-128, 128)[::-1].astype(np.int8))
    assert apply(table, [values(-128, 127)], [SOURCE]).flatten().tolist() == [127, -128]


def test_mean_at_the_border_counts_padding_or_not() -> None:
    image = torch.tensor([[[[10, 20], [30, 41]]]])
    for counts, expected in ((True, round(101 / 9)), (False, round(101 / 4))):
        pool = MeanPool(
            **COMMON,
            shape=(1, 1, 1),
            kernel=(3, 3),
            stride=(3, 3),
            padding=(1, 1),
            counts_padding=counts,
            multiplier=1 << 20,
            shift=20,
        )
        assert apply(pool, [image], [SOURCE]).item() == expected
