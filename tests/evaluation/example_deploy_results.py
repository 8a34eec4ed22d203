"""A benchmark of two runtimes whose figures are round."""

from understudy.evaluation.deploy_results import (
    DeployBenchmark,
    DeployedCost,
    Missing,
    Role,
    Speedup,
    Start,
    Timing,
)
from understudy.evaluation.environment import Machine

START = Start(import_ms=300.0, load_ms=20.0, import_mb=100.0, peak_mb=130.0)


def cost(network: Role, runtime: str, milliseconds: tuple[float, float]) -> DeployedCost:
    """The first number is of batch 1, the second of batch 128."""
    return DeployedCost(
        network=network,
        runtime=runtime,
        dtype="int8" if runtime.endswith("int8") else "fp32",
        content="graph and weights",
        bytes=430_000 if network == "student" else 18_600_000,
        start=START,
        timings=tuple(
            Timing(threads=1, batch=batch, median_ms=ms, p95_ms=2 * ms, rounds=30)
            for batch, ms in zip((1, 128), milliseconds, strict=True)
        ),
    )


RESULTS = DeployBenchmark(
    student="distilled-seed0",
    teacher="teacher-seed0",
    threads=(1,),
    batches=(1, 128),
    costs=(
        cost("teacher", "onnx", (1.0, 40.0)),
        cost("student", "onnx", (0.1, 8.0)),
        cost("teacher", "onnx-int8", (0.5, 20.0)),
        cost("student", "onnx-int8", (0.2, 4.0)),
    ),
    speedups=tuple(
        Speedup(runtime=runtime, threads=1, batch=batch, over_teacher=ratio, over_torch=None)
        for runtime, batch, ratio in (
            ("onnx", 1, 10.0),
            ("onnx", 128, 5.0),
            ("onnx-int8", 1, 2.5),
            ("onnx-int8", 128, 5.0),
        )
    ),
    missing=(Missing(runtime="openvino", reason="openvino needs the package openvino"),),
    load_average=0.1,
    environment=Machine(cpu="A CPU", packages={}),
    command="understudy benchmark runs/x --runtimes all",
)
