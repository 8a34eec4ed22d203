"""The version of the package, in the lowest room: results record it, and every room may read it."""

__version__ = "0.1.0"
