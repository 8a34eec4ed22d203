"""The numbers of a run as rows: for a README, for the page, and for the terminal's table.

Results hold shares in [0, 1], sizes in MB of 2^20 bytes and latencies in milliseconds; tables show
percent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from understudy.evaluation.statistics import Summary
from understudy.report.format import ABSENT, counted, number, percent, significant, times
from understudy.runs.results import ArmSummary, Published, RunResults


@dataclass(frozen=True)
class Column:
    """One column of the main table.

    Attributes:
        heading: shown above it.
        measured: the cell of an arm.
        published: the cell of published numbers.
    """

    heading: str
    measured: Callable[[ArmSummary], str]
    published: Callable[[Published], str] = lambda _: ABSENT


def mean_std(summary: Summary | None, digits: int = 2, scale: float = 1.0) -> str:
    """``80.84 ± 0.21``; the mean alone for one seed."""
    if summary is None:
        return ABSENT
    mean = number(summary.mean, digits, scale)
    return mean if summary.std is None else f"{mean} ± {number(summary.std, digits, scale)}"


def latency_ms(arm: ArmSummary, batch_size: int) -> float | None:
    """Median milliseconds of a batch of this size, if it was measured."""
    latency = arm.latency_of(batch_size)
    return None if latency is None else latency.median_ms


def paired_per_class(results: RunResults, arm: str, reference: str) -> list[list[float]]:
    """Change of each class's test accuracy from ``reference`` to ``arm``.

    Returns:
        for each class one number for each seed that both arms have; in [-1, 1].
    """
    before = {run.seed: run.test.per_class for run in results.arms[reference].runs}
    runs = [run for run in results.arms[arm].runs if run.seed in before]
    changes: list[list[float]] = [
        [] for _ in range(max((len(r.test.per_class) for r in runs), default=0))
    ]
    for run in runs:
        pairs = zip(run.test.per_class, before[run.seed], strict=False)
        for index, (new, old) in enumerate(pairs):
            if new is not None and old is not None:
                changes[index].append(new - old)
    return changes


# -- the columns -----------------------------------------------------------------------------------


def _parameters(arm: ArmSummary) -> str:
    return counted(arm.size.parameters) if arm.size else ABSENT


def _size(arm: ArmSummary) -> str:
    return number(arm.size.size_mb) if arm.size else ABSENT


def _macs(arm: ArmSummary) -> str:
    return counted(arm.size.macs) if arm.size else ABSENT


def _accuracy(arm: ArmSummary) -> str:
    return mean_std(arm.summary.accuracy, 2, 100) if arm.summary else ABSENT


def _balanced(arm: ArmSummary) -> str:
    return mean_std(arm.summary.balanced_accuracy, 2, 100) if arm.summary else ABSENT


def _macro_f1(arm: ArmSummary) -> str:
    return mean_std(arm.summary.macro_f1, 2, 100) if arm.summary else ABSENT


def _nll(arm: ArmSummary) -> str:
    return mean_std(arm.summary.nll, 3) if arm.summary else ABSENT


def _ece(arm: ArmSummary) -> str:
    return mean_std(arm.summary.ece, 2, 100) if arm.summary else ABSENT


def _agreement(arm: ArmSummary) -> str:
    return mean_std(arm.summary.agreement, 2, 100) if arm.summary else ABSENT


def _per_ms(arm: ArmSummary) -> str:
    return significant(arm.efficiency.accuracy_per_ms) if arm.efficiency else ABSENT


def _per_ms_mb(arm: ArmSummary) -> str:
    return significant(arm.efficiency.accuracy_per_ms_mb) if arm.efficiency else ABSENT


def _published_per_ms(row: Published) -> str:
    if row.accuracy is None or row.latency_ms is None:
        return ABSENT
    return significant(100 * row.accuracy / row.latency_ms)


def _published_per_ms_mb(row: Published) -> str:
    if row.accuracy is None or row.latency_ms is None or row.size_mb is None:
        return ABSENT
    return significant(100 * row.accuracy / (row.latency_ms * row.size_mb))


PARAMETERS = Column("parameters", _parameters, lambda row: counted(row.parameters))
SIZE = Column("size MB", _size, lambda row: number(row.size_mb))
COMPRESSION = Column(
    "compression", lambda arm: times(arm.compression), lambda row: times(row.compression)
)
MACS = Column("MACs", _macs, lambda row: counted(row.macs))
TOP1 = Column("top-1 %", _accuracy, lambda row: percent(row.accuracy))
BALANCED = Column("balanced %", _balanced)
MACRO_F1 = Column("macro F1 %", _macro_f1)
NLL = Column("NLL", _nll, lambda row: number(row.nll, 3))
ECE = Column("ECE %", _ece, lambda row: percent(row.ece))
AGREEMENT = Column("agreement %", _agreement, lambda row: percent(row.agreement))
LATENCY_1 = Column("ms, batch 1", lambda arm: significant(latency_ms(arm, 1)))
LATENCY_128 = Column(
    "ms, batch 128",
    lambda arm: significant(latency_ms(arm, 128)),
    lambda row: significant(row.latency_ms),
)
PER_MS = Column("accuracy / ms", _per_ms, _published_per_ms)
PER_MS_MB = Column("accuracy / (ms·MB)", _per_ms_mb, _published_per_ms_mb)

COLUMNS = (
    PARAMETERS,
    SIZE,
    COMPRESSION,
    MACS,
    TOP1,
    NLL,
    ECE,
    AGREEMENT,
    LATENCY_1,
    LATENCY_128,
    PER_MS,
    PER_MS_MB,
)
_OF_SKEWED_CLASSES = (BALANCED, MACRO_F1)
_WITH_PUBLISHED = (TOP1, LATENCY_128)
"""Columns that have the published number to their right in the terminal and in Markdown."""


def columns_of(results: RunResults) -> tuple[Column, ...]:
    """:data:`COLUMNS`, with balanced accuracy and macro F1 where test classes differ in size."""
    if not results.has_skewed_classes:
        return COLUMNS
    after = COLUMNS.index(TOP1) + 1
    return (*COLUMNS[:after], *_OF_SKEWED_CLASSES, *COLUMNS[after:])


# -- the tables ------------------------------------------------------------------------------------


def with_published(
    results: RunResults, columns: Sequence[Column]
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, with columns of published numbers if there are any."""
    published = {name: results.published(name) for name in results.reference}
    names = [*results.arms, *(name for name in published if name not in results.arms)]
    headings = ["arm", "model"]
    rows = [
        [name, results.arms[name].model if name in results.arms else "published"] for name in names
    ]
    for column in columns:
        headings.append(column.heading)
        for name, row in zip(names, rows, strict=True):
            arm = results.arms.get(name)
            row.append(column.measured(arm) if arm else ABSENT)
        cells = [column.published(results.published(name)) for name in names]
        if column in _WITH_PUBLISHED and any(cell != ABSENT for cell in cells):
            headings.append("published")
            for row, cell in zip(rows, cells, strict=True):
                row.append(cell)
    return headings, rows


def markdown_table(results: RunResults) -> str:
    """The main table as GitHub Markdown, with published numbers; ends with a newline."""
    arms = results.arms.values()
    columns = [c for c in columns_of(results) if any(c.measured(arm) != ABSENT for arm in arms)]
    headings, rows = with_published(results, columns)
    rules = ["---", "---"] + ["---:"] * (len(headings) - 2)
    lines = [" | ".join(map(_markdown_cell, line)) for line in (headings, rules, *rows)]
    return "".join(f"| {line} |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    """Text that cannot end its cell, open a tag or start markup of its own."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for mark in "|`*_[]":
        text = text.replace(mark, "\\" + mark)
    return text
