"""Prefetching: threads make the next items while the caller works on this one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(
    makers: Iterable[Callable[[], Item]], depth: int = 2, *, workers: int = 1
) -> Generator[Item, None, None]:
    """The results of the makers, in order, up to ``depth`` of them made ahead.

    An exception of a maker is raised when its item is due; what has not begun by then never does,
    as when the caller closes the iterator. Reading files, decoding images and gathering bytes
    release Python's lock, so one thread costs the caller nothing but memory bandwidth.

    Args:
        makers: taken one by one, in the caller's thread.
        depth: how many are made, or wait, while the caller has one.
        workers: threads.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[Item]] = deque()
        try:
            for maker in makers:
                waiting.append(pool.submit(maker))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
