"""Awkward image files through every exported file of a run, against PyTorch in fp32.

    python results/solar-cells/awkward_files.py RUN

Colour modes, bit depths, transparency, orientations, containers: the files that the tests make.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for the files of the tests

from tests.awkward_images import awkward_images

from understudy.export.artefact import open_artefact
from understudy.export.source import TorchRuntime, open_source
from understudy.runs.exported import read_export
from understudy.runs.folder import RunFolder


def main() -> None:
    """Compare and print one line for each format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    exported = read_export(run)
    assert exported is not None, "export the run first"
    network = TorchRuntime(open_source(run).deployable)
    with tempfile.TemporaryDirectory() as folder:
        files = awkward_images(Path(folder))
        rule = network.card.preprocessing
        pixels = np.stack([rule.read(path, name) for name, path in files.items()])
    images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    expected = network(images)
    print(f"{len(files)} files, {len(np.unique(expected.argmax(1)))} classes predicted")
    for file in exported.files:
        found = open_artefact(RunFolder(run).deploy / file.file)(images)
        other = int((found.argmax(1) != expected.argmax(1)).sum())
        largest = np.abs(found - expected).max()
        print(f"{file.format:16} other class {other}, largest difference {largest:.1e}", flush=True)


if __name__ == "__main__":
    main()
