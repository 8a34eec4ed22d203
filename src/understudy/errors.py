"""The exceptions a user is meant to see, their one-line form, and hints for misspelled names."""

import difflib
from collections.abc import Iterable

LONGEST = 300
"""Characters of a foreign exception's message that are shown; our own messages are never cut."""


class UnderstudyError(Exception):
    """Something outside the program is wrong: a file, a key, a number.

    The message is one line: what is wrong, and what to do. The command line prints it and exits
    with code 2; ``--debug`` adds the traceback. Mistakes in this package stay ``assert`` or the
    built-in exceptions.
    """


class MachineError(UnderstudyError):
    """The disk or a file on it is at fault, not the request: repair it and retry."""


def one_line(
    error: BaseException, *, with_type: bool = False, first_line: bool = False, limit: int = LONGEST
) -> str:
    """An exception's message without line breaks; the name of its type if it has no message.

    Args:
        error: an :class:`UnderstudyError` is shown whole; an ``OSError`` as reason and path.
        with_type: put the type's name in front, unless it is an :class:`UnderstudyError`.
        first_line: only the first line that is not blank, for libraries that append SQL, a list of
            keys or a stack.
        limit: characters that are shown of the message of any other exception.
    """
    name = type(error).__name__
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if first_line:
        text = next((line for line in text.splitlines() if line.strip()), "")
    text = " ".join(text.split())
    if isinstance(error, UnderstudyError):
        return text or name
    if len(text) > limit:
        text = text[: limit - 3].rstrip() + "..."
    if not text:
        return name
    return f"{name}: {text}" if with_type else text


def suggest(
    word: str,
    known: Iterable[str],
    *,
    prefix: str = "",
    matches: int = 1,
    cutoff: float = 0.6,
    otherwise: str = "there are",
    most: int | None = None,
) -> str:
    """What a misspelled name may have meant: ``did you mean X?``, or else the names that exist.

    Args:
        word: what was written.
        known: the names that exist, in the order in which they are listed.
        prefix: put before each suggestion (the section of a key: ``train.``).
        matches: how many suggestions at most.
        cutoff: how alike two words must be, in [0, 1] (``difflib``'s ratio).
        otherwise: opens the list if nothing is alike.
        most: how many names are listed before ``...``; all by default.
    """
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(word), names, n=matches, cutoff=cutoff)
    if close:
        return f"did you mean {', '.join(prefix + name for name in close)}?"
    listed = ", ".join(names[:most]) or "none"
    return f"{otherwise} {listed}{', ...' if most is not None and len(names) > most else ''}"
