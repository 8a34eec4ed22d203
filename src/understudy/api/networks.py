"""Networks that callers give: accepted, or refused in one line before any training."""

from typing import Any

import torch
from torch import Tensor, nn

from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.evaluation.students import named_student
from understudy.models.base import Classifier
from understudy.models.expects import input_channels
from understudy.models.foreign import ForeignClassifier, probe
from understudy.models.registry import build_model


def classifier(
    role: str, network: Any, data: TrainingData, num_classes: int | None = None
) -> Classifier:
    """A network behind the package's interface, run once to see that it fits the data.

    Args:
        role: ``student`` or ``teacher``, for messages.
        network: a module, or (for a student) the name of a model or a budget (``auto:100k``), built
            with fresh weights.
        data: its images and classes.
        num_classes: number of its logits; by default one for each class of ``data``.

    Raises:
        UnderstudyError: for anything else, weights that are not fp32, images that the network does
            not take, or another number of classes.
    """
    if isinstance(network, str):
        model = named_student(network, data.image, data.num_classes)
        return build_model(model.name, data.num_classes, data.image, options=model.options)
    module = checked_module(role, network)
    label = f"the {role} {type(module).__name__}"
    count = num_classes or data.num_classes
    if isinstance(module, Classifier):
        probe(module, count, data.image, label)
        return module
    return ForeignClassifier(
        module,
        count,
        name=type(module).__name__,
        in_channels=data.image.channels,
        image_size=data.image.size,
    )


def checked_module(role: str, network: Any) -> nn.Module:
    """A module with fp32 weights; what ``torch.compile`` or data parallelism wrap around it is
    taken off.

    Raises:
        UnderstudyError: for a class, a function or another object, and for other weights.
    """
    if isinstance(network, type):
        raise UnderstudyError(
            f"the {role} is the class {network.__name__}: give a network, {network.__name__}(...)"
        )
    if isinstance(getattr(network, "network", None), nn.Module) and role == "student":
        raise UnderstudyError(
            f"the {role} is {kind_of(network)}, the result of a training: give its network, "
            f"copy.deepcopy(result.network), to train it further"
        )
    if not isinstance(network, nn.Module):
        raise UnderstudyError(f"the {role} must be a torch module, not {kind_of(network)}")
    module = unwrapped(network)
    tensors = list(module.parameters())
    if any(parameter.is_meta for parameter in tensors):
        raise UnderstudyError(
            f"the {role} {type(module).__name__} is on the device meta, without weights: build it "
            "outside of torch.device('meta'), or load its weights"
        )
    if not all(isinstance(value, Tensor) for value in module.state_dict().values()):
        raise UnderstudyError(
            f"the {role} {type(module).__name__} holds packed weights, as of a quantised network: "
            "give the network before it was quantised"
        )
    kinds = {p.dtype for p in tensors if p.dtype.is_floating_point}
    if kinds - {torch.float32}:
        found = str(next(iter(kinds - {torch.float32}))).removeprefix("torch.")
        raise UnderstudyError(
            f"the {role} has {found} weights: call {role}.float(); precision='bf16' trains faster"
        )
    return module


def unwrapped(network: nn.Module) -> nn.Module:
    """The module inside of ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``.

    It shares its weights with the wrapper.
    """
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = network.module if isinstance(network, parallel) else None
        inner = inner if inner is not None else getattr(network, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return network
        network = inner


def image_channels(network: nn.Module | str) -> int:
    """1 for a network that takes grey images; else 3, as for one that is built by its name."""
    return 1 if isinstance(network, nn.Module) and input_channels(network) == 1 else 3


def check_trainable(student: nn.Module) -> None:
    """Refuse a student without a parameter that trains.

    Raises:
        UnderstudyError: if all are frozen, or there are none.
    """
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise UnderstudyError(
            "no parameter of the student trains: call student.requires_grad_(True) "
            "(a network that was a teacher is frozen)"
        )


def kind_of(value: object) -> str:
    """The name of a value's class, with its module, for messages."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"
