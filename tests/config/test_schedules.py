"""Numbers that move over the epochs, and how large a share of the images each epoch sees."""

import pytest
import torch
from tests.methods.small_pair import ask, make_batch, make_method

from understudy.config.schedules import Curriculum, Schedule, bounds, value_at
from understudy.errors import UnderstudyError
from understudy.methods import METHODS, kd_loss, method_config


def test_a_schedule_is_a_straight_line_between_its_ends():
    line = Schedule(8.0, 2.0)
    assert [line.at(epoch, 4) for epoch in range(4)] == [8.0, 6.0, 4.0, 2.0]
    assert [Schedule(8.0, 2.0, over=2).at(epoch, 4) for epoch in range(4)] == [8.0, 2.0, 2.0, 2.0]
    assert Schedule(8.0, 2.0).at(0, 1) == 2.0  # one epoch is the last epoch
    assert value_at(3.0, 7, 10) == 3.0 and bounds(line) == (2.0, 8.0)


@pytest.mark.parametrize("name", ["kd", "dkd", "lskd", "dist", "at+kd"])
def test_the_temperature_of_the_epoch_reaches_the_loss(name: str):
    """In each epoch the loss is that of a run with this epoch's temperature throughout."""
    moving, teacher = make_method(name, epochs=3, temperature={"start": 6, "end": 2}, alpha=0.5)
    batch = make_batch(8, 5)
    for epoch, temperature in enumerate((6.0, 4.0, 2.0)):
        still, _ = make_method(name, epochs=3, temperature=temperature, alpha=0.5)
        moving.epoch = still.epoch = epoch
        values = [
            {k: float(v.detach()) for k, v in one(batch, ask(teacher, batch))[0].items()}
            for one in (moving, still)
        ]
        assert values[0] == values[1]


def test_alpha_moves_both_the_soft_term_and_the_cross_entropy():
    method, teacher = make_method("kd", epochs=3, alpha={"start": 1, "end": 0})
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    with torch.no_grad():
        method.eval()
        logits = method.student(batch.images)
        soft, hard = (
            kd_loss(logits, answer.logits, 4.0),
            torch.nn.functional.cross_entropy(logits, batch.labels),
        )
        for epoch, alpha in enumerate((1.0, 0.5, 0.0)):
            method.epoch = epoch
            losses, _ = method(batch, answer)
            assert list(losses) == ["ce", "kd"]  # one column each in every epoch's history
            torch.testing.assert_close(losses["kd"], alpha * soft)
            torch.testing.assert_close(losses["ce"], (1 - alpha) * hard)


def test_the_share_grows_to_all_images():
    assert Curriculum(start=0.2, over=4).shares(6) == pytest.approx((0.2, 0.4, 0.6, 0.8, 1.0, 1.0))
    assert Curriculum(start=0.5).shares(4) == pytest.approx((0.5, 0.75, 1.0, 1.0))
    assert Curriculum(start=0.5).shares(1) == (0.5,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, r"method\.temperature must be above 0"),
        ({"temperature": -1.5}, r"method\.temperature must be above 0"),
        ({"temperature": {"start": 4, "end": 0}}, r"method\.temperature must be above 0"),
        ({"temperature": {"start": 4}}, r"method\.temperature\.end: Field required"),
        (
            {"temperature": {"start": 4, "ende": 1}},
            r"method\.temperature\.ende: did you mean method\.temperature\.end\?",
        ),
        ({"temperature": "hot"}, r"method\.temperature: Input should be a valid number"),
        ({"temperature": {"start": 4, "end": 1, "over": 0}}, "over must be at least 1"),
        ({"alpha": {"start": 0, "end": 1.5}}, r"method\.alpha must lie in \[0, 1\]"),
        ({"ce_weight": -1}, r"method\.ce_weight must be at least 0"),
        ({"ce_weight": float("nan")}, r"method\.ce_weight must be at least 0"),
        ({"curriculum": {"start": 0}}, r"curriculum\.start must lie in \(0, 1\]"),
        ({"curriculum": {"by": "size"}}, r"method\.curriculum\.by"),
        ({"curriculum": {"strat": 1}}, r"did you mean method\.curriculum\.start\?"),
    ],
)
def test_values_that_make_no_sense_are_refused_in_one_line(options: dict, message: str):
    with pytest.raises(UnderstudyError, match=message) as refused:
        method_config({"name": "kd", **options})
    assert "\n" not in str(refused.value)


WEIGHTS = [
    (name, option["name"])
    for name, kind in METHODS.items()
    for option in kind.options()
    if option["name"].endswith(("weight", "weights"))
    or option["name"] in ("beta", "gamma", "temperature", "nce_temperature")
]


@pytest.mark.parametrize(("name", "option"), WEIGHTS, ids=lambda part: part)
def test_no_method_takes_a_negative_weight_or_temperature(name: str, option: str):
    value = [1.0, -0.5] if option == "stage_weights" else -0.5
    with pytest.raises(UnderstudyError, match=rf"method\.{option}"):
        method_config({"name": name, option: value})


@pytest.mark.parametrize(
    ("over", "epochs", "values"),
    [
        (None, 5, [1.0, 2.0, 3.0, 4.0, 5.0]),
        (3, 5, [1.0, 3.0, 5.0, 5.0, 5.0]),
        (1, 3, [5.0, 5.0, 5.0]),
        (9, 3, [1.0, 1.5, 2.0]),  # longer than the run, which ends on the way
    ],
)
def test_a_schedule_moves_over_its_own_epochs_or_over_the_run(
    over: int | None, epochs: int, values: list[float]
):
    line = Schedule(1.0, 5.0, over=over)
    assert [line.at(epoch, epochs) for epoch in range(epochs)] == values
    assert value_at(line, 0, epochs) == values[0] and line.at(100, epochs) == 5.0


def test_the_extremes_are_the_ends_in_either_direction():
    assert bounds(Schedule(2.0, 8.0)) == bounds(Schedule(8.0, 2.0)) == (2.0, 8.0)
    assert bounds(3.0) == (3.0, 3.0)


def test_a_curriculum_at_its_limits():
    assert Curriculum(start=1.0).shares(3) == (1.0, 1.0, 1.0)
    assert Curriculum(start=0.25, over=1).shares(3) == (0.25, 1.0, 1.0)
    assert Curriculum(start=0.5, over=10).shares(3) == pytest.approx((0.5, 0.55, 0.6))
    assert Curriculum(start=0.5).shares(5) == pytest.approx((0.5, 0.75, 1.0, 1.0, 1.0))
    assert (Curriculum().by, Curriculum().start, Curriculum().over) == ("loss", 0.3, None)


@pytest.mark.parametrize(
    "options", [{"start": 0.0}, {"start": 1.01}, {"start": -0.1}, {"over": 0}], ids=str
)
def test_a_curriculum_beyond_its_limits_is_refused(options: dict):
    with pytest.raises(ValueError, match=rf"curriculum\.{next(iter(options))}"):
        Curriculum(**options)


def test_a_schedule_over_no_epochs_is_refused():
    assert Schedule(1.0, 2.0, over=1).over == 1
    with pytest.raises(ValueError, match="over must be at least 1 epoch"):
        Schedule(1.0, 2.0, over=0)
