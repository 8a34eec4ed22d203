"""Every example runs, on small data and for a few epochs."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {"lightning_module": "lightning", "hugging_face_trainer": "accelerate"}
"""Example -> the package that an extra brings."""

START = """
import importlib.util, runpy, sys
if importlib.util.find_spec("torchvision"):  # Lightning and transformers import it
    import tests.torchvision_operators
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A program that runs another, given with its arguments."""


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    needed = NEEDS.get(path.stem, "torch")
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    settings = {"OMP_NUM_THREADS": "1", "UNDERSTUDY_CACHE": str(tmp_path / "cache")}
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run(
        [sys.executable, "-c", START, str(path), "--epochs", "1"],
        cwd=tmp_path,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.search(r"\d\.\d % on test images", done.stdout)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"cache"}, "nothing is left behind"


def test_every_example_is_on_the_page() -> None:
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\((\w+\.py)\)", page))
    assert listed == {path.name for path in EXAMPLES}
