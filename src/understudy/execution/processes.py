"""Trainings side by side: on a CPU one process per core with one thread each, on GPUs one process per GPU.

A process trains one after the other, or (:class:`FusedProcessBackend`) many in one program. One that is killed (out of memory,
or by hand) is noticed by its sentinel; its trainings go on from their checkpoints in a fresh process, twice at most.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.errors import UnderstudyError
from understudy.execution.backend import (
    Backend,
    Epoch,
    Event,
    Failed,
    Finished,
    Stopped,
    Training,
    failed,
)
from understudy.execution.fused.backend import FusedBackend
from understudy.execution.sequential import StopTraining, on_cpu, run_training
from understudy.execution.workers import available_cores, end_with_parent, thread_environment
from understudy.training.device import resolve_device

_RETRIES = 2
"""How often a training is taken up again after the process it ran in has died."""
_TIMEOUT = 1.0
"""Seconds that :meth:`ProcessBackend.wait` waits for news."""
_TOGETHER = {"cpu": 16, "cuda": 128}
"""Trainings in one program, by device. Sharing a live teacher among 16 leaves little of its cost; a GPU is filled by more."""


@dataclass
class _Worker:
    """A process, the pipe to it, where it runs, and what it trains."""

    process: Any
    pipe: Any
    place: int
    trainings: dict[str, Training] = field(default_factory=dict)


class ProcessBackend(Backend):
    """Hands each training to the next free process.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: how many processes; by default one per core of the CPU, or one per GPU.

    Raises:
        UnderstudyError: for fewer than one worker.
    """

    name = "processes"
    together = 1
    """How many trainings a process takes on at once."""

    def __init__(self, *, device: str = "auto", workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise UnderstudyError(f"--workers must be auto or at least 1, not {workers}")
        self.cores = available_cores() if on_cpu(device) else None
        self.device = device
        self.places = workers or (len(self.cores) if self.cores else _gpus(device))
        self.capacity = self.places * self.together
        self.waiting: list[Training] = []
        self.told: list[Event] = []
        self.workers: list[_Worker] = []
        self.deaths: Counter[str] = Counter()

    def submit(self, trainings: Sequence[Training]) -> None:
        """Take on trainings; the next :meth:`wait` hands them out, when it knows all that there are."""
        self.waiting += trainings

    def wait(self) -> list[Event]:
        self._hand_out()
        busy = [worker for worker in self.workers if worker.trainings]
        if not self.told and busy:
            watched = [end for worker in busy for end in (worker.pipe, worker.process.sentinel)]
            multiprocessing.connection.wait(watched, _TIMEOUT)
        for worker in busy:
            self._listen(worker)
        self._hand_out()  # nobody idles while the caller deals with the news
        told, self.told = self.told, []
        return told

    def stop(self, training: str) -> None:
        if any(t.name == training for t in self.waiting):
            self.waiting = [t for t in self.waiting if t.name != training]
            self.told.append(Stopped(training))
        for worker in self.workers:
            if training in worker.trainings:
                with contextlib.suppress(OSError):  # dead: `wait` will notice
                    worker.pipe.send(("stop", training))

    def close(self) -> None:
        self.waiting.clear()
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self.workers.clear()

    def _hand_out(self) -> None:
        """Give the waiting trainings to whoever has the fewest, beside others of the same seed, which share its batches."""
        for idle in [w for w in self.workers if not w.trainings and not w.process.is_alive()]:
            self._bury(idle)  # died while it had nothing to do: no training is charged with it
        while self.waiting:
            worker = self._least_busy()
            if worker is None:
                return
            training = self._next_for(worker)
            if training is None:
                return
            self.waiting.remove(training)
            worker.trainings[training.name] = training
            with contextlib.suppress(
                OSError
            ):  # died while idle: `wait` will notice, and the training is taken up again
                worker.pipe.send(("train", training))

    def _least_busy(self) -> _Worker | None:
        if len(self.workers) < self.places and all(worker.trainings for worker in self.workers):
            return self._start()
        roomy = [worker for worker in self.workers if len(worker.trainings) < self.together]
        # What is in danger gets no company that it could take with it.
        free = [
            worker for worker in roomy if not any(map(self._in_danger, worker.trainings.values()))
        ]
        return min(free, key=lambda worker: len(worker.trainings), default=None)

    def _next_for(self, worker: _Worker) -> Training | None:
        """What to add to a worker's company: of a seed that it has, or else of the seed that most wait for."""
        endangered = next((t for t in self.waiting if self._in_danger(t)), None)
        if endangered is not None and not worker.trainings:
            return endangered
        safe = [t for t in self.waiting if not self._in_danger(t)]
        waiting = Counter(t.run.seed for t in safe)
        here = {t.run.seed for t in worker.trainings.values()}
        # Of equals the first that was submitted.
        return max(safe, key=lambda t: (t.run.seed in here, waiting[t.run.seed]), default=None)

    def _in_danger(self, training: Training) -> bool:
        """Whether it has died so often that once more ends it: then it is to blame alone, and nobody dies with it."""
        return self.together > 1 and self.deaths[training.name] == _RETRIES

    def _start(self) -> _Worker:
        place = min(set(range(self.places)) - {worker.place for worker in self.workers})
        core, device = None, self.device
        if self.cores is None:
            device = self.device if ":" in self.device else f"cuda:{place % _gpus(self.device)}"
        elif self.places <= len(self.cores):
            core = self.cores[place]
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        with thread_environment(1):
            arguments = (there, core, device, self.together)
            process = context.Process(
                target=_work, args=arguments, name=f"sweep-worker-{place}", daemon=True
            )
            process.start()
        there.close()  # so that the pipe ends when the process does
        worker = _Worker(process, here, place)
        self.workers.append(worker)
        return worker

    def _listen(self, worker: _Worker) -> None:
        """Take in what a worker has said, its death included."""
        died = (
            not worker.process.is_alive()
        )  # asked first: what it said before it died is still in the pipe
        try:
            while worker.trainings and worker.pipe.poll():
                event = worker.pipe.recv()
                self.told.append(event)
                if not isinstance(event, Epoch):
                    del worker.trainings[event.training]
        except (OSError, EOFError, pickle.UnpicklingError):
            worker.process.join()
            died = True
        if died:
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.pipe.close()
        for lost in reversed(worker.trainings.values()):
            self.deaths[lost.name] += 1
            if self.deaths[lost.name] <= _RETRIES:
                self.waiting.insert(0, lost)
                continue
            how = _manner_of_death(worker.process.exitcode)
            advice = "out of memory? try fewer --workers"
            self.told.append(
                Failed(lost.name, f"its process died {_RETRIES + 1} times ({how}): {advice}")
            )


class FusedProcessBackend(ProcessBackend):
    """Hands trainings to processes that each train many in one program (:class:`~understudy.execution.fused.backend.FusedBackend`).

    Args: as for :class:`ProcessBackend`.
    """

    name = "fused"

    def __init__(self, *, device: str = "auto", workers: int | None = None) -> None:
        self.together = _TOGETHER[resolve_device(device).type]
        super().__init__(device=device, workers=workers)


def _gpus(device: str) -> int:
    import torch

    return 1 if ":" in device else max(1, torch.cuda.device_count())


def _manner_of_death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"


# What runs in a worker.

Orders = queue.SimpleQueue[tuple[str, Any]]


def _work(pipe: Any, core: int | None, device: str, together: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; workers end by SIGTERM
    end_with_parent()
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    threads = 1 if on_cpu(device) else None
    orders: Orders = queue.SimpleQueue()
    # Read by a thread of its own: were both ends writing what the other does not read, they would wait for each other.
    threading.Thread(target=_read, args=(pipe, orders), daemon=True).start()
    if together > 1:
        _train_together(pipe, orders, device, threads, together)
    else:
        _train_each(pipe, orders, device, threads)


def _read(pipe: Any, orders: Orders) -> None:
    try:
        while True:
            orders.put(pipe.recv())
    except (EOFError, OSError):
        orders.put(("leave", None))


def _train_each(pipe: Any, orders: Orders, device: str, threads: int | None) -> None:
    while (order := orders.get())[0] != "leave":
        if order[0] == "train":  # a late "stop" is of a training that has ended by itself
            pipe.send(_result(pipe.send, orders, order[1], device, threads))


def _result(
    send: Callable[[Event], None],
    orders: Orders,
    training: Training,
    device: str,
    threads: int | None,
) -> Event:
    def report(kind: str, *news: Any) -> None:
        if kind != "epoch":
            return
        send(Epoch(training.name, news[0]))
        while not orders.empty():
            if orders.get() == ("stop", training.name):
                raise StopTraining

    try:
        return Finished(training.name, run_training(training, device, threads, report))
    except StopTraining:
        return Stopped(training.name)
    except Exception as error:
        return failed(training.name, error)


def _train_together(
    pipe: Any, orders: Orders, device: str, threads: int | None, together: int
) -> None:
    with FusedBackend(device=device, threads=threads, capacity=together) as backend:
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
