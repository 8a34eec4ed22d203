"""A training in a notebook is one output that is drawn again, not a line for each step."""

import json
from pathlib import Path

import pytest
from tests.worlds import SeenEvents

from understudy.events import EpochResult, NamedObserver, Progress, Several
from understudy.terminal.notebook import NotebookDisplay, in_notebook
from understudy.terminal.one_training import training_display

EPOCH = EpochResult(0, 0.1, {"ce": 1.0, "loss": 0.5}, 0.5, 0.9, 0.6, 1.0, 2400.0)


class Screen:
    """What a notebook shows: one entry for each handle."""

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.texts: list[str] = []

    def draw(self, html: str, text: str, handle: int | None) -> int:
        if handle is None:
            self.outputs.append("")
            handle = len(self.outputs) - 1
        self.outputs[handle] = html
        self.texts.append(text)
        return handle


def test_one_output_is_drawn_again_a_few_times_a_second() -> None:
    screen, now = Screen(), [0.0]
    with NotebookDisplay(screen.draw, lambda: now[0]) as display:
        display.expect(2, "kd")
        for step in range(1, 101):
            now[0] += 0.01
            display.progress(Progress("train", step, 100, 0), "kd")
        display.epoch(EPOCH, "kd")
        display.message("floats <in> [0, 1] are read as bytes")
    assert len(screen.outputs) == 1 and len(screen.texts) < 10
    assert screen.texts[0] == "epoch 1/2"
    expected = "epoch 1/2 · loss 0.5000 · val 60.00 % · 2,400 images/s"
    assert screen.texts[-2].startswith(expected)
    assert 'value="0.5000"' in screen.outputs[0] and "&lt;in&gt;" in screen.outputs[0]


def test_reading_and_labelling_are_shown() -> None:
    screen = Screen()
    display = NotebookDisplay(screen.draw, lambda: float(len(screen.texts)))
    display.progress(Progress("decode", 640, 5000, detail="train images read"))
    display.expect(3, "kd")
    display.progress(Progress("label", 1, 4, 0), "kd")
    assert screen.texts[0] == "train images read 640/5,000"
    assert screen.texts[1].startswith("epoch 1/3, teacher labels 25 %")


def test_nothing_is_shown_where_no_line_can_be_drawn_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not in_notebook()
    with training_display(None, "kd") as display:
        assert display is None
    with training_display(True, "kd") as display:
        assert display is not None
        display.expect(1, "kd")
        display.epoch(EPOCH, "kd")
    assert capsys.readouterr().err.startswith("kd  epoch 1/1  loss 0.5000  val 60.00 %")


def test_several_observers_see_the_same() -> None:
    first, second = SeenEvents(), SeenEvents()
    both = NamedObserver("a", Several([first, second]))
    both.epoch(EPOCH)
    both.message("line")
    both.progress(Progress("train", 1, 1, 0))
    assert first == second and first.epochs == [("a", EPOCH)] and first.lines == ["line"]


CELLS = [
    "import understudy, numpy as np\n"
    "X = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)\n"
    "y = np.arange(60) % 3",
    "student = understudy.train('tiny_dw', (X, y), epochs=3, batch_size=8, device='cpu')",
    "student",
    "student.plot()",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel and its sockets
def test_notebook_shows_one_line_a_table_and_curves(tmp_path: Path) -> None:
    nbclient, nbformat = (pytest.importorskip(name) for name in ("nbclient", "nbformat"))
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = [cell["outputs"] for cell in notebook.cells]
    assert len(outputs[1]) == 1, json.dumps(outputs[1])[:2000]
    assert outputs[1][0]["data"]["text/plain"].startswith("epoch 3/3")
    assert "<progress" in outputs[1][0]["data"]["text/html"]
    assert "<table>" in outputs[2][0]["data"]["text/html"]
    assert "image/png" in outputs[3][0]["data"]
