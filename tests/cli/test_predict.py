"""``understudy predict`` as people and scripts use it, with a network that sees only colours."""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tests.awkward_images import awkward_images, broken_images

from understudy import cli
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.export import predictions
from understudy.export.card import Card, Origin
from understudy.terminal import progress

CLASSES = ("red", "green", "=blue")


class Brightest:
    """A runtime whose probabilities are the shares of the three colours.

    Args:
        order: of the channels.
    """

    def __init__(self, order: Sequence[int] = (0, 1, 2), run: str = "tiny") -> None:
        self.order = list(order)
        self.batches: list[tuple[int, ...]] = []
        self.card = Card(
            format="onnx",
            classes=CLASSES,
            preprocessing=Preprocessing(image=ImageSpec(3, 8, 8)),
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            dtype="fp32",
            origin=Origin(run=run),
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8 and images.flags.c_contiguous
        self.batches.append(images.shape)
        shares = images.mean((2, 3))[:, self.order] + 1
        return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Brightest:
    """Behind the file ``student.onnx`` and the run ``run``, in an empty working folder."""
    student, teacher = Brightest(), Brightest((1, 0, 2))
    artefact = SimpleNamespace(
        is_artefact=lambda path: path.suffix == ".onnx", open_artefact=lambda path: student
    )
    monkeypatch.setitem(sys.modules, "understudy.export.artefact", artefact)
    source = SimpleNamespace(open_run=lambda path, teacher=False: other if teacher else student)
    other = teacher
    monkeypatch.setitem(sys.modules, "understudy.export.source", source)
    monkeypatch.chdir(tmp_path)
    Path("student.onnx").touch()
    Path("run").mkdir()
    return student


def save(path: str, colour: tuple[int, int, int], size: tuple[int, int] = (9, 8)) -> str:
    Path(path).parent.mkdir(exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


RED, GREEN, BLUE = (199, 49, 49), (9, 249, 39), (0, 0, 98)


@pytest.fixture
def photos(student: Brightest) -> str:
    save("photos/1.png", RED)
    save("photos/2.png", GREEN)
    save("photos/green/3.bmp", BLUE)  # a folder's name is no label
    return "photos"


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    assert cli.main(["predict", *argv]) == code
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_lines_without_a_terminal(photos: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "student.onnx", photos)
    assert out.splitlines() == [
        "photos/1.png\tred\t0.6667",
        "photos/2.png\tgreen\t0.8333",
        "photos/green/3.bmp\t=blue\t0.9802",
    ]
    assert err == ""


def test_json_is_a_list_with_one_object_for_each_image(
    photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = run(capsys, "student.onnx", "photos/1.png", "photos/2.png", "--json", "--top", "2")
    first, second = json.loads(out)
    assert first == {
        "path": "photos/1.png",
        "class": "red",
        "probability": 0.6666667,
        "top": [
            {"class": "red", "probability": 0.6666667},
            {"class": "green", "probability": 0.1666667},
        ],
    }
    assert second["class"] == "green" and len(second["top"]) == 2


def test_csv_has_a_column_for_each_class_and_no_formula(
    photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save("=1+1.png", RED)
    out, _ = run(capsys, "student.onnx", "photos/green", "=1+1.png", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == [
        *("path", "class", "probability", "class_2", "probability_2", "class_3", "probability_3"),
    ]
    assert (rows[0]["path"], rows[0]["class"]) == ("photos/green/3.bmp", "'=blue")
    assert (rows[1]["path"], rows[1]["class_3"]) == ("'=1+1.png", "'=blue")
    assert float(rows[1]["probability"]) == pytest.approx(2 / 3, abs=1e-6)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output goes to a terminal of a hundred columns without colours."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "100")


def test_a_table_on_a_terminal(
    photos: str, terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = run(capsys, "student.onnx", photos)
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if line.strip()]
    assert lines[0] == ["image", "class", "probability", "then"]
    assert lines[2] == ["photos/1.png", "red", "66.7 %", "green 16.7 %, =blue 16.7 %"]


def test_the_teacher_stands_next_to_the_student(
    photos: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = run(capsys, "run", "photos/1.png", "--beside", "teacher")
    assert out == "photos/1.png\tred\t0.6667\tgreen\t0.6667\n"
    out, _ = run(capsys, "run", "photos/1.png", "--beside", "teacher", "--json", "--top", "1")
    assert json.loads(out)[0]["teacher"] == {"class": "green", "probability": 0.6666667}
    out, _ = run(capsys, "run", "photos/1.png", "--beside", "teacher", "--csv", "--top", "1")
    heading, row = out.splitlines()
    assert heading == "path,class,probability,teacher_class,teacher_probability"
    assert row == "photos/1.png,red,0.6666667,green,0.6666667"
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    out, _ = run(capsys, "run", "photos/1.png", "--beside", "teacher", "--top", "1")
    assert "green 66.7 %" in out and "teacher" in out


def test_a_file_has_no_teacher(photos: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "student.onnx", photos, "--beside", "teacher", code=2)
    assert out == "" and "give the folder of the run 'tiny'" in err


@pytest.mark.parametrize("form", ["--json", "--csv", "--top=2"])
def test_unreadable_images_are_named_and_the_others_classified(
    form: str, photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos/0.jpg").write_text("no image")
    Path("photos/4.png").write_bytes(Path("photos/1.png").read_bytes()[:50])
    out, err = run(capsys, "student.onnx", photos, "gone.png", form, code=2)
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("cannot decode photos/0.jpg: it is damaged or of another format")
    assert lines[1].startswith("cannot decode photos/4.png: ")
    assert lines[2].startswith("cannot decode gone.png: No such file")
    assert lines[3] == "error: 3 of 6 images cannot be read"
    assert [name in out for name in ("1.png", "2.png", "3.bmp", "0.jpg", "4.png", "gone")] == [
        *(True, True, True, False, False, False),
    ]
    if form == "--json":
        assert [entry["path"] for entry in json.loads(out)] == [
            *("photos/1.png", "photos/2.png", "photos/green/3.bmp"),
        ]


def test_json_is_valid_if_nothing_can_be_read(
    student: Brightest, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = run(capsys, "student.onnx", "gone.png", "--json", code=2)
    assert json.loads(out) == []
    assert student.batches == []


def test_json_is_complete_even_if_the_network_fails(
    photos: str,
    student: Brightest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(predictions, "BATCH", 1)
    real = Brightest.__call__

    def failing(self: Brightest, images: np.ndarray) -> np.ndarray:
        if self.batches:
            raise OSError("no memory left")
        return real(self, images)

    monkeypatch.setattr(Brightest, "__call__", failing)
    out, err = run(capsys, "student.onnx", photos, "--json", code=2)
    assert len(json.loads(out)) == 1 and "no memory left" in err


def test_images_are_classified_in_batches(
    photos: str,
    student: Brightest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(predictions, "BATCH", 2)
    out, err = run(capsys, "student.onnx", photos)
    assert student.batches == [(2, 3, 8, 8), (1, 3, 8, 8)]
    assert len(out.splitlines()) == 3
    assert err == "classifying, 3 done\n"


def test_a_bar_on_the_terminal_leaves_results_to_the_file(
    photos: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it is drawn, rich leads ``print`` to standard error: not into ``> found.json``."""
    monkeypatch.setattr(predictions, "BATCH", 1)
    monkeypatch.setattr(progress, "Console", partial(Console, force_terminal=True))
    out, err = run(capsys, "student.onnx", photos, "--json")
    assert len(json.loads(out)) == 3
    assert "classifying" in err and "3/3" in err


def test_no_bar_is_drawn_among_lines_on_the_same_terminal(
    photos: str,
    terminal: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(predictions, "BATCH", 1)
    out, err = run(capsys, "student.onnx", photos, "--json")
    assert len(json.loads(out)) == 3 and err == ""


def test_standard_input_is_an_image(
    student: Brightest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = Path(save("photos/1.png", RED)).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    out, _ = run(capsys, "student.onnx", "-", "--json")
    assert [(entry["path"], entry["class"]) for entry in json.loads(out)] == [("-", "red")]


def test_control_characters_of_a_name_do_not_reach_the_terminal(
    student: Brightest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil, half = "\x1b[31mevil\n.png", os.fsdecode(b"half\xff.png")
    save(evil, RED)
    os.rename(save("x.png", RED), half)
    Path("\x1b[2J.jpg").touch()
    out, err = run(capsys, "student.onnx", "*.png", "*.jpg", code=2)
    assert out.splitlines() == [
        *(r"\x1b[31mevil\n.png" "\tred\t0.6667", r"half\udcff.png" "\tred\t0.6667"),
    ]
    assert "\x1b" not in err and r"cannot decode \x1b[2J.jpg" in err
    run(capsys, "student.onnx", "*.png", "--csv")
    out, _ = run(capsys, "student.onnx", "*.png", "--json")
    assert [entry["path"] for entry in json.loads(out)] == [evil, half]


def test_litter_is_passed_over_and_counted(photos: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Thumbs.db", "._1.png", "notes.txt"):
        Path(photos, name).touch()
    out, err = run(capsys, "student.onnx", photos)
    assert len(out.splitlines()) == 3
    assert err == "passed over, for they are no images: 3\n"


def test_every_awkward_file_is_classified_and_every_broken_one_named(
    student: Brightest, capsys: pytest.CaptureFixture[str]
) -> None:
    awkward, broken = awkward_images(Path("awkward")), broken_images(Path("broken"))
    every = [*awkward.values(), *broken.values()]
    out, err = run(capsys, "student.onnx", *map(str, every), "--json", code=2)
    assert [entry["path"] for entry in json.loads(out)] == list(map(str, awkward.values()))
    assert err.count("cannot decode broken") == len(broken)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["student.onnx"], "no images: give files"),
        (["student.onnx", "photos", "--top", "0"], "--top must be at least 1, not 0"),
        (["student.onnx", "photos", "--csv", "--json"], "give one of them"),
        (["student.onnx", "photos", "--jsn"], "unknown option --jsn"),
        (["gone.onnx", "photos"], "there is no gone.onnx"),
        (["student.onnx", "*.tiff"], "there is no image in *.tiff"),
        (["student.onnx", "photos", "--beside", "me"], "Choose from"),
    ],
)
def test_mistakes_are_one_line(
    argv: list[str], message: str, photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = run(capsys, *argv, code=2)
    assert out == "" and err.count("\n") == 1 and message in err
