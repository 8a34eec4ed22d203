"""What the displays print without a terminal, and that they draw bars on one."""

import io

from rich.console import Console

from understudy.events import EpochResult, Progress
from understudy.terminal.progress import CountDisplay, RunDisplay
from understudy.terminal.sweep_progress import SweepDisplay


def result(epoch: int, seconds: float = 2.0, label_seconds: float = 0.0) -> EpochResult:
    return EpochResult(epoch, 0.1, {"loss": 0.25}, 0.5, 1.0, 0.875, seconds, 50.0, label_seconds)


def log() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=False, width=200), text


def test_run_prints_a_line_per_epoch_with_the_seconds_left():
    console, text = log()
    with RunDisplay(console, clock=lambda: 0.0) as display:
        display.expect(3, "teacher-seed0")
        for epoch in range(3):
            display.epoch(result(epoch), "teacher-seed0")
    start = "teacher-seed0  epoch {}/3  loss 0.2500  val 87.50 %  50 images/s"
    first, second, last = text.getvalue().splitlines()
    assert first == f"{start.format(1)}  4 s left"
    assert second == f"{start.format(2)}  2 s left"
    assert last == start.format(3)


def test_run_prints_now_and_then_how_far_the_labelling_is():
    now = [0.0]
    console, text = log()
    with RunDisplay(console, clock=lambda: now[0]) as display:
        display.expect(1, "baseline-seed0")
        display.expect(2, "distilled-seed0")
        display.epoch(result(0), "baseline-seed0")
        for done in range(0, 101, 10):
            display.progress(Progress("label", done, 100, 0), "distilled-seed0")
            now[0] += 10
    lines = text.getvalue().splitlines()[1:]
    assert [line.split("  ")[2] for line in lines] == [
        "teacher labels 30 %",
        "teacher labels 60 %",
        "teacher labels 90 %",
    ]
    assert lines[-1].endswith("114 s left")


def test_run_shows_how_far_decoding_is_before_the_first_training():
    console, text = log()
    with RunDisplay(console) as display:
        for done in (64, 128, 150):
            display.progress(Progress("decode", done, 150, detail="decoding train images"))
    assert text.getvalue() == "decoding train images, 150 done\n"
    drawn = io.StringIO()
    with RunDisplay(Console(file=drawn, force_terminal=True, width=160)) as display:
        display.progress(Progress("decode", 64, 1500, detail="decoding train images"))
    assert "64/1,500" in drawn.getvalue()


def test_run_draws_bars_on_a_terminal():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=160)
    with RunDisplay(console) as display:
        display.expect(1, "teacher-seed0")
        display.progress(Progress("train", 1, 4, 0), "teacher-seed0")
        display.epoch(result(0), "teacher-seed0")
        display.message("a line")
    assert "all trainings" in text.getvalue() and "val 87.50 %" in text.getvalue()
    assert "a line" in text.getvalue()


def test_sweep_prints_messages_time_left_and_teachers_epochs():
    console, text = log()
    with SweepDisplay(console, clock=lambda: 0.0) as display:
        display.expect(1, "teacher-seed0")
        display.message("training the teacher")
        display.epoch(result(0), "teacher-seed0")
        display.expect(10)
        display.expect(-2)
        display.expect(2, "0000-seed0")
        for epoch in range(2):
            display.epoch(result(epoch), "0000-seed0")
        display.message("trial 0: 87.50 % on validation")
    assert text.getvalue().splitlines() == [
        "training the teacher",
        "teacher-seed0  epoch 1  val 87.50 %",
        "trial 0: 87.50 % on validation  (16 s left)",
    ]


def test_sweep_draws_one_bar_on_a_terminal():
    text = io.StringIO()
    with SweepDisplay(Console(file=text, force_terminal=True, width=160)) as display:
        display.expect(4)
        display.epoch(result(0), "0000-seed0")
    assert "sweep" in text.getvalue() and "0000-seed0  epoch 1  val 87.50 %" in text.getvalue()


def test_counting_prints_each_piece_once_it_is_done():
    console, text = log()
    with CountDisplay("labelling", console) as display:
        for piece in ("epoch 1", "epoch 2"):
            for done in (0, 500, 1000):
                display.progress(Progress("label", done, 1000, None, piece))
    assert text.getvalue().splitlines() == [
        "labelling: epoch 1, 1,000 done",
        "labelling: epoch 2, 1,000 done",
    ]
