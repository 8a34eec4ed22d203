"""Trainings as tasks of a Ray cluster, on this machine or on many.

Ray places the tasks and starts one again whose worker or node has died. What a training has reached
is in its own checkpoint in the sweep's folder: a retry, on whatever node, and a driver that was
killed and started again both go on from there, and a training that has its ``result.json`` is never
started. So **the sweep's folder must be on storage that all nodes see** (NFS, Lustre, ...); nodes
that do not see it are named before any training starts.

The nodes need the package, the images (``data.path`` is the same path everywhere) and, to label
each view once for all of them, a folder of teacher outputs on shared storage; without one, each
node has its own.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from understudy.cores import available_cores
from understudy.errors import UnderstudyError, one_line
from understudy.execution.backend import (
    Backend,
    Epoch,
    Event,
    Failed,
    Stopped,
    Training,
    load_finished,
)
from understudy.execution.cores import own_core
from understudy.execution.one_training import run_to_event

_SETTINGS = {
    # By default Ray gives its workers the lowest priority: next to other work they stand still.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    # By default a training that needs too much memory is started again for ever.
    "RAY_task_oom_retries": "3",
}
_OBJECT_STORE = 100 * 2**20
"""Bytes; by default Ray takes a third of the memory for objects, and there are none here."""
_WAIT_SECONDS = 1.0
"""How long :meth:`RayBackend.wait` waits for events."""
_TAKEOVER_SECONDS = 600.0
"""How long a worker waits for a killed driver's worker to release the same training."""


class RayBackend(Backend):
    """A Ray task for each training, with one core (and a share of a GPU) each.

    Args:
        folder: the sweep's folder, on storage that all nodes see.
        address: of a running cluster (``auto`` for the one this machine belongs to); by default the
            environment variable RAY_ADDRESS. If that is not set, a cluster of this machine alone is
            started and stopped at the end.
        workers: trainings side by side; by default as many as the cluster has room for.
        device: ``auto`` (a share of a GPU each if the cluster has any), ``cpu`` or ``cuda``.
        per_gpu: trainings that share a GPU.
        retries: how often a training is started again after its worker or node has died. One that
            ends with an error of its own is not: it would end the same way again.

    Raises:
        UnderstudyError: if Ray is not installed, the cluster cannot be reached, or ``device`` is
        not one it has.
    """

    name = "ray"

    def __init__(
        self,
        folder: Path,
        *,
        address: str | None = None,
        workers: int | None = None,
        device: str = "auto",
        per_gpu: int = 1,
        retries: int = 3,
    ) -> None:
        self.folder = folder.resolve()
        self.retries = retries
        ray = _import_ray()
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            _connect(ray, address, workers)
        self._local = self._owns_cluster and address == "local"
        resources = ray.cluster_resources()
        cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not gpus):
            self._disconnect()
            wrong = "has no GPU" if device == "cuda" else "places trainings itself"
            raise UnderstudyError(
                f"the Ray cluster {wrong}: give --device auto or cpu, not {device}"
            )
        self.device = "cuda" if gpus and device != "cpu" else "cpu"
        self._gpu_share = 1 / per_gpu if self.device == "cuda" else 0.0
        room = min(cores, gpus * per_gpu) if self.device == "cuda" else cores
        self.capacity = max(1, min(room, workers or room))
        self._mailbox: Any = None  # the handle of the actor, made with the first training
        self._waiting: deque[Training] = deque()
        self._pending: list[Event] = []  # events that need no worker
        self._next_epoch: dict[str, int] = {}  # training that has not ended -> its next new epoch
        self._tasks: dict[Any, str] = {}  # Ray's reference to a task -> its training

    def submit(self, trainings: Sequence[Training]) -> None:
        """Accept trainings; those that have a result already are finished at once.

        Raises:
            UnderstudyError: if a node does not see the sweep's folder.
        """
        if self._mailbox is None and trainings:
            self._prepare()
        for training in trainings:
            assert training.name not in self._next_epoch, f"{training.name} is being trained"
            self._next_epoch[training.name] = 0
            finished = load_finished(training)
            if finished is None:
                self._waiting.append(training)
            else:
                self._pending.append(finished)

    def wait(self) -> list[Event]:
        """Wait a moment for events.

        Raises:
            UnderstudyError: if the cluster is lost; the trainings' checkpoints stay.
        """
        import ray

        self._start_tasks()
        events, self._pending = self._pending, []
        if not events and self._next_epoch:
            try:
                events = ray.get(self._mailbox.take.remote(_WAIT_SECONDS))
            except ray.exceptions.RayError as error:
                raise UnderstudyError(
                    f"the Ray cluster is lost ({one_line(error)}): run again with --resume, "
                    "no finished epoch is lost"
                ) from error
            events += self._lost_tasks()
        return [event for event in events if self._is_new(event)]

    def stop(self, training: str) -> None:
        """End a training after its current epoch, or take it from the queue."""
        waiting = [t for t in self._waiting if t.name == training]
        for one in waiting:
            self._waiting.remove(one)
            self._pending.append(Stopped(training))
        if not waiting and training in self._next_epoch:
            self._mailbox.stop.remote(training)

    def close(self) -> None:
        """Stop everything, and the cluster if it was started here."""
        import ray

        for task in self._tasks if ray.is_initialized() else ():
            ray.cancel(task, force=True)
        if self._mailbox is not None and ray.is_initialized():
            ray.kill(self._mailbox)
        self._waiting.clear()
        self._pending.clear()
        self._next_epoch.clear()
        self._tasks, self._mailbox = {}, None
        shutil.rmtree(self.folder / "ray", ignore_errors=True)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._owns_cluster:
            import ray

            ray.shutdown()

    def _prepare(self) -> None:
        """Check that all nodes see the folder, and start the mailbox on this node."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        notes = self.folder / "ray"
        shutil.rmtree(notes, ignore_errors=True)  # a killed driver's
        notes.mkdir(parents=True)
        self._marker = _Marker(notes / "marker.txt", uuid.uuid4().hex)
        self._marker.path.write_text(self._marker.token)
        missing = [] if self._local else nodes_without(self._marker)
        if missing:
            raise UnderstudyError(
                f"{', '.join(missing)} of the Ray cluster cannot see {self.folder}: "
                "give --out on storage that all nodes share"
            )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0)(_Mailbox)
        self._mailbox = actor.options(scheduling_strategy=here).remote()
        self._task = ray.remote(
            num_cpus=1, num_gpus=self._gpu_share, max_retries=self.retries, retry_exceptions=False
        )(_train)

    def _start_tasks(self) -> None:
        """Start as many of the waiting trainings as there is room for."""
        unfinished = len(self._next_epoch) - len(self._waiting) - len(self._pending)
        while self._waiting and unfinished < self.capacity:
            training = self._waiting.popleft()
            task = self._task.remote(
                training, self.device, self._local, self._marker, self._mailbox
            )
            self._tasks[task] = training.name
            unfinished += 1

    def _lost_tasks(self) -> list[Event]:
        """Forget the tasks that have ended; a :class:`Failed` for each that Ray has given up."""
        import ray

        ended, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks) or 1, timeout=0)
        events: list[Event] = []
        for task in ended:
            training = self._tasks.pop(task)
            try:
                ray.get(task)
            except ray.exceptions.RayError as error:
                kind, attempts = type(error).__name__, self.retries + 1
                reason = f"its worker died {attempts} times (out of memory? {kind})"
                events.append(Failed(training, reason, cause="process"))
        return events

    def _is_new(self, event: Event) -> bool:
        """False for an epoch seen before: a new attempt sends its checkpoint's epochs again."""
        expected = self._next_epoch.get(event.training)
        if expected is None:
            return False
        if not isinstance(event, Epoch):
            del self._next_epoch[event.training]
            return True
        self._next_epoch[event.training] = max(expected, event.result.epoch + 1)
        return event.result.epoch >= expected


@dataclass(frozen=True)
class _Marker:
    """A file that every node must find, with the token in it that this driver wrote."""

    path: Path
    token: str

    def seen(self) -> bool:
        try:
            return self.path.read_text() == self.token
        except OSError:
            return False


class _Mailbox:
    """A Ray actor between workers and driver: events one way, requests to stop the other."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stopping: set[str] = set()
        self.arrived = asyncio.Event()

    async def post(self, event: Event) -> bool:
        """Add an event; whether its training should stop."""
        self.events.append(event)
        self.arrived.set()
        if not isinstance(event, Epoch):
            self.stopping.discard(event.training)
        return event.training in self.stopping

    async def take(self, seconds: float) -> list[Event]:
        """The events since the last call, as soon as there are any; none after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.arrived.wait(), seconds)
        self.arrived.clear()
        events, self.events = self.events, []
        return events

    async def stop(self, training: str) -> None:
        self.stopping.add(training)


def nodes_without(marker: _Marker) -> list[str]:
    """Host names of the cluster's nodes that do not find the marker where the driver wrote it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(_Marker.seen)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    seen_there = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        seen_there.append(look.options(scheduling_strategy=there).remote(marker))
    found = zip(nodes, ray.get(seen_there), strict=True)
    return [node["NodeManagerHostname"] for node, seen in found if not seen]


def _import_ray() -> Any:
    for name, value in _SETTINGS.items():  # before the import, which reads some of it
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UnderstudyError("the ray backend needs Ray: pip install 'understudy[ray]'") from error
    return ray


def _connect(ray: Any, address: str, workers: int | None) -> None:
    if address.startswith("ray://"):
        raise UnderstudyError(
            f"{address} is Ray's client port: run the sweep on a node of the cluster, "
            "with address auto"
        )
    options: dict[str, Any] = {}
    if address == "local":
        options = {
            "num_cpus": workers or len(available_cores()),
            "object_store_memory": _OBJECT_STORE,
            "include_dashboard": False,
        }
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises many kinds; a plain Exception if a node starts too late
        raise UnderstudyError(
            f"cannot reach the Ray cluster at {address} ({one_line(error, limit=200)}): "
            "check the address and RAY_ADDRESS"
        ) from error


# On a worker.


def _train(training: Training, device: str, pin: bool, marker: _Marker, mailbox: Any) -> None:
    """One training; every epoch and the end go into the mailbox.

    An error of the training's own is an event as well, so that Ray does not retry: it would come
    again.
    """
    import ray

    def post(event: Event) -> bool:
        return bool(ray.get(mailbox.post.remote(event)))

    if not marker.seen():
        place = f"node {socket.gethostname()} cannot see {marker.path.parent.parent}"
        post(Failed(training.name, f"{place}: share that storage", cause="machine"))
        return
    threads = 1 if device == "cpu" else None
    with own_core() if pin else contextlib.nullcontext():
        post(run_to_event(training, device, threads, post, guard=_exclusive))


@contextlib.contextmanager
def _exclusive(training: Training) -> Iterator[None]:
    """Hold the training's lock: a killed driver's workers live on for a moment.

    Raises:
        UnderstudyError: if another process still holds it after :data:`_TAKEOVER_SECONDS`.
    """
    training.folder.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(training.folder.path / "training.lock", timeout=_TAKEOVER_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        holder = (training.folder.path / "training.pid").read_text()
        raise UnderstudyError(
            f"{holder} has been training it for {_TAKEOVER_SECONDS:.0f} s: end that process"
        ) from error
    try:
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        (training.folder.path / "training.pid").write_text(holder)
        yield
    finally:
        lock.release()
