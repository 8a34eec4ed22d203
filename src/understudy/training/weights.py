"""A network's weights as a safetensors file."""

from pathlib import Path

import torch
from torch import Tensor, nn

from understudy.errors import UnderstudyError, one_line
from understudy.files import replacing


def save_weights(path: Path, model: nn.Module) -> None:
    """A network's state dict as safetensors under its own names, atomically."""
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    with replacing(path) as file:
        file.write(save(tensors))


def load_weights(path: Path, model: nn.Module, *, except_for: str = "") -> None:
    """Load a network's weights from a safetensors file, or a state dict saved by ``torch.save``.

    Nothing is unpickled (``weights_only``).

    Args:
        path: the file.
        model: gets the weights.
        except_for: path of a layer that keeps its own, whatever the file has for it.

    Raises:
        UnderstudyError: if the file is missing, damaged, or of another network.
    """
    state = read_weights(path)
    if except_for:
        own = model.state_dict()
        layer = {name for name in (*own, *state) if name.startswith(f"{except_for}.")}
        state = {name: tensor for name, tensor in state.items() if name not in layer}
        state |= {name: own[name] for name in layer if name in own}
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UnderstudyError(f"{path} does not fit the network: {one_line(error)}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file; raises as :func:`load_weights`."""
    if not path.is_file():
        raise UnderstudyError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnderstudyError(
            f"{path} cannot be read as weights ({type(error).__name__}): "
            "give a safetensors file or a plain state dict"
        ) from error
    return state
