"""The networks that a plan weighs: the tables at every setting of the dials, each once, with what it costs."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from eyas.arch.accuracy import FAMILIES, Top1, family_of, top1
from eyas.arch.layer import Block
from eyas.arch.scale import ALPHA, BETA, GAMMA, at, deeper, strided, wider
from eyas.arch.spec import Arch, after_pooling, placed
from eyas.arch.tables import ARCHS
from eyas.errors import UserError

WIDTHS = (1.0, *(n / 20 for n in range(5, 20)), 1.1, 1.2, 1.3, 1.4)
DEPTHS = (1.0, 0.5, 0.75, 1.25, 1.5, 2.0)
SHARES = (1.0, 6 / 7, 5 / 7, 4 / 7, 1 / 2, 3 / 7, 5 / 14, 2 / 7)  # 224, 192, 160, 128, 112, 96, 80 and 64 of 224 pixels
FAR = 4  # of these shares for tables that are scaled already
PHIS = tuple(n / 2 for n in range(-8, 9) if n)
NARROWER = (1.0, 0.9, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.35, 0.25)  # of a student, whose teacher is the widest
LOWER = (1.0, 0.75, 0.5)  # of the teacher's resolution
COMPOUND = ("efficientnet", "efficientnet_lite")  # families whose larger tables are the first one scaled
LEAST = 32  # pixels
HEAVIEST = 40e9  # MAdds: no network beyond is for a device, and exporting one takes minutes

Item = TypeVar("Item")


class Weighed(NamedTuple):  # quicker to make than a frozen dataclass, and a plan has many thousands
    """A network with what its value alone tells: its cost, its length, what is published on its accuracy.

    `steps` are its layers, and activations that are steps of their own in a graph.
    """

    arch: Arch
    madds: int
    params: int
    weights: int
    steps: int
    top1: Top1 | None

    @property
    def turned(self) -> int:
        """How many dials differ from the table's."""
        return sum((self.arch.width != 1, self.arch.depth != 1, self.arch.resolution != self.arch.native))


def tables(names: Sequence[str] | None) -> list[str]:
    """The tables that families and tables are named by; all without a name.

    Raises:
        UserError: a name is neither.
    """
    found: dict[str, None] = {}
    for name in names or FAMILIES:
        if name not in FAMILIES and name not in ARCHS:
            near = difflib.get_close_matches(name, [*FAMILIES, *ARCHS], n=2, cutoff=0.0)
            raise UserError(f"no family is named {name!r}; did you mean {' or '.join(near)}? There are {', '.join(FAMILIES)}")
        found |= dict.fromkeys(FAMILIES.get(name, (name,)))
    return list(found)


def dialled(names: Iterable[str]) -> Iterator[Arch]:
    """Tables at every width, depth and resolution, and the EfficientNets at every φ.

    The larger EfficientNets are the first one scaled: of these only the resolution is turned, and not far, as their scaling
    is balanced.
    """
    for name in names:
        table = ARCHS[name]
        for side in _sides(table.resolution, SHARES[:FAR] if is_scaled(table) else SHARES):
            for depth in (1.0,) if is_scaled(table) else DEPTHS:
                for width in (1.0,) if is_scaled(table) else WIDTHS:
                    yield at(deeper(wider(table, width), depth), side)
        if family_of(name) in COMPOUND and not is_scaled(table):
            yield from compounds(table)


def compounds(table: Arch) -> Iterator[Arch]:
    """A table at every φ, with the dials rounded to what people write: `efficientnet_b0x1.1d1.2@258`."""
    for phi in PHIS:
        width, depth, side = round(BETA**phi, 2), round(ALPHA**phi, 2), round(table.resolution * GAMMA**phi)
        yield at(deeper(wider(table, width), depth), side)


def seen_at(side: int, names: Iterable[str], output_stride: int) -> Iterator[Arch]:
    """Tables at every width for images of `side` pixels and less, whose output stride is at most so much."""
    for name in names:
        table = ARCHS[name]
        for lower in _sides(side, LOWER):
            for width in (1.0,) if is_scaled(table) else WIDTHS:
                arch = strided(wider(table, width), min(output_stride, table.total_stride))
                if arch.total_stride <= lower:
                    yield at(arch, lower)


def students(teacher: Arch, names: Iterable[str]) -> Iterator[Arch]:
    """The teacher, and what can be taught by it: no higher in resolution, and of its own table no wider.

    Small images keep the teacher's output stride.
    """
    yield teacher
    own = replace(teacher, width=1.0, depth=1.0, output_stride=None)
    for family in (replace(own, depth=teacher.depth), own, *(ARCHS[name] for name in names if name != teacher.name)):
        stride = min(teacher.total_stride, family.total_stride)
        for side in _sides(teacher.resolution, LOWER):
            for width in (1.0,) if is_scaled(family) and family.name != teacher.name else NARROWER:
                if stride <= side and (family.name != teacher.name or width <= teacher.width):
                    yield at(strided(wider(family, width), stride), side)


def weighed(archs: Iterable[Arch], classes: int) -> list[Weighed]:
    """What each network costs; of those that are the same network by different dials the first.

    Args:
        archs: any number, the better written first.
        classes: of the classifier.
    """
    found: dict[tuple[str, int, int, int], Weighed] = {}
    for arch in archs:
        one = weigh(arch, classes)
        if one.madds <= HEAVIEST:
            found.setdefault((arch.name, arch.resolution, one.madds, one.params), one)
    return list(found.values())


def weigh(arch: Arch, classes: int) -> Weighed:
    """Cost, layers and published accuracy of one network."""
    madds = params = weights = count = 0
    for made, times in placed(arch):
        madds += times * made.madds
        params += times * made.params
        weights += times * made.weights
        block = made.block
        count += times * _steps(block)
    body = madds
    for layer in after_pooling(arch, block.outputs, classes):
        body += layer.madds if layer.activation else 0  # the classifier, the last, has none
        madds += layer.madds
        params += layer.params
        weights += layer.weights
        count += 1
    return Weighed(arch, madds, params, weights, count, top1(arch, body))


def _steps(block: Block) -> int:
    return len(block.all_layers) + sum(layer.activation in ("silu", "hard_swish") for layer in block.layers)


def _sides(side: int, shares: Iterable[float]) -> list[int]:
    """Sides in pixels, the whole one first; the others whole multiples of 16."""
    lower = (max(LEAST, round(side * share / 16) * 16) for share in shares if share < 1)
    return list(dict.fromkeys((side, *(each for each in lower if each < side))))


def is_scaled(table: Arch) -> bool:
    """Whether a table is another one scaled: EfficientNet-B1 to -L2 and -Lite1 to -Lite4."""
    return family_of(table.name) in COMPOUND and table.name != FAMILIES[family_of(table.name)][0]


def front(items: Iterable[Item], value: Callable[[Item], float], spent: Callable[[Item], float], step: float) -> list[Item]:
    """Those that no cheaper one is as good as: from the cheapest to the best, each at least `step` better than the one before.

    Args:
        items: what is compared.
        value: the larger the better.
        spent: the smaller the better.
        step: smallest gain that counts.
    """
    found: list[Item] = []
    for item in sorted(items, key=lambda each: (spent(each), -value(each))):
        if not found or value(item) >= value(found[-1]) + step:
            found.append(item)
    return found
