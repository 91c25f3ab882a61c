"""Which model of a run a command means, and how images reach it."""

from pathlib import Path

from eyas.errors import UserError
from eyas.nn.answers import Kind
from eyas.nn.build import Network
from eyas.nn.weights import kind_of, load_network
from eyas.run import INPUTS, MARK
from eyas.studies.learning import MODEL

PLACES = ("student", "model")  # where eyas fit and eyas train keep the model to use


def find_model(run: str | Path) -> Path:
    """The model file of a run, of a stage's folder (`runs/solar/teacher`), or the file itself.

    Raises:
        UserError: there is none.
    """
    given = Path(run)
    if given.is_file():
        return given
    if not given.exists():
        raise UserError(f"no run at {run}; give the --out of eyas fit or eyas train")
    for folder in (given, *(given / place for place in PLACES)):
        if (folder / MODEL).exists():
            if (folder / INPUTS).exists() and not (folder / MARK).exists():
                raise UserError(f"the training in {folder} is not finished; give the command that began it again")
            return folder / MODEL
    raise UserError(f"no trained model in {run}; give a finished run of eyas fit or eyas train, or a folder that holds {MODEL}")


def check_kind(path: Path, kind: Kind) -> None:
    """Refuse a model of another task than `kind`.

    Raises:
        UserError: it is.
    """
    found = kind_of(path)
    if found != kind:
        raise UserError(f"{path} was trained for the task {found}, and this works for {kind}; eyas evaluate measures any")


def open_model(run: str | Path) -> tuple[Network, tuple[str, ...]]:
    """The classifier of a run and its class names.

    Raises:
        UserError: there is none, or it was trained for another task.
    """
    path = find_model(run)
    check_kind(path, "classify")
    return load_network(path)
