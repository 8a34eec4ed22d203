"""Fixed-point factors: a real number as ``multiplier / 2**shift``."""

import math

import numpy as np

BITS = 31
"""Of a multiplier, without its sign."""
MOST = 62
"""Largest shift: the product of two int32 stays below ``2**62``."""


def fixed_point(factor: float, bits: int = BITS) -> tuple[int, int]:
    """``multiplier`` in ``[0, 2**bits)`` and ``shift`` in [1, 62] of a factor above or equal to 0.

    The relative error is below ``2**-bits``, unless the factor is below ``2**(bits - 62)``: the
    multiplier of such a one is smaller, and 0 in the end.

    Raises:
        ValueError: for a factor of ``2**(bits - 1)`` or more.
    """
    mantissa, exponent = math.frexp(factor)
    shift = min(bits - exponent, MOST)
    if shift < 1:
        raise ValueError(f"{factor} is too large for a fixed-point factor")
    multiplier = round(math.ldexp(mantissa, exponent + shift))
    if multiplier == 2**bits:
        multiplier, shift = multiplier // 2, shift - 1
    if shift < 1:
        raise ValueError(f"{factor} is too large for a fixed-point factor")
    return multiplier, shift


def fixed_points(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`fixed_point` of each: multipliers int32 and shifts uint8."""
    pairs = [fixed_point(float(factor)) for factor in factors]
    multipliers, shifts = zip(*pairs, strict=True)
    return np.array(multipliers, np.int32), np.array(shifts, np.uint8)
