"""Labelled images, an unlabelled pile and a device budget in; the most accurate model that fits the device out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyas.studies.audit import audit as audit
    from eyas.studies.cost import cost as cost
    from eyas.studies.embed import embed as embed
    from eyas.studies.evaluate import evaluate as evaluate
    from eyas.studies.export import export as export
    from eyas.studies.fit import fit as fit
    from eyas.studies.label import label as label
    from eyas.studies.measure import measure as measure
    from eyas.studies.neighbors import neighbors as neighbors
    from eyas.studies.plan import plan as plan
    from eyas.studies.predict import predict as predict
    from eyas.studies.reproduce import reproduce as reproduce
    from eyas.studies.train import train as train

__version__ = "0.1.0"

STUDIES = (
    *("fit", "train", "audit", "cost", "plan", "evaluate", "label", "predict", "embed", "neighbors", "export", "measure"),
    "reproduce",
)


def __getattr__(name: str) -> Any:
    """`eyas.fit` and its like, imported when they are first asked for: `import eyas` alone must not wait for torch."""
    if name not in STUDIES:
        raise AttributeError(f"module 'eyas' has no attribute {name!r}; it has {', '.join(STUDIES)}")
    return getattr(import_module(f"eyas.studies.{name}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *STUDIES])
