"""Every exported file of a run on the test images, next to the network in fp32.

    python results/deploy/on_test_images.py RUN --json FILE

The test images are opened once, when all files have been chosen on validation images.
"""

import argparse
import time
from pathlib import Path

from understudy.data.prepare import prepare_data
from understudy.evaluation.environment import this_machine
from understudy.export.artefact import open_artefact
from understudy.export.gate import BOUND, measure, probabilities
from understudy.export.source import TorchRuntime, open_source
from understudy.files import write_json
from understudy.runs.exported import read_export
from understudy.runs.folder import RunFolder


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    source = open_source(options.run, data=options.data)
    exported = read_export(options.run)
    assert exported is not None, "export the run first"
    _, sealed = prepare_data(source.plan.config.data)
    test = sealed.open_for_final_evaluation()
    expected = probabilities(TorchRuntime(source.deployable), test)
    found = {}
    for file in exported.files:
        start = time.perf_counter()
        runtime = open_artefact(RunFolder(options.run).deploy / file.file)
        parity = measure(runtime, expected, test, detail=file.format)
        found[file.format] = parity
        change = parity.change
        print(
            f"{file.format:16} {100 * parity.after.value:.2f} %  "
            f"{100 * change.mean:+.2f} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]  "
            f"other class {parity.num_disagreements:4}, largest margin "
            f"{parity.largest_margin:.4f}, largest difference {parity.largest_difference:.1e}, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    content = {"network": exported.network, "bound": BOUND, "machine": this_machine()}
    write_json(options.json, {**content, "parity": found})


if __name__ == "__main__":
    main()
