"""What every method inherits: the cross-entropy of mixed images, the limits of options, and what a
card is made of."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.methods.small_pair import SmallNet, ask, make_batch, make_method
from torch import nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods import METHODS, method_config
from understudy.methods.base import (
    Method,
    MethodConfig,
    MethodContext,
    attach_part,
    cross_entropy,
    describe_fields,
    require_embeddings,
    require_features,
)
from understudy.models.base import Outputs

LABELS, PARTNERS = torch.tensor([0, 3, 1, 2]), torch.tensor([2, 1, 1, 0])
SHARE = torch.tensor([1.0, 0.8, 0.3, 0.1])


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def reference(logits, targets):
    """The mean of ``-sum over classes of target * log p``, in numpy."""
    return float(-(targets * log_softmax(logits)).sum(1).mean())


def one_hot(labels, smoothing, classes=5):
    return (1 - smoothing) * np.eye(classes)[labels.numpy()] + smoothing / classes


@pytest.fixture
def logits():
    return 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_cross_entropy_is_the_mean_over_images(logits, smoothing):
    batch = Batch(torch.zeros(4), LABELS, LABELS)
    expected = reference(logits.double().numpy(), one_hot(LABELS, smoothing))
    assert cross_entropy(logits, batch, smoothing).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mixed_image_has_both_labels_by_their_shares(logits, smoothing):
    batch = Batch(torch.zeros(4), LABELS, LABELS, PARTNERS, SHARE)
    share = SHARE.double().numpy()[:, None]
    targets = share * one_hot(LABELS, smoothing) + (1 - share) * one_hot(PARTNERS, smoothing)
    expected = reference(logits.double().numpy(), targets)
    assert cross_entropy(logits, batch, smoothing).item() == pytest.approx(expected, rel=1e-5)


def test_shares_of_one_and_zero_are_own_and_partners_label(logits):
    own, partners = (Batch(torch.zeros(4), labels, labels) for labels in (LABELS, PARTNERS))
    all_own = Batch(torch.zeros(4), LABELS, LABELS, PARTNERS, torch.ones(4))
    all_partners = Batch(torch.zeros(4), LABELS, LABELS, PARTNERS, torch.zeros(4))
    torch.testing.assert_close(cross_entropy(logits, all_own, 0.0), cross_entropy(logits, own, 0.0))
    torch.testing.assert_close(
        cross_entropy(logits, all_partners, 0.0), cross_entropy(logits, partners, 0.0)
    )


def test_a_method_counts_both_labels_of_a_mixed_image():
    method, teacher = make_method("kd", alpha=0.4)
    batch = make_batch(4, 5)._replace(labels=LABELS, partner_labels=PARTNERS, lam=SHARE)
    losses, logits = method.eval()(batch, ask(teacher, batch))
    torch.testing.assert_close(losses["ce"], 0.6 * cross_entropy(logits, batch, 0.0))
    swapped = batch._replace(labels=PARTNERS, partner_labels=LABELS)
    assert not torch.allclose(losses["ce"], 0.6 * cross_entropy(logits, swapped, 0.0))


# Options.


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"alpha": {"start": 0.0, "end": 1.0}},
        {"temperature": 1e-3},
        {"temperature": {"start": 1e-3, "end": 1e6}},
        {"ce_weight": 0.0},
        {"ce_weight": 1e6},
        {"ce_weight": None},
    ],
    ids=str,
)
def test_values_at_the_limits_are_taken(options):
    config = method_config({"name": "kd", **options})
    (name, value), found = next(iter(options.items())), getattr(config, next(iter(options)))
    assert found == value or (found.start, found.end) == (value["start"], value["end"]), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.01}, r"method\.alpha must lie in \[0, 1\]"),
        ({"alpha": 1.01}, r"method\.alpha must lie in \[0, 1\]"),
        ({"alpha": {"start": -0.01, "end": 0.5}}, r"method\.alpha must lie in \[0, 1\]"),
        ({"alpha": {"start": 0.5, "end": 1.01}}, r"method\.alpha must lie in \[0, 1\]"),
        ({"temperature": math.inf}, r"method\.temperature must be above 0"),
        ({"temperature": {"start": math.inf, "end": 1.0}}, r"method\.temperature must be above 0"),
        ({"ce_weight": math.inf}, r"method\.ce_weight must be at least 0"),
        ({"ce_weight": -1e-6}, r"method\.ce_weight must be at least 0"),
    ],
    ids=str,
)
def test_values_beyond_the_limits_are_refused(options, message):
    with pytest.raises(UnderstudyError, match=message):
        method_config({"name": "kd", **options})


def test_one_bad_weight_among_several_is_refused():
    for weights in ((1.0, -0.5), (-0.5, 1.0), (1.0, math.inf)):
        with pytest.raises(UnderstudyError, match=r"method\.stage_weights must be at least 0"):
            method_config({"name": "at", "stages": [0, 1], "stage_weights": weights})
    assert method_config(
        {"name": "at", "stages": [0, 1], "stage_weights": (0.0, 2.0)}
    ).stage_weights == (0.0, 2.0)


# What a method is built around.


def test_the_epoch_starts_at_zero_and_the_run_is_known():
    context = MethodContext(7, torch.zeros(3), 12, 0.15, Outputs(torch.zeros(2, 7)))
    method = METHODS["ce"](nn.Identity(), MethodConfig("ce"), context)
    assert (method.epoch, method.epochs, method.num_classes, method.label_smoothing) == (
        0,
        12,
        7,
        0.15,
    )
    assert method.measures() == {} and method.terms(None, None, None) == {}


def test_losses_are_computed_in_full_precision_under_autocast():
    method, teacher = make_method("kd")
    batch = make_batch(8, 5)
    seen = []
    method.losses = lambda student, teacher, batch: (
        seen.append((student, torch.is_autocast_enabled("cpu"))) or {}
    )
    with torch.autocast("cpu", torch.bfloat16):
        _, logits = method(batch, ask(teacher, batch))
    student, enabled = seen[0]
    assert logits.dtype == student.logits.dtype == torch.float32 and not enabled
    assert student.features and student.embedding is not None, (
        "what feature methods read is passed on"
    )


def test_a_method_without_any_weight_is_refused():
    method, teacher = make_method("kd", alpha=0.0, ce_weight=0.0)
    batch = make_batch(4, 5)
    with pytest.raises(UnderstudyError, match="kd has no loss"):
        method(batch, ask(teacher, batch))


def test_an_adopted_part_shares_the_student_and_saves_it_once():
    whole, _ = make_method("kd")
    part, _ = make_method("fitnets")
    attach_part(whole, "part", part)
    assert part.student is whole.student and whole.get_submodule("part") is part
    names = list(whole.state_dict())
    assert any(name.startswith("part.regressors") for name in names)
    assert not any(name.startswith("part.student") for name in names)


def context_of(**shown):
    """Outputs of a pair in which each network shows what is named for it."""
    examples = {}
    for role in ("student", "teacher"):
        features = (torch.zeros(2, 3, 4, 4),) if "features" in shown[role] else ()
        embedding = torch.zeros(2, 3) if "embedding" in shown[role] else None
        examples[role] = Outputs(torch.zeros(2, 5), features, embedding)
    return MethodContext(5, torch.zeros(2), 5, 0.0, examples["student"], examples["teacher"])


@pytest.mark.parametrize(
    ("check", "what", "other"),
    [(require_features, "features", "embedding"), (require_embeddings, "embedding", "features")],
    ids=["features", "embedding"],
)
def test_a_network_that_does_not_show_what_is_compared_is_named(check, what, other):
    check("at", context_of(student=[what], teacher=[what]))
    for missing, shown in (("student", "teacher"), ("teacher", "student")):
        with pytest.raises(
            UnderstudyError,
            match=rf"at compares .* the {missing} shows none: set {missing}\.stages",
        ):
            check("at", context_of(**{missing: [other], shown: [what]}))
    alone = MethodContext(
        5, torch.zeros(2), 5, 0.0, context_of(student=[what], teacher=[what]).student_example
    )
    with pytest.raises(UnderstudyError, match="the teacher shows none"):
        check("at", alone)


# Cards.


@dataclass(frozen=True)
class ParentConfig(MethodConfig):
    """One option more."""

    width: int = 3
    """How wide, in
    channels."""


@dataclass(frozen=True)
class ChildConfig(ParentConfig):
    """An inherited option with another default, and one without explanation."""

    width: int | None = None
    """How wide; null: as the teacher."""
    silent: float = 0.5
    weight: float = 2.0
    """Weight of the term."""


def test_options_have_their_type_default_and_docstring():
    parent = {option["name"]: option for option in describe_fields(ParentConfig)}
    assert "name" not in parent and next(iter(parent)) == "temperature"
    assert parent["width"] == {
        "name": "width",
        "type": "int",
        "default": "3",
        "description": "How wide, in channels.",
    }
    assert (
        parent["temperature"]["type"] == "float | Schedule"
        and parent["temperature"]["default"] == "4.0"
    )
    assert parent["ce_weight"]["type"] == "float | None"


def test_a_subclass_explains_its_own_options_and_inherits_the_others():
    child = {option["name"]: option for option in describe_fields(ChildConfig)}
    assert child["width"] == {
        "name": "width",
        "type": "int | None",
        "default": "None",
        "description": "How wide; null: as the teacher.",
    }
    assert (
        child["silent"]["description"] == ""
        and child["weight"]["description"] == "Weight of the term."
    )
    assert child["alpha"]["description"].startswith("Weight of the soft term")


def test_a_class_without_source_has_no_explanations():
    namespace: dict = {"__name__": "__main__", "MethodConfig": MethodConfig, "dataclass": dataclass}
    exec(
        "@dataclass(frozen=True)\nclass Typed(MethodConfig):\n    depth: int = 1\n", namespace
    )  # as in a session
    options = {
        option["name"]: option["description"] for option in describe_fields(namespace["Typed"])
    }
    assert options["depth"] == "" and options["alpha"].startswith("Weight of the soft term")


def test_a_card_is_the_files_docstring():
    assert METHODS["kd"].card().startswith("Soft labels: the student matches")
    assert [option["name"] for option in METHODS["kd"].options()] == [
        o["name"] for o in describe_fields(METHODS["kd"].config_class)
    ]


def test_the_student_is_deployed_and_needs_are_as_listed():
    method, _ = make_method("kd")
    assert method.deployed() is method.student and isinstance(method.student, SmallNet)
    assert Method.needs == "logits" and Method.keeps_adapter is False
    assert {name: kind.needs for name, kind in METHODS.items()} == {
        "ce": "nothing",
        "dml": "nothing",
        **dict.fromkeys(("kd", "lskd", "dkd", "dist", "adversarial", "born_again"), "logits"),
        **dict.fromkeys(("rkd", "cc", "pkt", "crd"), "embedding"),
        **dict.fromkeys(
            ("fitnets", "at", "sp", "vid", "nst", "ft", "reviewkd", "simkd"), "features"
        ),
    }


def test_a_method_in_a_file_without_docstring_has_its_own_for_a_card(monkeypatch):
    class Bare(Method):
        """Said in one line."""

    monkeypatch.setattr("inspect.getmodule", lambda cls: None)
    assert Bare.card() == "Said in one line."
