"""Every path of a run directory, and its configuration file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from understudy.config.recipe import from_yaml, to_mapping, to_yaml
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.files import write_bytes

_MAY_DIFFER = ("data.path", "seeds", "teacher.go_on")
"""Settings that a resumed run may change: where the images lie, further seeds, and whether a poor
teacher teaches."""


def training_name(arm: str, seed: int) -> str:
    """Folder and file name of one training: ``distilled-seed0``."""
    return f"{arm}-seed{seed}"


def split_training_name(name: str) -> tuple[str, int]:
    """The arm and the seed in a :func:`training_name`.

    Raises:
        UnderstudyError: if it is not such a name.
    """
    arm, _, seed = name.rpartition("-seed")
    try:
        return arm, int(seed)
    except ValueError:
        raise UnderstudyError(
            f"{name} does not name a training: expected ARM-seedNUMBER, such as distilled-seed0"
        ) from None


@dataclass(frozen=True)
class RunFolder:
    """A run directory. ``name`` is always that of a training, ``distilled-seed0``; nothing is
    created here.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, YAML."""
        return self.path / "config.yaml"

    @property
    def results(self) -> Path:
        """Everything measured, JSON."""
        return self.path / "results.json"

    @property
    def environment(self) -> Path:
        """Machine, versions and command, JSON."""
        return self.path / "environment.json"

    @property
    def history(self) -> Path:
        """Every epoch of every training, CSV."""
        return self.path / "history.csv"

    @property
    def images(self) -> Path:
        """Hex digest of the images that it trains on, text."""
        return self.path / "data.sha256"

    @property
    def folds(self) -> Path:
        """Folder of the runs of a cross-validation, which is no run itself."""
        return self.path / "folds"

    @property
    def inspection(self) -> Path:
        """What was found in the data set's image files, JSON; of other sources there is none."""
        return self.path / "data.json"

    @property
    def contact_sheet(self) -> Path:
        """Some images of each class as the student sees them, PNG."""
        return self.figures / "contact-sheet.png"

    @property
    def models(self) -> Path:
        """Folder of the weights files."""
        return self.path / "models"

    @property
    def figures(self) -> Path:
        """Folder of the report's figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The report, HTML."""
        return self.path / "report.html"

    @property
    def deploy(self) -> Path:
        """Folder of the exported files, where ``export`` writes by default."""
        return self.path / "deploy"

    @property
    def export(self) -> Path:
        """What the exports measured, JSON."""
        return self.deploy / "export.json"

    def arm(self, name: str) -> Path:
        """Folder of one training: checkpoint, history, predictions and result."""
        return self.path / "arms" / name

    def checkpoint(self, name: str) -> Path:
        """The state after its last finished epoch."""
        return self.arm(name) / "checkpoint.pt"

    def arm_history(self, name: str) -> Path:
        """Its epochs, CSV."""
        return self.arm(name) / "history.csv"

    def predictions(self, name: str, split: Literal["val", "test"] = "test") -> Path:
        """Its logits float16 ``[N, K]`` and the labels int64 ``[N]`` of a split, NPZ."""
        return self.arm(name) / ("predictions.npz" if split == "test" else "predictions-val.npz")

    def result(self, name: str) -> Path:
        """Its measurements, JSON; written last, so that a training with a result is finished."""
        return self.arm(name) / "result.json"

    def weights(self, name: str) -> Path:
        """The final weights: a plain state dict as safetensors."""
        return self.models / f"{name}.safetensors"

    def all_weights(self) -> list[Path]:
        """The weights files that are there, sorted by name."""
        return sorted(self.models.glob("*.safetensors"))

    def require_weights(self, name: str) -> Path:
        """The weights file of a training that is finished.

        Raises:
            UnderstudyError: if it is missing, with the way to get it.
        """
        path, result = self.weights(name), self.result(name)
        if path.is_file():
            return path
        if result.exists():  # its checkpoint, if still there, holds the same weights
            raise UnderstudyError(
                f"{path} is gone: put it back, or delete {result} and run again with --resume "
                "to make it again"
            )
        raise UnderstudyError(
            f"there is no weights file {path} yet: run again with --resume to train it"
        )


def record_config(config: RunConfig, folder: RunFolder, resume: bool, images: str = "") -> None:
    """Write config.yaml and which images; on resume check first that the run in the folder is this.

    Args:
        config: the resolved configuration.
        folder: of the run.
        resume: go on with the run in the folder, if there is one.
        images: hex digest of the images that it trains on; empty if they are not recorded.

    Raises:
        UnderstudyError: if other settings differ than the seeds and the place of the images, the
            images have changed, or the folder holds a cross-validation.
    """
    if folder.folds.is_dir():
        raise UnderstudyError(
            f"{folder.path} holds a cross-validation: go on with it by --folds, or give another "
            "--out"
        )
    if resume:
        require_same_images(images, folder, "cannot resume", "give another --out")
        require_same_config(config, folder)
    write_bytes(folder.config, to_yaml(config).encode())
    if images:
        write_bytes(folder.images, f"{images}\n".encode())


def require_same_config(config: RunConfig, folder: RunFolder) -> None:
    """Check that a folder, if it holds a run, holds one of these settings; writes nothing.

    Raises:
        UnderstudyError: if other settings differ than the seeds and the place of the images.
    """
    if not folder.config.exists():
        return
    before = to_mapping(from_yaml(folder.config.read_text(), str(folder.config)))
    differing = sorted(_differences(before, to_mapping(config)))
    if differing:
        raise UnderstudyError(
            f"cannot resume {folder.path}: {', '.join(differing)} differ from its config.yaml; "
            "give another --out"
        )


def require_same_images(fingerprint: str, folder: RunFolder, what: str, remedy: str) -> None:
    """Check that these are the images of the run in a folder, if that is known.

    Args:
        fingerprint: of the images.
        folder: of the run.
        what: cannot be done otherwise.
        remedy: what to do instead.

    Raises:
        UnderstudyError: if they are others.
    """
    is_known = bool(fingerprint) and folder.images.exists()
    if is_known and folder.images.read_text().strip() != fingerprint:
        raise UnderstudyError(
            f"{what} {folder.path}: the images have changed since it was begun, and test images "
            f"may be among those that it was trained on; put them back, or {remedy}"
        )


def load_run(run: Path) -> RunConfig:
    """The configuration of a run directory.

    Raises:
        UnderstudyError: if it is not one.
    """
    path = RunFolder(run).config
    if not path.is_file():
        raise UnderstudyError(f"{run} is not a run directory: it has no config.yaml")
    return from_yaml(path.read_text(), str(path))


def earlier_config(folder: RunFolder) -> RunConfig | None:
    """The configuration of the run that a folder holds; ``None`` if it holds none."""
    return load_run(folder.path) if folder.config.is_file() else None


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    """Dotted keys at which two nested mappings differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now or where in _MAY_DIFFER else [where]
    found: list[str] = []
    for key in dict.fromkeys([*before, *now]):
        dotted = f"{where}.{key}" if where else key
        found += _differences(before.get(key), now.get(key), dotted)
    return found
