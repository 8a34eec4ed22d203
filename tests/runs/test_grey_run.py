"""A grey student of a teacher in colour, through a run and what follows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.worlds import config_for, write_colours

from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.experiment import run_experiment
from understudy.export.driver import export_training
from understudy.export.formats import FORMATS
from understudy.export.source import open_run, open_source
from understudy.report.write import write_report


def grey(images: Path) -> RunConfig:
    config = config_for(images, student={"model": {"name": "resnet8"}})
    data = replace(config.data, channels=1, mean=(), std=())
    teacher = replace(config.teacher, channels=3)
    return replace(config, data=data, teacher=teacher, seeds=(0,))


@pytest.mark.slow
def test_grey_student_of_a_teacher_in_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    config, out = grey(write_colours(tmp_path / "colours.npz")), tmp_path / "run"
    results = run_experiment(config, out, workers=1, device="cpu")
    assert results is not None
    assert results.data.image_shape == (1, 16, 16)
    assert len(results.config["data"]["mean"]) == 1
    assert len(results.config["teacher"]["mean"]) == 3
    assert write_report(out)
    student, teacher = open_run(out), open_run(out, teacher=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    for runtime, channels in ((student, 1), (teacher, 3)):
        read = runtime.card.preprocessing.read(tmp_path / "one.png", "one")
        assert read.shape == (16, 16, channels)
        assert runtime(read.transpose(2, 0, 1)[None].copy()).shape == (1, 3)
    with pytest.raises(UnderstudyError, match="files for devices take RGB images, and this netw"):
        export_training(open_source(out), [FORMATS["onnx"]], tmp_path / "files")
