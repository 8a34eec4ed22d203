"""All arms of a run together: sizes, latencies and gains, as in ``results.json``."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from understudy.config.recipe import to_mapping
from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData
from understudy.evaluation.latency import (
    LatencySettings,
    count_macs,
    efficiency,
    measure_latency,
    model_size,
)
from understudy.evaluation.statistics import Summary, paired_gain, summarise, verdict
from understudy.models import deployed
from understudy.runs.folder import arm_folder, weights_path
from understudy.runs.networks import trained_network
from understudy.runs.plan import Link, chain_of, spec_of
from understudy.runs.results import (
    SCHEMA,
    ArmCost,
    ArmResult,
    ArmSummary,
    Comparison,
    DataFacts,
    LatencyConditions,
    MetricSummaries,
    RunResults,
    SeedResult,
    StoredSize,
    gather_history,
)

ROLES = ("teacher", "baseline", "distilled")


def measure_costs(
    config: RunConfig,
    out: Path,
    arms: Sequence[str],
    data: TrainingData,
    threads: int | None = None,
) -> dict[str, ArmCost]:
    """Size, multiply-accumulates and latency of one network per arm, the networks taking turns.

    Args:
        config: of the run.
        out: the run's directory, with its weights.
        arms: names, in the order of the result.
        data: its images give the input's shape.
        threads: CPU threads while timing; those of the recipe by default.
    """
    specs = {arm: spec_of(config, arm, config.seeds[0]) for arm in arms}
    networks = {
        arm: deployed(trained_network(config, spec, out, data)) for arm, spec in specs.items()
    }
    settings = LatencySettings.of(config.benchmark, threads)
    latencies = measure_latency(networks, data.image_shape, settings)
    costs = {}
    for arm, network in networks.items():
        size = model_size(network)
        stored = StoredSize(
            parameters=size.parameters,
            buffers=size.buffers,
            size_mb=size.size_mb,
            file_bytes=weights_path(out, specs[arm].name).stat().st_size,
            macs=count_macs(network, data.image_shape),
        )
        costs[arm] = ArmCost(stored, latencies[arm])
    return costs


def assemble(
    config: RunConfig,
    out: Path,
    finished: Mapping[str, ArmResult],
    data: TrainingData,
    num_test: int,
    costs: Mapping[str, ArmCost],
    command: str,
) -> RunResults:
    """Everything that was measured; also writes the run's ``history.csv``.

    Args:
        config: of the run.
        out: the run's directory.
        finished: all trainings, by name.
        data: the images.
        num_test: number of test images.
        costs: of each arm, in the order of the plan.
        command: as typed.

    Returns:
        the results, still without environment and seconds.
    """
    by_arm = {arm: [r for r in finished.values() if r.arm == arm] for arm in costs}
    links = chain_of(config)
    largest = max(config.benchmark.batch_sizes)
    arms = {
        arm: _arm_summary(links[arm], runs, costs[arm], costs["teacher"], largest)
        for arm, runs in by_arm.items()
    }
    trainings = [result for runs in by_arm.values() for result in runs]
    gather_history(out, [arm_folder(out, f"{r.arm}-seed{r.seed}") for r in trainings])
    mapping = to_mapping(config)
    return RunResults(
        schema=SCHEMA,
        name=config.name,
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=describe_data(data, num_test),
        config=mapping,
        arms=arms,
        latency_conditions=LatencyConditions(
            threads=config.benchmark.threads,
            repeats=config.benchmark.repeats,
            warmup=config.benchmark.warmup,
        ),
        comparisons=_comparisons(links, by_arm),
        reference=mapping["reference"],
    )


def _arm_summary(
    link: Link, results: Sequence[ArmResult], cost: ArmCost, teacher: ArmCost, batch_size: int
) -> ArmSummary:
    runs = tuple(SeedResult.of(result) for result in results)
    accuracy = summarise([run.test.accuracy for run in runs])
    assert accuracy is not None, "every arm has a seed, and every seed a test accuracy"
    return ArmSummary(
        role=link.arm if link.arm in ROLES else "extra",
        part=link.role,
        taught_by=results[0].taught_by,
        model=results[0].model,
        method=results[0].method,
        runs=runs,
        summary=MetricSummaries(
            accuracy=accuracy,
            nll=_over_seeds(runs, "nll"),
            ece=_over_seeds(runs, "ece"),
            agreement=_over_seeds(runs, "agreement"),
            teacher_kl=_over_seeds(runs, "teacher_kl"),
        ),
        size=cost.size,
        latency=cost.latency,
        compression=teacher.size.size_mb / cost.size.size_mb,
        efficiency=efficiency(
            100 * accuracy.mean, cost.latency[str(batch_size)].median_ms, cost.size.size_mb
        ),
    )


def _over_seeds(runs: Sequence[SeedResult], metric: str) -> Summary | None:
    return summarise([getattr(run.test, metric) for run in runs])


def _comparisons(
    links: Mapping[str, Link], by_arm: Mapping[str, Sequence[ArmResult]]
) -> tuple[Comparison, ...]:
    found = []
    for arm, link in links.items():
        reference = _compared_with(link, links)
        if reference is None:
            continue
        gain = paired_gain(_accuracies(by_arm[arm]), _accuracies(by_arm[reference]))
        sentence = verdict(arm, gain)
        if reference != "baseline":
            sentence += f" (against {reference})"
        found.append(Comparison.of(arm, reference, gain, sentence))
    return tuple(found)


def _accuracies(results: Sequence[ArmResult]) -> list[float]:
    return [result.test.accuracy for result in results if result.test is not None]


def _compared_with(link: Link, links: Mapping[str, Link]) -> str | None:
    """The arm whose plain training of the same network shows what a taught arm has gained.

    A born-again network is like the teacher, so the baseline shows it only if the student is, too;
    otherwise the teacher does, if there is one for each seed. ``None`` if no arm shows it.
    """
    if link.role not in ("generation", "distilled", "extra"):
        return None
    baseline, teacher = links["baseline"], links["teacher"]
    if not link.generation or (link.model, link.stages, link.train) == (
        baseline.model,
        baseline.stages,
        baseline.train,
    ):
        return "baseline"
    same = (
        link.model == teacher.model
        and teacher.seed is None
        and not teacher.members
        and teacher.path is None
    )
    return "teacher" if same else None


def describe_data(data: TrainingData, num_test: int) -> DataFacts:
    """The ``data`` of ``results.json``."""
    return DataFacts(
        name=data.name,
        num_train=len(data.train),
        num_val=len(data.val),
        num_test=num_test,
        num_classes=data.num_classes,
        class_names=tuple(data.class_names),
        image_shape=tuple(data.image_shape),
        fingerprint=data.fingerprint,
    )
