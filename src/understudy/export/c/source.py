"""C99 for a microcontroller: written as a folder, and run here by the same integer arithmetic."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch

from understudy.errors import UnderstudyError
from understudy.export.c.emit import Program, emit
from understudy.export.c.names import c_string, plain
from understudy.export.card import Card
from understudy.export.deployable import Deployable, Examples
from understudy.export.int8.calibration import calibrate
from understudy.export.int8.network import Convolution, IntegerNetwork
from understudy.export.int8.quantise import quantise
from understudy.export.int8.reference import run
from understudy.export.settings import QuantisationSettings
from understudy.export.tracing import trace
from understudy.files import to_json
from understudy.version import __version__

CARD, NETWORK = "card.json", "student.safetensors"
SELFTEST_IMAGES = 8
BATCH = 128
"""Images at once in the arithmetic in Python."""

_TEMPLATES = Path(__file__).with_name("templates")
_GENERATED = ("student.h", "student.c", "README.md")
_COPIED = (
    "student_kernels.h",
    "student_kernels.c",
    "example_main.c",
    "Makefile",
    "board/main.c",
    "board/startup.c",
    "board/semihosting.h",
    "board/mps2.ld",
)


def write(
    deployable: Deployable,
    out: Path,
    examples: Examples,
    settings: QuantisationSettings,
) -> None:
    """Write a folder with C99 sources, a board's start-up code, a card and the integers.

    Args:
        deployable: the network and the facts of its card.
        out: the folder; one that an earlier export wrote is replaced.
        examples: the images for the calibration.
        settings: of the calibration.

    Raises:
        UnderstudyError: for a network or settings that C cannot have, or a folder that holds
            something else.
    """
    if settings.float_layers:
        raise UnderstudyError("the C code has no layers in floating point: leave float_layers out")
    graph = trace(deployable.network, deployable.preprocessing.image)
    ranges = calibrate(graph, deployable.normalisation, examples.train, settings)
    network = quantise(graph, deployable.normalisation, ranges)
    files = folder_files(network, deployable.card("c", "int8"))
    with _replacing_folder(out) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)


def folder_files(network: IntegerNetwork, card: Card) -> dict[str, bytes]:
    """The files of the folder: name -> content."""
    program = emit(network)
    facts = _facts(network, program, card)
    environment = jinja2.Environment(  # noqa: S701 - C and Markdown, by filters of their own
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"c_string": c_string, "plain": plain}
    texts = {name: environment.get_template(f"{name}.j2").render(facts) for name in _GENERATED}
    texts |= {name: (_TEMPLATES / name).read_text(encoding="utf-8") for name in _COPIED}
    texts["student_weights.c"], texts["student_weights.h"] = program.weights, program.declarations
    sizes = {
        "constant_bytes": program.constants,
        "arena_bytes": program.arena.size,
        "macs": program.macs,
    }
    texts[CARD] = json.dumps({**to_json(card), "sizes": sizes}, indent=1, sort_keys=True) + "\n"
    files = {name: text.encode() for name, text in texts.items()}
    files[NETWORK] = network.to_bytes()
    images = selftest_images(network)
    files["selftest/images.bin"] = raw(images)
    files["selftest/expected.txt"] = expected(run(network, images), card.classes)
    return files


def _facts(network: IntegerNetwork, program: Program, card: Card) -> dict[str, Any]:
    channels, height, width = network.image
    return {
        "version": __version__,
        "classes": card.classes,
        "channels": channels,
        "height": height,
        "width": width,
        "arena": program.arena.size,
        "constants": program.constants,
        "macs": program.macs,
        "calls": program.calls,
        "logit_scale": f"{network.logit_scale:.9e}f",
        "preprocessing": card.preprocessing,
        "measured": card.measured,
        "origin": [(key, value) for key, value in to_json(card.origin).items() if value],
        "selftest": SELFTEST_IMAGES,
        "border": _border(network, card),
    }


def _border(network: IntegerNetwork, card: Card) -> str:
    """How far the colour outside of the image is from the mean colour."""
    first = network.operations[0]
    padded = [
        one
        for one in network.operations
        if isinstance(one, Convolution) and first.name in one.inputs and one.padding != (0, 0)
    ]
    if not padded:
        return "Nothing is padded there."
    zero = 255 * np.array(card.mean) - 128
    error = float((np.abs(np.rint(zero) - zero) / (255 * np.array(card.std))).max())
    return (
        "Outside of the image it reads the byte nearest to the mean colour, half a grey level off "
        f"at most: here {error:.4f} after normalisation, where the network in fp32 reads 0."
    )


# -- the self-test -----------------------------------------------------------------------------


def selftest_images(network: IntegerNetwork) -> np.ndarray:
    """Blocks of colours with noise, uint8 ``[8, C, H, W]``: no image of anybody."""
    channels, height, width = network.image
    rng = np.random.default_rng(0)
    shape = (SELFTEST_IMAGES, channels, -(-height // 8), -(-width // 8))
    blocks = rng.integers(0, 256, shape).repeat(8, 2).repeat(8, 3)[:, :, :height, :width]
    noise = rng.integers(-32, 33, blocks.shape)
    return (blocks + noise).clip(0, 255).astype(np.uint8)


def raw(images: np.ndarray) -> bytes:
    """What the C code reads: uint8 ``[N, C, H, W]`` as HWC bytes, one image after the other."""
    return images.transpose(0, 2, 3, 1).tobytes()


def expected(logits: np.ndarray, classes: tuple[str, ...]) -> bytes:
    """What ``example_main.c`` prints for int32 logits ``[N, K]``."""
    lines = []
    for row in logits:
        best = int(row.argmax())
        # A string of C ends at its first zero byte.
        name = classes[best].encode("utf-8", "replace").partition(b"\0")[0]
        lines.append(f"{best} {' '.join(map(str, row))} ".encode() + name + b"\n")
    return b"".join(lines)


# -- running it --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class IntegerRuntime:
    """The integers of a folder, computed in Python as the C code computes them.

    Attributes:
        card: of the folder.
        network: the integers.
        threads: of torch while it runs.
    """

    card: Card
    network: IntegerNetwork
    threads: int = 1

    def logits(self, images: np.ndarray) -> np.ndarray:
        """int32 ``[N, K]`` of uint8 ``[N, 3, H, W]``, equal to those of the C code."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            parts = [
                run(self.network, images[at : at + BATCH]) for at in range(0, len(images), BATCH)
            ]
        finally:
            torch.set_num_threads(before)
        return np.concatenate(parts)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, fp32 ``[N, K]``."""
        logits = torch.from_numpy(self.logits(images)).double() * self.network.logit_scale
        return logits.softmax(1).float().numpy()


def open_file(path: Path, threads: int = 1) -> IntegerRuntime:
    """A folder that :func:`write` wrote.

    Raises:
        UnderstudyError: if files are missing, damaged or of another version.
    """
    texts = {}
    for name in (CARD, NETWORK):
        try:
            texts[name] = (path / name).read_bytes()
        except OSError:
            raise UnderstudyError(
                f"{path} has no {name}: export it again with understudy export"
            ) from None
    card = Card.from_text(texts[CARD].decode("utf-8", "replace"), str(path / CARD))
    network = IntegerNetwork.from_bytes(texts[NETWORK], str(path / NETWORK))
    try:
        outputs = run(network, np.zeros((1, *network.image), np.uint8)).shape[1]
    except (RuntimeError, IndexError, TypeError, ValueError):
        raise UnderstudyError(
            f"{path / NETWORK} is damaged: export it again with understudy export"
        ) from None
    if network.image != card.image.shape or outputs != len(card.classes):
        raise UnderstudyError(
            f"{path}: {NETWORK} has {outputs} classes of images {network.image}, {CARD} has "
            f"{len(card.classes)} of {card.image.shape}: export it again with understudy export"
        )
    return IntegerRuntime(card, network, threads)


@contextmanager
def _replacing_folder(out: Path) -> Iterator[Path]:
    """A temporary folder next to ``out`` that takes its place once it is complete."""
    if out.exists() and not (out / CARD).is_file():
        raise UnderstudyError(f"{out} exists and is no earlier export: move it, or choose another")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        folder, old = Path(scratch, "new"), Path(scratch, "old")
        folder.mkdir()
        yield folder
        if out.exists():
            out.rename(old)
        try:
            folder.rename(out)
        except OSError:
            old.rename(out)
            raise
