"""``a+b``: one founding loss, every part's term, one student."""

import pytest
import torch
from tests.methods.small_pair import ask, make_batch, make_method

from understudy.errors import UnderstudyError
from understudy.methods import method_config, needs_of


def losses_of(name: str, **options) -> dict[str, float]:
    method, teacher = make_method(name, **options)
    batch = make_batch(8, 5)
    with torch.no_grad():
        losses, _ = method.eval()(batch, ask(teacher, batch))
    return {key: float(value) for key, value in losses.items()}


def test_a_sum_has_the_terms_of_its_parts_and_the_founding_loss_once():
    kd, at, both = losses_of("kd"), losses_of("at"), losses_of("at+kd")
    assert set(both) == {"ce", "kd", "at"}
    assert both["kd"] == kd["kd"] and both["ce"] == kd["ce"] and both["at"] == at["at"]


def test_each_part_takes_its_own_options_and_the_founding_loss_the_others():
    both = losses_of("at+kd", alpha=0.5, temperature=2.0, at={"weight": 10.0})
    kd, at = losses_of("kd", alpha=0.5, temperature=2.0), losses_of("at", weight=10.0)
    assert both["kd"] == kd["kd"] and both["at"] == at["at"]


def test_the_student_is_saved_once():
    method, _ = make_method("at+sp+kd")
    names = list(method.state_dict())
    assert len(names) == len(set(names)) == len(method.student.state_dict())


def test_what_a_sum_needs_is_what_its_neediest_part_needs():
    assert needs_of(method_config({"name": "dkd+kd"})) == "logits"
    assert needs_of(method_config({"name": "at+kd"})) == "features"


def test_parts_are_checked_like_methods():
    with pytest.raises(UnderstudyError, match=r"did you mean method\.at\.weight"):
        method_config({"name": "at+kd", "at": {"wieght": 3}})
    with pytest.raises(UnderstudyError, match="unknown method"):
        method_config({"name": "at+kdd"})
    with pytest.raises(UnderstudyError, match="cannot be combined"):
        make_method("simkd+kd")


def test_warm_ups_follow_the_epoch():
    method, teacher = make_method("dkd+kd")
    batch = make_batch(8, 5)
    with torch.no_grad():
        values = []
        for epoch in (0, 19):
            method.epoch = epoch
            values.append(float(method(batch, ask(teacher, batch))[0]["dkd"]))
    assert values[1] > values[0]
