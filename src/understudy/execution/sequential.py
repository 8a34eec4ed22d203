"""One training after the other in this process: every other backend must agree with it."""

import queue
import threading
from collections import deque
from collections.abc import Sequence

from understudy.events import SILENT, Observer, Progress, StopTraining
from understudy.execution.backend import Backend, Epoch, Event, Stopped, Training, failed
from understudy.execution.one_training import on_cpu, run_to_event


class SequentialBackend(Backend):
    """Trains in submission order, by default with one thread on a CPU.

    The training runs in a thread that hands over each epoch and continues only at the next
    :meth:`wait`, so that what is stopped after an epoch stops after that very epoch, however fast
    the epochs are.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: on a CPU; ``None`` leaves their number unchanged.
        observer: gets the progress within epochs.
    """

    name = "sequential"
    capacity = 1

    def __init__(
        self, *, device: str = "auto", threads: int | None = 1, observer: Observer = SILENT
    ) -> None:
        self.device = device
        self.observer = observer
        self.threads = threads if on_cpu(device) else None
        self.waiting: deque[Training] = deque()
        self.pending: list[Event] = []
        self.running: _TrainingThread | None = None

    def submit(self, trainings: Sequence[Training]) -> None:
        self.waiting.extend(trainings)

    def wait(self) -> list[Event]:
        if self.pending:
            pending, self.pending = self.pending, []
            return pending
        if self.running is None:
            if not self.waiting:
                return []
            training = self.waiting.popleft()
            self.running = _TrainingThread(training, self.device, self.threads, self.observer)
        event = self.running.next_event()
        if not isinstance(event, Epoch):
            self.running = None
        return [event]

    def stop(self, training: str) -> None:
        if self.running is not None and self.running.training.name == training:
            self.running.stopping = True
        elif any(t.name == training for t in self.waiting):
            self.waiting = deque(t for t in self.waiting if t.name != training)
            self.pending.append(Stopped(training))

    def close(self) -> None:
        self.waiting.clear()
        if self.running is not None:
            self.running.abandon()
            self.running = None


class _TrainingThread:
    """A training that runs one epoch at each :meth:`next_event`."""

    def __init__(
        self, training: Training, device: str, threads: int | None, observer: Observer
    ) -> None:
        self.training, self.device, self.threads = training, device, threads
        self.observer = observer
        self.stopping = False
        self.abandoned = False
        self.events: queue.Queue[Event] = queue.Queue()
        self.proceed = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, name=training.name, daemon=True)
        self.thread.start()

    def next_event(self) -> Event:
        self.proceed.release()
        return self.events.get()

    def abandon(self) -> None:
        """End the training at its next step, and wait for that."""
        self.stopping = self.abandoned = True
        self.proceed.release()
        self.thread.join()

    def _work(self) -> None:
        self.proceed.acquire()
        if self.stopping:
            self.events.put(Stopped(self.training.name))
            return
        try:
            event = run_to_event(self.training, self.device, self.threads, self._post, self)
        except BaseException as error:  # SystemExit in a method, say: nobody would end the wait
            event = failed(self.training.name, error)
        self.events.put(event)

    def _post(self, event: Event) -> bool:
        if not self.abandoned:
            self.events.put(event)
            self.proceed.acquire()
        return self.stopping

    # The training's observer: passes progress on, and ends what has been abandoned.

    def expect(self, epochs: int, training: str = "") -> None:
        self.observer.expect(epochs, training)

    def progress(self, progress: Progress, training: str = "") -> None:
        if self.abandoned:
            raise StopTraining
        self.observer.progress(progress, training)

    def epoch(self, result: object, training: str = "") -> None:
        """Epochs come through :meth:`_post`."""

    def message(self, line: str) -> None:
        self.observer.message(line)
