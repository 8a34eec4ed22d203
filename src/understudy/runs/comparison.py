"""The gain of one arm of a run over another, as under ``comparisons`` in ``results.json``."""

import dataclasses
from dataclasses import dataclass, field

from understudy.evaluation.gain import Interval, PairedGain
from understudy.evaluation.verdict import sentence
from understudy.files import LEFT_OUT_IF_NONE


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Paired gain of an arm over another, on the test images.

    Attributes:
        arm, reference: gain of ``arm`` over ``reference``.
        metric: of the test split; always ``accuracy`` so far.
        verdict: the gain as one sentence.

    The others are those of :class:`~understudy.evaluation.gain.PairedGain`; files of earlier
    versions have an interval over seeds alone.
    """

    arm: str
    reference: str
    metric: str
    gains: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    images: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    over_seeds: Interval | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    over_seeds_and_images: Interval | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    df: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    confidence: float = 0.95
    p_holm: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    num_compared: int = 1
    verdict: str

    @property
    def gain(self) -> PairedGain:
        """The numbers alone."""
        names = [part.name for part in dataclasses.fields(PairedGain)]
        return PairedGain(**{name: getattr(self, name) for name in names})

    @classmethod
    def of(cls, arm: str, reference: str, gain: PairedGain) -> "Comparison":
        """A comparison of accuracies, with its sentence."""
        verdict = sentence(arm, gain)
        if reference != "baseline":
            verdict += f" (against {reference})"
        numbers = {part.name: getattr(gain, part.name) for part in dataclasses.fields(gain)}
        return cls(arm=arm, reference=reference, metric="accuracy", verdict=verdict, **numbers)
