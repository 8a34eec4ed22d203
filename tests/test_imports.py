"""What importing costs. Each check runs in a fresh interpreter."""

import subprocess
import sys

import pytest

import understudy

HEAVY = [
    "torch",
    "matplotlib",
    "scipy",
    "sklearn",
    "optuna",
    "ray",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "executorch",
    "torchao",
    "lightning_fabric",
    "pyarrow",
]


def fresh(program: str) -> str:
    """What a program prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(program: str) -> set[str]:
    """Which heavy packages a program loads."""
    listing = f"print('\\n' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    return set(fresh(f"{program}\nimport sys\n{listing}").splitlines()[-1].split())


def test_the_probe_sees_a_heavy_package() -> None:
    assert "scipy" in loaded_after("import scipy")


def test_import_is_light() -> None:
    assert (
        loaded_after(
            "import understudy; understudy.UnderstudyError; understudy.__version__; dir(understudy)"
        )
        == set()
    )


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["run", "--help"],
        ["--version"],
        ["recipes"],
        ["run", "digits", "train.epocs=3"],
        ["sweep", "--help"],
        ["export", "--help"],
        ["predict", "--help"],
        ["sweep", "digits", "a=1"],
    ],
)
def test_help_and_mistakes_load_no_torch(command: list[str]) -> None:
    assert loaded_after(f"from understudy.cli import main\nmain({command!r})") == set()


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = understudy.trian


def test_python_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "understudy", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == understudy.__version__
