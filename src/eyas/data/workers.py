"""Threads that read, decode and change images beside the one that trains."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

import torch

from eyas.memory import keep
from eyas.team import current

T = TypeVar("T")
R = TypeVar("R")

FEW = 2  # threads that make images ready where a network computes on the same processor
MOST = 16  # beside an accelerator: each holds a batch


def threads_beside(device: str) -> int:
    """Threads that make images ready for a network on `device`: few on a processor; beside an accelerator one a core."""
    if device == "cpu":
        return FEW
    cores = processors()
    if current().size > 1:
        cores //= int(os.environ.get("LOCAL_WORLD_SIZE", current().size))
    return min(max(FEW, cores), MOST)


def processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(count: int) -> Generator[ThreadPoolExecutor]:
    """Threads that each compute alone: torch would have every one of them use all cores at once, and wait for each other.

    torch keeps its number of threads for each thread, and one for all that begin later; the latter is put back.
    """
    keep()
    threads, begun = torch.get_num_threads(), Barrier(count + 1)

    def begin() -> None:
        torch.get_num_threads()  # or this thread would take the number for all when it first computes
        torch.set_num_threads(1)
        begun.wait()

    with ThreadPoolExecutor(count, initializer=begin) as pool:
        try:
            for _ in range(count):
                pool.submit(int)  # none is idle before all have begun, so each of these starts one
            begun.wait()
        except BaseException:  # one that cannot be started, or Ctrl-C: those that wait here go
            begun.abort()
            raise
        torch.set_num_threads(threads)
        yield pool


def ahead(make: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R]:
    """What `make` makes of each, in their order, made ahead of time in `threads`: one each and one more."""
    waiting: deque[Future[R]] = deque()
    with workers(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
