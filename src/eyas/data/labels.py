"""Labels that are probably wrong, from what models said of images that they had not learnt from."""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from jaxtyping import Float32, Int64

from eyas.errors import UserError

EXTRA = "pip install 'eyas[audit]'"


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """A label in doubt: the row, the class it is given, the class that the model takes it for, and how sure it is of each."""

    row: int
    label: int
    suggested: int
    of_label: float
    of_suggested: float


def can_check() -> bool:
    """Whether cleanlab is installed."""
    return find_spec("cleanlab") is not None


def label_issues(probabilities: Float32[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"]) -> list[LabelIssue]:
    """The labels that are probably wrong, the most suspicious first: those the model believes in least.

    `probabilities` must be out of fold: each row from a model that was not trained on it. Confident learning (Northcutt
    et al. 2021, "Confident learning: estimating uncertainty in dataset labels", section 3): how many labels of a class
    are wrong is estimated against the model's own mean confidence in that class, so that one that is unsure, or unsure
    of some classes only, does not accuse them all.

    Raises:
        UserError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise UserError(f"finding wrong labels needs cleanlab; {EXTRA}") from None
    if len(np.unique(labels)) < 2:  # none, or nothing that they could be taken for
        return []
    sums = probabilities.astype(np.float64)
    given = sums / sums.sum(1, keepdims=True)  # cleanlab wants sums of one to more digits than float32 has
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)  # of a class with few examples
        rows = find_label_issues(labels, given, return_indices_ranked_by="self_confidence", n_jobs=1)
    guesses = given.argmax(1)
    return [
        LabelIssue(row, int(labels[row]), int(guesses[row]), float(given[row, labels[row]]), float(given[row].max()))
        for row in np.asarray(rows).tolist()
    ]
