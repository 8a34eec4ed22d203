"""From evidence to findings: which questions are asked, and in which order.

Each is a pure function in a file of its subject, with its thresholds and their reasons above it; docs/diagnosis.md explains
every one.
"""

from collections.abc import Callable
from dataclasses import replace

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.chance import noise
from understudy.diagnose.findings.finding import ORDER, Finding
from understudy.diagnose.findings.fitting import dropout, fit
from understudy.diagnose.findings.following import agreement, capacity, pace
from understudy.diagnose.findings.images import augmentation, normalisation
from understudy.diagnose.findings.schedule import length
from understudy.diagnose.findings.soft_term import gradient, label_smoothing, options, targets
from understudy.diagnose.findings.teacher import teacher_confidence, teacher_lead, teacher_quality

QUESTIONS: tuple[Callable[[Evidence], Finding | None], ...] = (
    gradient,
    teacher_lead,
    normalisation,
    targets,
    dropout,
    fit,
    pace,
    length,
    agreement,
    teacher_quality,
    capacity,
    teacher_confidence,
    label_smoothing,
    augmentation,
    options,
    noise,
)
"""Most decisive first: the order of findings of one severity."""
NEED_WEIGHTS = {
    "gradient": "share of the gradient from each term",
    "targets": "entropy and dark knowledge of the softened targets",
    "teacher_confidence": "the teacher's confidence on training images",
    "dropout": "what dropout costs on the same images",
    "fit": "training accuracy on images as they are",
    "pace": "whether the distilled student lags on images as they are",
    "teacher_quality": "how many training targets are wrong",
    "capacity": "how far the student follows on the same images",
    "normalisation": "how the images look after normalisation",
    "augmentation": "whether the teacher can read the views",
}
"""Findings that are missing or rest on less without weights, and what is not known then."""


def diagnose(evidence: Evidence) -> list[Finding]:
    """All findings, causes first. Where distillation is shown to have helped there is nothing to explain, so no cause."""
    found = [finding for question in QUESTIONS if (finding := question(evidence)) is not None]
    low = evidence.recorded.gain.low
    if low is not None and low > 0:
        found = [replace(f, severity="contributing") if f.severity == "cause" else f for f in found]
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))
