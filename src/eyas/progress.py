"""How long work tells how far it is, without knowing who listens. Silent unless someone does (the command line)."""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

Pictures = UInt8[np.ndarray, "n h w 3"]
LATELY = 20
Recorder = Callable[[str, dict[str, Any], Callable[[], Pictures]], None]


@runtime_checkable
class Listener(Protocol):
    """What an audience of long work implements; every method may be called from the thread that works."""

    def begin(self, label: str, total: int | None) -> None:
        """A piece of work of `total` units starts (`None`: nobody knows)."""
        ...

    def advance(self, label: str, done: int, note: str) -> None:
        """`done` units are done so far; `note` is the latest figure worth showing."""
        ...

    def end(self, label: str) -> None:
        """The piece of work is over, or was given up."""
        ...

    def say(self, text: str) -> None:
        """One sentence that the user should read."""
        ...


class Progress:
    """The handle of one piece of work."""

    def __init__(self, label: str, listener: Listener | None) -> None:
        self.label = label
        self.listener = listener

    def at(self, done: int, note: str = "") -> None:
        """Report that `done` units are done so far."""
        if self.listener:
            self.listener.advance(self.label, done, note)


class Pace:
    """Images a second over the last `LATELY` steps."""

    def __init__(self) -> None:
        self.steps: deque[tuple[float, int]] = deque(maxlen=LATELY)

    def after(self, images: int) -> float:
        """The pace now that a step of so many images is done; 0 after the first, of which nobody knows when it began."""
        self.steps.append((perf_counter(), images))
        seconds = self.steps[-1][0] - self.steps[0][0]
        return sum(images for _, images in list(self.steps)[1:]) / seconds if seconds else 0.0


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Generator[None]:
    """Send what happens inside to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def work(label: str, total: int | None = None) -> Generator[Progress]:
    """`with work("teacher", total=steps) as progress: ... progress.at(step, note="loss 0.31")`."""
    listener = _listener.get()
    if listener:
        listener.begin(label, total)
    try:
        yield Progress(label, listener)
    finally:
        if listener:
            listener.end(label)


def say(text: str) -> None:
    """One sentence that the user should read."""
    listener = _listener.get()
    if listener:
        listener.say(text)


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def recording(recorder: Recorder) -> Generator[None]:
    """Send what is recorded of every training inside to `recorder`: its label, the log's line, its pictures if wanted."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


def record(label: str, line: dict[str, Any], pictures: Callable[[], Pictures]) -> None:
    """A step of a training, for whoever records."""
    recorder = _recorder.get()
    if recorder:
        recorder(label, line, pictures)
