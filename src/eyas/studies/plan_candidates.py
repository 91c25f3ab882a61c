"""What a plan chooses among: networks in formats, in the order in which they are preferred.

The rule, most important first (`order`):

1. What a proxy training on the user's own images found (`--explore`).
2. With a teacher, the teacher itself; then what begins with weights: a narrower network of its table, which inherits, or one
   with published weights installed; then what begins with drawn ones. How accurate others have become says little about a
   network that has to begin with nothing on a few hundred images.
3. Published accuracy in steps of half a point, less a point where it is interpolated and one and a half where it is estimated.
4. Within such a step float32 before int8, which may cost as much; fewer dials turned; more MAdds.
5. Where nothing is published, MAdds alone, along which accuracy grows (MobileNets, Figure 4; EfficientNet, Figure 3).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from eyas.arch.accuracy import How
from eyas.arch.latency import Table
from eyas.arch.search import Weighed
from eyas.arch.spec import Arch
from eyas.deploy.target import DEVICE_TARGETS, TARGETS
from eyas.errors import UserError
from eyas.nn.published import installed

QUICK = ("onnx", "onnx-int8")  # made in seconds; what ships may be another format
STEP = 0.5  # points of top-1 that count as a difference
PRECISE = ("float32", "float16", "bfloat16", "int8")  # the more precise first
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}  # of a weight in the file
# Points that a figure is taken to be lower than it says: about the mean error where released ones are left out
# (tests/arch/test_accuracy.py), so that a network with a figure of its own is preferred to one that is only said to be as good.
DOUBT: dict[How, float] = {"published": 0.0, "interpolated": 1.0, "estimated": 1.5}

Begins = Literal["itself", "inherits", "published", "drawn"]
PREFERRED: dict[Begins, int] = {"itself": 0, "inherits": 1, "published": 1, "drawn": 2}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network in a format.

    Attributes:
        arch: as text.
        table: that it is made of.
        target: the format.
        madds: of one image.
        params: that are trained.
        estimate: bytes of the exported file, from its value.
        size: bytes of the exported file: the estimate until measured.
        top1: ImageNet accuracy in percent that published figures say; None where they say nothing.
        how: they say it.
        begins: what it would begin to learn with; None where nobody asked.
        turned: dials that differ from the table's.
        predicted: milliseconds an image by a latency table, where there is one.
        latency: milliseconds an image of the exported file on this machine; None until measured.
        measured: whether size and latency are those of the exported file.
        explored: accuracy on the validation split after a proxy training; None without one.
        rung: the last rung of the proxy training that it took part in; 0 without one.
        refusals: what it breaks of the budget, a clause a limit.
    """

    arch: str
    table: str
    target: str
    madds: int
    params: int
    estimate: int | float
    size: int | float
    top1: float | None = None
    how: How | None = None
    begins: Begins | None = None
    turned: int = 0
    predicted: float | None = None
    latency: float | None = None
    measured: bool = False
    explored: float | None = None
    rung: int = 0
    refusals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`efficientnet_lite0x0.5@112 as onnx-int8`."""
        return f"{self.arch} as {self.target}"


def candidates(
    networks: Iterable[Weighed],
    targets: Sequence[str],
    classes: int,
    begins: Callable[[Arch], Begins | None],
    table: Table | None = None,
) -> list[Candidate]:
    """Every network in every format, the preferred first; with a latency table, whose format is the only one, timed by it."""
    found = []
    for one in networks:
        name, known = str(one.arch), one.top1
        predicted = table.predict(one.arch, classes) if table else None
        for target in targets:
            size = estimate(one, target)
            found.append(
                Candidate(
                    name,
                    one.arch.name,
                    target,
                    one.madds,
                    one.params,
                    size,
                    size,
                    known.value if known else None,
                    known.how if known else None,
                    begins(one.arch),
                    one.turned,
                    predicted,
                )
            )
    return sorted(found, key=order)


def order(one: Candidate) -> tuple[float, ...]:
    """Where a candidate stands among others, the preferred first."""
    listed, precise = _PLACES[one.target]
    tier = tier_of(one)
    found = merit(one)
    if found is None:
        return *tier, 1, -one.madds, precise, listed
    return *tier, 0, -(found // STEP), precise, one.turned, -one.madds, listed


def merit(one: Candidate) -> float | None:
    """Published accuracy less what it is in doubt by; None where nothing is published."""
    return None if one.top1 is None or one.how is None else one.top1 - DOUBT[one.how]


def tier_of(one: Candidate) -> tuple[float, float, int]:
    """What counts before any published figure: what a proxy training found, and what it would begin with."""
    return -one.rung, -(one.explored or 0.0), PREFERRED[one.begins] if one.begins else 0


def gain(one: Candidate, other: Candidate) -> float | None:
    """Points of published top-1 that `one` is ahead of `other`; None where they are not known for both."""
    return None if one.top1 is None or other.top1 is None else one.top1 - other.top1


def better(one: Candidate, other: Candidate) -> bool:
    """Whether `one` is preferred to `other` by more than a matter of taste: half a point, or a tenth more MAdds."""
    if order(one) >= order(other):
        return False
    found, had = merit(one), merit(other)
    if tier_of(one) != tier_of(other):
        return True
    return one.madds >= 1.1 * other.madds if found is None or had is None else found - had >= STEP


def estimate(one: Weighed, target: str) -> float:
    """Bytes of the exported file: weights and biases, the scales that int8 adds, and the graph's own text."""
    precision, channels = TARGETS[target].precision, (one.params - one.weights) / 2
    if precision == "int8":
        return one.weights + 12 * channels + 1400 * one.steps  # a scale, an int32 bias and its scale for each channel
    return BYTES[precision] * (one.weights + channels) + 100 * one.steps


def beginning(teacher: Arch, weights: str = "auto") -> Callable[[Arch], Begins]:
    """What a student of `teacher` would begin with; with the weights `none` never with published ones."""

    def begins(arch: Arch) -> Begins:
        if str(arch) == str(teacher):
            return "itself"
        if (arch.name, arch.depth) == (teacher.name, teacher.depth) and arch.width <= teacher.width:
            return "inherits"
        return "published" if weights != "none" and installed(arch) else "drawn"

    return begins


def formats(asked: Sequence[str] | None, table: Table | None) -> tuple[str, ...]:
    """The formats to plan for: those asked for, else the latency table's, else two that are made in seconds.

    Raises:
        UserError: one is not known, not for devices, or not the latency table's.
    """
    chosen = tuple(asked or ((table.target,) if table else QUICK))
    for target in chosen:
        if target not in DEVICE_TARGETS:
            raise UserError(f"no plan can be made for the format {target!r}; there are {', '.join(DEVICE_TARGETS)}")
        if table and target != table.target:
            raise UserError(
                f"the latency table is of {table.target} on {table.device} and says nothing of {target}; "
                f"give --to {table.target}, or no table"
            )
    return chosen


# Of each format: its place among all, and that of its precision, the more precise first.
_PLACES = {name: (place, PRECISE.index(target.precision)) for place, (name, target) in enumerate(TARGETS.items())}
