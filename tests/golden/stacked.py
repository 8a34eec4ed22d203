"""Train a recipe's teacher and its distilled students as one stacked network: the case that the
command line cannot start.

python tests/golden/stacked.py RECIPE FOLDER
"""

import sys
from pathlib import Path

from understudy.config.recipe import load_config
from understudy.execution.backend import Training
from understudy.execution.fused.backend import FusedBackend
from understudy.experiment import train_arm
from understudy.runs.folder import RunFolder
from understudy.runs.plan import resolve_plan


def main(recipe: str, folder: Path) -> None:
    """Teacher first, then all seeds of the distilled student in one stack."""
    config = load_config(recipe)
    train_arm(config, "teacher", 0, folder, device="cpu")
    plan, home = resolve_plan(config), RunFolder(folder)
    trainings = [
        Training(f"seed{seed}", plan, plan.arm_run("distilled", seed), home, home, final=True)
        for seed in config.seeds
    ]
    with FusedBackend(device="cpu", engine="stacked", threads=1) as backend:
        backend.submit(trainings)
        while backend.wait():
            pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
