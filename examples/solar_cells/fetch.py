"""Fetch photographs of solar cells and lay them out as a user would: one folder for each class.

    python examples/solar_cells/fetch.py SCRATCH

``SCRATCH/solar-cells/`` then holds ``functional/`` and ``defective/``. The names of the files begin
with ``mono`` or ``poly``, the two kinds of cells, which results can be reported by.

The pictures are those of the package ``elpv-dataset``: 2,624 electroluminescence images of
photovoltaic cells, 300 x 300 pixels, grey, graded by the probability of a defect (0, 1/3, 2/3, 1).
Their licence (CC BY-NC-SA 4.0) is non-commercial: they are fetched to measure with, and no picture
of them is in this repository. To cite:

* C. Buerhop-Lutz, S. Deitsch, A. Maier, F. Gallwitz, S. Berger, B. Doll, J. Hauch, C. Camus and
  C. J. Brabec, "A Benchmark for Visual Identification of Defective Solar Cells in
  Electroluminescence Imagery", EU PVSEC 2018.
* S. Deitsch, V. Christlein, S. Berger, C. Buerhop-Lutz, A. Maier, F. Gallwitz and C. Riess,
  "Automatic classification of defective photovoltaic module cells in electroluminescence images",
  Solar Energy 185, 2019.
* S. Deitsch, C. Buerhop-Lutz, E. Sovetkin, A. Steland, A. Maier, F. Gallwitz and C. Riess,
  "Segmentation of photovoltaic module cells in uncalibrated electroluminescence images", Machine
  Vision and Applications 32, 2021.
"""

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

PACKAGE = "elpv-dataset==1.0.0.post1"
FEWEST_DEFECTIVE = 0.5
"""Probability of a defect from which a cell counts as defective: 2/3 and 1, as in Deitsch 2019."""


def main() -> None:
    """Download the package's wheel with pip and copy its pictures; nothing of it is imported."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} SCRATCH")
    scratch = Path(sys.argv[1])
    scratch.mkdir(parents=True, exist_ok=True)
    command = ["pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), PACKAGE]
    subprocess.run([sys.executable, "-m", *command], check=True)
    wheel = next(scratch.glob("elpv_dataset-*.whl"))
    folder = scratch / "solar-cells"
    with zipfile.ZipFile(wheel) as archive:
        for label in ("functional", "defective"):
            (folder / label).mkdir(parents=True, exist_ok=True)
        root = "elpv_dataset/data/"
        for line in archive.read(root + "labels.csv").decode().splitlines():
            path, probability, kind = line.split()
            label = "defective" if float(probability) >= FEWEST_DEFECTIVE else "functional"
            target = folder / label / f"{kind}_{PurePosixPath(path).name}"
            target.write_bytes(archive.read(root + path))
    print(f"{folder}: {sum(1 for _ in folder.rglob('*.png')):,} pictures")


if __name__ == "__main__":
    main()
