"""The program ``understudy``: its commands, its exit codes, and one line for each error."""

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter

from understudy.cli.cache import cache
from understudy.cli.catalogue import methods, models, recipes
from understudy.cli.exporting import export
from understudy.cli.inspecting import inspect
from understudy.cli.measuring import benchmark, diagnose, evaluate, report
from understudy.cli.predict import predict
from understudy.cli.starting import init
from understudy.cli.training import run, sweep, train
from understudy.errors import UnderstudyError, one_line
from understudy.version import __version__

_LONGEST = 2000
"""Characters that are shown of an error's message that is not ours."""

app = App(
    name="understudy",
    help="Teach a small image classifier to stand in for a large one, and measure whether it can.",
    help_epilogue="--debug, with any command, adds the traceback to an error.",
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(negative=()),
)
for _command in (
    init,
    run,
    train,
    sweep,
    evaluate,
    benchmark,
    export,
    predict,
    report,
    diagnose,
    recipes,
    inspect,
    cache,
    models,
    methods,
):
    app.command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; ``sys.argv[1:]`` by default.

    Returns:
        the exit code: 0, 1 if a command finds what must be repaired first, 2 for an error of the
        user's (one line on standard error), 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        command, bound, left_to_us = app.parse_args(words, exit_on_error=False, print_error=False)
        if "command_line" in left_to_us:
            bound.arguments["command_line"] = shlex.join(["understudy", *words])
        code = command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except KeyboardInterrupt:
        hint = "; the same command with --resume goes on from the last finished epoch"
        print(f"interrupted{hint if _trains(words) else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of `understudy methods | head` has enough. Without this, Python would
        # complain again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UnderstudyError, CycloptsError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"error: {_error_line(error, words)}", file=sys.stderr)
        return 2
    return code if isinstance(code, int) else 0


def _error_line(error: Exception, words: Sequence[str]) -> str:
    hint = ""
    if isinstance(error, MissingArgumentError) and _trains(words):
        folder = _value_of("--data", words) or "FOLDER"
        hint = (
            " Name one of `understudy recipes`, or write one for your images by "
            f"`understudy init {shlex.quote(folder)}`"
        )
    elif isinstance(error, CycloptsError):
        hint = " (see understudy --help)"
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "; free some, then repeat the command with --resume" if _trains(words) else ""
    return one_line(error, limit=_LONGEST) + hint


def _trains(words: Sequence[str]) -> bool:
    """Whether the command trains, and can be resumed."""
    return words[:1] in (["run"], ["train"], ["sweep"])


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """What follows an option, in either way of writing it."""
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None
