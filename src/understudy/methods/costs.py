"""What each method adds to plain training: parameters and time.

Parameters are counted here; time is measured by ``benchmarks/method_costs.py``.

Both for one pair: the legacy student (0.4 MB) and a teacher of 2.5 MB, ten classes of 32 x 32
images.
"""

import functools
import json
from importlib import resources
from typing import Any

import torch

from understudy.methods.base import Method, MethodConfig, MethodContext
from understudy.models import build_model
from understudy.models.base import Classifier, Outputs

STUDENT, TEACHER = "founding_student", "resnet44"
NUM_CLASSES, NUM_IMAGES = 10, 512
_IMAGES = torch.zeros(2, 3, 32, 32)


@functools.cache
@torch.no_grad()
def _teacher() -> tuple[Classifier, Outputs]:
    teacher = build_model(TEACHER, NUM_CLASSES).eval().requires_grad_(False)
    return teacher, teacher.outputs(_IMAGES)


@torch.random.fork_rng([])
def example_of(kind: type[Method], name: str) -> tuple[Method, MethodContext]:
    """A method with default options around a fresh student of the pair, and its context."""
    student, (teacher, teacher_example) = build_model(STUDENT, NUM_CLASSES).eval(), _teacher()
    with torch.no_grad():
        own = student.outputs(_IMAGES)
    context = MethodContext(
        NUM_CLASSES, torch.arange(NUM_IMAGES) % NUM_CLASSES, 40, 0.0, own, teacher_example, teacher
    )
    config: MethodConfig = kind.config_class(name)
    return kind(student, config, context), context


def added_parameters(kind: type[Method], name: str) -> tuple[int, int]:
    """Parameters that train with the student, and those that are deployed with it."""
    plain = sum(p.numel() for p in build_on_meta(STUDENT))
    method, _ = example_of(kind, name)
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    shipped = sum(p.numel() for p in method.deployed().parameters())
    return trained - plain, shipped - plain


def build_on_meta(name: str) -> list[torch.Tensor]:
    """The parameters of a network of the zoo, without memory for them."""
    with torch.device("meta"):
        return list(build_model(name, NUM_CLASSES).parameters())


def measured_costs() -> dict[str, Any]:
    """``costs.json``: ``cost_per_step`` by method, the pair, the hardware and the command.

    A cost is the time of the method's step over that of a plain one.
    """
    text = resources.files("understudy.methods").joinpath("costs.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
