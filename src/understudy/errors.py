"""The exceptions a user is meant to see."""


class UnderstudyError(Exception):
    """Something outside the program is wrong: a file, a key, a number.

    The message is one line that says what is wrong and what to do about it. The command line prints it and exits with
    code 2; ``--debug`` adds the traceback. Mistakes of ours stay ``assert`` or the built-in exceptions.
    """


class MachineError(UnderstudyError):
    """The disk or a file on it is at fault, not what was asked for: once that is put right, the same command goes on."""
