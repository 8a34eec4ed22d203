"""How numbers read in a finding: one decimal, as everywhere in a diagnosis."""


def percent(share: float) -> str:
    """A share in [0, 1], with its sign."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, ``+`` or ``-`` in front."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"  # + 0.0: no minus in front of a zero


def plain_points(difference: float) -> str:
    """The same without ``+``, for what has no direction."""
    return f"{100 * difference:.1f}"
