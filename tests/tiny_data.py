"""The tiny data and networks of :mod:`tests.worlds`, under their former module."""

from tests.worlds import (
    MEAN,
    STD,
    TinyNet,
    tiny_config,
    tiny_data,
    tiny_net,
    tiny_split,
    untrained,
)

__all__ = [
    "MEAN",
    "STD",
    "TinyNet",
    "tiny_config",
    "tiny_data",
    "tiny_net",
    "tiny_split",
    "untrained",
]
