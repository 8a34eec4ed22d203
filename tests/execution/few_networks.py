"""Three small networks of one architecture and images for them: what the tests of the stacked parts
share."""

from typing import Any

import torch
from torch import Tensor

from understudy.models import build_model
from understudy.models.base import Classifier

COUNT = 3


def networks(name: str, **options: Any) -> list[Classifier]:
    """Networks of different weights and running statistics."""
    built = []
    for seed in range(COUNT):
        torch.manual_seed(seed)
        network = build_model(name, 4, options=options)
        network(torch.randn(8, 3, 16, 16))
        built.append(network)
    return built


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
