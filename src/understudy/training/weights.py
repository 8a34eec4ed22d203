"""A network's weights as a file."""

from pathlib import Path

from torch import nn

from understudy.errors import UnderstudyError
from understudy.files import replacing
from understudy.models.checkpoints import read_checkpoint
from understudy.models.fitting import fit, load
from understudy.models.onnx_network import OnnxNetwork


def save_weights(path: Path, model: nn.Module) -> None:
    """A network's state dict as safetensors under its own names, atomically."""
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    with replacing(path) as file:
        file.write(save(tensors))


def load_weights(path: Path, model: nn.Module, remedy: str = "", *, except_for: str = "") -> str:
    """Load a network's weights from a file of any training code; runs no code of the file.

    Args:
        path: see :func:`~understudy.models.checkpoints.read_checkpoint`. An ONNX network is its
            file: there is nothing to load.
        model: bare (:func:`understudy.models.deployed`); unchanged after an error.
        remedy: what to do about a file for other classes, appended to that message.
        except_for: path of a layer that remains as it is where the file has none of its shape.

    Returns:
        One line: what was unwrapped, converted or passed over; empty for a plain state dict.

    Raises:
        UnderstudyError: if the file is missing, damaged, or of another network.
    """
    if isinstance(model, OnnxNetwork) and model.is_file(path):
        return ""
    checkpoint = read_checkpoint(path)
    if isinstance(model, OnnxNetwork) and not fit(checkpoint, model).is_complete:
        raise UnderstudyError(
            f"{path} is not for an ONNX file, which has weights of its own: leave it out"
        )
    return load(checkpoint, model, remedy, except_for=except_for)
