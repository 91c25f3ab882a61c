"""How long work tells how far it is, without knowing who listens. Silent unless someone does (the command line)."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable


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
