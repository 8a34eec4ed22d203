"""Every example runs, on small data and for a few epochs."""

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


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS.get(path.stem, "torch"))
    done = subprocess.run(
        [sys.executable, str(path), "--epochs", "1"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "UNDERSTUDY_CACHE": str(tmp_path / "cache")},
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
