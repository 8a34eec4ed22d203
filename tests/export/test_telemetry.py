"""Runtimes that report to their makers do not, when this package imports them: each in a process
of its own whose home folder starts empty. The controls import them without us."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.export.formats import FORMATS

pytestmark = pytest.mark.slow
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: the controls write their files, and reach nobody."""


def files_after(program: str, home: Path) -> list[str]:
    """What a program leaves in an empty home folder."""
    left_out = ("ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    env |= dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), NOWHERE)
    env["HOME"] = str(home)
    root = Path(__file__).parents[2]  # the programs import from `tests`
    subprocess.run([sys.executable, "-c", program], env=env, cwd=root, check=True)
    return sorted(str(file.relative_to(home)) for file in home.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ["onnx", "onnx-int8", "openvino", "executorch"])
def test_writing_and_opening_a_file_leaves_nothing_in_the_home_folder(name, tmp_path):
    for package in FORMATS[name].packages:
        pytest.importorskip(package, reason=f"{package} is not installed")
    program = f"""
from pathlib import Path
from tests.export.exported import EXAMPLES, pixels, pooled
from understudy.export.formats import FORMATS
from understudy.export.settings import QuantisationSettings
entry, path = FORMATS[{name!r}], Path({str(tmp_path / "file")!r})
extra = (EXAMPLES, QuantisationSettings()) if entry.dtype == "int8" else ()
entry.load().write(pooled(), path, *extra)
entry.load_runtime().open_file(path)(pixels(3))
"""
    (tmp_path / "home").mkdir()
    assert files_after(program, tmp_path / "home") == []


@pytest.mark.parametrize(
    ("package", "mark"), [("onnxruntime", "Microsoft"), ("openvino", "intel/openvino")]
)
def test_without_us_the_import_alone_writes_an_identifier(package, mark, tmp_path):
    pytest.importorskip(package, reason=f"{package} is not installed")
    program = f"import {package}, time; time.sleep(1)"
    assert any(mark in file for file in files_after(program, tmp_path))
