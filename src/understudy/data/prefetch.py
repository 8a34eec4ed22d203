"""Prefetching: a thread makes the next items while the caller works on this one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(makers: Iterable[Callable[[], Item]], depth: int = 2) -> Iterator[Item]:
    """The results of the makers, in order, up to ``depth`` of them made ahead in one thread.

    An exception of a maker is raised when its item is due. Reading files and gathering bytes
    release Python's lock, so the thread costs the caller nothing but memory bandwidth.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[Item]] = deque()
        for maker in makers:
            waiting.append(pool.submit(maker))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
