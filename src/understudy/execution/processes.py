"""Trainings in worker processes: one per core with one thread, or one per GPU.

A process trains one after the other, or (:class:`FusedProcessBackend`) many in one program. One
that is killed (out of memory, or by a person) is noticed by its sentinel; its trainings continue
from their checkpoints in a new process, twice at most.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import pickle
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from understudy.cores import available_cores
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.execution.backend import (
    Backend,
    Epoch,
    Event,
    Failed,
    Stopped,
    Training,
    discard_earlier,
)
from understudy.execution.cores import thread_environment
from understudy.execution.fused.backend import Engine
from understudy.execution.one_training import on_cpu
from understudy.execution.worker import Advance, Line, Setup, work
from understudy.training.device import resolve_device

_RETRIES = 2
"""How often a training is started again after the process it ran in has died."""
_WAIT_SECONDS = 1.0
"""How long :meth:`ProcessBackend.wait` waits for events."""
_TOGETHER = {"cpu": 16, "cuda": 128}
"""Trainings in one program. Shared among 16, a live teacher costs little; a GPU needs more."""


@dataclass
class _Worker:
    """A process, the pipe to it, its place among the workers (from 0), and what it trains."""

    process: Any
    pipe: Any
    place: int
    trainings: dict[str, Training] = field(default_factory=dict)


class ProcessBackend(Backend):
    """Sends each training to the next free process.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: how many processes; by default one per core of the CPU, or one per GPU.
        threads: of each process on a CPU. One process may have several, each bound to a core.
        observer: gets the progress within epochs.

    Raises:
        UnderstudyError: for fewer than one worker.
    """

    name = "processes"
    together = 1
    """How many trainings a process gets at once."""
    engine: Engine | None = None
    """What trains them in one program."""

    def __init__(
        self,
        *,
        device: str = "auto",
        workers: int | None = None,
        threads: int = 1,
        observer: Observer = SILENT,
    ) -> None:
        if workers is not None and workers < 1:
            raise UnderstudyError(f"--workers must be auto or at least 1, not {workers}")
        self.cores = available_cores() if on_cpu(device) else None
        self.device, self.threads, self.observer = device, threads, observer
        self.places = workers or (len(self.cores) if self.cores else _gpus(device))
        assert threads == 1 or self.places == 1, "processes side by side have one thread each"
        self.capacity = self.places * self.together
        self.waiting: list[Training] = []
        self.pending: list[Event] = []
        self.workers: list[_Worker] = []
        self.failures: Counter[str] = Counter()

    def submit(self, trainings: Sequence[Training]) -> None:
        """Accept trainings; the next :meth:`wait` assigns them."""
        for training in trainings:
            discard_earlier(training)
            self.waiting.append(replace(training, resume=True))

    def wait(self) -> list[Event]:
        self._assign_waiting()
        busy = [worker for worker in self.workers if worker.trainings]
        if not self.pending and busy:
            watched = [end for worker in busy for end in (worker.pipe, worker.process.sentinel)]
            multiprocessing.connection.wait(watched, _WAIT_SECONDS)
        for worker in busy:
            self._receive(worker)
        self._assign_waiting()  # no process is idle while the caller handles the events
        pending, self.pending = self.pending, []
        return pending

    def stop(self, training: str) -> None:
        if any(t.name == training for t in self.waiting):
            self.waiting = [t for t in self.waiting if t.name != training]
            self.pending.append(Stopped(training))
        for worker in self.workers:
            if training in worker.trainings:
                with contextlib.suppress(OSError):  # it is dead: `wait` will notice
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

    def _assign_waiting(self) -> None:
        """Give waiting trainings to the processes with the fewest, of the same seed if possible."""
        for idle in [w for w in self.workers if not w.trainings and not w.process.is_alive()]:
            self._reap(idle)  # it died with nothing to do: no training counts that as a failure
        while self.waiting:
            worker = self._least_busy()
            if worker is None:
                return
            training = self._next_for(worker)
            if training is None:
                return
            self.waiting.remove(training)
            worker.trainings[training.name] = training
            with contextlib.suppress(OSError):  # it died idle: `wait` will notice and assign again
                worker.pipe.send(("train", training))

    def _least_busy(self) -> _Worker | None:
        if len(self.workers) < self.places and all(worker.trainings for worker in self.workers):
            return self._start()
        free = []
        for worker in self.workers:
            # A training on its last attempt runs alone, so that a crash cannot take others with it.
            alone = any(map(self._last_attempt, worker.trainings.values()))
            if len(worker.trainings) < self.together and not alone:
                free.append(worker)
        return min(free, key=lambda worker: len(worker.trainings), default=None)

    def _next_for(self, worker: _Worker) -> Training | None:
        """What to add to a process: of a seed that it has, otherwise of the seed with most
        waiting."""
        endangered = next((t for t in self.waiting if self._last_attempt(t)), None)
        if endangered is not None and not worker.trainings:
            return endangered
        safe = [t for t in self.waiting if not self._last_attempt(t)]
        waiting = Counter(t.run.seed for t in safe)
        present = {t.run.seed for t in worker.trainings.values()}
        # Of equals the first that was submitted.
        return max(safe, key=lambda t: (t.run.seed in present, waiting[t.run.seed]), default=None)

    def _last_attempt(self, training: Training) -> bool:
        """Whether one more death ends it: then it runs alone, and alone is to blame."""
        return self.together > 1 and self.failures[training.name] == _RETRIES

    def _start(self) -> _Worker:
        place = min(set(range(self.places)) - {worker.place for worker in self.workers})
        core, device = None, self.device
        if self.cores is None:
            device = self.device if ":" in self.device else f"cuda:{place % _gpus(self.device)}"
        elif self.threads == 1 and self.places <= len(self.cores):
            core = self.cores[place]
        watched = self.observer is not SILENT
        setup = Setup(core, device, self.threads, self.engine, self.together, watched)
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        with thread_environment(self.threads):
            name = f"understudy-worker-{place}"
            process = context.Process(target=work, args=(there, setup), name=name, daemon=True)
            process.start()
        there.close()  # so that the pipe ends when the process does
        worker = _Worker(process, here, place)
        self.workers.append(worker)
        return worker

    def _receive(self, worker: _Worker) -> None:
        """Read what a process has sent, and notice if it has died."""
        # Checked before the pipe is read: what it sent before it died is still in there.
        died = not worker.process.is_alive()
        try:
            while worker.trainings and worker.pipe.poll():
                self._on_message(worker, worker.pipe.recv())
        except (OSError, EOFError, pickle.UnpicklingError):  # it died while it was sending
            worker.process.join()
            died = True
        if died:
            self._reap(worker)

    def _on_message(self, worker: _Worker, message: Event | Advance | Line) -> None:
        if isinstance(message, Advance):
            self.observer.progress(message.progress, message.training)
            return
        if isinstance(message, Line):
            self.observer.message(message.text)
            return
        self.pending.append(message)
        if not isinstance(message, Epoch):
            del worker.trainings[message.training]

    def _reap(self, worker: _Worker) -> None:
        """Forget a dead process; its trainings wait again, in front, or fail."""
        self.workers.remove(worker)
        worker.pipe.close()
        for lost in reversed(worker.trainings.values()):
            self.failures[lost.name] += 1
            if self.failures[lost.name] <= _RETRIES:
                self.waiting.insert(0, lost)
                continue
            died = (
                f"its process died {_RETRIES + 1} times ({_exit_reason(worker.process.exitcode)})"
            )
            reason = f"{died}: out of memory? try fewer --workers"
            self.pending.append(Failed(lost.name, reason, cause="process"))


class FusedProcessBackend(ProcessBackend):
    """Sends trainings to processes that each train many in one program.

    Args:
        device, workers, observer: as for :class:`ProcessBackend`.
        engine: as for :class:`~understudy.execution.fused.backend.FusedBackend`.
    """

    name = "fused"

    def __init__(
        self,
        *,
        device: str = "auto",
        workers: int | None = None,
        engine: Engine = "auto",
        observer: Observer = SILENT,
    ) -> None:
        self.engine = engine
        self.together = _TOGETHER[resolve_device(device).type]
        super().__init__(device=device, workers=workers, observer=observer)


def _gpus(device: str) -> int:
    import torch

    return 1 if ":" in device else max(1, torch.cuda.device_count())


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"
