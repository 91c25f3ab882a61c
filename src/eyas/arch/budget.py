"""A device budget: limits that a model must keep, read from one line, with a reason for every refusal."""

import re
from dataclasses import dataclass, fields

from eyas.errors import UserError

EXAMPLE = '"size<=2MB,madds<=60M,params<=1.5M,latency<=10ms"'

_BYTES = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9}
_COUNT = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_UNITS = {"size": _BYTES, "madds": _COUNT, "params": _COUNT, "latency": _MILLISECONDS}
_LIMIT = re.compile(r"(?P<what>[a-z]+)\s*<=\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits, `None` where there is none.

    `size`: bytes of the exported model file (1 MB is 1,000,000 bytes). `madds`: multiply-adds an image. `params`:
    trainable parameters. `latency`: milliseconds, the median of one image on this machine.
    """

    size: float | None = None
    madds: float | None = None
    params: float | None = None
    latency: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read `size<=2MB,madds<=60M,params<=1.5M,latency<=10ms`; any subset, in any order.

        Raises:
            UserError: naming the part that cannot be read, and why.
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            what, limit = _read(part.strip())
            if what in limits:
                raise UserError(f"budget limits {what} twice: {text!r}; keep one of them")
            limits[what] = limit
        return cls(**limits)

    def __str__(self) -> str:
        """The form that `parse` reads."""
        limits = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ",".join(f"{what}<={show(what, limit)}" for what, limit in limits if limit is not None)

    def refusals(self, **measured: float | None) -> list[str]:
        """One clause for each limit that a measured value breaks; what was not measured (`None`) is not judged."""
        broken = []
        for what, value in measured.items():
            limit = getattr(self, what)
            if limit is not None and value is not None and value > limit:
                broken.append(f"{what} {show(what, value)} is over {show(what, limit)}")
        return broken

    def admits(self, **measured: float | None) -> bool:
        """Whether every measured value keeps its limit."""
        return not self.refusals(**measured)


def show(what: str, value: float) -> str:
    """A value of a limit in the largest unit that keeps it at 1 or above: `1.85MB`, `60M`, `850us`."""
    units = sorted(_UNITS[what].items(), key=lambda unit: unit[1])
    name, scale = next((unit for unit in reversed(units) if value >= unit[1]), units[0])
    return f"{value / scale:.4g}{name}"


def _read(part: str) -> tuple[str, float]:
    form = _LIMIT.fullmatch(part)
    if not form:
        raise UserError(
            f"budget part {part!r} is not WHAT<=NUMBER[UNIT]; for example --budget {EXAMPLE}, "
            "in quotes because the shell reads < itself"
        )
    what, unit = form["what"], form["unit"]
    if what not in _UNITS:
        raise UserError(f"budget cannot limit {what!r}; it limits {', '.join(_UNITS)}: for example {EXAMPLE}")
    if unit not in _UNITS[what]:
        expected = ", ".join(name or "no unit" for name in _UNITS[what])
        raise UserError(f"budget part {part!r} has the unit {unit or 'none'!r}; {what} takes {expected}: for example {EXAMPLE}")
    limit = float(form["number"]) * _UNITS[what][unit]
    if limit <= 0:
        raise UserError(f"budget part {part!r} leaves nothing; a limit is above 0: for example {EXAMPLE}")
    return what, limit
