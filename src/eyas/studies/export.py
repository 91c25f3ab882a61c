"""`eyas export`: a run's model as files that may ship, each checked, timed and held against a budget."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyas.arch.budget import Budget
from eyas.data.decode import MEGAPIXELS
from eyas.deploy.target import TARGETS
from eyas.errors import ContractError, UserError
from eyas.run import Run, read_json
from eyas.studies.model import find_model
from eyas.studies.prepare import load
from eyas.studies.ship import MAX_DROP, ship


@dataclass(frozen=True)
class Exported:
    """What was exported: by name in `folder`, the facts of each artifact."""

    folder: Path
    artifacts: dict[str, dict[str, Any]]


def export(
    run: str | Path,
    to: list[str] | None = None,
    int8: bool = False,
    budget: str | None = None,
    threads: int | None = None,
    max_drop: str | None = None,
    frame: str | None = None,
) -> Exported:
    """Export the model of a run, with parity on the run's validation images and latency on this machine.

    Args:
        run: a run of eyas fit or eyas train.
        to: formats, onnx when left out; docs/formats.md says what each is for.
        int8: the 8-bit variant of each format.
        budget: what the files must keep, for example "size<=2MB,latency<=10ms"; the run's own when left out.
        threads: processor threads that latency is measured with; those of the run when left out.
        max_drop: accuracy on the validation images (of other tasks than classification, mean average precision) that an
            int8 file may lose, in points; the run's when left out, or 0.5pt.
        frame: HEIGHTxWIDTH of the pictures that the files take, to crop and resize them by themselves, for example 480x640;
            the files take pictures at the network's resolution when left out. Such files go beside the others: onnx-480x640.

    Raises:
        UserError: the run holds no finished model, a format is not known, or the frame is not written as such.
        ContractError: a file does not keep what was promised.
    """
    folder = Path(run)
    if not (folder / "recipe.json").is_file():
        raise UserError(f"{run} is not a run; give the --out of eyas fit or eyas train")
    targets = targets_of(to or ["onnx"], int8)
    size = frame_of(frame)
    model = find_model(folder)
    place = model.parent.name
    recipe = read_json(folder / "recipe.json")
    asked = budget or recipe.get("budget")
    limits = Budget.parse(asked) if asked else Budget()
    with Run.open(folder) as opened:
        ready = load(folder, opened.done("data").digest)
        used = recipe.get("threads", 1) if threads is None else threads
        loses = max_drop or recipe.get("max_drop", MAX_DROP)
        columns = tuple(recipe.get("columns", ()))
        made = ship(opened, opened.done(place), ready, limits, used, targets, loses, size, columns)
    broken = [f"{name}: {', '.join(done.result['reasons'])}" for name, done in made.items() if done.result["reasons"]]
    if broken:
        raise ContractError(f"exported to {folder / 'artifacts'}, but not fit to ship: {'; '.join(broken)}")
    return Exported(folder / "artifacts", {name: done.result for name, done in made.items()})


def targets_of(names: list[str], int8: bool) -> list[str]:
    """The formats that are asked for, or their 8-bit variants.

    Raises:
        UserError: there is none of that name, or it has no such variant.
    """
    for name in names:
        if name not in TARGETS:
            raise UserError(f"no export target {name!r}; there are {', '.join(TARGETS)}")
    if not int8:
        return names
    variants = {name: name if name.endswith("-int8") else f"{name}-int8" for name in names}
    if missing := [name for name, variant in variants.items() if variant not in TARGETS]:
        have = ", ".join(name.removesuffix("-int8") for name in TARGETS if name.endswith("-int8"))
        raise UserError(f"{missing[0]} has no int8 variant; these have one: {have}")
    return list(dict.fromkeys(variants.values()))


def frame_of(text: str | None) -> tuple[int, int] | None:
    """Height and width of a frame as it is written on the command line, `480x640`.

    Raises:
        UserError: it is written otherwise, or has no pixels, or more than a picture may have.
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*([1-9]\d*)\s*[xX]\s*([1-9]\d*)\s*", text)
    if not found:
        raise UserError(f"frame is {text!r}; give HEIGHTxWIDTH in pixels, for example 480x640")
    height, width = int(found[1]), int(found[2])
    if height * width > MEGAPIXELS * 1_000_000:
        raise UserError(f"a frame of {height}x{width} has {height * width / 1e6:.4g} megapixels; {MEGAPIXELS} are the most")
    return height, width
