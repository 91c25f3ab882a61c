"""Writes the page "Architectures" and its two figures from the tables, so that no number on them is typed.

    python docs/architectures.py [--check]

With `--check` nothing is written, and the exit code is 1 when a committed file is not what would be written.
"""

import argparse
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tradeoff import by_madds, by_params

from eyas.arch import ops
from eyas.arch.cost import Cost, cost
from eyas.arch.parse import parse
from eyas.arch.scale import ALPHA, BETA, GAMMA, at, compound, wider
from eyas.arch.spec import Arch
from eyas.arch.tables import ARCHS, EFFICIENTNET_B0, EFFICIENTNETS, MOBILENET_V1
from eyas.run import write_atomic

FOLDER = Path(__file__).parent
PAGE, BY_MADDS, BY_PARAMS = "architectures.md", "tradeoff.svg", "tradeoff-parameters.svg"

# Family: what the names of its tables begin with; the longest that fits decides.
FAMILIES = {
    "MobileNetV1": "mobilenet_v1",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3",
    "MnasNet": "mnasnet",
    "EfficientNet": "efficientnet",
    "EfficientNet-Lite": "efficientnet_lite",
    "ResNet": "resnet",
}

NEW_TABLE = """\
from eyas.arch.ops import conv, separable
from eyas.arch.spec import Arch, Stage

TINY = Arch(
    "tiny",
    resolution=96,
    source="our own",
    stages=(
        #     op         k  s    c  n
        Stage(conv,      3, 2,  16),
        Stage(separable, 3, 2,  32, 2),
        Stage(separable, 3, 2,  64, 2),
        Stage(separable, 3, 2, 128, 2),
    ),
)
"""

TEXT = """\
# Architectures

<!-- Written by docs/architectures.py from the tables; change those and run it again. -->

A network is a value: the table that its paper prints, one row a stage, and four dials. What it costs is computed from the
value, without building it. Every number on this page is computed that way; only accuracies are quoted.

![Published ImageNet top-1 accuracy against multiply-adds, a line a family](tradeoff.svg)

![The same accuracies against parameters](tradeoff-parameters.svg)

MAdds are multiply-adds of one image (FLOPs are twice that), parameters all that are trained, with 1,000 classes. The
accuracies are those of the sources, from years of different training recipes, so a family above another one owes that to
its recipe too. Dashed: MobileNetV1 at lower resolutions, and the way to EfficientNet-L2, which was trained with the noise of
its paper but without unlabelled images.

## How a network is written

`NAME[x<width>][d<depth>][@<resolution>][/<output stride>]`, on the command line and for `eyas.arch.parse.parse`. A dial that
is left out stays as published. The functions in brackets (`eyas.arch.scale`) turn a dial of a network that is there:
`at(wider(MOBILENET_V1, 0.5), 160)`.

{dials}

Channels are rounded to a multiple of 8, never to less than 90 % of what was asked; repetitions are rounded up. An output stride
takes the strides out of the earliest stages after the stem until the input's side is so many times that of the last map. At
32 pixels the last map of `mobilenet_v1` is {plain_map}; with `/8` it is {strided_map}, of the same parameters.

## The tables

{tables}

In brackets the source of a table and of its accuracy, top-1 on ImageNet in percent. *Peak activations* is the most that must
be in memory at once besides the weights, in int8 (one byte an element); in float32 it is four times that.

{sources}

## MobileNets' sixteen

The width multiplier α times the resolution (MobileNets, sections 3.3 and 3.4): MAdds fall roughly with the
square of either, parameters only with α. A cell is written `mobilenet_v1x0.5@160`.

{grid}

## Compound scaling

EfficientNet scales all three at once: depth by {alpha}^φ, width by {beta}^φ and resolution by {gamma}^φ, so that each step of
φ about doubles the MAdds. `compound(arch, phi)` does it to any table, and φ below 0 shrinks; `coefficients(arch,
target_madds)` finds the largest φ that a number of MAdds allows (both in `eyas.arch.scale`). Repetitions are rounded up and
channels to 8, so the steps are uneven, and a small φ below 0 saves less than it should. From `efficientnet_b0`:

{compound}

The published networks are not exact powers: the reference code has rounded multipliers. In brackets the φ that each of
them stands for:

{coefficients}

## A new table

A row is an operator, its kernel, its stride, the channels that leave it and how often it is repeated (the stride on the first);
for some operators also how much wider it is inside, and the width of its squeeze-and-excitation gate. The channels that
enter a row are those that leave the row above it.

```python
{new_table}```

That network has {new_madds} MAdds and {new_params} parameters. Put the table into `src/eyas/arch/tables.py` and its name
into `ARCHS` at the end of that file: then every command knows it (`eyas cost tinyx0.5@64`), and the tests of all tables hold
for it too.

{ops}
"""


def page() -> str:
    """The page as Markdown."""
    tables, sources = by_family()
    new = made(NEW_TABLE, "TINY")
    return TEXT.format(
        dials=dials(),
        plain_map=last_map(parse("mobilenet_v1@32")),
        strided_map=last_map(parse("mobilenet_v1@32/8")),
        tables=tables,
        sources=sources,
        grid=grid(),
        alpha=ALPHA,
        beta=BETA,
        gamma=GAMMA,
        compound=compound_scaling(),
        coefficients=published_coefficients(),
        new_table=NEW_TABLE,
        new_madds=madds(cost(new)),
        new_params=params(cost(new)),
        ops=operators(),
    )


def dials() -> str:
    """One example a dial, with what it costs."""
    rows = [
        ("", "as published", "mobilenet_v1"),
        ("`x`", "width: the channels of every layer (`wider`)", "mobilenet_v1x0.5"),
        ("`d`", "depth: the repetitions of every stage (`deeper`)", "mobilenet_v1d0.5"),
        ("`@`", "resolution: the side of the input in pixels (`at`)", "mobilenet_v1@160"),
        ("`/`", "output stride (`strided`)", "mobilenet_v1/8"),
        ("", "several, for small images", "mobilenet_v1x0.5@32/8"),
    ]
    costs = {name: cost(parse(name)) for _, _, name in rows}
    filled = ((dial, what, f"`{name}`", madds(costs[name]), params(costs[name])) for dial, what, name in rows)
    return table(("dial", "what it scales", "example", "MAdds:", "parameters:"), filled)


def by_family() -> tuple[str, str]:
    """The table of all tables, and the numbered list of its sources."""
    sources = list(dict.fromkeys(arch.source for arch in ARCHS.values()))
    rows = []
    for family in FAMILIES:
        rows.append((f"**{family}**", *[""] * 5))
        for arch in members(family):
            of = cost(arch)
            name = f"{arch.name} [{sources.index(arch.source) + 1}]"
            top1 = f"{arch.top1:.1f}" if arch.top1 is not None else ""
            rows.append((name, str(arch.resolution), madds(of), params(of), top1, f"{of.peak_activation_bytes / 1e6:.2f} MB"))
    head = ("name", "resolution:", "MAdds:", "parameters:", "top-1:", "peak activations:")
    listed = "\n".join(f"{number}. {linked(source)}" for number, source in enumerate(sources, 1))
    return table(head, rows), listed


def members(family: str) -> list[Arch]:
    """The tables of a family, in the order of `ARCHS`."""

    def family_of(name: str) -> str:
        fitting = [known for known, start in FAMILIES.items() if name.startswith(start)]
        if not fitting:
            sys.exit(f"no family of docs/architectures.py begins as {name} does; add its own to FAMILIES")
        return max(fitting, key=lambda known: len(FAMILIES[known]))

    return [arch for arch in ARCHS.values() if family_of(arch.name) == family]


def grid() -> str:
    """MAdds of the 16 variants, and the parameters, which resolution does not change."""
    sides = (224, 192, 160, 128)
    rows = []
    for alpha in (1.0, 0.75, 0.5, 0.25):
        arch = wider(MOBILENET_V1, alpha)
        rows.append((f"{alpha:g}", *(madds(cost(at(arch, side))) for side in sides), params(cost(arch))))
    return table(("α:", *(f"MAdds at {side}:" for side in sides), "parameters:"), rows)


def compound_scaling() -> str:
    """φ from -2 to 4: what it scales, and the MAdds over those of φ = 0 beside the 2^φ that is aimed at."""
    base, rows = cost(EFFICIENTNET_B0).madds, []
    for phi in range(-2, 5):
        arch = compound(EFFICIENTNET_B0, phi)
        of = cost(arch)
        scaled = (f"{phi}", f"{arch.depth:.2f}", f"{arch.width:.2f}", str(arch.resolution))
        rows.append((*scaled, madds(of), f"{of.madds / base:.2f} ({2.0**phi:g})"))
    return table(("φ:", "depth:", "width:", "resolution:", "MAdds:", "over φ = 0 (2^φ):"), rows)


def published_coefficients() -> str:
    """EfficientNet's multipliers, each with its logarithm to the paper's base."""
    rows = []
    for arch in EFFICIENTNETS:
        width, depth = arch.coefficients
        rho = arch.resolution / EFFICIENTNET_B0.resolution
        scaled = (
            f"{depth:.1f} ({math.log(depth, ALPHA):.2f})",
            f"{width:.1f} ({math.log(width, BETA):.2f})",
            f"{arch.resolution} ({math.log(rho, GAMMA):.2f})",
        )
        rows.append((arch.name, *scaled, f"{arch.dropout:.1f}"))
    return table(("name", "depth (φ):", "width (φ):", "resolution (φ):", "dropout:"), rows)


def operators() -> str:
    """What a row can be, in the words of the operators themselves."""
    found = (ops.conv, ops.pool, ops.separable, ops.mbconv, ops.bneck, ops.bottleneck, ops.basic)
    return table(("operator", "what it is"), ((f"`{op.__name__}`", summary(op)) for op in found))


def summary(documented: Callable[..., object]) -> str:
    """The first line of a docstring."""
    return linked((inspect.getdoc(documented) or "").splitlines()[0])


def made(code: str, name: str) -> Arch:
    """The network that a piece of code on the page makes: what stands there works."""
    space: dict[str, Arch] = {}
    exec(code, space)
    return space[name]


def last_map(arch: Arch) -> str:
    """Sides of the last map."""
    side = -(-arch.resolution // arch.total_stride)
    return f"{side} × {side}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a column whose head ends in a colon is set to the right."""
    names = [name.removesuffix(":") for name in head]
    rules = ["--:" if name.endswith(":") else "---" for name in head]
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, rules, *rows))


def linked(source: str) -> str:
    """Where a paper's number stands in `source`, a link to it."""
    return re.sub(r"\b(\d{4}\.\d{5})\b", r"[\1](https://arxiv.org/abs/\1)", source)


def madds(of: Cost) -> str:
    """In millions, as the papers write them."""
    return f"{of.madds / 1e6:,.{0 if of.madds >= 1e8 else 1}f} M"


def params(of: Cost) -> str:
    """In millions, as the papers write them."""
    return f"{of.params / 1e6:.2f} M"


def main() -> None:
    """Write the files, or with `--check` find whether they are what would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a file is stale")
    given = parser.parse_args()
    files = {PAGE: page(), BY_MADDS: by_madds(), BY_PARAMS: by_params()}
    if given.check:
        stale = [name for name, text in files.items() if read(FOLDER / name) != text]
        sys.exit(f"stale: {', '.join(stale)}; run python docs/architectures.py" if stale else 0)
    for name, text in files.items():
        write_atomic(FOLDER / name, text.encode())


def read(path: Path) -> str | None:
    """What is written there, if anything."""
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    main()
