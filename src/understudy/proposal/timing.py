"""How fast a network trains here: a few steps of the real loop on made-up images."""

import torch

from understudy.config.schema import DataConfig, ModelConfig, TrainConfig
from understudy.cores import available_cores
from understudy.data.dataset import Split
from understudy.data.prepare import TrainingData
from understudy.data.spec import ImageSpec
from understudy.methods.base import MethodConfig
from understudy.models import build_model
from understudy.training.device import make_fabric
from understudy.training.setup import Teaching, fit

_STEPS = 4
"""Measured steps, after a first one that compiles and allocates."""
_PLAIN = Teaching(MethodConfig("ce"))


def training_rate(
    model: ModelConfig,
    image: ImageSpec,
    num_classes: int,
    train: TrainConfig,
    *,
    device: str = "auto",
    all_cores: bool = False,
) -> float:
    """Images a second, forward and backward, of one training.

    Args:
        model: the network.
        image: shape of the images.
        num_classes: number of logits.
        train: batch size, optimizer and precision are taken from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        all_cores: as a training that is alone on a CPU; otherwise with one thread.

    Raises:
        UnderstudyError: for an unknown network, option or device.
    """
    data = _made_up(image, num_classes, train.batch_size)
    short = train.changed({"epochs": 1, "stop_epoch": None, "keep": "last", "compile": "off"})
    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    try:
        network = build_model(model.name, num_classes, image, options=model.options)
        torch.set_num_threads(len(available_cores()) if all_cores else 1)
        trained = fit(network, data, _PLAIN, short, make_fabric(device, train.precision))
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(generator)
    return trained.history[-1].images_per_second


def _made_up(image: ImageSpec, num_classes: int, batch_size: int) -> TrainingData:
    """Noise, just enough for the measured steps."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        shape = (count, image.height, image.width, image.channels)
        pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        return Split(pixels.permute(0, 3, 1, 2), torch.arange(count) % num_classes)

    train = split(batch_size * (1 + _STEPS))
    config = DataConfig(mean=(0.5,) * image.channels, std=(0.25,) * image.channels)
    names = tuple(str(number) for number in range(num_classes))
    rows = torch.arange(len(train))
    return TrainingData("noise", train, split(batch_size), rows, names, config, "noise")
