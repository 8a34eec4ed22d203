"""Numbers as text: an absent number is an en dash, never a zero."""

import math

from understudy.report.format import (
    ABSENT,
    counted,
    duration,
    is_number,
    number,
    percent,
    points,
    significant,
    times,
)


def test_numbers_are_written_for_people() -> None:
    assert (counted(106_826), counted(4_664_970), counted(560_000_000), counted(42)) == (
        "107 k",
        "4.66 M",
        "560 M",
        "42",
    )
    assert (significant(0.03141), significant(7.459), significant(1234.5), significant(0)) == (
        "0.0314",
        "7.46",
        "1,234",
        "0",
    )
    assert (percent(0.8313), number(None), number(float("nan")), percent(None)) == (
        "83.13",
        ABSENT,
        ABSENT,
        ABSENT,
    )


def test_differences_have_a_sign_and_ratios_a_cross() -> None:
    assert (points(0.0082), points(-0.01, 1), points(None)) == ("+0.82", "-1.0", ABSENT)
    assert (times(43.5), times(None)) == ("43.5×", ABSENT)


def test_duration_has_two_units_at_most() -> None:
    assert [duration(value) for value in (6.12, 59.4, 200, 7500)] == [
        "6.1 s",
        "59.4 s",
        "3 min 20 s",
        "2 h 5 min",
    ]


def test_truth_values_and_infinities_are_no_numbers() -> None:
    assert is_number(0) and is_number(-1.5)
    assert not any(map(is_number, (True, None, "1", math.inf, math.nan)))
