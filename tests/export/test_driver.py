"""An export as a whole, with formats whose faults are chosen: what reaches its place, what is set
aside, what is tried in between."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.worlds import SeenEvents

from understudy.errors import UnderstudyError
from understudy.evaluation.deployment import ExportResults
from understudy.export.deployable import Deployable, Examples
from understudy.export.driver import REJECTED, export_training
from understudy.export.formats import FORMATS, Format, formats_of
from understudy.export.gate import Limits
from understudy.export.settings import QuantisationSettings
from understudy.export.source import TorchRuntime, TrainedSource, find_training, open_source
from understudy.models.onnx_network import OnnxNetwork
from understudy.runs.exported import read_export
from understudy.runs.folder import RunFolder

GENEROUS = Limits(max_drop=0.5)
"""Twelve validation images prove nothing narrower."""


@pytest.fixture
def source(run: Path) -> TrainedSource:
    return open_source(run)


@dataclass
class FakeFormat:
    """Writes the network's name; its runtime is the network with the classes of some images
    changed.

    ``wrong`` gets the attempt's number, from 0, and returns how many images get another class.
    """

    wrong: Callable[[int], int] = lambda attempt: 0
    settings: list[QuantisationSettings] = field(default_factory=list)
    steps: list[tuple[str, ...]] = field(default_factory=list)
    networks: list[Deployable] = field(default_factory=list)

    def write(self, deployable: Deployable, out: Path, *rest: object) -> None:
        self.networks.append(deployable)
        self.steps.append(deployable.steps)
        if rest:
            examples, settings = rest
            assert isinstance(examples, Examples)
            assert isinstance(settings, QuantisationSettings)
            self.settings.append(settings)
        out.write_bytes(b"file %d" % len(self.networks))

    def open_file(self, path: Path, threads: int = 1) -> "ChangedRuntime":
        return ChangedRuntime(self.networks[-1], self.wrong(len(self.networks) - 1))

    def format(self, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str) -> Format:
        entry = Format(name, "fake", f"student-{name}.bin", dtype, "for tests")
        module = SimpleNamespace(write=self.write, open_file=self.open_file)
        monkeypatch.setattr(Format, "load", lambda self: module)
        monkeypatch.setattr(Format, "load_runtime", lambda self: module)
        return entry


class ChangedRuntime(TorchRuntime):
    def __init__(self, deployable: Deployable, wrong: int) -> None:
        super().__init__(deployable)
        self.wrong = wrong

    def __call__(self, images: np.ndarray) -> np.ndarray:
        found = super().__call__(images)
        found[: self.wrong] = np.roll(found[: self.wrong], 1, axis=1)
        return found


def export(
    source: TrainedSource, entry: Format, out: Path, limits: Limits = GENEROUS
) -> ExportResults:
    return export_training(source, [entry], out, limits=limits, command="understudy export")


def test_accepted_file_gets_its_name_and_its_results(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = FakeFormat().format(monkeypatch, "good", "fp32")
    results = export(source, entry, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "student-good.bin"]
    (file,) = results.files
    assert (file.verdict, file.bytes, file.file) == ("accepted", 6, "student-good.bin")
    assert file.parity is not None
    assert file.parity.count == len(source.data.val) == 12
    assert file.parity.num_disagreements == 0


def test_results_round_trip_through_the_run_folder(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = FakeFormat(lambda attempt: 1).format(monkeypatch, "bad", "fp32")
    results = export(source, entry, RunFolder(tmp_path).deploy)
    assert read_export(tmp_path) == results
    RunFolder(tmp_path).export.write_text(json.dumps({"schema": 7}))
    with pytest.raises(UnderstudyError, match="has schema 7, this version reads 1"):
        read_export(tmp_path)


def test_wrong_fp32_file_is_set_aside_for_people_to_look_at(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = FakeFormat().format(monkeypatch, "f", "fp32")
    export(source, good, tmp_path)
    bad = FakeFormat(lambda attempt: 3).format(monkeypatch, "f", "fp32")
    (file,) = export(source, bad, tmp_path).files
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{REJECTED}student-f.bin", "export.json"], "the older good file is gone, too"
    assert (file.verdict, file.file) == ("refused", f"{REJECTED}student-f.bin")
    assert file.parity is not None
    assert file.parity.num_disagreements == 3
    assert len(file.parity.disagreements) == 3


def test_way_out_is_tried_in_order_of_its_cost(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is wrong on nine images, until the fine-tuned network is right."""
    fake = FakeFormat(lambda attempt: 9 if attempt < 4 else 0)
    entry = fake.format(monkeypatch, "int", "int8")
    observer = SeenEvents()
    results = export_training(source, [entry], tmp_path, limits=GENEROUS, observer=observer)
    (file,) = results.files
    tried = [(s.calibration, s.images) for s in fake.settings]
    assert tried[:4] == [
        ("minmax", 512),
        ("minmax", 2048),
        ("percentile", 2048),
        ("entropy", 2048),
    ]
    assert file.verdict == "accepted"
    assert [attempt.verdict for attempt in file.attempts] == ["refused"] * 4 + ["accepted"]
    assert file.attempts[-1].step.startswith("quantisation-aware distillation")
    assert fake.networks[-1].network is not source.deployable.network
    assert len(fake.steps[-1]) == 5, "the card lists every step"
    labelled = [training for training, _ in observer.epochs]
    assert len(labelled) == 3, "three epochs of fine-tuning"


def test_worst_layers_go_back_to_floating_point(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeFormat(lambda attempt: 9 if attempt < 5 else 0)
    entry = fake.format(monkeypatch, "int", "int8")
    module = entry.load()
    module.damage = lambda deployable, examples, settings: ["worst", "second", "third"]
    (file,) = export(source, entry, tmp_path).files
    assert [s.float_layers for s in fake.settings[4:]] == [("worst",), ("worst", "second")]
    assert file.verdict == "accepted"
    assert "worst, second in floating point" in file.attempts[-1].step


def test_best_of_all_attempts_is_set_aside_if_none_is_accepted(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [9, 8, 9, 9, 9]
    fake = FakeFormat(lambda attempt: wrong[attempt])
    (file,) = export(source, fake.format(monkeypatch, "int", "int8"), tmp_path).files
    assert file.verdict == "refused"
    assert (tmp_path / f"{REJECTED}student-int.bin").read_bytes() == b"file 2"
    assert len(file.attempts) == 5


def test_few_images_prove_nothing_however_much_is_tried(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeFormat()
    entry = fake.format(monkeypatch, "int", "int8")
    (file,) = export(source, entry, tmp_path, Limits()).files
    assert (file.verdict, len(file.attempts)) == ("unproven", 1)
    accepted = export(source, entry, tmp_path, Limits(accept_unproven=True)).files[0]
    assert (accepted.verdict, accepted.file) == ("accepted", "student-int.bin")
    assert not (tmp_path / f"{REJECTED}student-int.bin").exists()


def test_second_export_adds_to_the_results_of_the_first(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "openvino", "onnx"):
        entry = FakeFormat().format(monkeypatch, name, "fp32")
        results = export(source, entry, tmp_path)
    assert [file.format for file in results.files] == ["onnx", "openvino"]
    (tmp_path / "student-openvino.bin").unlink()
    assert [file.format for file in export(source, entry, tmp_path).files] == ["onnx"]


def test_files_of_other_weights_are_not_among_the_results(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = FakeFormat().format(monkeypatch, "onnx", "fp32")
    export(open_source(run, seed="0"), entry, tmp_path)
    entry = FakeFormat().format(monkeypatch, "openvino", "fp32")
    results = export(open_source(run, seed="1"), entry, tmp_path)
    assert [file.format for file in results.files] == ["openvino"]


def test_nothing_is_left_behind_if_a_format_fails(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = FakeFormat().format(monkeypatch, "f", "fp32")

    def fail(deployable: Deployable, out: Path) -> None:
        out.write_bytes(b"half")
        raise UnderstudyError("layer x uses the operation y")

    entry.load().write = fail
    with pytest.raises(UnderstudyError, match="layer x"):
        export(source, entry, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_folder_of_somebody_else_is_not_replaced(
    source: TrainedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = FakeFormat().format(monkeypatch, "f", "fp32")
    theirs = tmp_path / entry.file / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("years of work")
    with pytest.raises(UnderstudyError, match="holds something else than an export"):
        export(source, entry, tmp_path)
    assert theirs.read_text() == "years of work"


def test_missing_package_is_named_before_anything_is_written(
    source: TrainedSource, tmp_path: Path
) -> None:
    entry = Format("f", "fake", "f.bin", "fp32", "", "onnx", ("no_such_package",))
    with pytest.raises(UnderstudyError, match=r"needs the package no_such_package: .*\[onnx\]"):
        export(source, entry, tmp_path / "new")
    assert not (tmp_path / "new").exists()


# -- which training --------------------------------------------------------------------------------


def test_best_seed_on_validation_is_exported(run: Path) -> None:
    folder, name = find_training(run)
    accuracies = {}
    for seed in (0, 1):
        result = json.loads(folder.result(f"distilled-seed{seed}").read_text())
        accuracies[seed] = result["val"]["accuracy"]
    best = max((0, 1), key=lambda seed: (accuracies[seed], -seed))
    assert name == f"distilled-seed{best}"
    assert find_training(run, seed="1")[1] == "distilled-seed1"
    assert find_training(run, "teacher")[1] == "teacher-seed0"
    assert find_training(folder.weights("distilled-seed0"))[1] == "distilled-seed0"


@pytest.mark.parametrize(
    ("arm", "seed", "message"),
    [
        ("distiled", "best-val", "did you mean distilled"),
        (None, "7", "--seed takes best-val or one of the trained seeds, 0, 1, not 7"),
        (None, "first", "not first"),
    ],
)
def test_unknown_training_is_refused(run: Path, arm: str | None, seed: str, message: str) -> None:
    with pytest.raises(UnderstudyError, match=message):
        find_training(run, arm, seed)


def test_card_names_the_training(source: TrainedSource) -> None:
    card = source.deployable.card("onnx", "fp32")
    assert card.classes == source.data.class_names
    assert (card.origin.arm, card.origin.model) == ("distilled", "founding_student")
    assert card.origin.parameters == 106_371
    assert card.origin.teacher_parameters is not None
    assert len(card.origin.weights_sha256) == 64
    by_split = {measured.split: measured for measured in card.measured}
    assert by_split["val"].count == 12
    assert by_split["val"].low < by_split["val"].accuracy <= by_split["val"].high


# -- formats ---------------------------------------------------------------------------------------


def test_formats_are_written_in_the_tables_order_and_once() -> None:
    assert [f.name for f in formats_of("hub, onnx,onnx-int8,onnx")] == ["onnx", "onnx-int8", "hub"]


@pytest.mark.parametrize(
    ("names", "message"), [("onx", "did you mean onnx"), ("", "--to names no format")]
)
def test_unknown_format_is_refused(names: str, message: str) -> None:
    with pytest.raises(UnderstudyError, match=message):
        formats_of(names)


def test_every_format_has_a_file_of_its_own() -> None:
    assert len({entry.file for entry in FORMATS.values()}) == len(FORMATS)


def test_an_onnx_teacher_is_a_file_already(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests.models.test_onnx_network import write

    network = OnnxNetwork(write(tmp_path / "t.onnx"))
    run = SimpleNamespace(name="teacher-seed0", arm=SimpleNamespace(path="t.onnx"))
    source: Any = SimpleNamespace(run=run, deployable=SimpleNamespace(network=network))
    with pytest.raises(UnderstudyError, match=r"is an ONNX file already: take t\.onnx"):
        export_training(source, [FORMATS["onnx"]], tmp_path / "out")
    assert not (tmp_path / "out").exists()
