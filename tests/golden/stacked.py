"""Train a recipe's teacher and its distilled students as one stacked network: the case that the command line cannot start.

python tests/golden/stacked.py RECIPE FOLDER
"""

import sys
from pathlib import Path

from understudy.config import load_config
from understudy.experiment import train_arm
from understudy.sweep.backend import Training
from understudy.sweep.fused import FusedBackend


def main(recipe: str, folder: Path) -> None:
    """Teacher first, then all seeds of the distilled student in one stack."""
    config = load_config(recipe)
    train_arm(config, "teacher", 0, folder, device="cpu")
    trainings = [Training(f"seed{seed}", config, "distilled", seed, folder, teachers=folder, final=True) for seed in config.seeds]
    with FusedBackend(device="cpu", engine="stacked", threads=1) as backend:
        backend.submit(trainings)
        while backend.wait():
            pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
