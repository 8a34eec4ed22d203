"""The command line: parse, call, print.

Everything heavy is imported inside the command that needs it, so that help and mistakes appear at
once.
"""

from understudy.cli.app import app, main

__all__ = ["app", "main"]
