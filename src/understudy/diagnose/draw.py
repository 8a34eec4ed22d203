"""Two small figures as SVG in the colour of the text around them: horizontal bars, and lines over epochs."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 400
_ROW = 20
_LABELS = 178
"""Room for the names on the left, in the units of the drawing (a character is about 6.5 wide)."""


def bars(rows: Sequence[tuple[str, float, str]], unit: str, largest: float, title: str) -> str:
    """One bar for each (name, value in [0, largest], colour), from zero, with its value behind it."""
    scale = (WIDTH - _LABELS - 62) / largest
    parts = []
    for number, (name, value, colour) in enumerate(rows):
        top = number * _ROW
        end = _LABELS + value * scale
        parts.append(f'<text x="{_LABELS - 6}" y="{top + 14}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{_LABELS}" y="{top + 4}" width="{value * scale:.1f}" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{end + 5:.1f}" y="{top + 14}">{value:.1f} {escape(unit)}</text>')
    return _svg(len(rows) * _ROW + 4, title, parts)


def curves(lines: Mapping[str, tuple[str, Sequence[float]]], unit: str, title: str) -> str:
    """A line for each name -> (colour, value by epoch), the name and last value in the legend below."""
    low = min(min(values) for _, values in lines.values())
    high = max(max(values) for _, values in lines.values())
    high = high if high > low else low + 1
    longest = max(len(values) for _, values in lines.values())
    left, right, top, bottom = 44, WIDTH - 10, 8, 190

    def x(epoch: int) -> float:
        return left + (right - left) * epoch / max(longest - 1, 1)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    parts = [f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity=".4"/>']
    for value in (low, high):
        parts.append(f'<text x="{left - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0f} {escape(unit)}</text>')
    parts.append(f'<text x="{left}" y="{bottom + 15}">1</text>')
    parts.append(f'<text x="{right}" y="{bottom + 15}" text-anchor="end">epoch {longest}</text>')
    for number, (name, (colour, values)) in enumerate(lines.items()):
        points = " ".join(f"{x(e):.1f},{y(v):.1f}" for e, v in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        row = bottom + 26 + 18 * number
        parts.append(f'<rect x="{left}" y="{row}" width="12" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{left + 18}" y="{row + 6}">{escape(name)}, {values[-1]:.1f} {escape(unit)} at the end</text>')
    return _svg(bottom + 30 + 18 * len(lines), title, parts)


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    start = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" fill="currentColor" font-size="11.5">'
    return start + "".join(parts) + "</svg>"
