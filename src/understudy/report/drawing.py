"""What all figures share: style, and how a figure becomes a PNG, an SVG and a part of a page.

Figures are drawn with matplotlib's object interface (no pyplot, no display). Text and lines have
one ink colour, which becomes ``currentColor`` in the SVG: on the page the figure takes the colour
of the text around it, light or dark. A stand-alone SVG file carries its own two colour schemes;
PNGs are black on white. The same numbers give the same bytes.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.files import write_bytes
from understudy.report.format import significant

INK = "#1f2328"
"""Replaced by ``currentColor`` in SVG, so no arm may have this colour."""
PAPER = "#fdfdfe"
"""Background of a figure; replaced by the page's own colour in SVG."""
WIDTH = 4.2
"""Inches: a phone shows the figure at about its natural size, so the text stays readable."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # names come from data: a dollar sign is a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "path",
    "svg.hashsalt": "understudy",
}

HOLLOW: dict[str, Any] = {
    "markersize": 5.5,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 1.1,
    "zorder": 5,
}

_DARK_AND_LIGHT = (
    "<style>svg{--card:#fff;color:#1f2328;background:var(--card)}"
    "@media(prefers-color-scheme:dark){svg{--card:#14181d;color:#e6edf3}}</style>"
)


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: file stem.
        title: shown above it.
        caption: one line on how to read it.
        svg: the ``<svg>`` element for a page.
        width: in inches.
    """

    name: str
    title: str
    caption: str
    svg: str
    width: float = WIDTH

    @property
    def wide(self) -> bool:
        """Whether it is wider than a phone; then the page lets it scroll."""
        return self.width > WIDTH


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """The style of the figures, while they are drawn and saved."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The tables hold every name in full, in any script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def bars_figure(num_rows: int, row_height: float = 0.34) -> tuple[Figure, Axes]:
    """A figure with ``num_rows`` horizontal rows of ``row_height`` inches."""
    figure = Figure(figsize=(WIDTH, 0.75 + row_height * num_rows), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="x")
    return figure, axes


def name_rows(figure: Figure, axes: Axes, names: Sequence[str]) -> Figure:
    """Label row k with ``names[k]``; the first row is on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def legend_below(figure: Figure, axes: Axes) -> None:
    """One legend below the whole figure with the entries of ``axes``, at most four a row."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels) if len(labels) <= 4 else 3,
        columnspacing=1.2,
    )


def plain_log_ticks(axes: Axes, which: str = "x") -> None:
    """Few ticks on a logarithmic axis, written as plain numbers.

    Args:
        axes: with the logarithmic axis.
        which: ``x`` or ``y``.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    ratio = high / low
    steps: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    if ratio > 20:
        steps = (1.0, 2.0, 5.0) if ratio <= 300 else (1.0,)
    candidates = [step * 10.0**exponent for exponent in range(-9, 10) for step in steps]
    ticks = [tick for tick in candidates if low <= tick <= high]
    axis.set_ticks(
        ticks or [low, high],
        [f"{tick:g}" for tick in ticks] or [significant(low), significant(high)],
    )
    axis.set_ticks([], minor=True)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)


def short(text: str, length: int) -> str:
    """At most ``length`` characters; of a longer text the middle is left out."""
    text = " ".join(text.split())
    if len(text) <= length:
        return text
    tail = length // 2 - 1  # names that begin alike often differ at the end
    return text[: length - 1 - tail] + "…" + text[-tail:]


def save(figure: Figure, name: str, title: str, caption: str, folder: Path) -> Drawing:
    """Write ``folder/<name>.png`` and ``.svg``; returns what a page needs."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(
        svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    # Keep the layout found for the SVG: the same picture, and computing a layout is slow.
    figure.set_layout_engine("none")
    figure.savefig(png, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    inline = _inline_svg(svg.getvalue().decode(), name)
    write_bytes(folder / f"{name}.png", png.getvalue())
    opening, rest = inline.split(">", 1)
    write_bytes(folder / f"{name}.svg", f"{opening}>{_DARK_AND_LIGHT}{rest}".encode())
    return Drawing(name, title, caption, inline, figure.get_figwidth())


def _inline_svg(svg: str, name: str) -> str:
    """The ``<svg>`` element in the colour of the surrounding text, with ids unique on a page.

    Comments are removed: matplotlib repeats every label in one, and labels come from data.
    """
    svg = re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor").replace(PAPER, "var(--card)")
    svg = (
        re.sub(r'\bid="', f'id="{name}-', svg)
        .replace("url(#", f"url(#{name}-")
        .replace('href="#', f'href="#{name}-')
    )
    return re.sub(r"\n\s*", "\n", svg).strip() + "\n"
