"""What a page consists of, in a folder as in one file."""

import base64
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from understudy.errors import UnderstudyError
from understudy.export.card import Card
from understudy.export.deployable import Deployable
from understudy.export.formats import FORMATS
from understudy.export.tracing import trace
from understudy.export.web import library
from understudy.export.web.samples import Sample
from understudy.export.web.wasm import dots_module
from understudy.export.web.weights import layers_and_weights
from understudy.files import to_json
from understudy.report.render import render

SCRIPTS = ("kernels", "preprocess", "app")
"""In the order in which they run."""
NETWORK = "student.onnx"
WEIGHTS = "weights.bin"


@dataclass(frozen=True, eq=False, kw_only=True)
class Page:
    """A student and what the page shows of it.

    Attributes:
        card: of the student.
        model: what ``app.js`` needs to run it; ``runtime`` is ``kernels`` or ``onnx``.
        samples: images on which it and its teacher differ.
        binaries: file name -> content, for those that ``model`` names.
    """

    card: Card
    model: Mapping[str, Any]
    samples: tuple[Sample, ...]
    binaries: Mapping[str, bytes]

    @property
    def title(self) -> str:
        return f"{self.card.origin.run or self.card.origin.model or 'student'} · understudy"

    def data(self) -> dict[str, str]:
        """Name -> JSON, of ``card``, ``model`` and ``samples``."""
        return {
            "card": self.card.to_text(),
            "model": dumped(self.model),
            "samples": dumped(to_json(self.samples)),
        }


def dumped(value: Any) -> str:
    """JSON without spaces, keys in order."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def page_of(deployable: Deployable, format_name: str, samples: Sequence[Sample]) -> Page:
    """The page of a student.

    Args:
        deployable: the student.
        format_name: ``web`` or ``web-single``.
        samples: may be empty.

    Raises:
        UnderstudyError: if it has an operation that the page's kernels lack, and onnxruntime-web
            or the packages for ONNX are not installed.
    """
    try:
        graph = trace(deployable.network, deployable.preprocessing.image)
    except UnderstudyError as error:
        model, binaries = _through_onnx(deployable, error)
    else:
        layers, weights = layers_and_weights(graph)
        module = deployable.module()
        model = {
            "runtime": "kernels",
            "layers": layers,
            "scale": module.scale.flatten().tolist(),
            "shift": module.shift.flatten().tolist(),
            "wasm": base64.b64encode(dots_module()).decode(),
            "bytes": len(weights),
        }
        binaries = {WEIGHTS: weights}
    return Page(
        card=deployable.card(format_name, "fp32"),
        model={**model, "image": deployable.preprocessing.image.shape},
        samples=tuple(samples),
        binaries=binaries,
    )


def _through_onnx(
    deployable: Deployable, reason: UnderstudyError
) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        files = {name: library.read(name) for name in library.SHA256}
    except UnderstudyError as error:
        raise UnderstudyError(f"{str(reason).partition(',')[0]}: {error}") from None
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / NETWORK
        FORMATS["onnx"].load().write(deployable, path)
        network = path.read_bytes()
    model = {
        "runtime": "onnx",
        "library": library.LIBRARY,
        "code": library.CODE,
        "network": NETWORK,
        "bytes": len(network),
    }
    return model, {NETWORK: network, **files}


def asset(name: str) -> str:
    """A file of the page's own code."""
    return resources.files("understudy.export.web").joinpath("assets", name).read_text("utf-8")


def html(page: Page, inline: Mapping[str, Any] | None = None) -> str:
    """``index.html``.

    Args:
        page: the student.
        inline: for a page in one file its ``style``, ``scripts`` and ``data``, as text.
    """
    return render(
        "page.html.j2",
        (),
        package="understudy.export.web",
        title=page.title,
        policy=_policy(page, inline),
        inline=inline,
        scripts=SCRIPTS,
    )


def _policy(page: Page, inline: Mapping[str, Any] | None) -> str:
    """What the browser lets the page do: its own code, its own files, and nothing else."""
    if inline is None:
        scripts, style, connect = ["'self'"], "'self'", "'self'"
    else:
        scripts = [_hash(text) for text in inline["scripts"].values()]
        style, connect = _hash(inline["style"]), "'none'"
        if page.model["runtime"] == "onnx":
            scripts.append("blob:")
    rules = {
        "default-src": "'none'",
        "script-src": " ".join([*scripts, "'wasm-unsafe-eval'"]),
        "style-src": style,
        "img-src": "data: blob:",
        "connect-src": connect,
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
