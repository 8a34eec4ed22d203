"""A benchmark of deployed networks on standard output."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.evaluation.deploy_results import DeployBenchmark, DeployedCost, Role, Timing

_ROLES: tuple[Role, Role] = ("teacher", "student")
_ABSENT = "–"


def show_benchmark(results: DeployBenchmark) -> None:
    """Print what starts and files cost, the latencies, and what to know about both."""
    console = Console(emoji=False)
    console.print(start_table(results))
    console.print(latency_table(results))
    for line in remarks(results):
        console.print(Text(line), soft_wrap=True)


def start_table(results: DeployBenchmark) -> Table:
    """Bytes on disk and the costs of a start: one row per runtime and network."""
    table = _table("On disk, and at the start of a fresh process")
    for heading in ("runtime", "network", "dtype"):
        table.add_column(heading)
    for heading in ("kB", "import ms", "cold start ms", "peak MB", "above import"):
        table.add_column(heading, justify="right")
    for runtime in results.runtimes:
        for cost in _both(results, runtime):
            start = cost.start
            above = None
            if start.peak_mb is not None and start.import_mb is not None:
                above = start.peak_mb - start.import_mb
            table.add_row(
                *map(Text, (runtime, cost.network, cost.dtype, f"{cost.bytes / 1000:,.1f}")),
                f"{start.import_ms:,.0f}",
                f"{start.load_ms:,.1f}",
                _megabytes(start.peak_mb),
                _megabytes(above),
            )
    return table


def latency_table(results: DeployBenchmark) -> Table:
    """Latencies: one row per runtime and setting, teacher and student next to each other."""
    table = _table("From uint8 images to probabilities")
    table.add_column("runtime")
    headings = ["threads", "batch", "teacher ms", "p95", "student ms", "p95", "images/s"]
    headings += ["teacher / student", "torch / runtime"]
    energy = any(t.energy_mj is not None for cost in results.costs for t in cost.timings)
    headings += ["student mJ/image"] if energy else []
    for heading in headings:
        table.add_column(heading, justify="right")
    for runtime in results.runtimes:
        for threads, batch in results.settings:
            costs = {cost.network: cost for cost in _both(results, runtime)}
            student = costs["student"].timing(threads, batch)
            teacher = costs["teacher"].timing(threads, batch) if "teacher" in costs else None
            ratios = results.speedup(runtime, threads, batch)
            cells = [runtime, str(threads), str(batch), *_milliseconds(teacher)]
            cells += [*_milliseconds(student), f"{student.images_per_second:,.0f}"]
            cells += [_ratio(ratios.over_teacher), _ratio(ratios.over_torch)]
            if energy:
                used = student.energy_mj
                cells.append(_ABSENT if used is None else f"{used:.3g}")
            table.add_row(*map(Text, cells))
    return table


def remarks(results: DeployBenchmark) -> Iterator[str]:
    """What the tables do not show, one line each."""
    contents: dict[str, list[str]] = {}
    for cost in results.costs:
        names = contents.setdefault(cost.content, [])
        if cost.runtime not in names:
            names.append(cost.runtime)
    for content, names in contents.items():
        yield f"The bytes of {', '.join(names)}: {content}."
    for slow in results.slow_int8():
        yield (
            f"{slow.runtime} is slower than fp32 here: {slow.network}, batch {slow.batch}, "
            f"{slow.threads} thread{'s' if slow.threads > 1 else ''}: "
            f"{slow.int8_ms:.3g} ms, fp32 {slow.fp32_ms:.3g} ms."
        )
    if any(cost.dtype == "int8" for cost in results.costs):
        yield "int8 files are measured for cost alone: understudy export measures their accuracy."
    if not any(t.energy_mj is not None for cost in results.costs for t in cost.timings):
        yield "Energy: not measured on this machine, which shows no counters to this user."
    for missing in results.missing:
        yield f"Not measured: {missing.reason}"
    load, threads = results.load_average, max(results.threads)
    if load is not None and load > 0.5:
        yield (
            f"The machine was not idle before the start (load {load:.1f}): ratios hold better than "
            f"milliseconds{', and several threads worst of all' if threads > 1 else ''}."
        )


def _table(title: str) -> Table:
    return Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)


def _both(results: DeployBenchmark, runtime: str) -> list[DeployedCost]:
    found = (results.cost(network, runtime) for network in _ROLES)
    return [cost for cost in found if cost is not None]


def _milliseconds(timing: Timing | None) -> tuple[str, str]:
    if timing is None:
        return _ABSENT, _ABSENT
    return f"{timing.median_ms:.3g}", f"{timing.p95_ms:.3g}"


def _ratio(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.2f}"


def _megabytes(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:,.0f}"
