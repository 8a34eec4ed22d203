"""Trainings on a Ray cluster, on this machine or on many, run by Ray Tune.

Ray Tune places the trainings and starts one again whose worker or node has died. What a training has reached is not Tune's
business but its own checkpoint's, in the sweep's folder: a retry, on whatever node, and a driver that was killed and started
again both go on from there, and a training that has its ``result.json`` is never started. So **the sweep's folder must be on
storage that all nodes see** (NFS, Lustre, ...); nodes that do not see it are named before any training starts.

The nodes need the package, the images (``data.path`` is the same path everywhere) and, to label each view once for all
of them, a folder of teacher outputs on shared storage; without one, each node keeps its own.
"""

import contextlib
import json
import logging
import os
import queue
import shutil
import socket
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from filelock import FileLock, Timeout

from understudy.errors import MachineError, UnderstudyError
from understudy.events import EpochResult
from understudy.execution.backend import (
    Backend,
    Epoch,
    Event,
    Failed,
    Finished,
    Stopped,
    Training,
    failed,
    kept_result,
)
from understudy.execution.sequential import run_training
from understudy.execution.workers import available_cores
from understudy.files import from_json, to_json
from understudy.runs.results import ArmResult

_SETTINGS = {
    "RAY_worker_niceness": "0",  # Ray would give its workers the lowest priority: next to any other work they stand still
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a sweep writes its own results
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the command line's
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 the old output says nothing, the new one a table
}
_OBJECT_STORE = 100 * 2**20
"""Bytes; Ray would take a third of the memory for objects that we do not have."""
_PATIENCE = 1.0
"""Seconds that :meth:`RayBackend.wait` waits for news."""
_TAKEOVER = 600.0
"""Seconds that a worker waits for one of a killed driver to let go of the same training."""


class RayBackend(Backend):
    """A worker of Ray Tune for each training, one core (and a share of a GPU) each.

    Args:
        folder: the sweep's folder, on storage that all nodes see.
        address: of a running cluster (``auto`` for the one this machine belongs to); by default the environment variable
            RAY_ADDRESS, and where that is not set a cluster of this machine alone, started here and stopped at the end.
        workers: trainings side by side: by default one per core of a local cluster; of a given one, what it has room for.
        device: ``auto`` (a GPU each where the cluster has any), ``cpu`` or ``cuda``.
        per_gpu: trainings that share a GPU.
        retries: how often a training is started again after its worker or node has died. A training that ends with an
            error of its own is not: it would end so again.

    Raises:
        UnderstudyError: if Ray is not installed, the cluster cannot be reached, or it has no GPU where one was asked for.
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
        self._share = 1 / per_gpu if self.device == "cuda" else 0.0
        room = min(cores, gpus * per_gpu) if self.device == "cuda" else cores
        self.capacity = max(1, min(room, workers or room))
        self._exchange = _Exchange()
        self._open: dict[str, int] = {}  # training -> the next epoch that is news
        self._tuner: threading.Thread | None = None

    def submit(self, trainings: Sequence[Training]) -> None:
        """Take on trainings; those that have a result already are finished at once.

        Raises:
            UnderstudyError: if a node does not see the sweep's folder.
        """
        if self._tuner is None and trainings:
            self._start()
        for training in trainings:
            assert training.name not in self._open, f"{training.name} is being trained"
            self._open[training.name] = 0
            finished = kept_result(training)
            if finished is not None:
                self._exchange.news.put(finished)
            else:
                self._exchange.waiting.append(_Job(training, self.device, self._local, self._mark))

    def wait(self) -> list[Event]:
        """Wait a moment for news.

        Raises:
            UnderstudyError: if Ray Tune itself has failed; the trainings' checkpoints stay.
        """
        events: list[Event] = []
        if not self._open:
            return events
        with contextlib.suppress(queue.Empty):
            events.append(self._exchange.news.get(timeout=_PATIENCE))
            while True:
                events.append(self._exchange.news.get_nowait())
        if not events and self._exchange.error is not None:
            reason = " ".join(str(self._exchange.error).split())[:300]
            raise UnderstudyError(
                f"Ray Tune stopped ({reason}): run again with --resume, nothing that was trained is lost"
            )
        return [event for event in events if self._is_news(event)]

    def _is_news(self, event: Event) -> bool:
        """False for an epoch that was told before: a training that is tried again tells its checkpoint's epochs anew."""
        expected = self._open.get(event.training)
        if expected is None:
            return False
        if not isinstance(event, Epoch):
            del self._open[event.training]
            return True
        self._open[event.training] = max(expected, event.result.epoch + 1)
        return event.result.epoch >= expected

    def stop(self, training: str) -> None:
        """End a training after its current epoch, or take it from the queue."""
        self._exchange.stop(training)

    def close(self) -> None:
        """Stop everything, and the cluster where it was started here."""
        self._exchange.closing = True
        if self._tuner is not None:
            self._tuner.join()
            self._tuner = None
        shutil.rmtree(self.folder / "ray", ignore_errors=True)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._owns_cluster:
            import ray

            ray.shutdown()

    def _start(self) -> None:
        """Check that all nodes see the folder, and start Ray Tune in a thread: its ``fit`` returns at the very end only."""
        notes = self.folder / "ray"
        shutil.rmtree(notes, ignore_errors=True)  # a killed driver's; nothing of ours is in it
        notes.mkdir(parents=True)
        self._mark = _Mark(notes / "mark.txt", uuid.uuid4().hex)
        self._mark.path.write_text(self._mark.word)
        if not self._local:
            blind = nodes_that_miss(self._mark)
            if blind:
                raise UnderstudyError(
                    f"{', '.join(blind)} of the Ray cluster cannot see {self.folder}: give --out on storage that all nodes share"
                )
        needs = {"cpu": 1.0, "gpu": self._share}
        self._tuner = threading.Thread(
            target=_tune, args=(self._exchange, notes, needs, self.retries), daemon=True
        )
        self._tuner.start()


@dataclass(frozen=True)
class _Mark:
    """A file that every node must find, with the word in it that this driver wrote."""

    path: Path
    word: str

    def seen(self) -> bool:
        try:
            return self.path.read_text() == self.word
        except OSError:
            return False


@dataclass(frozen=True)
class _Job:
    """What goes to a worker."""

    training: Training
    device: str
    pin: bool
    mark: _Mark


# On the driver: the thread that is Ray Tune, and what it shares with the backend.


class _Exchange:
    """Between the backend and the thread in which Ray Tune runs.

    Ray Tune copies and pickles what it is given; every copy is the same exchange, or an empty one in another process.
    """

    def __init__(self, key: str = "") -> None:
        self.key = key or uuid.uuid4().hex
        self.waiting: deque[_Job] = deque()
        self.news: queue.Queue[Event] = queue.Queue()
        self.stopping: set[str] = set()
        self.closing = False
        self.error: BaseException | None = None
        _EXCHANGES[self.key] = self

    def __reduce__(self) -> Any:
        return _exchange, (self.key,)

    def next_job(self) -> _Job | None:
        with contextlib.suppress(IndexError):
            return self.waiting.popleft()
        return None

    def stop(self, training: str) -> None:
        for job in list(self.waiting):
            if job.training.name == training:
                with contextlib.suppress(ValueError):  # Tune has taken it this instant
                    self.waiting.remove(job)
                    self.news.put(Stopped(training))
                    return
        self.stopping.add(training)


_EXCHANGES: "WeakValueDictionary[str, _Exchange]" = WeakValueDictionary()


def _exchange(key: str) -> _Exchange:
    return _EXCHANGES.get(key) or _Exchange(key)


def _tune(exchange: _Exchange, notes: Path, needs: dict[str, float], retries: int) -> None:
    """Run Ray Tune until the exchange is closed. Its searcher hands out what was submitted, its callback brings the news."""
    from ray import tune
    from ray.tune.search import Searcher

    class Submitted(Searcher):
        """The queue of trainings; ``None`` means "nothing yet" to Tune."""

        def suggest(self, trial_id: str) -> Any:
            if exchange.closing:
                return Searcher.FINISHED
            job = exchange.next_job()
            return None if job is None else {"job": job}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Nothing to learn from it."""

        def save(self, checkpoint_path: str) -> None:
            """Nothing to keep: the trainings' own checkpoints say what is left to do."""

        def restore(self, checkpoint_path: str) -> None:
            """See :meth:`save`."""

    class OnDemand(tune.Stopper):
        """Ends a trial when its next epoch comes in."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return result.get("training") in exchange.stopping

        def stop_all(self) -> bool:
            return exchange.closing

    class News(tune.Callback):
        """What a worker reports, and how its trial ended."""

        def __init__(self) -> None:
            self.ended: set[str] = set()

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            if "news" not in result:
                return
            event = _event(result["training"], *json.loads(result["news"]))
            exchange.news.put(event)
            if not isinstance(event, Epoch):
                self.ended.add(trial.trial_id)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            name = trial.config["job"].training.name
            if trial.trial_id not in self.ended and not exchange.closing:
                exchange.news.put(
                    Stopped(name)
                    if name in exchange.stopping
                    else Failed(name, "it ended without a result")
                )
            exchange.stopping.discard(name)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            name = trial.config["job"].training.name
            kind = type(trial.get_error()).__name__
            exchange.stopping.discard(name)
            exchange.news.put(
                Failed(name, f"its worker died {retries + 1} times (out of memory? {kind})")
            )

    try:
        tune.Tuner(
            tune.with_resources(_train, needs),
            tune_config=tune.TuneConfig(
                search_alg=Submitted(),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(notes),
                stop=OnDemand(),
                callbacks=[News()],
                failure_config=tune.FailureConfig(max_failures=retries),
                verbose=0,
            ),
        ).fit()
    except BaseException as error:  # it is the backend's `wait` that tells the user
        exchange.error = error


def _event(training: str, kind: str, content: Any) -> Event:
    if kind == "epoch":
        return Epoch(training, EpochResult(**content))
    if kind == "finished":
        return Finished(training, from_json(ArmResult, content, training, "train it again"))
    return Failed(training, *content)


def nodes_that_miss(mark: _Mark) -> list[str]:
    """Host names of the cluster's nodes that do not find the mark where the driver wrote it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(_Mark.seen)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = [
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(mark)
        for node in nodes
    ]
    return [
        node["NodeManagerHostname"]
        for node, seen in zip(nodes, ray.get(asked), strict=True)
        if not seen
    ]


def _import_ray() -> Any:
    for name, value in _SETTINGS.items():  # before the import, which reads some of it
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise UnderstudyError(
            "the ray backend needs Ray Tune: pip install 'understudy[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str, workers: int | None) -> None:
    if address.startswith("ray://"):
        raise UnderstudyError(
            f"{address} is Ray's client port: run the sweep on a node of the cluster, with address auto"
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
    except (
        Exception
    ) as error:  # Ray raises many kinds, and a plain Exception where a node does not start in time
        reason = " ".join(str(error).split())[:200]
        raise UnderstudyError(
            f"cannot reach the Ray cluster at {address} ({reason}): check the address and RAY_ADDRESS"
        ) from error


# On a worker.


def _train(config: dict[str, Any]) -> None:
    """One training, from its checkpoint where there is one; every epoch and the end are reported to Tune."""
    from ray import tune

    job: _Job = config["job"]
    training = job.training

    def tell(kind: str, content: Any) -> None:
        tune.report({"training": training.name, "news": json.dumps([kind, content])})

    def report(kind: str, *content: Any) -> None:
        if kind == "epoch":
            tell("epoch", asdict(content[0]))

    try:
        if not job.mark.seen():
            raise MachineError(
                f"node {socket.gethostname()} cannot see {job.mark.path.parent.parent}: share that storage"
            )
        with _alone(training), _own_core() if job.pin else contextlib.nullcontext():
            result = run_training(training, job.device, 1 if job.device == "cpu" else None, report)
    except Exception as error:
        # An error of the training's own comes again however often it is tried: told, not raised, so that Tune does not retry.
        event = failed(training.name, error)
        tell("failed", [event.reason, event.machine])
    else:
        tell("finished", to_json(result))


@contextlib.contextmanager
def _alone(training: Training) -> Iterator[None]:
    """Hold the training: workers of a killed driver live on for a moment, and no training must run twice at once."""
    training.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(training.folder / "training.lock", timeout=_TAKEOVER)
    try:
        lock.acquire()
    except Timeout as error:
        holder = (training.folder / "training.pid").read_text()
        raise UnderstudyError(
            f"{holder} has been training it for {_TAKEOVER:.0f} s: end that process"
        ) from error
    try:
        (training.folder / "training.pid").write_text(
            f"process {os.getpid()} on {socket.gethostname()}"
        )
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _own_core() -> Iterator[None]:
    """Bind this thread to a core that no other worker of this machine has; to none where all are taken."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    folder = Path(tempfile.gettempdir()) / f"understudy-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for core in sorted(before):
        lock = FileLock(folder / f"{core}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            os.sched_setaffinity(0, {core})
            yield
        finally:
            os.sched_setaffinity(0, before)
            lock.release()
        return
    yield
