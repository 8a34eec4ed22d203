"""What is tried until an int8 file keeps the accuracy, in order of what it costs.

More calibration images, other ways to choose ranges from them, the worst layers back to floating
point, and last quantisation-aware distillation. Everything is chosen on validation images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from understudy.evaluation.deployment import Attempt, PairedChange
from understudy.export.deployable import Deployable, Examples
from understudy.export.gate import Limits
from understudy.export.settings import QuantisationSettings

FIRST = QuantisationSettings()
MORE = QuantisationSettings(images=2048)


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """One attempt that can be made.

    Attributes:
        text: for people and the file's card.
        deployable: the network, perhaps with fine-tuned weights.
        settings: of the quantisation.
    """

    text: str
    deployable: Deployable
    settings: QuantisationSettings


def steps(
    module: ModuleType,
    deployable: Deployable,
    examples: Examples,
    tune: Callable[[], Deployable | None],
    best: Callable[[], Step],
) -> Iterator[Step]:
    """The attempts in order; each one after the first is made only if those before it failed.

    Args:
        module: of the format; a format with ``damage`` can keep single layers in floating point.
        deployable: the network.
        examples: calibration and validation images.
        tune: quantisation-aware distillation; returns ``None`` if the network cannot have it.
        best: the best step so far, on which the later ones build.
    """
    yield Step(text=_text(FIRST), deployable=deployable, settings=FIRST)
    yield Step(text=_text(MORE), deployable=deployable, settings=MORE)
    for calibration in ("percentile", "entropy"):
        settings = MORE.but(calibration=calibration)
        yield Step(text=_text(settings), deployable=deployable, settings=settings)
    if hasattr(module, "damage"):
        chosen = best()
        worst = module.damage(chosen.deployable, examples, chosen.settings)
        for number in (1, 2, 4):
            if number < len(worst):
                settings = chosen.settings.but(float_layers=tuple(worst[:number]))
                yield Step(text=_text(settings), deployable=deployable, settings=settings)
    tuned = tune()
    if tuned is not None:
        text = "quantisation-aware distillation"
        chosen = best()
        plain = chosen.settings.but(float_layers=())
        yield Step(text=f"{text}, {_text(plain)}", deployable=tuned, settings=plain)


def hopeless(count: int, limits: Limits) -> bool:
    """Whether so few images that even a file without a single change would stay unproven."""
    same = np.ones(count, bool)
    return PairedChange.of(same, same).low < -limits.max_drop


def better(one: Attempt, other: Attempt | None) -> bool:
    """Whether an attempt lost less accuracy than the best one so far."""
    if other is None:
        return True
    return (one.change.mean, one.agreement) > (other.change.mean, other.agreement)


def carded(deployable: Deployable, text: tuple[str, ...]) -> Deployable:
    """The same network with what was done in its card."""
    return replace(deployable, steps=text)


def _text(settings: QuantisationSettings) -> str:
    parts = [f"{settings.calibration} over {settings.images} images"]
    if settings.float_layers:
        parts.append(f"{', '.join(settings.float_layers)} in floating point")
    return ", ".join(parts)
