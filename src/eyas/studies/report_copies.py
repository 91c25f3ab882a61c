"""The report's pictures of what the audit doubts: near copies side by side, and images unlike the rest."""

from typing import Any

import numpy as np
from PIL import Image

from eyas.data.decode import Pixels
from eyas.data.store import Store
from eyas.report.items import Gallery, Item, Text
from eyas.studies.finished import Checked

PAIRS = 6  # shown of each kind; the others are in data/audit.json
ODD = 8  # shown of each kind, the oddest first
HEIGHT = 128  # pixels of a pair
GAP = 6  # pixels between the two

KINDS = {
    "leaks": ("Dropped from training: near copies of held-out images", "The right one is held out."),
    "suspicious": ("Near copies with different labels", "One label of each pair may be wrong, unless the difference is small."),
    "in_training": ("Near copies within training", "They were kept: near, not equal."),
    "in_held_out": ("Near copies among held-out images", "They were kept: they leak nothing into training."),
}
UNLIKE = {
    "dark": "darkest: mean grey level",
    "bright": "brightest: mean grey level",
    "pale": "least contrast: standard deviation of the grey levels",
    "black": "underexposed: share of black pixels",
    "burnt out": "overexposed: share of white pixels",
    "blurred": "most blurred: variance of the Laplacian",
    "wide": "widest: width over height",
    "tall": "tallest: width over height",
    "small": "smallest: pixels",
    "large": "largest: pixels",
}


def near_copies(found: Checked) -> list[Item]:
    """Counts of the near copies, and pairs of each kind side by side."""
    near, pile = found.data.findings["near"], found.data.findings["pile"]
    store, labels = found.data.store, dict(zip(*(found.data.manifest.column(name) for name in ("id", "label")), strict=True))
    items: list[Item] = [Text(_counts(near))]
    for kind, (title, note) in KINDS.items():
        shown = [(_pair(store, store, row), _caption(row, labels)) for row in near[kind]["examples"][:PAIRS]]
        if shown:
            items.append(Gallery(f"{title} ({near[kind]['pairs']:,})", tuple(shown), note))
    if pile and pile["near"] and found.data.pile_store is not None and found.uses_pile:
        rows = pile["near"][:PAIRS]
        count = pile["near_validation"] + pile["near_test"]
        shown = [(_pair(found.data.pile_store, store, row), f"{row['id']} | {row['split']}: {row['near']}") for row in rows]
        title = f"Dropped from the pile: near copies of held-out images ({count:,})"
        items.append(Gallery(title, tuple(shown), "The right one is held out."))
    return items


def odd(found: Checked) -> list[Item]:
    """Images unlike the rest of the data, with what makes them so."""
    store, findings = found.data.store, found.data.findings["odd"]
    galleries: list[Item] = []
    for kind, text in UNLIKE.items():
        rows = findings[kind]["examples"][:ODD]
        if rows:
            shown = tuple((store[store.position(row["id"])], f"{row['id']}: {row['value']:,.4g}") for row in rows)
            side = "above" if kind in ("bright", "black", "burnt out", "wide", "large") else "below"
            note = f"Images {side} {findings[kind]['from']:,.4g}: {findings[kind]['images']:,}. They were kept."
            galleries.append(Gallery(f"The {text}", shown, note))
    return galleries or [Text("No image stands out by its light, sharpness, shape or size.")]


def _counts(near: dict[str, Any]) -> str:
    if not any(near[kind]["pairs"] for kind in KINDS):
        return (
            "No two labelled images are near copies: re-encoded, resized, brightened, slightly cropped, mirrored or turned "
            "versions of one picture."
        )
    training, held_out = near["in_training"]["pairs"], near["in_held_out"]["pairs"]
    parts = [
        f"- {near['dropped']:,} training images were dropped as near copies of a held-out image",
        f"- {training:,} pairs within training stay, and {held_out:,} among held-out images",
        f"- {near['suspicious']['pairs']:,} of all pairs have different labels: one of the two may be wrong",
    ]
    return "\n".join(("Near copies show one picture re-encoded, resized, slightly cropped, mirrored or turned.", "", *parts))


def _caption(row: dict[str, Any], labels: dict[str, str]) -> str:
    names = row.get("labels") or [labels.get(row["id"]), labels.get(row["near"])]
    return " | ".join(f"{id} ({name})" if name else id for id, name in zip((row["id"], row["near"]), names, strict=True))


def _pair(store: Store, other: Store, row: dict[str, Any]) -> Pixels:
    left, right = _tall(store[store.position(row["id"])]), _tall(other[other.position(row["near"])])
    return np.concatenate([left, np.full((HEIGHT, GAP, 3), 255, np.uint8), right], axis=1)


def _tall(pixels: Pixels) -> Pixels:
    """In colour, at the common height."""
    colour = Image.fromarray(np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)
    width = max(1, round(colour.width * HEIGHT / colour.height))
    return np.array(colour.resize((width, HEIGHT), Image.Resampling.BICUBIC))
