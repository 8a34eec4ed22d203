"""The result of a training: a network with all that is needed to use it; save and load it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.api.deployed import read_deployed
from understudy.api.images import is_paths, logits_of, logits_of_files
from understudy.config.schema import DataConfig
from understudy.data.dataset import Dataset, SealedSplit, Split
from understudy.data.prepare import TrainingData
from understudy.data.preprocess import VERSION, Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError, one_line
from understudy.evaluation.metrics import evaluate
from understudy.events import EpochResult
from understudy.files import from_json, replacing, to_json
from understudy.models.base import Classifier
from understudy.models.foreign import ForeignClassifier, probe
from understudy.models.normalisation import Normalisation, record_normalisation
from understudy.models.registry import MODELS, build_model, deployed
from understudy.teachers.acceptance import TeacherCheck

if TYPE_CHECKING:
    from understudy.evaluation.deployment import ExportResults
    from understudy.evaluation.results import Metrics

SCHEMA = 1
"""Of the file's metadata."""
_KEY = "understudy"


@dataclass(frozen=True, eq=False, repr=False)
class Student:
    """A trained network, as :func:`understudy.train` and :func:`understudy.distill` return it.

    Attributes:
        network: what is deployed, in eval mode: normalised images ``[B, C, H, W]`` to logits
            ``[B, K]``.
        history: one entry per epoch.
        class_names: one per class; index = label.
        mean, std: the normalisation of [0, 1] images that it was trained with, one per channel.
        image: channels, height and width of its images.
        teachers: what was found out about its teachers before training; empty without one.
        preprocessing: from an image file to its images, always of the shape ``image``; by default
            the image covers that size and its centre is cut out.
    """

    network: Classifier
    history: tuple[EpochResult, ...]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image: ImageSpec
    teachers: tuple[TeacherCheck, ...] = ()
    preprocessing: Preprocessing = None  # type: ignore[assignment]  # follows from `image`

    def __post_init__(self) -> None:
        rule = self.preprocessing or Preprocessing(image=self.image)
        object.__setattr__(self, "preprocessing", replace(rule, image=self.image))

    @property
    def num_classes(self) -> int:
        """How many classes it tells apart."""
        return len(self.class_names)

    def __repr__(self) -> str:
        name = type(deployed(self.network)).__name__
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        parts = [f"{name}, {parameters:,} parameters", f"{self.num_classes} classes"]
        parts.append(str(self.image))
        if self.history:
            epochs = "1 epoch" if len(self.history) == 1 else f"{len(self.history)} epochs"
            reached = 100 * self.history[-1].val_accuracy
            parts.append(f"{reached:.1f} % on validation after {epochs}")
        return f"Student({', '.join(parts)}{''.join(f'; {check}' for check in self.teachers)})"

    def predict(
        self,
        images: Split | Tensor | np.ndarray | str | Path | Sequence[str | Path],
        *,
        probabilities: bool = False,
        device: str = "cpu",
        batch_size: int = 512,
    ) -> Tensor:
        """Classes of images; the normalisation is applied here.

        Args:
            images: a split, or an array or tensor of images of the shape ``image``,
                ``[N, C, H, W]`` or ``[N, H, W, C]``: uint8 in 0..255, or floats in [0, 1]; or image
                files, one path or several, which are read by the rule ``preprocessing``.
            probabilities: return each class's probability instead.
            device: where to run: ``cpu``, ``cuda`` or ``cuda:N``.
            batch_size: images in a forward pass.

        Returns:
            int64 ``[N]``, an index of ``class_names`` for each image; with ``probabilities`` fp32
            ``[N, K]``, rows summing to 1. On the CPU.

        Raises:
            UnderstudyError: for images of another shape, type or range, or files that cannot be
                read.
        """
        normalisation = Normalisation(self.mean, self.std)
        if is_paths(images):
            paths = [images] if isinstance(images, str | Path) else images
            logits = logits_of_files(
                self.network,
                paths,
                normalisation,
                self.preprocessing,
                device=device,
                batch_size=batch_size,
            )
        else:
            logits = logits_of(
                self.network,
                images,
                normalisation,
                self.image,
                device=device,
                batch_size=batch_size,
            )
        return logits.softmax(1) if probabilities else logits.argmax(1)

    def evaluate(
        self, split: Split | SealedSplit, *, teacher: nn.Module | None = None, device: str = "cpu"
    ) -> "Metrics":
        """Accuracy, calibration and, with a teacher, agreement on a split.

        Args:
            split: for instance ``data.test``: evaluate on it once, when nothing is chosen any more.
            teacher: compared with; fed images in the normalisation of this student.
            device: where to run: ``cpu``, ``cuda`` or ``cuda:N``.
        """
        config = DataConfig(mean=self.mean, std=self.std)
        return evaluate(self.network, split, config, teacher=teacher, device=device)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: the weights under the network's own names, and metadata.

        The file holds no code and no teacher. A network that was built by name (ours, ``timm:`` or
        ``torchvision:``) can be loaded from the file alone.
        """
        from safetensors.torch import save

        state = deployed(self.network).state_dict()
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in state.items()}
        with replacing(Path(path)) as file:
            file.write(save(tensors, metadata={_KEY: json.dumps(self._metadata())}))

    def export(
        self,
        to: str | Sequence[str],
        out: str | Path,
        data: TrainingData | Dataset,
        *,
        max_drop: float = 0.5,
        accept_unproven: bool = False,
    ) -> "ExportResults":
        """Write files for devices; each is measured on the validation images first.

        The same as ``understudy export`` does with a run. Quantisation-aware fine-tuning, the last
        resort of int8, reads the labels here, since no teacher is at hand.

        Args:
            to: names of formats, such as ``"onnx-int8"`` or ``["onnx", "web-single"]``.
            out: the folder to write to.
            data: what it was trained on, for calibration and measuring; no test image is read.
            max_drop: points of accuracy that an int8 file may lose.
            accept_unproven: accept an int8 file although there are too few images for a proof.

        Returns:
            What was written and measured; files that were not accepted are ``REJECTED-...``.

        Raises:
            UnderstudyError: for an unknown format, a package that is missing, or data of other
                classes or another size.
        """
        from understudy.api.exporting import export_deployable
        from understudy.export.deployable import Deployable
        from understudy.export.gate import Limits

        deployable = Deployable(
            network=self.network,
            classes=self.class_names,
            preprocessing=self.preprocessing,
            normalisation=Normalisation(self.mean, self.std),
        )
        limits = Limits(max_drop=max_drop / 100, accept_unproven=accept_unproven)
        return export_deployable(deployable, to, Path(out), data, limits)

    def _metadata(self) -> dict[str, Any]:
        architecture = self.network.architecture
        if architecture is not None:
            options = {k: v for k, v in architecture.options.items() if k != "pretrained"}
            built = {
                "name": architecture.name,
                "options": options,
                "stages": list(architecture.stages),
            }
        return {
            "schema": SCHEMA,
            "architecture": None if architecture is None else built,
            "network": type(deployed(self.network)).__name__,
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "image": asdict(self.image),
            "history": [asdict(epoch) for epoch in self.history],
            "teachers": [asdict(check) for check in self.teachers],
            "preprocessing": to_json(self.preprocessing),
        }

    @classmethod
    def load(cls, path: str | Path, *, network: nn.Module | None = None) -> "Student":
        """Read a trained student; runs no code of the file or folder and downloads nothing.

        Args:
            path: a file of :meth:`save`; a folder of ``understudy export --to hub``; or the folder
                of a run: its distilled student that was best on validation.
            network: the module to fill, in place, for a saved student that was not built by name.

        Raises:
            UnderstudyError: if the file is missing, damaged, no saved student, or of another
                network; if it needs ``network``; or if the folder is of neither kind.
        """
        path = Path(path)
        if path.is_dir():
            return cls._of_folder(path)
        metadata, tensors = _read(path)
        try:
            known = [key for key in _Saved.__dataclass_fields__ if key != "preprocessing"]
            values = _Saved(
                **{key: metadata[key] for key in known},
                preprocessing=metadata.get("preprocessing"),
            )
            student = values.student(path, network)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnderstudyError(
                f"{path} is damaged: its metadata cannot be read ({one_line(error, limit=100)})"
            ) from error
        try:
            deployed(student.network).load_state_dict(tensors)
        except (RuntimeError, TypeError) as error:
            raise UnderstudyError(f"{path} does not fit the network: {one_line(error)}") from error
        student.network.eval()
        record_normalisation(student.network, Normalisation(student.mean, student.std))
        return student

    @classmethod
    def _of_folder(cls, path: Path) -> "Student":
        deployable, history = read_deployed(path)
        assert isinstance(deployable.network, Classifier)
        student = cls(
            network=deployable.network,
            history=history,
            class_names=deployable.classes,
            mean=deployable.normalisation.mean,
            std=deployable.normalisation.std,
            image=deployable.preprocessing.image,
            preprocessing=deployable.preprocessing,
        )
        record_normalisation(student.network, deployable.normalisation)
        return student


@dataclass(frozen=True)
class _Saved:
    """The metadata of a file, as JSON has it; ``preprocessing`` is missing in older files."""

    architecture: dict[str, Any] | None
    network: str
    class_names: list[str]
    mean: list[float]
    std: list[float]
    image: dict[str, int]
    history: list[dict[str, Any]]
    teachers: list[dict[str, Any]]
    preprocessing: dict[str, Any] | None

    def student(self, path: Path, network: nn.Module | None) -> Student:
        """The student with a network whose weights are not loaded yet."""
        image = ImageSpec(**{name: int(value) for name, value in self.image.items()})
        built = self._build(path, image) if network is None else self._given(network, image)
        return Student(
            network=built,
            history=tuple(EpochResult(**epoch) for epoch in self.history),
            class_names=tuple(map(str, self.class_names)),
            mean=tuple(map(float, self.mean)),
            std=tuple(map(float, self.std)),
            image=image,
            teachers=tuple(
                TeacherCheck(**check | {"normalisation": Normalisation(**check["normalisation"])})
                for check in self.teachers
            ),
            preprocessing=self._rule(path, image),
        )

    def _rule(self, path: Path, image: ImageSpec) -> Preprocessing:
        if self.preprocessing is None:
            return Preprocessing(image=image)
        rule = from_json(Preprocessing, self.preprocessing, str(path), "save it again")
        if rule.version != VERSION:
            raise UnderstudyError(
                f"{path} was saved for version {rule.version} of the preprocessing, this version "
                f"has {VERSION}: update understudy"
            )
        return rule

    def _build(self, path: Path, image: ImageSpec) -> Classifier:
        if not self._is_known():
            raise UnderstudyError(
                f"{path} holds the weights of a {self.network} that was not built by name: "
                "give the module, Student.load(path, network=...)"
            )
        assert self.architecture is not None
        with torch.random.fork_rng(devices=[]):  # the drawn weights are replaced by the file's
            return build_model(
                self.architecture["name"],
                len(self.class_names),
                image,
                stages=tuple(self.architecture["stages"]),
                options=self.architecture["options"],
            )

    def _is_known(self) -> bool:
        """Whether the network can be built from its name without running code that the file names.

        Options of another library's constructor could make it read or download other files.
        """
        if self.architecture is None:
            return False
        source, _, rest = str(self.architecture["name"]).partition(":")
        if source in MODELS:
            return not rest
        plain = rest.replace("_", "").replace(".", "").replace("-", "").isalnum()
        return source in ("timm", "torchvision") and plain and not self.architecture["options"]

    def _given(self, network: nn.Module, image: ImageSpec) -> Classifier:
        if not isinstance(network, nn.Module):
            raise UnderstudyError(f"network must be a torch module, not {type(network).__name__}")
        if isinstance(network, Classifier):
            probe(network, len(self.class_names), image, type(network).__name__)
            return network
        return ForeignClassifier(
            network,
            len(self.class_names),
            name=type(network).__name__,
            in_channels=image.channels,
            image_size=image.size,
        )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The metadata and the tensors of a file.

    Raises:
        UnderstudyError: if it is no file that :meth:`Student.save` wrote.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UnderstudyError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UnderstudyError(
            f"{path} is not a saved student: give a file that Student.save wrote"
        ) from error
    if text is None:
        raise UnderstudyError(
            f"{path} holds weights alone, without classes and normalisation: "
            "give a file that Student.save wrote"
        )
    try:
        metadata = json.loads(text)
        schema = metadata["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnderstudyError(f"{path} is damaged: its metadata cannot be read") from error
    if schema != SCHEMA:
        raise UnderstudyError(
            f"{path} has schema {schema}, this version reads {SCHEMA}: update understudy"
        )
    return metadata, tensors
