"""Threads that read, decode and change images beside the one that trains."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import torch

from eyas.memory import keep


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
        for _ in range(count):
            pool.submit(int)  # none is idle before all have begun, so each of these starts one
        begun.wait()
        torch.set_num_threads(threads)
        yield pool
