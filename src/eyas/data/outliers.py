"""Pictures unlike the rest of their data: dark, blurred, of an odd shape. They are shown, never dropped."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

EXAMPLES = 50  # of each kind that are named, the oddest first; the counts are complete
ODD = 3.5  # modified z-score, as Iglewicz and Hoaglin advise (1993, "How to detect and handle outliers", section 3)
SPREAD = 1.4826  # of a normal distribution: its standard deviation over its median absolute deviation


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be odd: a measure and the side of it. `least` is the smallest spread that the score is taken in."""

    measure: str
    high: bool
    least: float


# The least spread keeps data whose images are all alike from calling trifles odd: five grey levels, two per cent of the
# pixels, and a tenth of a doubling.
KINDS = {
    "dark": Kind("brightness", high=False, least=5),
    "bright": Kind("brightness", high=True, least=5),
    "pale": Kind("contrast", high=False, least=5),
    "black": Kind("dark", high=True, least=0.02),
    "burnt out": Kind("light", high=True, least=0.02),
    "blurred": Kind("sharpness", high=False, least=0.1),
    "wide": Kind("aspect", high=True, least=0.1),
    "tall": Kind("aspect", high=False, least=0.1),
    "small": Kind("pixels", high=False, least=0.1),
    "large": Kind("pixels", high=True, least=0.1),
}
DOUBLINGS = ("sharpness", "aspect", "pixels")  # compared by their logarithm to base two


def outliers(ids: list[str], index: pa.Table) -> dict[str, Any]:
    """For each kind, how many images are odd, from which value on, and the oddest, with their values.

    An image is odd when it lies further from the median of the data, on the side that the kind looks at, than 3.5 times
    their spread: the median distance from the median, in units of a standard deviation. `index` has the rows of a
    store's index that belong to `ids`.

    Values: brightness and contrast in grey levels (0 to 255), dark and light in shares of the pixels, sharpness as a
    variance of the Laplacian, aspect as width over height, pixels as their number.
    """
    if not ids:
        return {name: {"images": 0, "from": None, "examples": []} for name in KINDS}
    measures = _measures(index)
    return {name: _found(ids, measures[kind.measure], kind) for name, kind in KINDS.items()}


def _measures(index: pa.Table) -> dict[str, Float64[np.ndarray, " n"]]:
    names = ("brightness", "contrast", "dark", "light", "sharpness", "original_width", "original_height")
    found = {name: index[name].to_numpy().astype(np.float64) for name in names}
    width, height = found.pop("original_width"), found.pop("original_height")
    return found | {"aspect": width / height, "pixels": width * height}


def _found(ids: list[str], values: Float64[np.ndarray, " n"], kind: Kind) -> dict[str, Any]:
    scaled = np.log2(np.maximum(values, 1e-3)) if kind.measure in DOUBLINGS else values
    middle = float(np.median(scaled))
    spread = max(kind.least, SPREAD * float(np.median(np.abs(scaled - middle))))
    distance = (scaled - middle) * (1 if kind.high else -1) / spread
    odd = np.flatnonzero(distance > ODD)
    worst = odd[np.argsort(-distance[odd], kind="stable")][:EXAMPLES]
    bound = middle + (ODD if kind.high else -ODD) * spread
    return {
        "images": len(odd),
        "from": _rounded(2**bound if kind.measure in DOUBLINGS else bound),
        "examples": [{"id": ids[row], "value": _rounded(values[row])} for row in worst],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
