"""What a run needs to go on exactly where it stopped, and weights that load without this package."""

from pathlib import Path
from typing import Any

import torch

from understudy.errors import MachineError
from understudy.files import replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that the path always holds a whole one, whatever happens meanwhile.

    Raises:
        MachineError: if it cannot be written; so does ``OSError``, where the disk is full.
    """
    with replacing(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's own writer hides what the disk has said
            reason = " ".join(str(error).split())[:200]
            raise MachineError(
                f"the checkpoint {path} cannot be written ({reason}): is the disk full?"
            ) from error


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any]:
    """Read a checkpoint of this very run (tensors and plain values only, nothing is unpickled).

    Args:
        path: the file.
        fingerprint: of the run that wants to go on.

    Raises:
        MachineError: if it is damaged, or belongs to a run with another configuration.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["fingerprint"]
    except Exception as error:
        raise MachineError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}): delete it to train this arm again"
        ) from error
    if found != fingerprint:
        raise MachineError(
            f"the checkpoint {path} belongs to another configuration or version: delete it, or give another --out"
        )
    return dict(state)


def rng_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The generators that training draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put them back."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
