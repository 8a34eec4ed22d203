"""How often a gain is claimed that is not there, how often its interval holds it, and the power.

Two arms are made up, image by image and training by training, with a known difference, and
:func:`understudy.evaluation.gain.gain_of_differences` judges them as it judges a run::

    python results/proof/simulate.py            # eight minutes of one core
    python results/proof/simulate.py --quick    # a minute, with large errors

It writes ``simulation.json``, the figure, and the tables of ``README.md`` between their markers.
"""

import argparse
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit
from scipy.stats import norm

from understudy.evaluation import cross_validated_gain
from understudy.evaluation.gain import UNSEEN, gain_of_differences

HERE = Path(__file__).parent
SEEDS = (2, 3, 5, 10, 20)
IMAGES = (20, 50, 150, 400, 1000, 10_000)
SPREADS = (0.3, 1.0, 2.0)
TASTES = (0.0, 0.25)
EFFECT = 2.0
CELLS = 4_000_000
"""Numbers drawn at a time."""


@dataclass(frozen=True)
class World:
    """Two arms in a world where a training is right on an image if a latent score is above zero.

    The score is normal with variance 1. Its parts: how easy the image is, for both arms; how much
    one arm, whatever the seed, likes the image more than the other (``taste``); the ability of this
    one training; and the training's own noise on the image.

    Attributes:
        seeds, images: numbers of them.
        spread: standard deviation between seeds of the gain on endless images, points.
        taste: standard deviation of each arm's taste.
        effect: true gain, points.
        accuracy: of the baseline, in (0, 1).
        noise: variance of a training's own noise; 0.12 lets two seeds of an arm disagree on about
            15 % of the images at 80 % accuracy, as CIFAR-10 students do.
    """

    seeds: int
    images: int
    spread: float
    taste: float
    effect: float = 0.0
    accuracy: float = 0.8
    noise: float = 0.12

    def draw(self, repeats: int, rng: np.random.Generator) -> np.ndarray:
        """int8 ``[repeats, seeds, images]``: 1 where only the student is right, -1 where only the
        baseline is."""
        threshold = ndtri(self.accuracy)
        ability = self.spread / 100 / norm.pdf(threshold) / math.sqrt(2)
        easy = math.sqrt(1 - self.taste**2 - ability**2 - self.noise)
        shift = ndtri(self.accuracy + self.effect / 100) - threshold

        def normal(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape, dtype=np.float32)

        image = np.float32(threshold) + np.float32(easy) * normal(repeats, 1, self.images)
        right = []
        for gain in (shift, 0.0):
            score = normal(repeats, self.seeds, self.images)
            score *= np.float32(math.sqrt(self.noise))
            score += image + np.float32(self.taste) * normal(repeats, 1, self.images)
            score += np.float32(ability) * normal(repeats, self.seeds, 1)
            right.append(score > -np.float32(gain))
        return right[0].astype(np.int8) - right[1].astype(np.int8)

    def batches(self, repeats: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """``repeats`` draws in pieces that fit the memory."""
        size = max(1, CELLS // (self.seeds * self.images))
        for start in range(0, repeats, size):
            yield self.draw(min(size, repeats - start), rng)


@dataclass(frozen=True)
class Rates:
    """Shares of the repeats.

    Attributes:
        claims: verdict "helped" or "hurt".
        alone: the same by the t interval over seeds, as in earlier versions (equal gains: width 0).
        covered: the true gain is in the interval, of those with an interval.
        without: no interval: the same gain on every seed.
    """

    claims: float
    alone: float
    covered: float
    without: float


def rates(world: World, repeats: int, rng: np.random.Generator) -> Rates:
    """Judge ``repeats`` comparisons in one world."""
    claims = alone = covered = without = 0
    truth = world.effect / 100
    for differences in itertools.chain.from_iterable(world.batches(repeats, rng)):
        gain = gain_of_differences(differences)
        claims += gain.verdict != "no evidence"
        seeds = gain.over_seeds
        alone += gain.mean != 0 if seeds is None else not seeds.low <= 0 <= seeds.high
        if gain.low is None or gain.high is None:
            without += 1
        else:
            covered += gain.low <= truth <= gain.high
    return Rates(
        claims / repeats,
        alone / repeats,
        covered / (repeats - without) if without < repeats else 1.0,
        without / repeats,
    )


# -- other ways to do it ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Squares:
    """Mean squares of many two-way tables, ``[repeats]`` each, and what belongs to them."""

    mean: np.ndarray
    of_seeds: np.ndarray
    of_images: np.ndarray
    rest: np.ndarray
    seeds: int
    images: int

    @classmethod
    def of(cls, differences: np.ndarray, unseen: float) -> "Squares":
        """Of ``[repeats, seeds, images]``, with that much of an image added."""
        _, seeds, images = differences.shape
        row, column = differences.mean(2), differences.mean(1)
        mean = row.mean(1)
        of_seeds = images * row.var(1, ddof=1)
        spread = ((column - mean[:, None]) ** 2).sum(1)
        total = (differences != 0).sum((1, 2)) - seeds * images * mean**2
        rest = (total - (seeds - 1) * of_seeds - seeds * spread) / ((seeds - 1) * (images - 1))
        of_images = seeds * (spread + unseen) / images
        return cls(mean, of_seeds, of_images, np.maximum(rest, 0), seeds, images)

    def half(self, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Half-width for a sum of mean squares; ``squares``: each squared by its degrees."""
        df = np.maximum(total**2 / np.maximum(squares, 1e-30), 1)
        quantile: np.ndarray = stdtrit(df, 0.975)
        return quantile * np.sqrt(np.maximum(total, 0) / (self.seeds * self.images))


def seeds_alone(s: Squares) -> np.ndarray:
    """Student's t over seeds."""
    return s.half(s.of_seeds, s.of_seeds**2 / (s.seeds - 1))


def floored(s: Squares) -> np.ndarray:
    """No component below zero: what :mod:`understudy.evaluation.gain` does."""
    own = s.of_seeds > s.rest
    df = np.where(own, s.seeds - 1, (s.seeds - 1) * (s.images - 1))
    a, b = np.maximum(s.of_seeds, s.rest), np.maximum(s.of_images, s.rest)
    return s.half(a + b - s.rest, a**2 / df + b**2 / s.images)


def raw(s: Squares) -> np.ndarray:
    """Unbiased components, which may be below zero."""
    squares = s.of_seeds**2 / (s.seeds - 1) + s.of_images**2 / s.images
    squares += s.rest**2 / ((s.seeds - 1) * (s.images - 1))
    return s.half(s.of_seeds + s.of_images - s.rest, squares)


def one_df(s: Squares) -> np.ndarray:
    """Floored, but the seeds keep their few degrees of freedom."""
    a, b = np.maximum(s.of_seeds, s.rest), np.maximum(s.of_images, s.rest)
    return s.half(a + b - s.rest, a**2 / (s.seeds - 1) + b**2 / s.images)


def in_squares(s: Squares) -> np.ndarray:
    """Each component with its own quantile of t."""
    images = np.maximum(s.of_images - s.rest, 0) / (s.seeds * s.images)
    return np.hypot(seeds_alone(s), stdtrit(s.images, 0.975) * np.sqrt(images))


def bootstrap(s: Squares) -> np.ndarray:
    """The two-way bootstrap's variance, in which the rest counts three times (Owen 2007)."""
    total = s.of_seeds + s.of_images + s.rest
    return norm.ppf(0.975) * np.sqrt(total / (s.seeds * s.images))


Way = Callable[[Squares], np.ndarray]
WAYS: dict[str, tuple[Way, float, bool]] = {
    "seeds alone": (seeds_alone, 0, False),
    "**no component below zero, half an image, the wider of both**": (floored, UNSEEN, True),
    "the same without the wider of both": (floored, UNSEEN, False),
    "the same without half an image": (floored, 0, True),
    "the same with a whole image": (floored, 1, True),
    "the same, seeds - 1 degrees of freedom throughout": (one_df, UNSEEN, True),
    "components may be below zero": (raw, UNSEEN, True),
    "components may be below zero, without the wider of both": (raw, 0, False),
    "two t quantiles, added in squares": (in_squares, UNSEEN, True),
    "two-way bootstrap, the wider of both": (bootstrap, 0, True),
}


def compare_ways(repeats: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Claims without an effect (largest and mean over worlds) and power by number of seeds."""
    found = []
    table: dict[str, dict[tuple[float, int], list[float]]] = {name: {} for name in WAYS}
    for seeds, images, spread, taste, effect in itertools.product(
        SEEDS, (20, 50, 150, 400), SPREADS, (0.0, 0.15, 0.3), (0.0, EFFECT)
    ):
        world = World(seeds, images, spread, taste, effect)
        claims = dict.fromkeys(WAYS, 0)
        for differences in world.batches(repeats, rng):
            by_unseen = {u: Squares.of(differences, u) for u in {w[1] for w in WAYS.values()}}
            plain = seeds_alone(by_unseen[0])
            for name, (way, unseen, wider) in WAYS.items():
                half = way(by_unseen[unseen])
                half = np.maximum(half, plain) if wider else half
                sure = np.abs(by_unseen[0].mean) > half + 1e-12
                claims[name] += int((sure & (plain > 1e-12) if wider else sure).sum())
        for name, count in claims.items():
            table[name].setdefault((effect, seeds), []).append(count / repeats)
    for name, cells in table.items():
        without = [share for (effect, _), some in cells.items() if not effect for share in some]
        power = {n: float(np.mean(cells[EFFECT, n])) for n in SEEDS}
        found.append({"name": name, "most": max(without), "power": power})
    return found


# -- repeated cross-validation ---------------------------------------------------------------------


def fold_gains(
    images: int, folds: int, repeats: int, lead: float, rng: np.random.Generator
) -> np.ndarray:
    """Gains ``[repeats, folds]`` of a linear classifier on one view of the data over another.

    Both views are six noisy measurements of the same two classes; ``lead`` is how much more the
    first one tells. Without it the two are alike on average, though not on a given set of images.
    """
    labels = rng.integers(0, 2, images) * 2 - 1
    views = [
        labels[:, None] * (0.33 + more) + rng.standard_normal((images, 6)) for more in (lead, 0)
    ]
    gains = np.empty((repeats, folds))
    for repeat in range(repeats):
        order = rng.permutation(images)
        for fold, test in enumerate(np.array_split(order, folds)):
            train = np.setdiff1d(order, test)
            right = []
            for view in views:
                weights = np.linalg.solve(
                    view[train].T @ view[train] + np.eye(6), view[train].T @ labels[train]
                )
                right.append(np.mean((view[test] @ weights > 0) == (labels[test] > 0)))
            gains[repeat, fold] = right[0] - right[1]
    return gains


def cross_validation(data_sets: int, rng: np.random.Generator) -> list[dict[str, float]]:
    """Claims of the corrected interval, and of folds taken as independent."""
    rows = []
    for images, repeats, lead in itertools.product((100, 300), (1, 3, 10), (0.0, 0.15)):
        corrected = naive = 0
        for _ in range(data_sets):
            gains = fold_gains(images, 5, repeats, lead, rng)
            corrected += cross_validated_gain(gains.tolist(), 0.2).verdict != "no evidence"
            error = gains.std(ddof=1) / math.sqrt(gains.size)
            naive += bool(abs(gains.mean()) > stdtrit(gains.size - 1, 0.975) * error)
        rows.append(
            {
                "images": images,
                "repeats": repeats,
                "lead": lead,
                "corrected": corrected / data_sets,
                "naive": naive / data_sets,
            }
        )
    return rows


# -- the page --------------------------------------------------------------------------------------


def simulate(quick: bool) -> dict[str, object]:
    """Everything, as in ``simulation.json``."""
    rng = np.random.default_rng(20261125)
    scale = 20 if quick else 1
    cells = []
    for seeds, images in itertools.product(SEEDS, IMAGES):
        repeats = (4000 if images <= 1000 else 1500) // scale
        worlds = [World(seeds, images, s, t) for s in SPREADS for t in TASTES]
        worlds += [World(seeds, images, s, 0.25, EFFECT) for s in SPREADS]
        for world in worlds:
            found = rates(world, repeats, rng)
            cells.append(asdict(world) | asdict(found) | {"repeats": repeats})
        print(f"{seeds} seeds, {images} images", flush=True)
    return {
        "cells": cells,
        "again": again(cells, 4000 // scale),
        "ways": compare_ways(2000 // scale, rng),
        "cross_validation": cross_validation(1000 // scale, rng),
    }


def again(cells: list[dict[str, Any]], repeats: int) -> list[dict[str, Any]]:
    """The three worlds with the most claims once more: the worst of many is partly bad luck."""
    rng = np.random.default_rng(1)
    names = [part.name for part in fields(World)]
    without = [cell for cell in cells if not cell["effect"]]
    rows = []
    for cell in sorted(without, key=lambda cell: -float(cell["claims"]))[:3]:
        world = World(**{name: cell[name] for name in names})
        found = rates(world, repeats, rng)
        before = {"claims_before": cell["claims"], "covered_before": cell["covered"]}
        rows.append(asdict(world) | asdict(found) | before | {"repeats": repeats})
    return rows


def main() -> None:
    """Simulate, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--again", action="store_true", help="only the three worst worlds")
    parser.add_argument("--page", action="store_true", help="only write tables and figure again")
    options = parser.parse_args()
    from page import write_page  # next to this file

    path = HERE / "simulation.json"
    if options.again:
        found = json.loads(path.read_text())
        found["again"] = again(found["cells"], 4000)
        path.write_text(json.dumps(found, indent=1) + "\n")
    elif not options.page:
        path.write_text(json.dumps(simulate(options.quick), indent=1) + "\n")
    write_page(HERE)


if __name__ == "__main__":
    main()
