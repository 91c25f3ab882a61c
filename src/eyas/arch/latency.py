"""A latency table of one device: measured times keyed by `Layer`, and what they say about any other network.

Standard library only: `eyas plan` asks it for many candidates. `eyas.deploy.device_table` makes one.

The time of a layer is a linear model of what it computes and moves (one for each group of layers, no coefficient below 0),
times a correction. The logarithm of the correction is a Gaussian process over channels and side (Rasmussen and Williams 2006,
chapter 2): a layer that was measured has its own, one between measured layers what its neighbours have, one far from all none.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eyas.arch.layer import Block, Layer
from eyas.arch.spec import Arch, after_pooling, placed
from eyas.errors import UserError

FORMAT = "eyas latency table 1"
SPREAD = 0.5  # standard deviation of the correction's logarithm: a layer takes half as long or twice, seldom more
REACH = 1.0  # doublings of channels or side over which corrections resemble each other
OWN = 0.2  # share of a correction's variance that is the layer's own
VECTOR = 16  # channels; runtimes on processors work on blocks of so many, and a depthwise layer of others takes a slower way


class Glue(NamedTuple):
    """What a network does between its layers, of `channels` and side `size`.

    `images`: pixels to normalised maps. `add`: the sum with a shortcut, then `activation`. `mean`: the pooling in front of
    the classifier. `border`: a map that a part of a network takes or gives, which whole networks have not.
    """

    kind: Literal["images", "add", "mean", "border"]
    channels: int
    size: int
    activation: str = ""


Step = Layer | Glue


def steps_of(block: Block) -> Iterator[Step]:
    """The layers of a block, and the sum with its shortcut."""
    yield from block.all_layers
    if block.residual or block.shortcut:
        yield Glue("add", block.outputs, block.output_size, block.activation)


def ends_of(arch: Arch, classes: int, last: Block) -> Iterator[Step]:
    """What stands before the first and after the `last` block of a network."""
    yield Glue("images", 3, arch.resolution)
    yield Glue("mean", last.outputs, last.output_size)
    yield from after_pooling(arch, last.outputs, classes)


def steps(arch: Arch, classes: int) -> list[Step]:
    """All that a network does for one image, with a classifier of `classes`."""
    found: list[Step] = []
    for made, count in placed(arch):
        found += [*steps_of(made.block)] * count
    return [*found, *ends_of(arch, classes, made.block)]


def group_of(step: Step) -> str:
    """The group of layers that one linear model tells the time of."""
    match step:
        case Layer(kind="conv"):
            return "conv 1x1" if step.kernel == 1 else "conv"
        case Layer(kind="depthwise"):
            return f"depthwise {'3x3' if step.kernel <= 3 else '5x5'}{' strided' if step.stride > 1 else ''}"
        case _:
            return step.kind


def work_of(step: Step) -> dict[str, float]:
    """What the linear model of its group multiplies: counts of what the step computes and moves, in millions."""
    if isinstance(step, Glue):
        elements = step.channels * step.size**2 / 1e6
        return {"steps": 1.0, "elements": elements} | _activated(step.activation, elements)
    read, written = step.input_elements / 1e6, step.output_elements / 1e6
    work = {"steps": 1.0, "madds": step.madds / 1e6}
    match step.kind:
        case "conv" | "depthwise":
            work |= {"read": read, "written": written, "rows": step.outputs * step.output_size / 1e6}
            work |= {"weights": step.weights / 1e6} if step.kind == "conv" else {}
            work |= {"odd madds": work["madds"]} if step.outputs % VECTOR else {}
        case "squeeze":
            work |= {"read": read}
        case "pool":
            work |= {"read": read, "written": written}
        case "linear":
            pass
    return work | _activated("" if step.kind == "squeeze" else step.activation, written)


def _activated(activation: str, elements: float) -> dict[str, float]:
    """ReLU and ReLU6 are part of the layer in every runtime; the others are steps of their own in most."""
    return {activation: elements} if activation in ("silu", "hard_swish") else {}


class Measured(NamedTuple):
    """A step's time within a network in milliseconds; `pull` is what it adds to the corrections of its neighbours."""

    step: Step
    ms: float
    pull: float


@dataclass(frozen=True, eq=False)
class Table:
    """What one runtime on one device takes for each layer.

    Attributes:
        device: name of its board or processor.
        runtime: name and version.
        target: the format that it holds for, as `eyas export --to` names it.
        threads: that the runtime was given.
        date: of the measurement.
        probes: how many graphs were timed.
        error: median error on whole networks that were timed and left out of the fit, as a share.
        run_ms: that an answer takes besides its layers.
        models: group of layers to milliseconds for each unit of work (`work_of`).
        measured: the steps that were measured.
    """

    device: str
    runtime: str
    target: str
    threads: int
    date: str
    probes: int
    error: float
    run_ms: float
    models: Mapping[str, Mapping[str, float]]
    measured: tuple[Measured, ...]
    _steps: dict[Step, float] = field(default_factory=dict, init=False, repr=False)
    _blocks: dict[Block, float] = field(default_factory=dict, init=False, repr=False)
    _pulls: dict[str, dict[tuple[float, ...], float]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for step, ms, pull in self.measured:
            self._steps[step] = ms
            pulls, place = self._pulls.setdefault(group_of(step), {}), place_of(step)
            pulls[place] = pulls.get(place, 0.0) + pull

    def predict(self, arch: Arch, classes: int) -> float:
        """Milliseconds that the exported network takes for one image."""
        total = self.run_ms
        for made, count in placed(arch):
            total += count * self._block(made.block)
        return total + sum(self.step(step) for step in ends_of(arch, classes, made.block))

    def step(self, step: Step) -> float:
        """Milliseconds of one step within a network: measured, or estimated from its neighbours."""
        if step not in self._steps:
            place, near = place_of(step), self._pulls.get(group_of(step), {})
            log = sum(pull * alike(place, there) for there, pull in near.items())
            self._steps[step] = modelled(self.models, step) * math.exp(log)
        return self._steps[step]

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, whole or not at all.

        Raises:
            UserError: it cannot be written there.
        """
        path = Path(path)
        facts = {name: getattr(self, name) for name in _PLAIN}
        rows = [[*_written(step), ms, pull] for step, ms, pull in self.measured]
        head = json.dumps({"format": FORMAT, **facts}, indent=1).removesuffix("\n}")
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(f'{head},\n "measured": [\n  {lines}\n ]\n}}\n')
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; give --out a file that you may write") from None

    @classmethod
    def load(cls, path: str | Path) -> "Table":
        """Read a table.

        Raises:
            UserError: the file is missing or no latency table.
        """
        again = "make one with eyas measure --device-table"
        try:
            facts = json.loads(Path(path).read_bytes())
            if facts.get("format") != FORMAT:
                raise ValueError("it is of another format")
            measured = tuple(Measured(_read(row[:-2]), *row[-2:]) for row in facts["measured"])
            return cls(**{name: facts[name] for name in _PLAIN}, measured=measured)
        except FileNotFoundError:
            raise UserError(f"there is no latency table {path}; {again}") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no latency table that this version of Eyas writes ({error}); {again}") from None

    def _block(self, block: Block) -> float:
        if block not in self._blocks:
            self._blocks[block] = sum(self.step(step) for step in steps_of(block))
        return self._blocks[block]


def modelled(models: Mapping[str, Mapping[str, float]], step: Step) -> float:
    """Milliseconds of a step by the linear model alone; a group that was never measured is taken to cost nothing."""
    costs = models.get(group_of(step), {})
    return max(sum(costs.get(what, 0.0) * amount for what, amount in work_of(step).items()), 1e-6)


def alike(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Covariance of the corrections at two places of one group, besides what is a layer's own."""
    return SPREAD**2 * (1 - OWN) * math.exp(-(math.dist(one, other) ** 2) / (2 * REACH**2))


def place_of(step: Step) -> tuple[float, ...]:
    """Where a step lies among those of its group, in doublings; another kind of activation or alignment is two away."""
    slow = 2.0 * (step.activation in ("silu", "hard_swish"))
    if isinstance(step, Glue):
        return math.log2(step.channels), 0.0, math.log2(step.size), 0.0, slow
    odd = 2.0 * (step.kind == "depthwise" and step.outputs % VECTOR > 0)
    return math.log2(step.inputs), math.log2(step.outputs), math.log2(step.output_size), odd, slow


_PLAIN = ("device", "runtime", "target", "threads", "date", "probes", "error", "run_ms", "models")


def _written(step: Step) -> list[Any]:
    return ["glue" if isinstance(step, Glue) else "layer", *step]


def _read(row: list[Any]) -> Step:
    return Glue(*row[1:]) if row[0] == "glue" else Layer(*row[1:])
