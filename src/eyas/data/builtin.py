"""Data sets that are known by name: `elpv` and `fashion-mnist`."""

import importlib.util
import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from eyas.data import idx
from eyas.data.manifest import Manifest
from eyas.data.splits import apportion, shuffled
from eyas.errors import UserError

ELPV_TEST = 0.25
ELPV_SEED = 2019  # of the split below; part of what `elpv` means, so it never changes

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # the Debian package dataset-fashion-mnist
FASHION_CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def elpv() -> Manifest:
    """Solar cells in electroluminescence: 2,624 grey photographs, 300x300, `defective` from a defect probability of 0.5.

    Three quarters train, one quarter tests, within each type and probability (Deitsch et al. 2019, "Automatic
    classification of defective photovoltaic module cells in electroluminescence images", section 4.1; they did not
    publish the draw). A cell has no right way up, so both mirrorings keep the label.

    Raises:
        UserError: the package is not installed.
    """
    root = _elpv_root()
    lines = (root / "labels.csv").read_text().splitlines()
    ids, chances, types = zip(*(line.split() for line in lines if line.strip()), strict=True)
    probability = [float(chance) for chance in chances]
    return Manifest.of(
        {
            "id": ids,
            "source": [str(root / id) for id in ids],
            "label": ["defective" if chance >= 0.5 else "functional" for chance in probability],
            "split": _elpv_splits(ids, list(zip(types, chances, strict=True))),
            "probability": probability,
            "type": types,
        },
        flips="both",
    )


def elpv_attributes() -> Manifest:
    """The same cells with what is known of each besides: `defective` as above, `uncertain`, `mono`.

    `uncertain` are those of defect probability 1/3 or 2/3; a cell that is not monocrystalline is polycrystalline.

    Raises:
        UserError: the package is not installed.
    """
    cells = elpv()
    labels = [
        [
            name
            for name, there in (("defective", chance >= 0.5), ("uncertain", 0 < chance < 1), ("mono", kind == "mono"))
            if there
        ]
        for chance, kind in zip(cells.column("probability"), cells.column("type"), strict=True)
    ]
    columns = {name: cells.column(name) for name in cells.table.column_names}
    return Manifest.of(columns | {"label": [None] * len(cells), "labels": labels}, cells.flips)


def _elpv_root() -> Path:
    spec = importlib.util.find_spec("elpv_dataset")  # found, not imported: its code reads every image
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the data set elpv is in a package that is not installed; pip install 'eyas[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def _elpv_splits(ids: tuple[str, ...], kinds: list[tuple[str, str]]) -> list[str]:
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for id, kind in zip(ids, kinds, strict=True):
        strata[kind].append(id)
    counts = [len(strata[kind]) for kind in sorted(strata)]
    quotas = apportion(counts, round(ELPV_TEST * len(ids)), [0] * len(counts), counts)
    test: set[str] = set()
    for kind, quota in zip(sorted(strata), quotas, strict=True):
        test.update(shuffled(strata[kind], "elpv", ELPV_SEED)[:quota])
    return ["test" if id in test else "train" for id in ids]


def fashion_mnist() -> Manifest:
    """70,000 grey pictures of clothes, 28x28, ten classes, 60,000 for training (Xiao et al. 2017).

    Read from $EYAS_FASHION_MNIST, or from where the Debian package puts it.

    Raises:
        UserError: the four files are not there, or damaged.
    """
    root = Path(os.environ.get("EYAS_FASHION_MNIST") or FASHION_MNIST).absolute()
    ids, sources, labels, splits = [], [], [], []
    for prefix, split in (("train", "train"), ("t10k", "test")):
        images = root / f"{prefix}-images-idx3-ubyte.gz"
        classes = _fashion_labels(root / f"{prefix}-labels-idx1-ubyte.gz", images)
        for row, label in enumerate(classes):
            ids.append(f"{split}/{row:05d}")
            sources.append(idx.source(str(images), row))
            labels.append(FASHION_CLASSES[label])
            splits.append(split)
    return Manifest.of({"id": ids, "source": sources, "label": labels, "split": splits})


def _fashion_labels(labels: Path, images: Path) -> list[int]:
    found, pictures = _idx(labels), _idx(images)
    if found.ndim != 1 or pictures.ndim != 3 or len(found) != len(pictures) or found.max(initial=0) >= len(FASHION_CLASSES):
        raise UserError(f"{labels} and {images.name} are not a label for each picture; copy the files of Fashion-MNIST again")
    return found.tolist()


def _idx(path: Path) -> np.ndarray:
    try:
        return idx.read(str(path))
    except FileNotFoundError:
        raise UserError(
            f"fashion-mnist is not at {path}; install the Debian package dataset-fashion-mnist, "
            "or set EYAS_FASHION_MNIST to the folder with its four .gz files"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except idx.IdxError as error:
        raise UserError(f"{path} is {error}; copy the files of Fashion-MNIST again") from None
