"""A budget in place of a student's name: ``auto:100k``, ``auto:10M-macs``, ``auto:5ms@onnx``.

The network is chosen when the images' size and classes are known
(:func:`understudy.evaluation.students.choose_student`).
"""

import re
from dataclasses import dataclass

from understudy.config.parse import shorten
from understudy.errors import UnderstudyError

AUTO = "auto"
TORCH = "torch"
"""The runtime of a time that names none."""
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_NUMBER = r"(?P<number>\d{1,12}(?:\.\d{1,12})?)"
_COUNT = re.compile(rf"{_NUMBER}(?P<unit>[kKMG]?)(?:-(?P<of>params|macs))?")
_TIME = re.compile(rf"{_NUMBER}ms(?:@(?P<runtime>[\w-]+))?")
_FORMS = "auto:100k (parameters), auto:10M-macs, auto:5ms, auto:5ms@onnx, or auto:100k,10M-macs"


def is_budget(name: str) -> bool:
    """Whether the name of a network stands for a budget."""
    return name.partition(":")[0] == AUTO


@dataclass(frozen=True)
class Budget:
    """The most that a student may cost; ``None`` sets no limit.

    Attributes:
        text: as it was written.
        parameters: trained elements.
        macs: multiply-accumulates of one image.
        milliseconds: of one image, from uint8 pixels to probabilities, on one CPU thread.
        runtime: on which that is measured, as in ``understudy benchmark --runtimes``.
    """

    text: str
    parameters: int | None = None
    macs: int | None = None
    milliseconds: float | None = None
    runtime: str = TORCH

    @classmethod
    def of(cls, text: str) -> "Budget":
        """The budget that a text such as ``auto:100k,5ms@onnx`` names, with or without ``auto:``.

        Raises:
            UnderstudyError: for anything else.
        """
        limits: dict[str, int | float | str] = {}
        terms = [term.strip() for term in text.removeprefix(f"{AUTO}:").split(",")]
        for term in terms:
            for name, value in _limit(term, text).items():
                if name in limits:
                    raise UnderstudyError(f"{_shown(text)} limits {name} twice")
                limits[name] = value
        return cls(text=text, **limits)  # type: ignore[arg-type]

    def __str__(self) -> str:
        parts = []
        if self.parameters is not None:
            parts.append(f"{self.parameters:,} parameters")
        if self.macs is not None:
            parts.append(f"{self.macs:,} multiply-accumulates")
        if self.milliseconds is not None:
            parts.append(f"{self.milliseconds:g} ms on {self.runtime}")
        return " and ".join(parts)


def _limit(term: str, text: str) -> dict[str, int | float | str]:
    """The fields of a budget that one term sets."""
    found = _TIME.fullmatch(term)
    if found:
        runtime = {"runtime": found["runtime"]} if found["runtime"] else {}
        return {"milliseconds": _positive(float(found["number"]), text), **runtime}
    found = _COUNT.fullmatch(term)
    if found:
        unit = found["unit"].replace("K", "k")
        count = round(float(found["number"]) * _FACTORS[unit])
        return {"macs" if found["of"] == "macs" else "parameters": int(_positive(count, text))}
    if _COUNT.fullmatch(term.partition("@")[0]):
        raise UnderstudyError(
            f"{_shown(text)}: only a time is measured on a runtime, such as auto:5ms@onnx"
        )
    raise UnderstudyError(f"{_shown(text)} is no budget for a student: write {_FORMS}")


def _positive(value: float, text: str) -> float:
    if value <= 0:
        raise UnderstudyError(f"{_shown(text)}: a budget must be above 0")
    return value


def _shown(text: str) -> str:
    return shorten(" ".join(text.split()))
