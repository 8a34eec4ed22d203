"""The result of a training: a network with all that is needed to use it; save and load it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from understudy.api.deployed import read_deployed
from understudy.api.images import is_paths, logits_of, logits_of_files, stacked
from understudy.api.measured import split_of
from understudy.api.saved import KEY, SCHEMA, read_saved
from understudy.config.schema import DataConfig
from understudy.data.dataset import Split
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.evaluation.metrics import evaluate
from understudy.events import EpochResult
from understudy.files import replacing, to_json
from understudy.models.base import Classifier
from understudy.models.normalisation import Normalisation, record_normalisation
from understudy.models.registry import deployed
from understudy.teachers.acceptance import TeacherCheck

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from understudy.evaluation.deployment import ExportResults
    from understudy.evaluation.results import Metrics


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

    def _repr_html_(self) -> str:
        """What a notebook shows: the parts of :meth:`__repr__`, a row each."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        names = ", ".join(self.class_names[:8]) + (", ..." if self.num_classes > 8 else "")
        rows = {
            "network": f"{type(deployed(self.network)).__name__}, {parameters:,} parameters",
            "classes": f"{self.num_classes}: {names}",
            "images": str(self.image),
        }
        if self.history:
            accuracies = [f"{100 * epoch.val_accuracy:.2f} %" for epoch in self.history]
            rows["validation"] = f"{accuracies[-1]} after {len(accuracies)} epochs"
        rows |= {f"teacher {n + 1}": str(check) for n, check in enumerate(self.teachers)}
        cells = (f"<tr><th>{key}</th><td>{escape(text)}</td></tr>" for key, text in rows.items())
        return f"<table><caption>Student</caption>{''.join(cells)}</table>"

    def plot(self) -> "Figure":
        """Learning curves: loss and accuracies over the epochs, with the teacher's accuracy.

        Returns:
            a matplotlib figure, which a notebook shows and ``savefig`` writes.

        Raises:
            UnderstudyError: if the history is not known.
        """
        from understudy.api.curves import draw_curves

        return draw_curves(self.history, self.teachers)

    def predict(
        self,
        images: Split | Tensor | np.ndarray | str | Path | Image.Image | Sequence[Any],
        *,
        probabilities: bool = False,
        device: str = "cpu",
        batch_size: int = 512,
    ) -> Tensor:
        """Classes of images; the normalisation is applied here.

        Args:
            images: a split, or an array or tensor of images of the shape ``image``,
                ``[N, C, H, W]`` or ``[N, H, W, C]``: uint8 in 0..255, or floats in [0, 1]; or image
                files or Pillow images, one or several, which are brought to that shape by the rule
                ``preprocessing``.
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
                stacked(images, self.preprocessing),
                normalisation,
                self.image,
                device=device,
                batch_size=batch_size,
            )
        return logits.softmax(1) if probabilities else logits.argmax(1)

    def evaluate(
        self, data: Any, *, teacher: nn.Module | None = None, device: str = "cpu", **options: Any
    ) -> "Metrics":
        """Accuracy, calibration and, with a teacher, agreement on labelled images.

        Args:
            data: a split such as ``data.test``, a data set (its test images are measured), or any
                data that :func:`understudy.train` accepts: of several parts the part ``test``, else
                ``val``. Classes are matched by name where both have names. Evaluate on test images
                once, when nothing is chosen any more.
            teacher: compared with; fed images in the normalisation of this student.
            device: where to run: ``cpu``, ``cuda`` or ``cuda:N``.
            options: fields of :class:`~understudy.data.in_memory.DataOptions`; images are brought
                to the size of ``image`` without ``image_size``.

        Raises:
            UnderstudyError: for data that cannot be read, and classes that are not known.
        """
        rule = {"image_size": self.image.size, "resize": self.preprocessing.resize}
        split = split_of(data, rule | options, self.image.channels, self.class_names)
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
            file.write(save(tensors, metadata={KEY: json.dumps(self._metadata())}))

    def export(
        self,
        to: str | Sequence[str],
        out: str | Path,
        data: Any,
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
            data: what it was trained on, for calibration and measuring; no test image is read. A
                path, arrays or data sets are brought to the student's images.
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
        student = cls(**read_saved(path, network))
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
