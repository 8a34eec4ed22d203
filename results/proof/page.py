"""Tables and figure of the simulation: from ``simulation.json`` into ``README.md``."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Cell = dict[str, Any]
COLOURS = ("#CC79A7", "#D55E00", "#E69F00", "#009E73", "#0072B2")


def write_page(folder: Path) -> None:
    """Fill the marked parts of ``README.md``; draw ``figures/claims.png`` and ``.svg``."""
    found = json.loads((folder / "simulation.json").read_text())
    cells: list[Cell] = found["cells"]
    page = folder / "README.md"
    text = page.read_text(encoding="utf-8")
    for name, table in {
        "claims": by_seeds(none(cells), "claims", max),
        "alone": by_seeds(none(cells), "alone", max),
        "coverage": by_seeds(cells, "covered", min),
        "without": by_seeds(cells, "without", max),
        "power": by_seeds(effect(cells), "claims", mean),
        "power_alone": by_seeds(effect(cells), "alone", mean),
        "ways": ways(found["ways"]),
        "folds": folds(found["cross_validation"]),
        "worst": worst(cells),
        "again": again(found["again"]),
    }.items():
        pattern = re.compile(rf"(<!-- {name}: start -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, t=table: f"{match[1]}{t}\n{match[2]}", text)
        assert count == 1, name
    page.write_text(text, encoding="utf-8")
    draw(cells, folder / "figures")


def none(cells: Iterable[Cell]) -> list[Cell]:
    """Worlds without an effect."""
    return [cell for cell in cells if not cell["effect"]]


def effect(cells: Iterable[Cell]) -> list[Cell]:
    """Worlds with one."""
    return [cell for cell in cells if cell["effect"]]


def mean(values: Iterable[float]) -> float:
    """Arithmetic."""
    numbers = list(values)
    return sum(numbers) / len(numbers)


def by_seeds(cells: list[Cell], key: str, over: Any) -> str:
    """A row for each number of images, a column for each of seeds; percent, over the rest."""
    seeds = sorted({cell["seeds"] for cell in cells})
    rows = ["| test images | " + " | ".join(f"{n} seeds" for n in seeds) + " |"]
    rows.append("| ---: |" + " ---: |" * len(seeds))
    for images in sorted({cell["images"] for cell in cells}):
        shares = []
        for n in seeds:
            some = [c[key] for c in cells if (c["seeds"], c["images"]) == (n, images)]
            shares.append(f"{100 * over(some):.1f}")
        rows.append(f"| {images:,} | " + " | ".join(shares) + " |")
    return "\n".join(rows)


def worst(cells: list[Cell]) -> str:
    """The extremes in one sentence."""
    claims, covered = (max(c["claims"] for c in none(cells)), min(c["covered"] for c in cells))
    least = min(cell["repeats"] for cell in cells)
    most = max(cell["repeats"] for cell in cells)
    above = sum(cell["claims"] > 0.05 for cell in none(cells))
    return (
        f"Of {len(none(cells))} worlds without an effect the worst has {100 * claims:.1f} % claims,"
        f" {above} are above 5 % at all; the least coverage of all {len(cells)} worlds is "
        f"{100 * covered:.1f} %.\n{most:,} repeats ({least:,} with 10,000 images) have a standard "
        f"error of {error(most):.2f} ({error(least):.2f}) points at 5 %."
    )


def again(found: list[Cell]) -> str:
    """A row for each of the worst worlds."""
    rows = ["| seeds | images | spread | taste | claims, then, % | claims, again, % | coverage |"]
    rows[0] += " coverage again |"
    rows.append("| ---: |" + " ---: |" * 7)
    for cell in found:
        numbers = [cell[key] for key in ("claims_before", "claims", "covered_before", "covered")]
        shares = " | ".join(f"{100 * number:.1f}" for number in numbers)
        world = f"{cell['seeds']} | {cell['images']:,} | {cell['spread']} | {cell['taste']}"
        rows.append(f"| {world} | {shares} |")
    return "\n".join(rows)


def error(repeats: int) -> float:
    """Standard error of a share of 5 %, points."""
    return 100 * (0.05 * 0.95 / repeats) ** 0.5


def ways(found: list[dict[str, Any]]) -> str:
    """A row for each way to make the interval."""
    seeds = list(found[0]["power"])
    rows = [
        "| interval | most claims without an effect, % | "
        + " | ".join(f"power, {n} seeds, %" for n in seeds)
        + " |"
    ]
    rows.append("| --- | ---: |" + " ---: |" * len(seeds))
    for way in found:
        power = " | ".join(f"{100 * way['power'][n]:.1f}" for n in seeds)
        rows.append(f"| {way['name']} | {100 * way['most']:.1f} | {power} |")
    return "\n".join(rows)


def folds(found: list[dict[str, float]]) -> str:
    """A row for each size of the data and number of repeats."""
    rows = ["| images | repeats of 5 folds | true lead | corrected, % | folds as independent, % |"]
    rows.append("| ---: | ---: | --- | ---: | ---: |")
    for row in found:
        lead = "yes" if row["lead"] else "none"
        rows.append(
            f"| {row['images']} | {row['repeats']} | {lead} | {100 * row['corrected']:.1f} | "
            f"{100 * row['naive']:.1f} |"
        )
    return "\n".join(rows)


def draw(cells: list[Cell], folder: Path) -> None:
    """Claims without an effect and with one, against the number of images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    shown = [cell for cell in cells if cell["taste"] and cell["spread"] == 1.0]
    for axes, some in ((left, none(shown)), (right, effect(shown))):
        for colour, seeds in zip(COLOURS, sorted({c["seeds"] for c in cells}), strict=True):
            line = [cell for cell in some if cell["seeds"] == seeds]
            x = [cell["images"] for cell in line]
            both = [100 * cell["claims"] for cell in line]
            alone = [100 * cell["alone"] for cell in line]
            axes.plot(x, both, color=colour, marker="o", markersize=3.5, label=f"{seeds} seeds")
            axes.plot(x, alone, color=colour, linestyle=":", linewidth=1.2)
        axes.set_xscale("log")
        axes.set_xlabel("test images")
        axes.grid(alpha=0.3)
    left.axhline(5, color="black", linewidth=1)
    left.set_ylim(0, None)
    left.set_title("no effect: claims, % (black: 5 %)", fontsize=10)
    right.set_title(f"true gain {effect(cells)[0]['effect']:g} points: claims, %", fontsize=10)
    title = "solid: seeds and images\ndotted: seeds alone"
    handles, labels = right.get_legend_handles_labels()
    legend: dict[str, Any] = {"fontsize": 8, "title_fontsize": 8, "title": title}
    figure.legend(handles, labels, loc="outside right center", **legend)
    folder.mkdir(exist_ok=True)
    for ending in ("png", "svg"):
        figure.savefig(
            folder / f"claims.{ending}",
            dpi=130,
            metadata={"Date": None} if ending == "svg" else None,
        )
