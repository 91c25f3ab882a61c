"""`eyas export`: a run's model as files that may ship, each checked, timed and held against a budget."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyas.arch.budget import Budget
from eyas.deploy.target import TARGETS
from eyas.errors import ContractError, UserError
from eyas.run import Run, read_json
from eyas.studies.model import find_model
from eyas.studies.prepare import load
from eyas.studies.ship import ship


@dataclass(frozen=True)
class Exported:
    """What was exported: target to facts of the artifact in `folder`."""

    folder: Path
    artifacts: dict[str, dict[str, Any]]


def export(
    run: str | Path,
    to: list[str] | None = None,
    int8: bool = False,
    budget: str | None = None,
    threads: int | None = None,
) -> Exported:
    """Export the model of a run, with parity on the run's validation images and latency on this machine.

    Args:
        run: a run of eyas fit or eyas train.
        to: formats, onnx when left out; timm writes weights and configuration that timm opens.
        int8: the 8-bit variant of each format.
        budget: what the files must keep, for example "size<=2MB,latency<=10ms"; the run's own when left out.
        threads: processor threads that latency is measured with; those of the run when left out.

    Raises:
        UserError: the run holds no finished model, or a format is not known.
        ContractError: a file does not keep what was promised.
    """
    folder = Path(run)
    if not (folder / "recipe.json").is_file():
        raise UserError(f"{run} is not a run; give the --out of eyas fit or eyas train")
    targets = [f"{name}-int8" if int8 and not name.endswith("-int8") else name for name in to or ["onnx"]]
    for name in targets:
        if name not in TARGETS:
            raise UserError(f"no export target {name!r}; there are {', '.join(TARGETS)}")
    place = find_model(folder).parent.name
    recipe = read_json(folder / "recipe.json")
    asked = budget or recipe.get("budget")
    limits = Budget.parse(asked) if asked else Budget()
    with Run.open(folder) as opened:
        ready = load(folder, opened.done("data").digest)
        used = recipe.get("threads", 1) if threads is None else threads
        made = ship(opened, opened.done(place), ready, limits, used, targets)
    broken = [f"{name}: {', '.join(done.result['reasons'])}" for name, done in made.items() if done.result["reasons"]]
    if broken:
        raise ContractError(f"exported to {folder / 'artifacts'}, but not fit to ship: {'; '.join(broken)}")
    return Exported(folder / "artifacts", {name: done.result for name, done in made.items()})
