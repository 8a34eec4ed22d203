"""The colours of a sweep's figures: orange for worse, blue for better, apart for colour-blind readers too."""

from matplotlib.colors import LinearSegmentedColormap

DIVERGING = LinearSegmentedColormap.from_list(
    "worse-better", ["#C25A00", "#F0B67F", "#F3F3F3", "#86BFE3", "#0068A8"]
)
"""For cells that carry text: pale in the middle."""
RISING = LinearSegmentedColormap.from_list("low-high", ["#F3F3F3", "#86BFE3", "#0068A8"])
LINES = LinearSegmentedColormap.from_list("worse-better lines", ["#D55E00", "#8A8A8A", "#0072B2"])
"""For lines and dots: as dark in the middle as at the ends, so that all stand out from a white and from a black page."""
MUTED = "#8A8A8A"
WORSE, BETTER = "#D55E00", "#0072B2"


def text_on(colour: tuple[float, ...]) -> str:
    """Black or white, whichever stands out more from red, green and blue in [0, 1]; its contrast is at least 4.5 (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
