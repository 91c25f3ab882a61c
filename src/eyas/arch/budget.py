"""A device budget: limits that a model must keep, read from one line, with a reason for every refusal."""

import math
import re
from dataclasses import dataclass, fields
from decimal import Decimal

from eyas.errors import UserError

EXAMPLE = '"size<=2MB,madds<=60M,params<=1.5M,latency<=10ms"'

# Units as powers of ten, smallest first.
_BYTES = {"B": 0, "KB": 3, "MB": 6, "GB": 9}
_COUNT = {"": 0, "K": 3, "M": 6, "G": 9}
_MILLISECONDS = {"us": -3, "ms": 0, "s": 3}
_UNITS = {"size": _BYTES, "madds": _COUNT, "params": _COUNT, "latency": _MILLISECONDS}
_LIMIT = re.compile(r"(?P<what>[a-z]+)\s*<=\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits, `None` where there is none.

    `size`: bytes of the exported model file (1 MB is 1,000,000 bytes). `madds`: multiply-adds an image. `params`:
    trainable parameters. `latency`: milliseconds, the median of one image on this machine.
    """

    size: int | float | None = None
    madds: int | float | None = None
    params: int | float | None = None
    latency: int | float | None = None

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
                raise UserError(f"budget limits {what} twice: {text!r}; keep one of them, as in {EXAMPLE}")
            limits[what] = limit
        return cls(**limits)

    def __str__(self) -> str:
        """The form that `parse` reads, to the last digit."""
        limits = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ",".join(f"{what}<={show(what, limit, exact=True)}" for what, limit in limits if limit is not None)

    def refusals(self, **measured: int | float | None) -> list[str]:
        """One clause for each limit that a measured value breaks; what was not measured (`None`) is not judged."""
        broken = []
        for what, value in measured.items():
            if value is not None and self._broken(what, value):
                limit = getattr(self, what)
                close = show(what, value) == show(what, limit)
                broken.append(f"{what} {show(what, value, exact=close)} is over {show(what, limit, exact=close)}")
        return broken

    def admits(self, **measured: int | float | None) -> bool:
        """Whether every measured value keeps its limit."""
        return not any(self._broken(what, value) for what, value in measured.items())

    def _broken(self, what: str, value: int | float | None) -> bool:
        limit = getattr(self, what)
        return limit is not None and value is not None and not value <= limit  # "not" so that NaN is refused too


def show(what: str, value: int | float, exact: bool = False) -> str:
    """A value of a limit in the largest unit that keeps it at 1 or above: `1.85MB`, `60M`, `850us`.

    To four digits, or with `exact` to all that it has.
    """
    units = list(_UNITS[what].items())
    name, power = next((unit for unit in reversed(units) if value >= 10.0 ** unit[1]), units[0])
    if exact:
        digits = f"{Decimal(repr(value)).scaleb(-power):f}"
        return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + name
    return f"{value / 10.0**power:.4g}{name}"


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
        found = f"the unit {unit!r}" if unit else "no unit"
        raise UserError(f"budget part {part!r} has {found}; {what} takes {expected}: for example {EXAMPLE}")
    limit = float(f"{form['number']}e{_UNITS[what][unit]}")
    if not 0 < limit < math.inf:
        raise UserError(
            f"budget part {part!r} limits nothing or everything; a limit is a number above 0: for example {EXAMPLE}"
        )
    return what, limit
