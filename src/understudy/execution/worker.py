"""What runs in a worker process of :class:`~understudy.execution.processes.ProcessBackend`.

The parent sends orders, ``("train", Training)`` and ``("stop", name)``; the worker sends events,
:class:`Advance` and :class:`Line`. The end of the pipe is the order to leave.
"""

import queue
import signal
import threading
from dataclasses import dataclass
from typing import Any

from understudy.events import SILENT, EpochResult, Observer, Progress
from understudy.execution.backend import Event
from understudy.execution.cores import end_with_parent, pin_to
from understudy.execution.fused.backend import Engine, FusedBackend
from understudy.execution.one_training import on_cpu, run_to_event

Orders = queue.SimpleQueue[tuple[str, Any]]


@dataclass(frozen=True)
class Setup:
    """How a worker process trains.

    Attributes:
        core: to which it is bound; ``None``: to none.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads, for trainings on a CPU.
        engine: of the fused program; ``None`` trains one after the other.
        together: most trainings in the fused program.
        watched: send the progress within epochs.
    """

    core: int | None
    device: str
    threads: int
    engine: Engine | None
    together: int
    watched: bool


@dataclass(frozen=True)
class Advance:
    """A training has advanced within an epoch."""

    training: str
    progress: Progress


@dataclass(frozen=True)
class Line:
    """A training has a line for people."""

    text: str


def work(pipe: Any, setup: Setup) -> None:
    """Train what the parent sends until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; workers end by SIGTERM
    end_with_parent()
    pin_to(setup.core)
    orders: Orders = queue.SimpleQueue()
    # Read by a thread of its own: two ends that both write and do not read would wait for each
    # other.
    threading.Thread(target=_read, args=(pipe, orders), daemon=True).start()
    threads = setup.threads if on_cpu(setup.device) else None
    observer = _PipeObserver(pipe) if setup.watched else SILENT
    if setup.engine is None:
        _train_each(pipe, orders, setup.device, threads, observer)
        return
    with FusedBackend(
        device=setup.device,
        engine=setup.engine,
        threads=threads,
        capacity=setup.together,
        observer=observer,
    ) as backend:
        _train_together(pipe, orders, backend)


def _read(pipe: Any, orders: Orders) -> None:
    try:
        while True:
            orders.put(pipe.recv())
    except (EOFError, OSError):
        orders.put(("leave", None))


def _train_each(
    pipe: Any, orders: Orders, device: str, threads: int | None, observer: Observer
) -> None:
    while (order := orders.get())[0] != "leave":
        if order[0] != "train":
            continue  # a late "stop" for a training that has ended by itself
        training = order[1]

        def post(event: Event) -> bool:
            pipe.send(event)
            stopping = False
            while not orders.empty():
                stopping |= orders.get() == ("stop", event.training)
            return stopping

        pipe.send(run_to_event(training, device, threads, post, observer))


def _train_together(pipe: Any, orders: Orders, backend: FusedBackend) -> None:
    idle = True
    while True:
        while idle or not orders.empty():
            order, subject = orders.get()
            if order == "leave":
                return
            if order == "train":
                backend.submit([subject])
            else:
                backend.stop(subject)
            idle = False
        events = backend.wait()
        for event in events:
            pipe.send(event)
        idle = not events


class _PipeObserver:
    """Sends progress and lines to the parent."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def expect(self, epochs: int, training: str = "") -> None:
        """The parent knows."""

    def progress(self, progress: Progress, training: str = "") -> None:
        self.pipe.send(Advance(training, progress))

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """Epochs are events."""

    def message(self, line: str) -> None:
        self.pipe.send(Line(line))
