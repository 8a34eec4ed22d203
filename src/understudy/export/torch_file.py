"""The network in eager PyTorch as a file of weights: what the runtimes are compared with.

Only the benchmark writes and reads it. For people there are the ``hub`` folder and
:meth:`understudy.Student.save`.
"""

import dataclasses
import json
from pathlib import Path

import torch

from understudy.errors import UnderstudyError
from understudy.export.card import KEY, Card
from understudy.export.deployable import Deployable
from understudy.export.source import TorchRuntime
from understudy.files import write_bytes
from understudy.models.base import Classifier
from understudy.models.normalisation import Normalisation
from understudy.models.registry import build_model, deployed


def write(deployable: Deployable, out: Path) -> None:
    """Write the weights under the network's own names, the card, and how to build the network.

    Raises:
        UnderstudyError: if the network was not built by name.
    """
    from safetensors.torch import save

    network = deployable.network
    architecture = network.architecture if isinstance(network, Classifier) else None
    if architecture is None:
        raise UnderstudyError(
            f"the runtime torch measures networks that are built by name, not a "
            f"{type(network).__name__}: leave torch and torch-compile out of --runtimes"
        )
    card = deployable.card("torch", "fp32").to_text()
    how = json.dumps({"card": card, "architecture": dataclasses.asdict(architecture)})
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in deployed(network).state_dict().items()
    }
    write_bytes(out, save(tensors, metadata={KEY: how}))


def open_file(path: Path, threads: int = 1) -> TorchRuntime:
    """The network of a file that :func:`write` wrote in this benchmark, in eager PyTorch."""
    return TorchRuntime(read(path), threads)


def read(path: Path) -> Deployable:
    """What a file of :func:`write` holds."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        how = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    card, architecture = Card.from_text(how["card"], str(path)), how["architecture"]
    with torch.random.fork_rng(devices=[]):  # the drawn weights are replaced by the file's
        network = build_model(
            architecture["name"],
            len(card.classes),
            card.image,
            stages=tuple(architecture["stages"]),
            options=architecture["options"],
        )
    deployed(network).load_state_dict(tensors)
    return Deployable(
        network=network.eval(),
        classes=card.classes,
        preprocessing=card.preprocessing,
        normalisation=Normalisation(card.mean, card.std),
    )
