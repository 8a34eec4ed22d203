"""The split that a network is measured on, from everything that ``evaluate`` accepts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from understudy.api.inputs import check_roles, data_options, open_path, refuse_options
from understudy.data.dataset import Dataset, SealedSplit, Split
from understudy.data.in_memory import DataOptions, measured_split
from understudy.data.label_values import matched
from understudy.data.prepare import TrainingData


def split_of(
    data: Any, options: Mapping[str, Any], channels: int, class_names: Sequence[str] = ()
) -> Split:
    """Labelled images to measure a network on.

    A data set's test images, prepared data's validation images, of other data the part ``test``,
    else ``val``, else all of it. A folder without test images of its own is measured on the fifth
    that a training on it would leave out.

    Args:
        data: a split, sealed or not; or as for :func:`understudy.train`.
        options: fields of :class:`~understudy.data.in_memory.DataOptions`.
        channels: of the network's images.
        class_names: of the network, by which labels are matched; empty if they are not known.

    Raises:
        UnderstudyError: for data that cannot be read, or classes that the network does not know.
    """
    check_roles("evaluate(network, data)", data)
    reading = data_options(options)
    if isinstance(data, SealedSplit | Split | TrainingData):
        refuse_options(reading, "a split that is read already", "image_size", "resize")
    if isinstance(data, SealedSplit):
        return data.open_for_final_evaluation()
    if isinstance(data, Split):
        return data
    if isinstance(data, TrainingData):
        return _by_name(data.val, data, class_names)
    if isinstance(data, str | Path):
        data = open_path(data, reading, channels=channels)
        reading = DataOptions()
    if isinstance(data, Dataset):
        refuse_options(reading, f"the data set {data.name}", "image_size", "resize")
        return _by_name(data.test.open_for_final_evaluation(), data, class_names)
    return measured_split(data, reading, channels, class_names)


def _by_name(split: Split, data: Dataset | TrainingData, class_names: Sequence[str]) -> Split:
    """The split with its labels as those of the network's classes."""
    if not class_names or data.class_names == tuple(class_names):
        return split
    labels = matched(split.labels.numpy(), data.class_names, class_names, data.name)
    return Split(split.images, torch.from_numpy(labels), split.rows)
