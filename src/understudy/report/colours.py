"""Colours of all figures; colour-blind readers can distinguish them, too."""

from matplotlib.colors import LinearSegmentedColormap

ROLE_COLOURS = {"teacher": "#0072B2", "baseline": "#D98200", "distilled": "#009E73"}
"""Role of an arm -> its colour (Okabe and Ito 2008, orange darkened)."""
ROLE_MARKERS = {"teacher": "s", "baseline": "o", "distilled": "^"}
EXTRA_COLOURS = ("#CC79A7", "#56B4E9", "#D55E00", "#8A8A8A", "#A6761D", "#7B6FD0")
EXTRA_MARKERS = ("v", "P", "X", "<", ">", "p")
CROWD = "#7B6FD0"
"""Colour of all further arms if there are more than colours."""

DIVERGING = LinearSegmentedColormap.from_list(
    "worse-better", ["#C25A00", "#F0B67F", "#F3F3F3", "#86BFE3", "#0068A8"]
)
"""Orange for worse, blue for better: for cells that carry text, so it is pale in the middle."""
RISING = LinearSegmentedColormap.from_list("low-high", ["#F3F3F3", "#86BFE3", "#0068A8"])
LINES = LinearSegmentedColormap.from_list("worse-better lines", ["#D55E00", "#8A8A8A", "#0072B2"])
"""For dots: as dark in the middle as at the ends, to stand out from a white and a black page."""
MUTED = "#8A8A8A"
WORSE, BETTER = "#D55E00", "#0072B2"


def text_on(colour: tuple[float, ...]) -> str:
    """Black or white, whichever has more contrast; at least 4.5 (WCAG 2).

    Args:
        colour: red, green and blue in [0, 1].
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
