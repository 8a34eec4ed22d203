"""One training after the other in this process: the backend that every other one must agree with."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from understudy.events import EpochResult
from understudy.execution.backend import Backend, Epoch, Event, Finished, Stopped, Training, failed
from understudy.runs.arm import run_arm
from understudy.runs.plan import chain_of, needed_by, spec_of
from understudy.runs.results import ArmResult
from understudy.training.device import resolve_device


class StopTraining(Exception):
    """Raised inside a training's report to end it; its checkpoint holds the last finished epoch."""


def run_training(
    training: Training, device: str, threads: int | None, report: Callable[..., None]
) -> ArmResult:
    """Train one student in this process, going on from its checkpoint or reading its finished result.

    Args:
        training: what to train.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; ``None`` leaves them as they are.
        report: as for :func:`understudy.runs.arm.run_arm`.

    Returns:
        the contents of ``result.json``.
    """
    config, links = training.config, chain_of(training.config)
    # The generations of a born-again student come before it; teacher and assistants are there.
    own = [name for name in needed_by(links, training.arm) if not links[name].teaches_all]
    for name in (*own, training.arm):
        result = run_arm(
            config,
            spec_of(config, name, training.seed),
            training.folder,
            device,
            threads,
            True,
            training.cache,
            training.final and name == training.arm,
            report if name == training.arm else None,
            teachers=training.teachers,
        )
    return result


def on_cpu(device: str) -> bool:
    """Whether trainings on this device run on the CPU."""
    return resolve_device(device).type == "cpu"


class SequentialBackend(Backend):
    """Trains in submission order, with one thread on a CPU: the numbers of :class:`~understudy.execution.processes.ProcessBackend`.

    The training runs in a thread that hands over each epoch and goes on only when asked for more, so that what was
    stopped after an epoch stops after that very epoch, however fast the epochs are.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    name = "sequential"
    capacity = 1

    def __init__(self, *, device: str = "auto") -> None:
        self.device = device
        self.threads = 1 if on_cpu(device) else None
        self.waiting: deque[Training] = deque()
        self.told: list[Event] = []
        self.running: _Thread | None = None

    def submit(self, trainings: Sequence[Training]) -> None:
        self.waiting.extend(trainings)

    def wait(self) -> list[Event]:
        if self.told:
            told, self.told = self.told, []
            return told
        if self.running is None:
            if not self.waiting:
                return []
            self.running = _Thread(self.waiting.popleft(), self.device, self.threads)
        event = self.running.next_event()
        if not isinstance(event, Epoch):
            self.running = None
        return [event]

    def stop(self, training: str) -> None:
        if self.running is not None and self.running.training.name == training:
            self.running.stopping = True
        elif any(t.name == training for t in self.waiting):
            self.waiting = deque(t for t in self.waiting if t.name != training)
            self.told.append(Stopped(training))

    def close(self) -> None:
        self.waiting.clear()
        if self.running is not None:
            self.running.abandon()
            self.running = None


class _Thread:
    """A training that takes a step, one epoch, when it is asked to."""

    def __init__(self, training: Training, device: str, threads: int | None) -> None:
        self.training, self.device, self.threads = training, device, threads
        self.stopping = False
        self.leaving = False
        self.events: queue.Queue[Event] = queue.Queue()
        self.go_on = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, name=training.name, daemon=True)
        self.thread.start()

    def next_event(self) -> Event:
        self.go_on.release()
        return self.events.get()

    def abandon(self) -> None:
        self.stopping = self.leaving = True
        self.go_on.release()
        self.thread.join()

    def _work(self) -> None:
        self.go_on.acquire()
        try:
            if self.stopping:
                raise StopTraining
            self.events.put(
                Finished(
                    self.training.name,
                    run_training(self.training, self.device, self.threads, self._report),
                )
            )
        except StopTraining:
            self.events.put(Stopped(self.training.name))
        except BaseException as error:
            self.events.put(failed(self.training.name, error))

    def _report(self, kind: str, *news: Any) -> None:
        if self.leaving:
            raise StopTraining
        if kind == "epoch":
            result: EpochResult = news[0]
            self.events.put(Epoch(self.training.name, result))
            self.go_on.acquire()
            if self.stopping:
                raise StopTraining
