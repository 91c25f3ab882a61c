"""The cells of `eyas reproduce noisy-student`: each changes one thing of the baseline student, and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from eyas.errors import UserError
from eyas.recipe import SelfTraining

Side = Literal["higher", "lower", ""]

BASELINE = "baseline"
PARTS = (128, 64, 32, 16, 4)  # of the pile, one of which is learned from (Noisy Student, study 2)
NARROWER, WIDER = 0.7, 1.4  # half and twice the multiply-adds, about; the paper's step from B0 to B1 is 1.8 times
RATIOS = (1, 3, 7)
CLEAR = 0.7  # lower end of the first band in which the paper's soft labels are no more than 0.3 points better than hard ones


@dataclass(frozen=True)
class Change:
    """How a network is made of labels and pile.

    Attributes:
        method: a student of a teacher's labels, FixMatch, the labels alone for as many steps and images, or the teacher.
        noise: of a student: all that is asked for; on pseudo-labelled images only crops and mirrorings; or, with that,
            neither dropout nor stochastic depth.
        labeller: the teacher as it answers, or with noise on its input and in itself.
        labels: its probabilities, or their largest.
        band: lower end of a band of calibrated confidence, 0.1 wide, that as many images as there are labelled ones are
            drawn from; `None` takes what the selection chose.
        part: of the pseudo-labelled images one in so many is learned from.
        width: of the student, times the teacher's.
        ratio: pseudo-labelled images for each labelled one in a batch.
        balance: whether the selection balances the classes.
        order: labelled and pseudo-labelled images together, or first all of the latter.
        start: the student begins as the teacher began, or with the teacher's weights.
    """

    method: Literal["noisy-student", "fixmatch", "labels", "teacher"] = "noisy-student"
    noise: Literal["all", "network", "none"] = "all"
    labeller: Literal["clean", "noised"] = "clean"
    labels: Literal["soft", "hard"] = "soft"
    band: float | None = None
    part: int = 1
    width: float = 1.0
    ratio: int = 1
    balance: bool = True
    order: Literal["joint", "in turn"] = "joint"
    start: Literal["published", "teacher"] = "published"


@dataclass(frozen=True)
class Cell:
    """One network that is trained for each seed.

    Attributes:
        name: of its stage, and on the command line.
        study: the question that it belongs to, a key of `eyas.studies.reproduce_paper.FINDINGS`.
        does: what is different, for people.
        change: the same for programs.
        against: the cell that it is compared with.
        side: on which side of that one the paper says that its accuracy is; "" where the paper says nothing.
    """

    name: str
    study: str
    does: str
    change: Change
    against: str = BASELINE
    side: Side = ""


def cells(choice: SelfTraining) -> tuple[Cell, ...]:
    """All cells, the baseline first: a student as `choice` asks for it. What it is already is no cell of its own."""
    base = Change(labels=choice.labels, ratio=choice.ratio, balance=choice.balance)
    first = Cell(BASELINE, "method", "Noisy Student as asked for", base)
    made = (*_methods(base), *_noise(base), *_bands(base), *_amounts(base), *_students(base))
    return (first, *(cell for cell in made if cell.change != base))


def picked(known: Sequence[Cell], names: Iterable[str]) -> tuple[Cell, ...]:
    """Those of that name or of that study, the baseline, and what any of them is compared with; all where none is named.

    Raises:
        UserError: a name that is neither.
    """
    by_name, asked = {cell.name: cell for cell in known}, [name for name in names if name]
    studies = list(dict.fromkeys(cell.study for cell in known))
    for name in asked:
        if name not in by_name and name not in studies:
            near = get_close_matches(name, [*by_name, *studies], n=3, cutoff=0.0)
            raise UserError(
                f"no cell or study is named {name!r}; did you mean {' or '.join(near)}? The studies are {', '.join(studies)}"
            )
    taken = {cell.name for cell in known if not asked or {cell.name, cell.study} & set(asked)}
    taken |= {by_name[name].against for name in taken} | {BASELINE}
    return tuple(cell for cell in known if cell.name in taken)


def _methods(base: Change) -> Iterable[Cell]:
    yield Cell("teacher", "method", "the teacher itself", replace(base, method="teacher"), side="lower")
    text = "supervised control: the labels alone, for as many steps and images a step"
    yield Cell("control", "method", text, replace(base, method="labels"))
    text = "FixMatch: no teacher, as many unlabelled images a step, each of them twice"
    yield Cell("fixmatch", "method", text, replace(base, method="fixmatch"))


def _noise(base: Change) -> Iterable[Cell]:
    text = "student without input noise on pseudo-labelled images: only crops and mirrorings"
    yield Cell("no-input-noise", "noise", text, replace(base, noise="network"), side="lower")
    text = "that, and a network without dropout and stochastic depth (for labelled images too; the paper kept it for them)"
    yield Cell("no-noise", "noise", text, replace(base, noise="none"), side="lower")
    text = "the same images, labelled by a teacher with input noise, dropout and stochastic depth"
    yield Cell("noised-teacher", "noise", text, replace(base, labeller="noised"), side="lower")


def _bands(base: Change) -> Iterable[Cell]:
    for low in (tenth / 10 for tenth in range(10)):
        where = f"images that the teacher is {low:.1f} to {low + 0.1:.1f} sure of"
        soft, hard = (f"{kind}-{low:.1f}" for kind in ("soft", "hard"))
        yield Cell(soft, "labels", f"soft labels of {where}", replace(base, band=low, labels="soft"))
        change = replace(base, band=low, labels="hard")
        yield Cell(hard, "labels", f"hard labels of {where}", change, soft, "lower" if low < CLEAR else "")


def _amounts(base: Change) -> Iterable[Cell]:
    for part in PARTS:
        text = f"one in {part} of the pseudo-labelled images, drawn at random"
        yield Cell(f"pile-1of{part}", "amount", text, replace(base, part=part), side="lower")


def _students(base: Change) -> Iterable[Cell]:
    for name, width, side in (("narrower", NARROWER, "lower"), ("wider", WIDER, "higher")):
        yield Cell(name, "size", f"a student {width:g} times as wide as its teacher", replace(base, width=width), side=side)
    for ratio in RATIOS:
        text = f"{ratio} pseudo-labelled image{'s' * (ratio > 1)} for each labelled one, in as many steps"
        side = "higher" if ratio > base.ratio else "lower"
        yield Cell(f"ratio-{ratio}", "ratio", text, replace(base, ratio=ratio), side=side)
    name, side = ("unbalanced", "lower") if base.balance else ("balanced", "higher")
    yield Cell(
        name, "balance", f"pseudo-labelled images {name} over the classes", replace(base, balance=not base.balance), side=side
    )
    text = "first all pseudo-labelled images, then all labelled ones: each as often, in as many steps in all"
    yield Cell("in-turn", "order", text, replace(base, order="in turn"), side="lower")
    text = "the student begins with its teacher's weights"
    yield Cell("warm-start", "start", text, replace(base, start="teacher"), side="lower")
