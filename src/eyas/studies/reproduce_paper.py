"""What Noisy Student (1911.04252) found, study by study, and when it is found again."""

from dataclasses import dataclass
from typing import Literal

from eyas.studies.proof import Comparison
from eyas.studies.reproduce_cells import Side

Held = Literal["held", "not held", "not decided", "no claim"]

RULE = (
    "A finding held where the whole 95 % interval of the difference on the test split lies on the side that the paper says, "
    "did not hold where it lies on the other side, and is not decided where it contains 0. Where the paper says nothing, "
    "or finds next to no difference, nothing is judged."
)


@dataclass(frozen=True)
class Finding:
    """A study of the paper: what it asks, what it found in one sentence, and where it says so."""

    title: str
    sentence: str
    source: str


@dataclass(frozen=True)
class Figures:
    """Top-1 accuracy on ImageNet in %, of what a cell is compared with and of the cell, in one setting of the paper."""

    against: float
    cell: float
    setting: str

    @property
    def difference(self) -> float:
        """In points."""
        return self.cell - self.against

    def __str__(self) -> str:
        """`83.9 to 83.6 (B5, 1.3 M unlabelled)`."""
        digits = 1 if all(round(value, 1) == value for value in (self.against, self.cell)) else 2
        return f"{self.against:.{digits}f} to {self.cell:.{digits}f} ({self.setting})"


FINDINGS = {
    "method": Finding(
        "Noisy Student against the labels alone",
        "A student of the same size is better than the teacher that it learned from.",
        "Noisy Student, Table 6. It has no control of equal compute, and no FixMatch, which is younger",
    ),
    "noise": Finding(
        "Noise",
        "The student needs its noise, and the teacher must not have any while it labels.",
        "Noisy Student, Table 6",
    ),
    "labels": Finding(
        "Soft against hard labels",
        "Soft labels are better than hard ones for images that the teacher is not sure of.",
        "Noisy Student, finding 3; figures read off the appendix's chart of a B0 student, from p to p + 0.1 sure",
    ),
    "amount": Finding("Amount of pile", "A large amount of unlabelled images is necessary.", "Noisy Student, finding 2"),
    "size": Finding(
        "Size of the student",
        "A large student is important.",
        "Noisy Student, finding 4; figures from the second version's table",
    ),
    "ratio": Finding(
        "Ratio in a batch",
        "Many unlabelled images for each labelled one help, as the student then learns longer from them.",
        "Noisy Student, finding 7; figures from the second version's table",
    ),
    "balance": Finding("Balancing", "Balancing the classes is useful for small models.", "Noisy Student, finding 5"),
    "order": Finding(
        "Together or in turn",
        "Learning from both together is better than pretraining on pseudo-labels and then fine-tuning on labels.",
        "Noisy Student, finding 6",
    ),
    "start": Finding(
        "Start of the student",
        "From scratch is sometimes better than from the teacher's weights.",
        "Noisy Student, finding 8",
    ),
}

_B5, _B5_MANY = "B5, 1.3 M unlabelled", "B5, 130 M"
# Soft and hard labels from each lower end of confidence on.
_LABELS = (
    (77.52, 75.75), (77.65, 75.98), (77.72, 76.28), (77.82, 76.82), (77.7, 76.93),
    (77.9, 77.1), (77.81, 77.34), (77.98, 77.67), (77.97, 77.96), (78.05, 77.92),
)  # fmt: skip
# Of the cells that the paper has figures for; what is only remembered of its appendix is left out.
FIGURES: dict[str, tuple[Figures, ...]] = {
    "teacher": (Figures(83.9, 83.3, _B5), Figures(85.1, 84.0, _B5_MANY)),
    "no-input-noise": (Figures(83.9, 83.6, _B5), Figures(85.1, 84.6, _B5_MANY)),
    "no-noise": (Figures(83.9, 83.2, _B5), Figures(85.1, 84.3, _B5_MANY)),
    "noised-teacher": (Figures(83.9, 83.7, _B5), Figures(85.1, 84.4, _B5_MANY)),
    **{f"hard-{number / 10:.1f}": (Figures(soft, hard, "B0"),) for number, (soft, hard) in enumerate(_LABELS)},
    "wider": (
        Figures(77.9, 79.5, "B1 for B0"),
        Figures(80.7, 82.0, "B3 for B2"),
        Figures(84.0, 84.7, "B5 for B4"),
        Figures(86.9, 87.2, "L2 for B7"),
    ),
    "ratio-3": (Figures(84.0, 84.0, "B4, 3 for 1"), Figures(86.7, 87.4, "L2, 3 for 1")),
    "ratio-7": (Figures(87.4, 87.9, "L2, 6 for 3"),),
}


def judged(side: Side, found: Comparison) -> Held:
    """Whether a difference is on the side that the paper says; see `RULE`."""
    if not side:
        return "no claim"
    if found.low <= 0 <= found.high:
        return "not decided"
    return "held" if (found.low > 0) == (side == "higher") else "not held"
