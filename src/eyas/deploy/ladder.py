"""Int8 that does not lose the model: a ladder of ways, each tried only where the one before lost too much.

Each way is the best so far changed in one respect, so that what helped is kept. What a way gives is measured on the file
itself, on validation images, by the judge that is handed in.
"""

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Literal

from torch import nn

from eyas.deploy.parity import Contract, Parity, breaches
from eyas.deploy.shipment import Quantization, Shipment
from eyas.deploy.target import Artifact, export
from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.nn.detector import Detector
from eyas.nn.equalize import equalized, joints
from eyas.nn.fold import folded
from eyas.nn.rounding import costs, layers
from eyas.progress import say
from eyas.run import write_json

LADDER = "ladder.json"
SCRATCH = ".ladder"  # the dot: no part of a stage's result

FEW = 4  # at most one layer in so many stays in floating point
GAUGED = 64  # images that the cost of each layer is measured on
ALIKE = 1.005  # times the bytes of a file: other ranges or weights change it by less

Rung = Literal["plain", "equalized", "percentile", "mse", "floats", "tuned"]
Judge = Callable[[Artifact], Parity]
Tune = Callable[[Shipment, tuple[str, ...]], Network]
"""A network that was trained on under rounding, from that of the shipment; the named layers stay in floating point."""

WHAT: dict[Rung, str] = {
    "plain": "ranges from the smallest to the largest value, a scale for each output channel, biases corrected",
    "equalized": "channels brought to a common range across layers",
    "percentile": "ranges without the outermost values",
    "mse": "ranges of the least squared error",
    "floats": "the layers that rounding hurts most kept in floating point",
    "tuned": "trained on for a few hundred steps under rounding, taught by the float network",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A rung of the ladder, and what it gave.

    Attributes:
        rung: its name.
        tried: whether a file was made.
        why: why the ladder went on from here, or ended, or why nothing was tried.
        ranges: how ranges were chosen.
        floats: layers that stayed in floating point.
        bytes: of the file.
        parity: of the file with the float network, on the validation images.
    """

    rung: Rung
    tried: bool
    why: str
    ranges: str = ""
    floats: tuple[str, ...] = ()
    bytes: int = 0
    parity: Parity | None = None


@dataclass(frozen=True, eq=False)
class Climbed:
    """What the ladder came to.

    Attributes:
        artifact: the best file.
        parity: of it.
        steps: every rung that was reached, in order.
        taken: which of them it is from.
        enough: whether it loses no more than was allowed.
    """

    artifact: Artifact
    parity: Parity
    steps: tuple[Step, ...]
    taken: int
    enough: bool


@dataclass(frozen=True, eq=False)
class _Way:
    """A way of making the file; where it cannot be taken, `why` says so and the rest is empty."""

    rung: Rung
    shipment: Shipment | None = None
    quantization: Quantization = field(default_factory=Quantization)
    why: str = ""


@dataclass(frozen=True, eq=False)
class _Tried:
    way: _Way
    artifact: Artifact
    parity: Parity
    contract: Contract

    @property
    def broken(self) -> list[str]:
        """What the file does not keep, beyond chance."""
        return breaches(self.parity, self.contract)

    @property
    def enough(self) -> bool:
        """Whether it loses no more than it may, chance or not."""
        return not self.broken and lost(self.parity) <= self.contract.max_drop

    @property
    def rank(self) -> tuple[bool, float, float, int]:
        """Smaller is better: by whether it may ship, accuracy lost, other answers, size.

        Accuracy won is luck: no file knows more than the network that it was made from.
        """
        return bool(self.broken), max(0.0, lost(self.parity)), 1 - self.parity.agreement, self.artifact.bytes


def share(text: str) -> float:
    """A loss of accuracy as a share of the images: `0.5pt` (points) is 0.005.

    Raises:
        UserError: it is not written so, or not from 0 to 100 points.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*pt\s*", text)
    if not found or float(found[1]) > 100:
        raise UserError(f"max_drop is {text!r}; give the points of accuracy that int8 may lose, for example 0.5pt")
    return float(found[1]) / 100


def lost(parity: Parity) -> float:
    """Accuracy that a file loses, as a share of the images; without labels, the share of other answers."""
    if parity.reference is None or parity.artifact is None:
        return 1 - parity.agreement
    return parity.reference - parity.artifact


def climb(
    shipment: Shipment,
    folder: Path,
    target: str,
    judge: Judge,
    tune: Tune | None,
    contract: Contract,
    largest: float | None = None,
) -> Climbed:
    """The first int8 file that loses no more than the contract's `max_drop`, else the best; with `ladder.json` beside it.

    Whether the best is good enough to ship is the contract's business, which allows for chance: here it does not, as a step
    more costs only time.

    Args:
        shipment: the float network.
        folder: where the artifact goes.
        target: an int8 format of `TARGETS`.
        judge: compares a file with the float network, on validation images.
        tune: trains the network on under rounding; None where nothing can teach it.
        contract: what the file must keep.
        largest: bytes that the file may have: layers are kept in floating point only as far as it allows, and where already
            the first file has more, no other is made, as none would be smaller.
    """
    steps: list[Step] = []
    best: _Tried | None = None
    taken = 0
    ways = _ways(shipment, tune)
    way: _Way | None = next(ways)
    while way is not None:
        if way.shipment is None:
            steps.append(Step(way.rung, False, way.why))
            way = _next(ways, best)
            continue
        made = _Tried(way, *_made(way, folder / SCRATCH / str(len(steps)), target, judge), contract)
        over = made.artifact.bytes / largest if largest else 0.0
        fits, hopeless = over <= 1 or way.rung != "floats", over > ALIKE and best is None
        if fits and (best is None or made.enough or made.rank < best.rank):
            best, taken = made, len(steps)
        steps.append(_step(made, _why(made, fits, hopeless, taken == len(steps))))
        way = None if hopeless or (made.enough and fits) else _next(ways, best)
    assert best is not None  # the first way can always be taken
    return _finished(folder, best, steps, taken)


def _ways(shipment: Shipment, tune: Tune | None) -> Generator[_Way, _Tried | None, None]:
    """The rungs one after another; each is sent the best file so far."""
    best = yield _Way("plain", shipment)
    assert best is not None
    network = shipment.network
    if why := _no_equalization(network, shipment):
        best = yield _Way("equalized", why=why)
    else:
        assert isinstance(network, Network) and shipment.calibration is not None
        best = yield _Way("equalized", replace(shipment, network=equalized(network, shipment.calibration)))
    for ranges in ("percentile", "mse"):
        assert best is not None
        best = yield _Way(ranges, best.way.shipment, replace(best.way.quantization, ranges=ranges))
    assert best is not None
    base = best
    if not isinstance(network, Network):
        yield _Way("floats", why="it is no network of Eyas, of which the layers are known")
        yield _Way("tuned", why="it is no network of Eyas, which could be trained on")
        return
    for floats in _sensitive(base):
        previous, best = best, (yield _Way("floats", base.way.shipment, replace(base.way.quantization, floats=floats)))
        if best is previous:  # more of them did not help
            break
    assert best is not None and best.way.shipment is not None
    if tune is None:
        yield _Way("tuned", why="the answers of a network of its task cannot be taught by another one's")
        return
    network = tune(best.way.shipment, best.way.quantization.floats)
    yield _Way("tuned", replace(best.way.shipment, network=network), best.way.quantization)


def _next(ways: Generator[_Way, _Tried | None, None], best: _Tried | None) -> _Way | None:
    try:
        return ways.send(best)
    except StopIteration:
        return None


def _no_equalization(network: nn.Module, shipment: Shipment) -> str:
    """Why channels cannot be scaled across the layers of a network; empty where they can."""
    if not isinstance(network, Network):
        return "it is no network of Eyas, of which the layers are known"
    if isinstance(network, Detector):
        return "it is a detector, whose heads read maps between the layers"
    if shipment.calibration is None or not joints(network):
        return "it has no tensor whose channels could be scaled: f(s x) = s f(x) holds for ReLU, not for SiLU or hard swish"
    return ""


def _sensitive(best: _Tried) -> Iterator[tuple[str, ...]]:
    """The worst layer, the worst two, four, and so on, up to one in `FEW`: by what rounding each does to the logits."""
    shipment = best.way.shipment
    assert shipment is not None and isinstance(shipment.network, Network) and shipment.calibration is not None
    network = folded(shipment.network)
    worst = list(costs(network, shipment.calibration[:: max(1, len(shipment.calibration) // GAUGED)]))
    count = 1
    while count * FEW <= len(layers(network)):
        yield tuple(worst[:count])
        count *= 2


def _made(way: _Way, folder: Path, target: str, judge: Judge) -> tuple[Artifact, Parity]:
    assert way.shipment is not None
    if folder.exists():
        rmtree(folder)  # of a run that was killed
    artifact = export(way.shipment, folder, target, way.quantization)
    return artifact, judge(artifact)


def _why(made: _Tried, fits: bool, hopeless: bool, best: bool) -> str:
    """The outcome of a rung in a sentence."""
    loses = f"loses {_points(lost(made.parity))} and may lose {100 * made.contract.max_drop:g}pt"
    if not fits:
        return f"{loses}, but the file is larger than it may be"
    if made.enough:
        return f"{loses}: taken, and the ladder ends"
    if hopeless:
        return f"{loses}, but the file is larger than it may be, and no other way makes it smaller: the ladder ends"
    reason = loses if lost(made.parity) > made.contract.max_drop else made.broken[0]
    return f"{reason}; {'the best so far' if best else 'no better than the best so far'}"


def _points(share: float) -> str:
    return f"{100 * share + 0.0:.2f}pt"


def _step(made: _Tried, why: str) -> Step:
    quantization = made.way.quantization
    return Step(made.way.rung, True, why, quantization.ranges, quantization.floats, made.artifact.bytes, made.parity)


def _finished(folder: Path, best: _Tried, steps: list[Step], taken: int) -> Climbed:
    """The best file where it belongs, the others gone, and what each rung gave written down."""
    for file in best.artifact.folder.iterdir():
        file.replace(folder / file.name)
    rmtree(folder / SCRATCH)
    artifact, allowed = replace(best.artifact, folder=folder), best.contract.max_drop
    rungs = [{"what": WHAT[step.rung], **_facts(step)} for step in steps]
    write_json(folder / LADDER, {"max_drop": allowed, "taken": taken, "enough": best.enough, "steps": rungs})
    if len(steps) == 1 and not best.enough:
        say(f"{artifact.target}: {steps[0].why}")
    elif taken or not best.enough:
        ends = f"loses {_points(lost(best.parity))}" + ("" if best.enough else f" and may lose {100 * allowed:g}pt")
        say(f"{artifact.target}: of {len(steps)} ways the {steps[taken].rung} one is taken, which {ends}")
    return Climbed(artifact, best.parity, tuple(steps), taken, best.enough)


def _facts(step: Step) -> dict[str, object]:
    return {name: getattr(step, name) for name in ("rung", "tried", "why", "ranges", "floats", "bytes", "parity")}
