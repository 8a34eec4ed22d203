"""A sweep's trainings with each backend, all cores: one after the other, a process per core, many
students in each process.

What ``--backend auto`` measures, several times over: students of the recipe ``cifar10`` on three
seeds, with kept outputs of the teacher (``kd``) and with a live teacher whose maps are read
(``at``). Without start-up, labelling and first epoch.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import our_loop

from understudy.config.recipe import load_config
from understudy.config.schema import RunConfig
from understudy.execution.autoselect import measure_backends
from understudy.execution.registry import open_backend
from understudy.training.device import resolve_device

TINY = ["teacher.model={name: founding_student}", "train.batch_size=4"]
ALL = ("sequential", "processes", "fused")


def contender(
    config: RunConfig, backend: str, device: str, folder: Path, data: Any
) -> Callable[[], float]:
    """A function that measures a backend anew and returns the seconds of 1,000 student-images."""

    def measure() -> float:
        opener = {backend: lambda: open_backend(backend, folder, device=device)}
        return 1000 / measure_backends(config, data, opener, device, planned=78)[backend]

    return measure


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("backends", __doc__, argv)
    names = harness.pick(
        args,
        tiny=("sequential", "fused"),
        quick=("processes", "fused"),
        full=("sequential", "processes", "fused"),
    )
    methods = {"kd": "kept", "at": "live"} if not (args.tiny or args.quick) else {"at": "live"}
    rounds = harness.pick(args, tiny=1, quick=2, full=5)
    device = resolve_device("auto").type
    data = our_loop.training_data(64, args.data)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {}
        for method, outputs in methods.items():
            config = load_config(
                "cifar10", [f"method={method}", "seeds=[0,1,2]", *(TINY if args.tiny else [])]
            )
            for name in names:
                contenders[f"{name}, {outputs}"] = contender(
                    config, name, device, Path(folder), data
                )
        samples = harness.alternate(
            contenders, rounds, warmup=0
        )  # every measurement warms up by itself
    ratios = {
        f"{name}, {outputs}": harness.ratio(samples, f"{names[0]}, {outputs}", f"{name}, {outputs}")
        for outputs in methods.values()
        for name in names[1:]
    }
    rows = [
        [name, f"{1000 / harness.summarise(values)['median']:,.0f}", *harness.spread(values)]
        for name, values in samples.items()
    ]
    return harness.finish(
        args,
        ratios=ratios,
        meaning=f"times as fast as {names[0]}, higher is better",
        samples=samples,
        settings={"rounds": rounds, "precision": our_loop.PRECISION, "seeds": 3, "device": device},
        columns=["backend, teacher's outputs", "student-images/s", "ms for 1,000", "quartiles"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
