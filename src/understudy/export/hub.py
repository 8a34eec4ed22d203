"""A folder in the layout of Hugging Face's hub: model card, weights, configuration, ONNX files.

The network is stored as a list of layers (``config.json``) and their weights
(``model.safetensors``), so nobody needs this package, or code that the folder brings, to run it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.data.preprocess import Preprocessing
from understudy.errors import UnderstudyError, one_line
from understudy.evaluation.deploy_results import DeployBenchmark
from understudy.export.card import Card
from understudy.export.deployable import Deployable
from understudy.export.layer_list import graph_of, layer_list
from understudy.export.model_card import model_card
from understudy.export.module import GraphModule
from understudy.export.source import TorchRuntime
from understudy.export.tracing import trace
from understudy.models.normalisation import Normalisation

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_STUDENT = Path(__file__).with_name("hub_student.py")
_BILINEAR = 2
"""Of Pillow's ``Resampling``, as Hugging Face's image processors count."""


def write(
    deployable: Deployable,
    out: Path,
    files: Sequence[Path] = (),
    *,
    benchmark: DeployBenchmark | None = None,
) -> None:
    """Write the folder; one that is there already is replaced.

    Args:
        deployable: the network.
        out: the folder.
        files: finished exports; the ONNX files among them are copied to ``onnx/``.
        benchmark: latencies for the model card.

    Raises:
        UnderstudyError: naming the layer, for a network that is no list of layers; or if ``out`` is
            something else than such a folder.
    """
    graph = trace(deployable.network, deployable.preprocessing.image)
    card = deployable.card("hub", "fp32")
    onnx = [file for file in files if file.suffix == ".onnx"]
    layers, tensors = layer_list(graph)
    with _replacing_folder(out) as folder:
        _write_json(folder / CONFIG, _config(card, layers))
        _write_json(folder / "preprocessor_config.json", _image_processor(card))
        (folder / WEIGHTS).write_bytes(_safetensors(tensors))
        shutil.copyfile(_STUDENT, folder / "student.py")
        for file in onnx:
            (folder / "onnx").mkdir(exist_ok=True)
            shutil.copyfile(file, folder / "onnx" / file.name)
        sizes = {
            file.relative_to(folder).as_posix(): file.stat().st_size
            for file in sorted(folder.rglob("*"))
            if file.suffix in (".safetensors", ".onnx")
        }
        text = model_card(card, sizes, benchmark)
        (folder / "README.md").write_text(text, encoding="utf-8")


def open_file(path: Path, threads: int = 1) -> TorchRuntime:
    """The network of a folder in torch; no code of the folder is run.

    Args:
        path: the folder.
        threads: CPU threads of torch, for the whole process.

    Raises:
        UnderstudyError: if the folder is incomplete or damaged.
    """
    card, network = read(path)
    deployable = Deployable(
        network=network,
        classes=card.classes,
        preprocessing=card.preprocessing,
        normalisation=Normalisation(card.mean, card.std),
    )
    runtime = TorchRuntime(deployable, threads)
    runtime.card = card
    return runtime


def read(path: Path) -> tuple[Card, GraphModule]:
    """The card and the network of a folder, in eval mode; no code of the folder is run.

    Raises:
        UnderstudyError: if the folder is incomplete or damaged.
    """
    try:
        config = json.loads((path / CONFIG).read_bytes())
        card = Card.from_text(json.dumps(config["understudy"]), str(path / CONFIG))
        graph = graph_of(card.image.shape, config["layers"], _tensors(path / WEIGHTS))
        network = GraphModule(graph).eval()
        _check(network, card)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UnderstudyError(
            f"{path} is no complete hub folder ({one_line(error, with_type=True, limit=120)}): "
            "export it again with understudy export --to hub"
        ) from error
    return card, network


def is_hub_folder(path: Path) -> bool:
    """Whether a folder has the two files that :func:`read` reads."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def _check(network: GraphModule, card: Card) -> None:
    """Run the network once: shapes that do not fit each other end here."""
    with torch.inference_mode():
        found = tuple(network(torch.zeros(2, *card.image.shape)).shape)
    if found != (2, len(card.classes)):
        raise ValueError(f"its output is {list(found[1:])} for {len(card.classes)} classes")


def _tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, np.ndarray] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return tensors


def _safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    content: bytes = save(tensors, metadata={"format": "pt"})
    return content


def _config(card: Card, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """``config.json``: the hub's own keys, the layers, and the card with the exact rules."""
    return {
        "architectures": ["Student"],
        "model_type": "understudy",
        "dtype": "float32",
        "problem_type": "single_label_classification",
        "num_channels": card.image.channels,
        "image_size": list(card.image.size),
        "id2label": {str(index): name for index, name in enumerate(card.classes)},
        "label2id": {name: index for index, name in enumerate(card.classes)},
        "layers": layers,
        "understudy": json.loads(card.to_text()),
    }


def _image_processor(card: Card) -> dict[str, Any]:
    """``preprocessor_config.json``: what Hugging Face's processors read, and the exact rule.

    ``image_processor_type`` is left out if none of their processors has the rule.
    """
    preprocessing = card.preprocessing
    height, width = preprocessing.image.size
    size = {"height": height, "width": width}
    found: dict[str, Any] = {
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": _BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(card.mean),
        "image_std": list(card.std),
        "understudy": json.loads(card.to_text())["preprocessing"],
    }
    return found | _resize(preprocessing, size)


def _resize(preprocessing: Preprocessing, size: dict[str, int]) -> dict[str, Any]:
    if preprocessing.resize == "squash":
        return {"image_processor_type": "ViTImageProcessor", "size": size}
    if preprocessing.resize == "pad":
        longest = {f"max_{side}": pixels for side, pixels in size.items()}
        return {"size": longest, "do_pad": True, "pad_size": size}
    cropped = {"do_center_crop": True, "crop_size": size}
    if preprocessing.image.is_square:
        edge = {"shortest_edge": size["width"]}
        return {"image_processor_type": "CLIPImageProcessor", "size": edge} | cropped
    return {"size": size} | cropped


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _replacing_folder(out: Path) -> Iterator[Path]:
    """A temporary folder next to ``out`` that takes its place once it is complete."""
    if out.exists() and not (out.is_dir() and (is_hub_folder(out) or not any(out.iterdir()))):
        raise UnderstudyError(f"{out} holds something else: choose another place for the folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield folder
        mask = os.umask(0)
        os.umask(mask)
        folder.chmod(0o777 & ~mask)  # temporary folders are private
        if out.exists():
            shutil.rmtree(out)
        folder.replace(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
