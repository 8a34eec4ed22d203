"""Numbers as text in a finding: one decimal throughout a diagnosis."""


def percent(share: float) -> str:
    """A share in [0, 1] in percent, with the sign."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with ``+`` or ``-`` in front."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"  # + 0.0: no minus in front of a zero


def plain_points(difference: float) -> str:
    """The same without ``+``, for a quantity that has no direction."""
    return f"{100 * difference:.1f}"
