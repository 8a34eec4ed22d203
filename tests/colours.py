"""The coloured images of :mod:`tests.worlds`, under their former module."""

from tests.worlds import write_colours

__all__ = ["write_colours"]
