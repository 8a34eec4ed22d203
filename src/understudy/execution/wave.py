"""Independent trainings that must all succeed, and the backend that suits their number."""

from collections.abc import Callable, Mapping, Sequence

from understudy.cores import available_cores
from understudy.errors import MachineError, UnderstudyError
from understudy.events import SILENT, Observer
from understudy.execution.backend import Backend, Epoch, Failed, Finished, Training
from understudy.execution.fused.backend import FusedBackend
from understudy.execution.one_training import on_cpu
from understudy.execution.processes import FusedProcessBackend, ProcessBackend
from understudy.execution.sequential import SequentialBackend
from understudy.runs.results import ArmResult


def wave_backend(
    count: int,
    *,
    device: str,
    processes: int,
    distributed: bool = False,
    together: bool = False,
    observer: Observer = SILENT,
) -> Backend:
    """A backend for so many trainings at once.

    A training that is alone on a CPU gets all its cores, each of several gets one thread: how many
    threads a training has changes its last bits, so this depends on nothing but ``count``.

    Args:
        count: of trainings.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: most worker processes; 0 trains in this process.
        distributed: this process is one of several ranks, which share the cores: one thread each.
        together: students take steps in turn in one process, on shared batches and teacher outputs.
        observer: gets the progress within epochs.
    """
    workers = min(processes, count)
    if together and workers:
        return FusedProcessBackend(
            device=device, workers=workers, engine="interleaved", observer=observer
        )
    if together:
        threads = 1 if on_cpu(device) else None
        return FusedBackend(
            device=device, engine="interleaved", capacity=count, threads=threads, observer=observer
        )
    threads = len(available_cores()) if count == 1 and not distributed else 1
    if workers:
        return ProcessBackend(device=device, workers=workers, threads=threads, observer=observer)
    return SequentialBackend(device=device, threads=threads, observer=observer)


def finish_all(
    trainings: Sequence[Training],
    backend: Backend,
    observer: Observer = SILENT,
    on_finished: Callable[[Mapping[str, ArmResult]], None] = lambda results: None,
) -> dict[str, ArmResult]:
    """Submit trainings and wait until all have a result.

    Args:
        trainings: independent of each other.
        backend: to be closed by the caller, which stops what still runs after a failure.
        observer: gets their epochs.
        on_finished: called with the results so far, by name, whenever one has finished; what it
            raises ends the others, whose checkpoints stay.

    Returns:
        each one's result by name, in the order of ``trainings``.

    Raises:
        UnderstudyError: if one fails; the checkpoints of the others stay.
        RuntimeError: for a mistake in the program, with its traceback.
    """
    results: dict[str, ArmResult] = {}
    backend.submit(trainings)
    while len(results) < len(trainings):
        for event in backend.wait():
            if isinstance(event, Failed):
                raise _error(event)
            if isinstance(event, Epoch):
                observer.epoch(event.result, event.training)
            elif isinstance(event, Finished):
                results[event.training] = event.result
                on_finished(results)
    return {training.name: results[training.name] for training in trainings}


def _error(failure: Failed) -> Exception:
    """The exception for a training that failed."""
    if failure.trace:
        return RuntimeError(f"{failure.training}:\n{failure.trace}")
    if failure.cause == "training":
        return UnderstudyError(failure.reason)
    text = failure.reason if failure.cause == "machine" else f"{failure.training}: {failure.reason}"
    if "--resume" not in text:
        text += "; the same command with --resume goes on from the last finished epoch"
    return MachineError(text) if failure.cause == "machine" else UnderstudyError(text)
