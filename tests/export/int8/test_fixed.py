"""Real factors as a multiplier and a shift."""

import numpy as np
import pytest

from understudy.export.int8.fixed import fixed_point, fixed_points


@pytest.mark.parametrize("factor", [1.0, 0.5, 1 / 3, 0.999999999999, 3e-5, 17.3, 2.0**20, 1e-9])
def test_factor_is_exact_to_thirty_bits(factor: float) -> None:
    multiplier, shift = fixed_point(factor)
    assert 2**30 <= multiplier < 2**31
    assert 1 <= shift <= 62
    assert multiplier / 2**shift == pytest.approx(factor, rel=2**-30)


def test_factor_that_rounds_up_to_the_next_power_stays_in_bounds() -> None:
    multiplier, shift = fixed_point(1 - 2**-40)
    assert (multiplier, shift) == (2**30, 30)


def test_tiny_factor_becomes_zero() -> None:
    assert fixed_point(1e-30) == (0, 62)
    assert fixed_point(0.0)[0] == 0


def test_huge_factor_is_an_error() -> None:
    with pytest.raises(ValueError, match="too large"):
        fixed_point(2.0**31)


def test_arrays_have_the_types_of_the_c_code() -> None:
    multipliers, shifts = fixed_points(np.array([0.25, 0.1]))
    assert (multipliers.dtype, shifts.dtype) == (np.int32, np.uint8)
    np.testing.assert_allclose(multipliers / 2.0**shifts, [0.25, 0.1])
