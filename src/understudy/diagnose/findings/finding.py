"""What a diagnosis can find: a rule, the outcomes it can have, and the finding that results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from understudy.diagnose.evidence import Evidence

Severity = Literal["cause", "contributing", "fine"]
"""``cause``: enough to explain that distillation did not help. ``contributing``: a part of it.
``fine``: checked and in order."""
ORDER: tuple[Severity, ...] = ("cause", "contributing", "fine")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one rule on one run. The names of the fields are keys in ``diagnosis.json``.

    Attributes:
        key: of the rule, as in docs/diagnosis.md.
        title: a few words.
        severity: ``cause``, ``contributing`` or ``fine``.
        evidence: a sentence with the numbers.
        cause: why this keeps distillation from helping, or why it does not.
        change: settings to try, as overrides of ``understudy run``, or a few words.
    """

    key: str
    title: str
    severity: Severity
    evidence: str
    cause: str
    change: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One thing that a rule can find.

    Attributes:
        title: a few words.
        severity: how much it explains.
        why: why this keeps distillation from helping, or why it does not.
    """

    title: str
    severity: Severity
    why: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One check of a diagnosis and its documentation, from which docs/diagnosis.md is written.

    Attributes:
        key: its name in ``diagnosis.json`` and docs/diagnosis.md.
        question: what it checks, as one question.
        looks_at: what is measured.
        contributing: when it contributes; empty if it never does.
        cause: when it is a cause; empty if it never is.
        threshold: why the thresholds are what they are.
        without_weights: what is unknown without the run's weights; empty if the rule needs none.
        outcomes: all that it can find, by a short name.
    """

    key: str
    question: str
    looks_at: str
    contributing: str = ""
    cause: str = ""
    threshold: str
    without_weights: str = ""
    outcomes: Mapping[str, Outcome]

    def finding(
        self,
        outcome: str,
        evidence: str,
        *change: str,
        severity: Severity | None = None,
    ) -> Finding:
        """The finding for one of the outcomes.

        Args:
            outcome: name in ``outcomes``.
            evidence: a sentence with the numbers.
            *change: settings to try.
            severity: if it is not that of the outcome, because it depends on a number.
        """
        found = self.outcomes[outcome]
        return Finding(
            key=self.key,
            title=found.title,
            severity=severity or found.severity,
            evidence=evidence,
            cause=found.why,
            change=change,
        )


Check = Callable[[Evidence], Finding | None]
"""Applies a rule to the evidence; ``None`` if the evidence is not enough for it."""
