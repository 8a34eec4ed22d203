"""``understudy export`` and ``understudy run --export`` as people type them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.export.test_driver import FakeFormat
from tests.worlds import config_for, write_colours

from understudy.cli import main
from understudy.config.recipe import to_yaml
from understudy.export import formats
from understudy.export.formats import Format


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def offer(monkeypatch: pytest.MonkeyPatch, *entries: Format) -> None:
    monkeypatch.setattr(formats, "FORMATS", {entry.name: entry for entry in entries})


def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two formats: ``good``, and ``bad``, which gives three images another class."""
    good, bad = FakeFormat(), FakeFormat(lambda attempt: 3)
    modules = {
        name: SimpleNamespace(write=fake.write, open_file=fake.open_file)
        for name, fake in (("good", good), ("bad", bad))
    }
    monkeypatch.setattr(Format, "load", lambda self: modules[self.name])
    monkeypatch.setattr(Format, "load_runtime", lambda self: modules[self.name])
    offer(
        monkeypatch,
        Format("good", "", "good.bin", "fp32", ""),
        Format("bad", "", "bad.bin", "fp32", ""),
    )


def test_export_shows_files_and_writes_into_the_run(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes(monkeypatch)
    assert main(["export", str(own_run), "--to", "good"]) == 0
    shown = capsys.readouterr().out
    assert "good.bin" in shown
    assert "accepted" in shown
    assert (own_run / "deploy" / "good.bin").exists()
    results = json.loads((own_run / "deploy" / "export.json").read_text())
    assert results["command"] == f"understudy export {own_run} --to good"


def test_scripts_see_a_refused_file_in_the_exit_code(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes(monkeypatch)
    assert main(["export", str(own_run), "--to", "good,bad", "--json"]) == 2
    captured = capsys.readouterr()
    verdicts = [file["verdict"] for file in json.loads(captured.out)["files"]]
    assert verdicts == ["accepted", "refused"]
    assert captured.err.splitlines()[-1].startswith(
        "error: bad is refused: look at REJECTED-bad.bin"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "goood"], "unknown format 'goood': did you mean good?"),
        (["--to", "good", "--max-drop", "-1"], "--max-drop takes points from 0 to 100, not -1"),
        (["--to", "good", "--seed", "9"], "--seed takes best-val or one of the trained seeds"),
        (["--to", "good", "--arm", "techer"], "did you mean teacher?"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    words: list[str],
    message: str,
    own_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fakes(monkeypatch)
    assert main(["export", str(own_run), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (own_run / "deploy").exists()


def test_run_without_weights_is_one_line(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes(monkeypatch)
    shutil.rmtree(own_run / "models")
    assert main(["export", str(own_run), "--to", "good"]) == 2
    assert "has no trained weights" in capsys.readouterr().err


def test_run_exports_in_one_go_and_the_report_has_a_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes(monkeypatch)
    images = write_colours(tmp_path / "colours.npz")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(config_for(images, seeds=[0])))
    out = tmp_path / "out"
    command = ["run", str(recipe), "--out", str(out), "--workers", "1", "--export", "good"]
    assert main(command) == 0
    assert (out / "deploy" / "good.bin").exists()
    page = (out / "report.html").read_text()
    assert "<h2>On the device</h2>" in page
    assert "good.bin" in page
    capsys.readouterr()
    assert main(["run", str(recipe), "--out", str(tmp_path / "b"), "--export", "none"]) == 2
    assert not (tmp_path / "b").exists(), "a wrong format is refused before anything is trained"
