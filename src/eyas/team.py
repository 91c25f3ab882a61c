"""The processes that work on one run together, as `torchrun` starts them: which one this is, and how they agree.

Nearly always that is one process, a team of one, for which everything here is nothing at all. What a team computes
together is in `eyas.learn.team`, which also makes it out of the environment.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from eyas.errors import EyasError, UserError

T = TypeVar("T")
SET_BY_LAUNCHERS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Team:
    """This process as one of `size`; `rank` counts from 0 over all machines, `local_rank` on this one."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and shows progress."""
        return self.rank == 0

    def agree(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, in all of them; nobody else calls it. An `EyasError` is raised in all.

        While it is in `make` the first process is a team of one: the others wait, and cannot help.
        """
        if self.size == 1:
            return make()
        if not self.first:
            value, error = self._heard(None)
            if error:
                raise error
            return value
        try:
            with acting(ALONE):
                value = make()
        except EyasError as error:
            self._heard((None, error))
            raise
        return self._heard((value, None))[0]

    def _heard(self, said: Any) -> Any:
        """What the first process says."""
        import torch
        from torch import distributed

        message = [said]
        with reached(self):
            distributed.broadcast_object_list(message, src=0, device=torch.device("cpu"))
        return message[0]


ALONE = Team()
_team: ContextVar[Team] = ContextVar("team", default=ALONE)


def current() -> Team:
    """The team that this process works in."""
    return _team.get()


@contextmanager
def acting(team: Team) -> Generator[Team]:
    """Inside, this process works as a member of `team`."""
    token = _team.set(team)
    try:
        yield team
    finally:
        _team.reset(token)


def launched() -> bool:
    """Whether a launcher (torchrun, or what sets the same variables) started this process as one of several."""
    return all(name in os.environ for name in SET_BY_LAUNCHERS) and os.environ["WORLD_SIZE"] != "1"


@contextmanager
def reached(team: Team) -> Generator[None]:
    """Around what needs all processes.

    Raises:
        UserError: another one has ended.
    """
    try:
        yield
    except RuntimeError as error:  # torch has no narrower one for a connection that was closed
        raise UserError(f"another of the {team.size} processes has ended; give the same command again to go on") from error
