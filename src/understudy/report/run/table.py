"""The numbers of a run as tables: for the terminal, for a README, as CSV, and as cells for the page.

Everything here takes the mapping read from ``results.json`` (schema 1): accuracies in [0, 1], sizes in MB of 2^20 bytes,
latencies in milliseconds. Tables show percent. An absent number is an en dash, never a zero.
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.files import write_bytes
from understudy.runs.results import present

if TYPE_CHECKING:
    from rich.table import Table

ABSENT = "–"
Results = Mapping[str, Any]
Arm = Mapping[str, Any]


# -- numbers ------------------------------------------------------------------------------------------------------------


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and half-width of its 95 % interval (Student's t); one value has no interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    from scipy.special import stdtrit

    return mean, float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(
        len(values)
    )


def number(value: Any, digits: int = 2, scale: float = 1.0) -> str:
    """``value * scale`` with so many decimals and thousands separated, or an en dash."""
    return f"{value * scale:,.{digits}f}" if present(value) else ABSENT


def percent(value: Any, digits: int = 2) -> str:
    """A share in [0, 1] as percent, without the sign."""
    return number(value, digits, 100)


def points(value: Any, digits: int = 2) -> str:
    """A difference of two shares as signed percentage points."""
    return f"{value * 100:+.{digits}f}" if present(value) else ABSENT


def significant(value: Any, digits: int = 3) -> str:
    """A positive quantity of any magnitude: ``0.0314``, ``7.46``, ``1,234``."""
    if not present(value):
        return ABSENT
    decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def counted(value: Any) -> str:
    """A large count with its prefix: ``106.8 k``, ``4.66 M``, ``1.02 G``."""
    if not present(value):
        return ABSENT
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{significant(value / size)} {prefix}"
    return str(int(value))


def mean_std(arm: Arm, metric: str, digits: int = 2, scale: float = 1.0) -> str:
    """``80.84 ± 0.21`` over the seeds of an arm; the mean alone for one seed."""
    summary = (arm.get("summary") or {}).get(metric) or {}
    mean, std = summary.get("mean"), summary.get("std")
    return number(mean, digits, scale) + (
        f" ± {number(std, digits, scale)}" if present(mean) and present(std) else ""
    )


def latency(arm: Arm, batch: int, statistic: str = "median_ms") -> float | None:
    """Milliseconds for one batch of so many images, where measured."""
    value = ((arm.get("latency") or {}).get(str(batch)) or {}).get(statistic)
    return value if present(value) else None


def arm_of_role(results: Results, role: str) -> str | None:
    """Name of the first arm of this role."""
    return next((name for name, arm in results["arms"].items() if arm.get("role") == role), None)


def paired_per_class(results: Results, arm: str, reference: str) -> list[list[float]]:
    """For each class, the change of its test accuracy from ``reference`` to ``arm``, one number for each shared seed."""
    by_seed = {
        run["seed"]: run["test"].get("per_class") or []
        for run in results["arms"][reference]["runs"]
    }
    runs = [run for run in results["arms"][arm]["runs"] if run["seed"] in by_seed]
    pairs = [(run["test"].get("per_class") or [], by_seed[run["seed"]]) for run in runs]
    num_classes = max((len(new) for new, _ in pairs), default=0)
    changes: list[list[float]] = [[] for _ in range(num_classes)]
    for new, old in pairs:
        for index, (after, before) in enumerate(zip(new, old, strict=False)):
            if present(after) and present(before):
                changes[index].append(after - before)
    return changes


# -- the main table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One column: its heading, how an arm fills it, and how a published row does (a mapping such as
    ``{"accuracy": 0.8313, "latency_ms": 111.29}``)."""

    heading: str
    ours: Callable[[Arm], str]
    published: Callable[[Mapping[str, Any]], str] = lambda _: ABSENT


def _size(key: str) -> Callable[[Arm], Any]:
    return lambda arm: (arm.get("size") or {}).get(key)


def _efficiency(key: str) -> Callable[[Arm], str]:
    return lambda arm: significant((arm.get("efficiency") or {}).get(key))


def _published_efficiency(row: Mapping[str, Any]) -> str:
    accuracy, milliseconds = row.get("accuracy"), row.get("latency_ms")
    return (
        significant(100 * accuracy / milliseconds)
        if present(accuracy) and present(milliseconds)
        else ABSENT
    )


def _published_efficiency_size(row: Mapping[str, Any]) -> str:
    accuracy, milliseconds, size = row.get("accuracy"), row.get("latency_ms"), row.get("size_mb")
    if present(accuracy) and present(milliseconds) and present(size):
        return significant(100 * accuracy / (milliseconds * size))
    return ABSENT


def _ratio(value: Any) -> str:
    return f"{significant(value)}×" if present(value) else ABSENT


PARAMETERS = Column(
    "parameters", lambda a: counted(_size("parameters")(a)), lambda r: counted(r.get("parameters"))
)
SIZE = Column("size MB", lambda a: number(_size("size_mb")(a)), lambda r: number(r.get("size_mb")))
COMPRESSION = Column(
    "compression", lambda a: _ratio(a.get("compression")), lambda r: _ratio(r.get("compression"))
)
MACS = Column("MACs", lambda a: counted(_size("macs")(a)), lambda r: counted(r.get("macs")))
TOP1 = Column(
    "top-1 %", lambda a: mean_std(a, "accuracy", 2, 100), lambda r: percent(r.get("accuracy"))
)
NLL = Column("NLL", lambda a: mean_std(a, "nll", 3), lambda r: number(r.get("nll"), 3))
ECE = Column("ECE %", lambda a: mean_std(a, "ece", 2, 100), lambda r: percent(r.get("ece")))
AGREEMENT = Column(
    "agreement %", lambda a: mean_std(a, "agreement", 2, 100), lambda r: percent(r.get("agreement"))
)
LATENCY_1 = Column("ms, batch 1", lambda a: significant(latency(a, 1)))
LATENCY_128 = Column(
    "ms, batch 128",
    lambda a: significant(latency(a, 128)),
    lambda r: significant(r.get("latency_ms")),
)
PER_MS = Column("accuracy / ms", _efficiency("accuracy_per_ms"), _published_efficiency)
PER_MS_MB = Column(
    "accuracy / (ms·MB)", _efficiency("accuracy_per_ms_mb"), _published_efficiency_size
)

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
_BESIDE = (TOP1, LATENCY_128)
"""Columns whose published figure stands beside ours in the terminal and in Markdown."""


def _beside(results: Results, columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows with each published figure in a column right of ours, where there is one."""
    reference = results.get("reference") or {}
    shown = [
        c
        for c in columns
        if c in _BESIDE and any(c.published(row) != ABSENT for row in reference.values())
    ]
    headings, rows = (
        ["arm", "model"],
        [[name, str(arm.get("model", ABSENT))] for name, arm in results["arms"].items()],
    )
    rows += [[name, "published"] for name in reference if name not in results["arms"]]
    for column in columns:
        headings += [column.heading] + (["published"] if column in shown else [])
        for row in rows:
            arm = results["arms"].get(row[0])
            row.append(column.ours(arm) if arm else ABSENT)
            if column in shown:
                row.append(column.published(reference.get(row[0], {})))
    return headings, rows


_TERMINAL_HEADINGS = {
    "parameters": "params",
    "size MB": "MB",
    "compression": "smaller",
    "ms, batch 128": "ms/128",
    "published": "publ.",
}


def terminal_table(results: Results) -> "Table":
    """The final table of a run for ``rich.print``: one row an arm, published figures beside ours where there are any."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    columns = [PARAMETERS, SIZE, COMPRESSION, TOP1, LATENCY_128]
    if not results.get("reference"):  # 80 characters hold one or the other
        columns.append(PER_MS)
    headings, rows = _beside(results, columns)
    table = Table(
        box=SIMPLE_HEAD,
        title=Text(f"{results.get('name', 'run')}, test images"),
        title_justify="left",
        pad_edge=False,
    )
    for index, heading in enumerate(headings):
        if index != 1:  # the model's name is in the report
            short = _TERMINAL_HEADINGS.get(heading, heading)
            table.add_column(
                short,
                justify="right" if index else "left",
                style="dim" if heading == "published" else None,
            )
    for row in rows:
        role = (results["arms"].get(row[0]) or {}).get("role")
        cells = [
            Text(cell, style="bold" if role == "distilled" else "", no_wrap=True) for cell in row
        ]  # Text: no [markup] in names
        table.add_row(cells[0], *cells[2:])
    return table


def markdown_table(results: Results) -> str:
    """The main table as GitHub Markdown, published figures beside ours where there are any. Ends with a newline."""
    columns = [c for c in COLUMNS if any(c.ours(arm) != ABSENT for arm in results["arms"].values())]
    headings, rows = _beside(results, columns)
    lines = [headings, ["---", "---"] + ["---:"] * (len(headings) - 2), *rows]
    return "".join(
        "| " + " | ".join(_markdown_cell(cell) for cell in line) + " |\n" for line in lines
    )


def _markdown_cell(text: str) -> str:
    """Text that cannot end its cell, open a tag or start markup of its own."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for mark in "|`*_[]":
        text = text.replace(mark, "\\" + mark)
    return text


# -- CSV ----------------------------------------------------------------------------------------------------------------


def write_csv(results: Results, path: Path) -> None:
    """One row for each arm and seed with every scalar measured: identity, val_*, test_*, size, latency, efficiency.

    Units as in ``results.json``: accuracies in [0, 1], MB of 2^20 bytes, milliseconds. Absent numbers are empty cells.
    """
    rows: list[dict[str, Any]] = []
    for name, arm in results["arms"].items():
        whole = {
            **_scalars(arm.get("size")),
            "compression": arm.get("compression"),
            **_scalars(arm.get("efficiency")),
        }
        for batch, measured in (arm.get("latency") or {}).items():
            whole |= {f"latency_{batch}_{key}": value for key, value in _scalars(measured).items()}
        for run in arm["runs"]:
            row = {
                "arm": name,
                "role": arm.get("role"),
                "model": arm.get("model"),
                "method": arm.get("method"),
            } | _scalars(run)
            for split in ("val", "test"):
                row |= {f"{split}_{key}": value for key, value in _scalars(run.get(split)).items()}
            rows.append(row | whole)
    text = io.StringIO()
    writer = csv.DictWriter(
        text,
        list(dict.fromkeys(key for row in rows for key in row)),
        restval="",
        lineterminator="\n",
    )
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def _scalars(mapping: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        key: value
        for key, value in (mapping or {}).items()
        if not isinstance(value, Mapping | list)
    }
