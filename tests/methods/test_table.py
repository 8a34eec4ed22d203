"""The table of methods: how one is found, built and described."""

import pytest
import torch
from tests.methods.small_pair import SmallNet, make_batch, make_method

from understudy.errors import UnderstudyError
from understudy.methods import (
    METHODS,
    MethodContext,
    build_method,
    describe_methods,
    method_class,
    method_config,
    needs_of,
)
from understudy.methods.combined import Combined
from understudy.methods.kd import KD, KDConfig
from understudy.methods.multi_teacher import MultiTeacher
from understudy.models.ensemble import Ensemble


def test_a_name_leads_to_its_class():
    assert all(method_class(name) is kind for name, kind in METHODS.items())
    assert {
        name: kind.__name__.lower().replace("bornagain", "born_again")
        for name, kind in METHODS.items()
    } == {name: name for name in METHODS}


@pytest.mark.parametrize("path", ["understudy.methods.kd.KD", "understudy.methods.kd:KD"])
def test_a_dotted_path_leads_to_a_class_too(path):
    assert method_class(path) is KD
    assert isinstance(method_config({"name": path}), KDConfig)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kdd", "unknown method kdd: did you mean kd"),
        ("nowhere.KD", "cannot load the method nowhere.KD"),
        ("understudy.methods.kd.Missing", "cannot load the method"),
        ("understudy.methods.kd.KDConfig", "is not a subclass of understudy.methods.Method"),
        ("understudy.methods.kd.kd_loss", "is not a subclass of understudy.methods.Method"),
    ],
)
def test_what_is_no_method_is_refused_in_one_line(name, message):
    with pytest.raises(UnderstudyError, match=message) as refused:
        method_class(name)
    assert "\n" not in str(refused.value)


def test_a_wrong_option_is_refused_with_the_nearest_one():
    with pytest.raises(UnderstudyError, match=r"did you mean method\.temperature"):
        method_config({"name": "kd", "temperatur": 2})


def test_one_name_builds_a_method_several_their_sum():
    assert type(make_method("kd")[0]) is KD and isinstance(make_method("at+kd")[0], Combined)
    student, teacher = (
        SmallNet(5, (4, 6, 8)).eval(),
        Ensemble([SmallNet(5, (6, 10, 12)), SmallNet(5, (6, 10, 12))], [1, 1]),
    )
    images = make_batch(2, 5).images
    with torch.no_grad():
        examples = student.outputs(images), teacher.eval().outputs(images)
    context = MethodContext(5, torch.zeros(2), 5, 0.0, *examples, teacher)
    built = build_method(method_config({"name": "kd"}), student, context)
    assert isinstance(built, MultiTeacher) and built.student is student


def test_what_is_needed_depends_on_the_options():
    assert needs_of(method_config({"name": "ce"})) == "nothing"
    assert needs_of(method_config({"name": "kd"})) == "logits"
    assert needs_of(method_config({"name": "rkd"})) == "embedding"
    assert needs_of(method_config({"name": "at"})) == "features"
    assert needs_of(method_config({"name": "adversarial", "compare": "features"})) == "features"


def test_every_method_is_described_by_its_card_and_its_counts():
    entries = {entry["name"]: entry for entry in describe_methods()}
    assert list(entries) == list(METHODS)
    kd, simkd, dml = entries["kd"], entries["simkd"], entries["dml"]
    assert kd["summary"] == METHODS["kd"].card().splitlines()[0] and kd["summary"].startswith(
        "Soft labels"
    )
    assert kd["card"] == METHODS["kd"].card() and kd["reference"] == METHODS["kd"].reference
    assert (kd["needs"], kd["extra_parameters"], kd["inference_parameters"]) == ("logits", 0, 0)
    assert (simkd["needs"], dml["needs"]) == ("features", "nothing")
    assert (
        simkd["inference_parameters"] > 0
        and dml["extra_parameters"] > 0
        and dml["inference_parameters"] == 0
    )
    assert entries["ce"]["cost_per_step"] == 1.0 and all(
        entry["cost_per_step"] > 0 for entry in entries.values()
    )
    assert [option["name"] for option in kd["options"]] == [
        "temperature",
        "alpha",
        "ce_weight",
        "curriculum",
    ]
