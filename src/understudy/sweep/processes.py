"""Trainings side by side: on a CPU one process per core with one thread each, on GPUs one process per GPU.

A process that is killed (out of memory, or by hand) is noticed by its sentinel; its training goes on from its checkpoint in
a fresh process, twice at most.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from understudy.errors import UnderstudyError
from understudy.sweep.backend import Backend, Epoch, Event, Failed, Finished, Stopped, Training, reason_of
from understudy.sweep.sequential import StopTraining, on_cpu, run_training
from understudy.workers import available_cores, thread_environment

_RETRIES = 2
"""How often a training is taken up again after the process it ran in has died."""
_TIMEOUT = 1.0
"""Seconds that :meth:`ProcessBackend.wait` waits for news."""


@dataclass
class _Worker:
    """A process, the pipe to it, where it runs, and what it trains."""

    process: Any
    pipe: Any
    place: int
    training: Training | None = None


class ProcessBackend(Backend):
    """Hands each training to the next free process.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: how many processes; by default one per core of the CPU, or one per GPU.

    Raises:
        UnderstudyError: for fewer than one worker.
    """

    name = "processes"

    def __init__(self, *, device: str = "auto", workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise UnderstudyError(f"--workers must be auto or at least 1, not {workers}")
        self.cores = available_cores() if on_cpu(device) else None
        self.device = device
        self.capacity = workers or (len(self.cores) if self.cores else _gpus(device))
        self.waiting: deque[Training] = deque()
        self.told: list[Event] = []
        self.workers: list[_Worker] = []
        self.deaths: Counter[str] = Counter()

    def submit(self, trainings: Sequence[Training]) -> None:
        self.waiting.extend(trainings)
        self._hand_out()

    def wait(self) -> list[Event]:
        busy = [worker for worker in self.workers if worker.training]
        if not self.told and busy:
            watched = [end for worker in busy for end in (worker.pipe, worker.process.sentinel)]
            multiprocessing.connection.wait(watched, _TIMEOUT)
        for worker in busy:
            self._listen(worker)
        self._hand_out()
        told, self.told = self.told, []
        return told

    def stop(self, training: str) -> None:
        if any(t.name == training for t in self.waiting):
            self.waiting = deque(t for t in self.waiting if t.name != training)
            self.told.append(Stopped(training))
        for worker in self.workers:
            if worker.training and worker.training.name == training:
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
        while self.waiting:
            free = next((worker for worker in self.workers if worker.training is None), None)
            if free is None:
                if len(self.workers) >= self.capacity:
                    return
                free = self._start()
            free.training = self.waiting.popleft()
            with contextlib.suppress(OSError):  # died while idle: `wait` will notice, and the training is taken up again
                free.pipe.send(("train", free.training))

    def _start(self) -> _Worker:
        place = min(set(range(self.capacity)) - {worker.place for worker in self.workers})
        core, device = None, self.device
        if self.cores is None:
            device = self.device if ":" in self.device else f"cuda:{place % _gpus(self.device)}"
        elif self.capacity <= len(self.cores):
            core = self.cores[place]
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        with thread_environment(1):
            process = context.Process(target=_work, args=(there, core, device), name=f"sweep-worker-{place}", daemon=True)
            process.start()
        there.close()  # so that the pipe ends when the process does
        worker = _Worker(process, here, place)
        self.workers.append(worker)
        return worker

    def _listen(self, worker: _Worker) -> None:
        """Take in what a worker has said, its death included."""
        died = not worker.process.is_alive()  # asked first: what it said before it died is still in the pipe
        assert worker.training is not None
        try:
            while worker.training and worker.pipe.poll():
                event = worker.pipe.recv()
                self.told.append(event)
                if not isinstance(event, Epoch):
                    worker.training = None
        except (OSError, EOFError, pickle.UnpicklingError):
            worker.process.join()
            died = True
        if died:
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.pipe.close()
        lost = worker.training
        if lost is None:
            return
        self.deaths[lost.name] += 1
        if self.deaths[lost.name] <= _RETRIES:
            self.waiting.appendleft(lost)
            return
        how = _manner_of_death(worker.process.exitcode)
        self.told.append(Failed(lost.name, f"its process died {_RETRIES + 1} times ({how}): out of memory? try fewer --workers"))


def _gpus(device: str) -> int:
    import torch

    return 1 if ":" in device else max(1, torch.cuda.device_count())


def _manner_of_death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"


# What runs in a worker.


def _work(pipe: Any, core: int | None, device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; workers end by SIGTERM
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    threads = 1 if on_cpu(device) else None
    while True:
        try:
            order, subject = pipe.recv()
        except EOFError:
            return
        if order == "train":  # a late "stop" is of a training that has ended by itself
            pipe.send(_result(pipe, subject, device, threads))


def _result(pipe: Any, training: Training, device: str, threads: int | None) -> Event:
    def report(kind: str, *news: Any) -> None:
        if kind != "epoch":
            return
        pipe.send(Epoch(training.name, news[0]))
        while pipe.poll():
            if pipe.recv() == ("stop", training.name):
                raise StopTraining

    try:
        return Finished(training.name, run_training(training, device, threads, report))
    except StopTraining:
        return Stopped(training.name)
    except Exception as error:
        return Failed(training.name, reason_of(error))


def _end_with_parent() -> None:
    """A killed sweep must not leave workers behind that go on writing where the resumed one writes."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
