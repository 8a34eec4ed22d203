"""From evidence to findings: the table of rules, most decisive first.

Each rule is data (key, question, thresholds, outcomes) with a pure check in the file of its
subject. docs/diagnosis.md is written from the rules by docs/write_diagnosis.py.
"""

from dataclasses import replace

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.fidelity import (
    AGREEMENT,
    CAPACITY,
    SLOW_FIT,
    check_agreement,
    check_capacity,
    check_slow_fit,
)
from understudy.diagnose.findings.finding import ORDER, Check, Finding, Rule
from understudy.diagnose.findings.fitting import DROPOUT, FIT, check_dropout, check_fit
from understudy.diagnose.findings.images import (
    AUGMENTATION,
    NORMALISATION,
    check_augmentation,
    check_normalisation,
)
from understudy.diagnose.findings.noise import NOISE, check_noise
from understudy.diagnose.findings.schedule import LENGTH, check_length
from understudy.diagnose.findings.soft_loss import (
    GRADIENT,
    LABEL_SMOOTHING,
    OPTIONS,
    TARGETS,
    check_gradient,
    check_label_smoothing,
    check_options,
    check_targets,
)
from understudy.diagnose.findings.teacher import (
    TEACHER_CONFIDENCE,
    TEACHER_LEAD,
    TEACHER_QUALITY,
    check_teacher_confidence,
    check_teacher_lead,
    check_teacher_quality,
)

RULES: tuple[tuple[Rule, Check], ...] = (
    (GRADIENT, check_gradient),
    (TEACHER_LEAD, check_teacher_lead),
    (NORMALISATION, check_normalisation),
    (TARGETS, check_targets),
    (DROPOUT, check_dropout),
    (FIT, check_fit),
    (SLOW_FIT, check_slow_fit),
    (LENGTH, check_length),
    (AGREEMENT, check_agreement),
    (TEACHER_QUALITY, check_teacher_quality),
    (CAPACITY, check_capacity),
    (TEACHER_CONFIDENCE, check_teacher_confidence),
    (LABEL_SMOOTHING, check_label_smoothing),
    (AUGMENTATION, check_augmentation),
    (OPTIONS, check_options),
    (NOISE, check_noise),
)
"""Every rule with its check. Findings of one severity keep this order."""
NEED_WEIGHTS = {rule.key: rule.without_weights for rule, _ in RULES if rule.without_weights}
"""Findings that are missing or less certain without weights, and what is unknown then."""


def apply_rules(evidence: Evidence) -> list[Finding]:
    """All findings, causes first. If distillation helped there is nothing to explain: no cause."""
    results = [check(evidence) for _, check in RULES]
    found = [finding for finding in results if finding is not None]
    if evidence.helped:
        found = [_at_most_contributing(finding) for finding in found]
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


def _at_most_contributing(finding: Finding) -> Finding:
    return replace(finding, severity="contributing") if finding.severity == "cause" else finding
