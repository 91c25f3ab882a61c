"""Labelled images, an unlabelled pile and a device budget in; the most accurate model that fits the device out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyas.studies.audit import audit as audit
    from eyas.studies.cost import cost as cost
    from eyas.studies.evaluate import evaluate as evaluate
    from eyas.studies.export import export as export
    from eyas.studies.fit import fit as fit
    from eyas.studies.label import label as label
    from eyas.studies.predict import predict as predict
    from eyas.studies.reproduce import reproduce as reproduce
    from eyas.studies.train import train as train

__version__ = "0.1.0"

STUDIES = ("fit", "train", "audit", "cost", "evaluate", "label", "predict", "export", "reproduce")


def __getattr__(name: str) -> Any:
    """`eyas.fit` and its like, imported when they are first asked for: `import eyas` alone must not wait for torch."""
    if name not in STUDIES:
        raise AttributeError(f"module 'eyas' has no attribute {name!r}; it has {', '.join(STUDIES)}")
    return getattr(import_module(f"eyas.studies.{name}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *STUDIES])
