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


def test_each_part_takes_its_options_and_the_loss_the_others():
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


def test_a_part_has_the_weight_of_its_epoch():
    """dkd warms up over 20 epochs; beside at, too."""
    method, teacher = make_method("dkd+at")
    alone, _ = make_method("dkd")
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    with torch.no_grad():
        for epoch, share in ((0, 1 / 20), (9, 0.5), (19, 1.0), (30, 1.0)):
            method.eval().epoch, alone.eval().epoch = epoch, 100
            torch.testing.assert_close(
                method(batch, answer)[0]["dkd"], share * alone(batch, answer)[0]["dkd"]
            )


def test_the_founding_loss_has_the_largest_alpha_of_the_parts():
    assert method_config({"name": "kd+born_again"}).alpha == 0.7
    assert method_config({"name": "born_again+kd"}).alpha == 0.7
    assert method_config({"name": "at+born_again"}).alpha == 0.5
    assert method_config({"name": "at+sp"}).alpha == 0.0
    rising, falling = {"start": 0.1, "end": 0.6}, {"start": 0.9, "end": 0.0}
    assert (
        method_config(
            {"name": "kd+at", "kd": {"alpha": rising}, "at": {"alpha": falling}}
        ).alpha.start
        == 0.9
    )
    assert method_config({"name": "kd+at", "alpha": 0.2}).alpha == 0.2


def test_founding_loss_has_the_first_cross_entropy_weight_set():
    assert method_config({"name": "at+kd"}).ce_weight is None
    assert method_config({"name": "at+lskd+dkd"}).ce_weight == 0.1
    assert method_config({"name": "at+dkd+lskd"}).ce_weight == 1.0
    assert method_config({"name": "at+dkd", "ce_weight": 0.4}).ce_weight == 0.4
    assert method_config({"name": "at+dkd", "dkd": {"ce_weight": 0.0}}).ce_weight == 0.0


def test_options_of_a_part_must_be_a_section():
    with pytest.raises(
        UnderstudyError, match=r"method\.at must be a section of at's options, not 3"
    ):
        method_config({"name": "at+kd", "at": 3})


def test_what_the_parts_report_is_reported():
    method, _ = make_method("adversarial+at")
    assert list(method.measures()) == ["discriminator_accuracy"]
    assert make_method("at+sp")[0].measures() == {}


def test_a_method_without_a_term_of_its_own_adds_no_part():
    method, _ = make_method("at+kd+ce")
    assert [name for name, _ in method.named_children()] == ["student", "part_at"]


@pytest.mark.parametrize("name", ["at+dml", "simkd+at"])
def test_a_forward_pass_of_its_own_cannot_be_summed(name):
    with pytest.raises(
        UnderstudyError, match=rf"method {name.replace('+', '.')}: .* cannot be combined"
    ):
        make_method(name)


def test_the_need_is_the_largest_in_every_order():
    for names, needs in (
        (("kd", "dkd"), "logits"),
        (("rkd", "kd"), "embedding"),
        (("rkd", "at"), "features"),
        (("ce", "kd"), "logits"),
    ):
        assert {
            needs_of(method_config({"name": "+".join(order)})) for order in (names, names[::-1])
        } == {needs}
