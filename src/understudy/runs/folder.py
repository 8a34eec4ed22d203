"""Every path of a run directory, and its configuration file."""

from pathlib import Path
from typing import Any

from understudy.config.recipe import from_yaml, to_mapping, to_yaml
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.files import write_bytes


def arm_folder(run: Path, name: str) -> Path:
    """Where an arm keeps its checkpoint, history, predictions and result."""
    return run / "arms" / name


def weights_path(run: Path, name: str) -> Path:
    """The arm's kept weights: a plain state dict as safetensors."""
    return run / "models" / f"{name}.safetensors"


def kept_weights(run: Path, name: str) -> Path:
    """The same of an arm that has been trained.

    Raises:
        UnderstudyError: if the file is not there, saying how to get it.
    """
    path, result = weights_path(run, name), arm_folder(run, name) / "result.json"
    if path.is_file():
        return path
    if (
        result.exists()
    ):  # its checkpoint, where that is left, gives the same weights back without training
        raise UnderstudyError(
            f"{path} is gone: put it back, or delete {result} and run again with --resume to make it anew"
        )
    raise UnderstudyError(
        f"there is no weights file {path} yet: run again with --resume to train it"
    )


def record_config(config: RunConfig, out: Path, resume: bool) -> None:
    """Write config.yaml; on resume check first that it is the same run, but for further seeds or another place of the data."""
    path = out / "config.yaml"
    if resume and path.exists():
        before, now = to_mapping(from_yaml(path.read_text(), str(path))), to_mapping(config)
        differing = sorted(_differences(before, now))
        if differing:
            raise UnderstudyError(
                f"cannot resume {out}: {', '.join(differing)} differ from its config.yaml; give another --out"
            )
    write_bytes(path, to_yaml(config).encode())


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [
            d
            for k in keys
            for d in _differences(before.get(k), now.get(k), f"{where}.{k}" if where else k)
        ]
    return [] if before == now or where in ("data.path", "seeds") else [where]


def load_run(run: Path) -> RunConfig:
    """The configuration of a run directory.

    Raises:
        UnderstudyError: if it is none.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise UnderstudyError(f"{run} is not a run directory: it has no config.yaml")
    return from_yaml(path.read_text(), str(path))
