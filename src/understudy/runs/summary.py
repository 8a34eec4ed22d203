"""All arms of a run together: sizes, latencies and gains, as in ``results.json``."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from understudy.config.recipe import to_mapping
from understudy.data.own_size import image_of
from understudy.data.prepare import TrainingData
from understudy.evaluation.correctness import gain_between
from understudy.evaluation.gain import corrected
from understudy.evaluation.latency import (
    LatencySettings,
    count_macs,
    efficiency,
    measure_latency,
    model_size,
)
from understudy.evaluation.results import Metrics
from understudy.evaluation.statistics import Summary, summarise
from understudy.models import deployed
from understudy.runs.comparison import Comparison
from understudy.runs.folder import RunFolder, training_name
from understudy.runs.history import gather_history
from understudy.runs.networks import trained_network
from understudy.runs.plan import Arm, RunPlan
from understudy.runs.recompute import recomputed
from understudy.runs.results import (
    SCHEMA,
    ArmCost,
    ArmResult,
    ArmSummary,
    DataFacts,
    LatencyConditions,
    MetricSummaries,
    RunResults,
    SeedResult,
    StoredSize,
)
from understudy.runs.slices import slice_results

ROLES = ("teacher", "baseline", "distilled")


def measure_costs(
    plan: RunPlan, folder: RunFolder, data: TrainingData, threads: int | None = None
) -> dict[str, ArmCost]:
    """Size, multiply-accumulates and latency of one network per arm, the networks taking turns.

    Args:
        plan: of the run; its order is that of the result.
        folder: the run's directory, with its weights.
        data: of the run; its images, or an arm's own size, give the shapes of the inputs.
        threads: CPU threads while timing; those of the recipe by default.
    """
    runs = {arm: plan.arm_run(arm, plan.config.seeds[0]) for arm in plan.arms}
    networks = {
        arm: deployed(trained_network(plan, run, folder, data)) for arm, run in runs.items()
    }
    settings = LatencySettings.of(plan.config.benchmark, threads)
    shapes = {arm: image_of(data, plan.arm(arm).inputs).shape for arm in plan.arms}
    latencies = measure_latency(networks, shapes, settings)
    costs = {}
    for arm, network in networks.items():
        size = model_size(network)
        stored = StoredSize(
            parameters=size.parameters,
            buffers=size.buffers,
            size_mb=size.size_mb,
            file_bytes=folder.weights(runs[arm].name).stat().st_size,
            macs=count_macs(network, shapes[arm]),
        )
        costs[arm] = ArmCost(stored, latencies[arm])
    return costs


def assemble(
    plan: RunPlan,
    folder: RunFolder,
    finished: Mapping[str, ArmResult],
    data: TrainingData,
    num_test: int,
    costs: Mapping[str, ArmCost],
    command: str,
) -> RunResults:
    """Everything that was measured; also writes the run's ``history.csv``.

    Args:
        plan: of the run.
        folder: the run's directory.
        finished: all trainings, by name.
        data: the images.
        num_test: number of test images.
        costs: of each arm, in the order of the plan.
        command: as typed.

    Returns:
        the results, still without environment and seconds.
    """
    by_arm = {arm: [r for r in finished.values() if r.arm == arm] for arm in costs}
    config = plan.config
    largest = max(config.benchmark.batch_sizes)
    arms = {
        arm: _arm_summary(plan.arm(arm), runs, costs[arm], costs["teacher"], largest)
        for arm, runs in by_arm.items()
    }
    trainings = [result for runs in by_arm.values() for result in runs]
    names = [training_name(result.arm, result.seed) for result in trainings]
    gather_history(folder.path, [folder.arm(name) for name in names])
    mapping = to_mapping(config)
    compared = _compared(plan)
    tested = {arm: _tested(runs) for arm, runs in by_arm.items()}
    results = RunResults(
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
        comparisons=_comparisons(compared, tested),
        slices=slice_results(data.annotations, tested, compared),
        reference=mapping["reference"],
    )
    # Trainings that an earlier version finished do not record which images were right.
    return recomputed(folder.path, results)


def _arm_summary(
    arm: Arm, results: Sequence[ArmResult], cost: ArmCost, teacher: ArmCost, batch_size: int
) -> ArmSummary:
    runs = tuple(SeedResult.of(result) for result in results)
    accuracy = summarise([run.test.accuracy for run in runs])
    assert accuracy is not None, "every arm has a seed, and every seed a test accuracy"
    return ArmSummary(
        role=arm.name if arm.name in ROLES else "extra",
        part=arm.role,
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
            balanced_accuracy=_over_seeds(runs, "balanced_accuracy"),
            macro_f1=_over_seeds(runs, "macro_f1"),
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


def _compared(plan: RunPlan) -> list[tuple[str, str]]:
    """Each taught arm with the arm that shows what it has gained."""
    references = {name: _compared_with(arm, plan) for name, arm in plan.arms.items()}
    return [(name, reference) for name, reference in references.items() if reference]


def _comparisons(
    compared: Sequence[tuple[str, str]], tested: Mapping[str, Sequence[Metrics]]
) -> tuple[Comparison, ...]:
    """The gain of every taught arm, with Holm's correction for their number."""
    gains = [gain_between(tested[arm], tested[reference]) for arm, reference in compared]
    return tuple(
        Comparison.of(arm, reference, gain)
        for (arm, reference), gain in zip(compared, corrected(gains), strict=True)
    )


def _tested(results: Sequence[ArmResult]) -> list[Metrics]:
    return [result.test for result in results if result.test is not None]


def _compared_with(arm: Arm, plan: RunPlan) -> str | None:
    """The arm whose plain training of the same network shows what a taught arm has gained.

    A born-again network is like the teacher, so the baseline shows it only if the student is, too;
    otherwise the teacher does, if there is one for each seed. ``None`` if no arm shows it.
    """
    if not arm.is_taught:
        return None
    baseline, teacher = plan.arm("baseline"), plan.arm("teacher")
    own, others = ((one.model, one.stages, one.train, one.inputs.pixels) for one in (arm, baseline))
    if not arm.generation or own == others:
        return "baseline"
    same = (
        arm.model == teacher.model
        and teacher.seed is None
        and not teacher.members
        and teacher.path is None
        and teacher.head == "own"
    )
    return "teacher" if same else None


def describe_data(data: TrainingData, num_test: int) -> DataFacts:
    """The ``data`` of ``results.json``."""
    skipped = 0 if data.inspection is None else len(data.inspection.unreadable)
    return DataFacts(
        name=data.name,
        num_train=len(data.train),
        num_val=len(data.val),
        num_test=num_test,
        num_classes=data.num_classes,
        class_names=tuple(data.class_names),
        image_shape=tuple(data.image.shape),
        fingerprint=data.fingerprint,
        num_skipped=skipped or None,
    )
