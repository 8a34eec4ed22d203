"""A diagnosis as one self-contained page, in the style of the report."""

from typing import Any

from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.draw import bars, curves
from understudy.diagnose.evidence import Measured
from understudy.report.figures import COLOURS
from understudy.report.render import fill_template

SEVERITY_COLOURS = {"cause": "#D55E00", "contributing": "#D98200", "fine": "#009E73"}
HEADINGS = {
    "cause": "Likely causes",
    "contributing": "Contributing",
    "fine": "In order",
}


def render_page(diagnosis: Diagnosis) -> str:
    """The text of ``diagnosis.html``: findings with evidence and settings, figures, every number in a table."""
    from markupsafe import Markup

    groups = [
        {
            "heading": HEADINGS[severity],
            "colour": colour,
            "open": severity != "fine",
            "findings": [f for f in diagnosis.findings if f.severity == severity],
        }
        for severity, colour in SEVERITY_COLOURS.items()
    ]
    # The figures are our own markup: every name in them is escaped where it is drawn.
    drawings = [{**d, "svg": Markup(d["svg"])} for d in _drawings(diagnosis)]  # noqa: S704
    return fill_template(
        "understudy.diagnose",
        "diagnosis.html.j2",
        name=f"{diagnosis.name}: diagnosis",
        verdict=diagnosis.verdict[0].upper() + diagnosis.verdict[1:],
        headline=diagnosis.headline,
        groups=[g for g in groups if g["findings"]],
        drawings=drawings,
        needs_weights=list(diagnosis.needs_weights.values()),
    )


def _drawings(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    evidence = diagnosis.evidence
    drawn = []
    if evidence.measured is not None:
        drawn += _measured_drawings(evidence.measured, evidence.recorded.temperature)
    if evidence.recorded.curves:
        lines = {role: (COLOURS[role], [100 * v for v in curve.val_accuracy]) for role, curve in evidence.recorded.curves.items()}
        drawn.append({
            "title": "Validation accuracy by epoch",
            "svg": curves(lines, "%", "Validation accuracy by epoch"),
            "caption": "Mean over seeds. A line that still rises at the right edge was cut off.",
        })  # fmt: skip
    return drawn


def _measured_drawings(measured: Measured, temperature: float) -> list[dict[str, Any]]:
    fits = []
    for role, fit in measured.fits.items():
        fits.append((f"{role}, training", 100 * fit.train_accuracy, COLOURS[role]))
        if fit.dropout_accuracy != fit.train_accuracy:
            fits.append((f"{role}, training, dropout on", 100 * fit.dropout_accuracy, COLOURS[role]))
        fits.append((f"{role}, validation", 100 * fit.val_accuracy, COLOURS[role]))
    drawn = [{
        "title": "Who fits what",
        "svg": bars(fits, "%", 100, "Accuracy on training and validation images"),
        "caption": f"Accuracy on {measured.num_train:,} training images as they are and on validation, kept weights, mean over "
        "seeds. Training far above validation: over-fitting. Both low and alike: under-fitting.",
    }]  # fmt: skip
    targets = measured.targets
    shown = min(len(targets.profile), 10)
    ranks = [
        (f"{_ordinal(rank)}, T = {t:g}", 100 * profile[rank], colour)
        for rank in range(shown)
        for t, profile, colour in ((1.0, targets.profile_at_1, "#8A8A8A"), (temperature, targets.profile, COLOURS["teacher"]))
        if rank < 4 or t != 1.0
    ]
    drawn.append({
        "title": "What the student is told",
        "svg": bars(ranks, "%", 100, "The teacher's probabilities, sorted"),
        "caption": f"The teacher's mean probability of its first, second, ... class on {targets.num_images:,} training views, "
        f"as it is (T = 1, first four) and softened. Flat: washed out. One bar only: it repeats the labels.",
    })  # fmt: skip
    if measured.gradients is not None:
        pulls = [
            (name, 100 * share, "#D98200" if name == "ce" else COLOURS["teacher"])
            for name, share in measured.gradients.shares.items()
        ]
        drawn.append({
            "title": "Who pulls at the student",
            "svg": bars(pulls, "%", 100, "Share of the gradient by term"),
            "caption": f"Share of each weighted term in the gradient's norm on the student's weights, "
            f"{measured.gradients.num_batches} training batches.",
        })  # fmt: skip
    return drawn


def _ordinal(rank: int) -> str:
    return ("1st", "2nd", "3rd")[rank] if rank < 3 else f"{rank + 1}th"
