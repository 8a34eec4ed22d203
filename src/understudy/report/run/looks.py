"""How each arm is drawn, the same in all figures of a run."""

from dataclasses import dataclass

from understudy.report.colours import (
    CROWD,
    EXTRA_COLOURS,
    EXTRA_MARKERS,
    ROLE_COLOURS,
    ROLE_MARKERS,
)
from understudy.report.drawing import short
from understudy.runs.results import RunResults


@dataclass(frozen=True)
class Look:
    """Label, colour and marker of an arm."""

    label: str
    colour: str
    marker: str


def arm_looks(results: RunResults) -> dict[str, Look]:
    """The look of every arm: fixed by its role; further arms in their order."""
    by_role = {results.arm_of_role(role): role for role in ROLE_COLOURS}
    further = _further(results)
    looks = {}
    for name in results.arms:
        label = short(name, 16)
        if name in by_role:
            role = by_role[name]
            looks[name] = Look(label, ROLE_COLOURS[role], ROLE_MARKERS[role])
        elif crowded(results):
            looks[name] = Look(label, CROWD, "o")
        else:
            place = further.index(name)
            looks[name] = Look(label, EXTRA_COLOURS[place], EXTRA_MARKERS[place])
    return looks


def _further(results: RunResults) -> list[str]:
    """The arms that have no colour by their role."""
    first = {results.arm_of_role(role) for role in ROLE_COLOURS}
    return [name for name in results.arms if name not in first]


def crowded(results: RunResults) -> bool:
    """Whether there are more arms than colours: then rows are ranked, and curves share a look."""
    return len(_further(results)) > len(EXTRA_COLOURS)


def legend_labels(results: RunResults) -> dict[str, str]:
    """The legend's label of each arm; further arms of a crowd share one entry.

    matplotlib leaves out ``_nolegend_``.
    """
    labels = {name: look.label for name, look in arm_looks(results).items()}
    further = _further(results)
    if crowded(results):
        labels |= dict.fromkeys(further, "_nolegend_")
        labels[further[0]] = f"{len(further)} further arms"
    return labels
