"""Pieces of work that do not depend on each other, one after the other or in several processes."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

import torch

from eyas.errors import EyasError, UserError

Job = TypeVar("Job")


@dataclass(frozen=True, eq=False)
class _Worker:
    process: SpawnProcess
    line: Connection


@contextmanager
def computing(threads: int) -> Generator[None]:
    """Inside, torch computes with so many threads: sums depend on their number in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def each(jobs: Sequence[Job], work: Callable[[Job], None], workers: int, threads: int) -> Generator[Job]:
    """Do `work` for every job, and give each back when it is done, in whatever order that is.

    With one worker it is done in this process. Other workers are fresh processes, so that `work` and jobs must be values
    that can be pickled; they end with this process, however it ends.

    Args:
        jobs: what to do.
        work: does one; its result is what it leaves on the disk.
        workers: how many at a time.
        threads: that each computes with.

    Raises:
        EyasError: that `work` raised; what the other workers have begun is then given up.
        UserError: a worker was killed.
    """
    count = min(workers, len(jobs))
    if count > 1:
        yield from _spread(deque(jobs), work, count, threads)
        return
    with computing(threads):
        for job in jobs:
            work(job)
            yield job


def _spread(waiting: deque[Job], work: Callable[[Job], None], count: int, threads: int) -> Generator[Job]:
    crew = [_hired(work, threads) for _ in range(count)]
    try:
        busy = {worker: _given(worker, waiting.popleft()) for worker in crew}
        while busy:
            ready = connection.wait([worker.line for worker in busy])
            for worker in [worker for worker in busy if worker.line in ready]:
                _heard(worker)
                job = busy.pop(worker)
                if waiting:
                    busy[worker] = _given(worker, waiting.popleft())
                yield job
    finally:
        _dismiss(crew)


def _hired(work: Callable[[Any], None], threads: int) -> _Worker:
    context = get_context("spawn")  # a fork would share the threads' locks, and the lock on the run
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, threads), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _given(worker: _Worker, job: Job) -> Job:
    with suppress(OSError):  # a worker that was killed is noticed when it should answer
        worker.line.send(job)
    return job


def _heard(worker: _Worker) -> None:
    try:
        error = worker.line.recv()
    except (EOFError, OSError):
        worker.process.join()
        raise UserError(
            f"a worker process ended (exit code {worker.process.exitcode}), perhaps for want of memory; what is finished is "
            "kept: give the same command again with fewer --workers"
        ) from None
    if error:
        raise error


def _dismiss(crew: Iterable[_Worker]) -> None:
    for worker in crew:
        worker.process.terminate()
    for worker in crew:
        worker.process.join()
        worker.line.close()


def _serve(line: Connection, work: Callable[[Any], None], threads: int) -> None:
    """A worker's life: work until there is nobody to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with suppress(EOFError, OSError):
        while True:
            job = line.recv()
            error = None
            try:
                work(job)
            except EyasError as raised:
                error = raised
            line.send(error)


def _end_with_parent() -> None:
    """Or a worker would go on in a run that nobody holds any more."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
