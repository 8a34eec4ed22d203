"""Text on a coloured cell, and lines on a light and on a dark page, stand out."""

import pytest

pytest.importorskip("matplotlib")
from understudy.report.colours import DIVERGING, LINES, RISING, text_on


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@pytest.mark.parametrize("place", [0.0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 1.0])
def test_contrast(place: float) -> None:
    for cells in (DIVERGING, RISING):
        ink = 0.0 if text_on(cells(place)) == "#000000" else 1.0
        assert contrast(luminance(cells(place)), ink) >= 4.5
    dark_card = luminance((0x14 / 255, 0x18 / 255, 0x1D / 255))
    for page in (1.0, dark_card):
        assert contrast(luminance(LINES(place)), page) >= 3, "WCAG's bound for graphics"
