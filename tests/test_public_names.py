"""The public names and their signatures: whoever changes them sees it here, and writes it down."""

import importlib.util
import inspect
import re

import pytest

import understudy

PUBLIC = {
    "DistillationBatches": (
        "(teacher, data, batch_size=128, *, reads='logits', seed=0, device='auto', "
        "observer=<understudy.events.Silent object>, **options)"
    ),
    "ImageSpec": "(channels=3, height=32, width=32)",
    "Method": "(student, config, context)",
    "MethodConfig": "(name, temperature=4.0, alpha=0.0, ce_weight=None, curriculum=None)",
    "RunOptions": (
        "(outputs='auto', weights=None, checkpoint=None, resume=False, on_epoch=None, "
        "progress=None, track=(), track_folder=PosixPath('tracking'))"
    ),
    "Student": "(network, history, class_names, mean, std, image, teachers=(), preprocessing=None)",
    "Student.evaluate": "(self, data, *, teacher=None, device='cpu', **options)",
    "Student.export": "(self, to, out, data, *, max_drop=0.5, accept_unproven=False)",
    "Student.load": "(path, *, network=None)",
    "Student.plot": "(self)",
    "Student.predict": ("(self, images, *, probabilities=False, device='cpu', batch_size=512)"),
    "Student.save": "(self, path)",
    "TaughtBatch": "(images, labels, teacher_logits, teacher, batch)",
    "Teacher": (
        "(network, mean=None, std=None, min_accuracy=None, image_size=None, interpolation=None, "
        "classes=None)"
    ),
    "TrainConfig": "",
    "UnderstudyError": "",
    "build_model": (
        "(name, num_classes, image=None, *, in_channels=3, image_size=32, stages=(), options=None)"
    ),
    "create_model": (
        "(name, num_classes=10, in_channels=3, image_size=32, *, stages=(), weights=None, "
        "**options)"
    ),
    "distill": (
        "(teacher, student, data, method='kd', config=None, *, seed=0, device='auto', run=None, "
        "**options)"
    ),
    "evaluate": "(network, data, config=None, *, teacher=None, device='cpu', **options)",
    "list_methods": "()",
    "list_models": "(pattern='*')",
    "load_config": None,
    "load_dataset": None,
    "predict": (
        "(network, images, *, mean=None, std=None, probabilities=False, device='cpu', "
        "batch_size=512)"
    ),
    "run_experiment": None,
    "run_sweep": None,
    "train": "(network, data, config=None, *, seed=0, device='auto', run=None, **options)",
    "write_report": None,
}
"""Name -> signature without annotations. ``None`` is for those that other tests call in every form;
an empty string for classes whose fields are the recipe's, or that are exceptions."""


def signature_of(name: str) -> str:
    found = understudy
    for part in name.split("."):
        found = getattr(found, part)
    signature = inspect.signature(found)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    shown = str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    return re.sub(r" object at 0x\w+", " object", shown)


def test_public_names_are_these() -> None:
    names = {name for name in PUBLIC if "." not in name}
    assert names | {"__version__"} == set(understudy.__all__)


@pytest.mark.parametrize("name", [name for name, known in PUBLIC.items() if known])
def test_signature_is_this(name: str) -> None:
    assert signature_of(name) == PUBLIC[name]


def test_public_methods_of_a_student_are_these() -> None:
    methods = {n for n, f in vars(understudy.Student).items() if callable(f) or n == "load"}
    listed = {name.partition(".")[2] for name in PUBLIC if name.startswith("Student.")}
    assert {name for name in methods if not name.startswith("_")} == listed


@pytest.mark.parametrize("name", [name for name in understudy.__all__ if not name.startswith("_")])
def test_no_module_has_the_name_of_a_public_function(name: str) -> None:
    """Importing such a module would replace the function."""
    assert importlib.util.find_spec(f"understudy.{name}") is None


def test_lists_of_names_are_those_that_can_be_built() -> None:
    assert "resnet20" in understudy.list_models("resnet*")
    assert understudy.list_methods()[:2] == ["ce", "kd"]
    from understudy.methods import method_config

    for name in understudy.list_methods():
        assert isinstance(method_config({"name": name}), understudy.MethodConfig)
