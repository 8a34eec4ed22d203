"""Numbers as text for people. A number that is absent is an en dash, never a zero."""

import math
from typing import Any, TypeGuard

ABSENT = "–"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether this is a finite number; ``True`` and ``False`` are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float | None, digits: int = 2, scale: float = 1.0) -> str:
    """``value * scale`` with so many decimals and thousands separated: ``1,234.50``."""
    return f"{value * scale:,.{digits}f}" if is_number(value) else ABSENT


def percent(value: float | None, digits: int = 2) -> str:
    """A share in [0, 1] as percent, without the sign: ``83.13``."""
    return number(value, digits, 100)


def points(value: float | None, digits: int = 2) -> str:
    """A difference of two shares as signed percentage points: ``+0.82``."""
    return f"{value * 100:+.{digits}f}" if is_number(value) else ABSENT


def significant(value: float | None, digits: int = 3) -> str:
    """A positive quantity of any magnitude: ``0.0314``, ``7.46``, ``1,234``."""
    if not is_number(value):
        return ABSENT
    decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def counted(value: float | None) -> str:
    """A large count with its prefix: ``106.8 k``, ``4.66 M``, ``1.02 G``."""
    if not is_number(value):
        return ABSENT
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{significant(value / size)} {prefix}"
    return str(int(value))


def times(value: float | None) -> str:
    """A ratio: ``43.5×``."""
    return f"{significant(value)}×" if is_number(value) else ABSENT


def duration(seconds: float) -> str:
    """A time span: ``6.1 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
