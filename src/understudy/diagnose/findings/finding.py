"""One answer of a diagnosis, and the three weights it can have.

A finding is a ``cause`` (enough to explain that distillation did not help), ``contributing`` (it takes part), or ``fine``
(looked at, in order).
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["cause", "contributing", "fine"]
ORDER: tuple[Severity, ...] = ("cause", "contributing", "fine")


@dataclass(frozen=True)
class Finding:
    """One answer.

    Attributes:
        key: its name in docs/diagnosis.md and in the JSON.
        title: a few words.
        severity: ``cause``, ``contributing`` or ``fine``.
        evidence: a sentence with the numbers.
        cause: why that keeps distillation from helping, or why it does not.
        change: settings to try, as overrides of ``understudy run``; or a few words where it is not one.
    """

    key: str
    title: str
    severity: Severity
    evidence: str
    cause: str
    change: tuple[str, ...] = ()
