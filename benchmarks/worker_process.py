"""A contender in a process of its own: pinned to a core, with its own number of threads, idle until
it is asked."""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Worker:
    """A process that builds a contender once and then measures whenever it is asked.

    Args:
        build: ``build(*arguments)`` returns ``measure(*message) -> seconds``; both run in the
            process.
        environment: variables of the process: OpenMP reads its own once, when it is loaded.
        core: that the process is pinned to; ``None`` for all.
        here: no process after all (for the tests).
    """

    def __init__(
        self,
        build: Callable[..., Any],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        core: int | None = None,
        here: bool = False,
    ) -> None:
        self.measure = build(*arguments) if here else None
        self.message: tuple[Any, ...] = ()
        if here:
            return
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, core, build, arguments)
        )  # no daemon: it may have workers
        with patch.dict(os.environ, environment or {}):
            self.process.start()
        theirs.close()  # so that a dead process is an end of file, not a wait for ever

    def start(self, *message: Any) -> None:
        """Begin one measurement."""
        self.message = message
        if self.measure is None:
            self.connection.send(message)

    def result(self) -> float:
        """Wait for its seconds."""
        if self.measure is not None:
            return float(self.measure(*self.message))
        return float(self.connection.recv())

    def close(self) -> None:
        """End the process."""
        if self.measure is None:
            self.connection.close()
            self.process.join(20)
            if (
                self.process.is_alive()
            ):  # data-loader workers can be slow to leave; there is nothing left to lose
                self.process.terminate()
                self.process.join()


def _serve(
    connection: Any, core: int | None, build: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    measure = build(*arguments)
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        connection.send(measure(*message))
