"""The command line: made from the signatures of the studies, and the only place that prints.

`COMMANDS`, at the end, is all that there is. `main` runs one of them: its words are read (`arguments`), the study is
called with progress on the terminal (`terminal`), and its result is shown (`show`, `costs`).
"""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from csv import DictWriter
from dataclasses import asdict, dataclass, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.markup import escape
from rich.table import Table

from eyas import __version__
from eyas.cli.arguments import read
from eyas.cli.costs import cost_rows, show_cost
from eyas.cli.measured import show_measure
from eyas.cli.reproduced import show_reproduce
from eyas.cli.show import show_audit, show_export, show_fit, show_label, show_predict, show_report
from eyas.cli.tasks import show_embed, show_evaluate, show_neighbors, show_train
from eyas.cli.terminal import Bars, err, out
from eyas.errors import EyasError, UserError
from eyas.memory import keep
from eyas.progress import listening
from eyas.report.board import following
from eyas.run import plain
from eyas.team import current, launched


@dataclass(frozen=True, slots=True)
class Command:
    """A study on the command line.

    Attributes:
        study: module and function.
        does: its line in the list of commands.
        positional: arguments that need no name.
        show: prints its result; of an iterator, each that it yields.
        goes_on: whether the same command, given again with its --out, goes on where it was stopped.
        failed: whether part of what was asked for could not be done, as the result (or each that it yields) tells.
        rows: its result as the rows of a table, where it has a `--csv`.
    """

    study: str
    does: str
    positional: tuple[str, ...]
    show: Callable[[Any], None]
    goes_on: bool = False
    failed: Callable[[Any], bool] = lambda _: False
    rows: Callable[[Any], list[dict[str, Any]]] | None = None


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for a broken contract, 2 for the user's mistake, 130 after Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    name = words[0] if words else "--help"
    if name == "--version":
        out.print(f"eyas {__version__}")
        return 0
    if name not in COMMANDS:
        return _overview(name)
    try:
        with _team():
            return _run(COMMANDS[name], name, words[1:])
    except EyasError as error:
        err.print(f"[bold red]eyas {name}:[/] {escape(str(error))}")
        return error.exit_code
    except BrokenPipeError:  # `eyas cost ... | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:
            raise
        err.print(f"[bold red]eyas {name}:[/] {escape(str(error.filename or 'the disk'))}: {error.strerror}")
        return 2
    except KeyboardInterrupt as stopped:
        err.print(escape("; ".join((f"eyas {name}: stopped", *getattr(stopped, "__notes__", ())))))
        return 130


def _run(command: Command, name: str, words: list[str]) -> int:
    _settle()
    module, _, function = command.study.partition(":")
    study = getattr(import_module(module), function)
    trains = command.goes_on and "training" in signature(study).parameters
    given = read(words, name, study, command.positional, csv=command.rows is not None, trains=trains)
    if current().size > 1 and not trains:
        raise UserError(f"eyas {name} works in one process; start it without torchrun")
    values = {key: value for key, value in vars(given).items() if key in signature(study).parameters}
    with _resumable(command, given), _audience(given):
        result = study(**values)
        if isinstance(result, Iterator):
            return _stream(result, command, name, given.json)
    if given.json:
        _write_json(result)
    elif command.rows and given.csv:
        _write_csv(command.rows(result))
    else:
        command.show(result)
    return 2 if command.failed(result) else 0


@contextmanager
def _team() -> Generator[None]:
    """This process as one of those that torchrun started, where it did; only the first of them prints results."""
    if not launched():
        yield
        return
    _settle()
    join = import_module("eyas.learn.team").join
    with join() as team, ExitStack() as quiet:
        if not team.first:
            quiet.enter_context(redirect_stdout(quiet.enter_context(Path(os.devnull).open("w"))))
        yield


@contextmanager
def _resumable(command: Command, given: Namespace) -> Generator[None]:
    """Ctrl-C says how to go on, where there is something to go on with."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        if command.goes_on and given.get("out"):
            stopped.add_note("give the same command again to go on from the last checkpoint")
        raise


@contextmanager
def _audience(given: Namespace) -> Generator[None]:
    """Progress on the terminal, and TensorBoard's files beside the run where they are asked for.

    Raises:
        UserError: they are, and there is no run.
    """
    if given.get("tensorboard") and not given.out:
        raise UserError("--tensorboard writes beside the run: give --out a directory")
    with ExitStack() as stack:
        if current().first:
            stack.enter_context(listening(stack.enter_context(Bars())))
            if given.get("tensorboard"):
                stack.enter_context(following(Path(given.out) / "tensorboard"))
        yield


def _settle() -> None:
    """Set this process up for training, before torch is loaded (docs/log.md, 2026-11-22).

    Threads that wait should spin only briefly: with the runtime's default they starve each other as soon as another
    process works on the machine. And memory should stay with the process from step to step.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    keep()


def _stream(lines: Iterator[Any], command: Command, name: str, as_json: bool) -> int:
    """Each line of a result as soon as it is made, however many there are; 2 where one tells of a failure."""
    count = failed = 0
    for line in lines:
        (_write_json if as_json else command.show)(line)
        sys.stdout.flush()
        count, failed = count + 1, failed + command.failed(line)
    if failed:
        err.print(f"[bold red]eyas {name}:[/] {failed:,} of {count:,} could not be read; their lines say why")
    return 2 if failed else 0


def _write_json(result: Any) -> None:
    """A line, or for a list a line each, with all fields: what reads as a sentence for people is numbers for programs."""
    for line in result if isinstance(result, list) else [result]:
        fields = asdict(line) if is_dataclass(line) and not isinstance(line, type) else line
        sys.stdout.write(json.dumps(plain(fields)) + "\n")


def _write_csv(rows: list[dict[str, Any]]) -> None:
    """A header and a line a row; what is not known is empty."""
    table = DictWriter(sys.stdout, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)


def _overview(asked: str) -> int:
    """The list of commands; exit 2 where something else was asked for."""
    if asked not in ("--help", "-h", "help"):
        near = get_close_matches(asked, COMMANDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        err.print(f"[bold red]eyas:[/] no command {escape(repr(asked))}{meant} (eyas --help lists them)")
        return 2
    out.print("\n[bold]eyas[/] COMMAND [ARGUMENTS]\n\nLabelled images, an unlabelled pile and a device budget in;")
    out.print("the most accurate model that fits the device out.\n")
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 2))
    for name, command in COMMANDS.items():
        table.add_row(f"[bold]{name}[/]", command.does)
    out.print(table)
    out.print("\neyas COMMAND --help tells more; eyas --version tells which this is.")
    return 0


def _show_plan(result: Any) -> None:
    """Imported here, because torch comes with the report's words: commands that need none must not wait for it."""
    from eyas.cli.plans import show_plan

    show_plan(result)


COMMANDS = {
    "fit": Command(
        "eyas.studies.fit:fit",
        "the main job: the most accurate model that fits a budget, proven",
        ("data",),
        show_fit,
        goes_on=True,
    ),
    "train": Command("eyas.studies.train:train", "one supervised run", ("data",), show_train, goes_on=True),
    "audit": Command("eyas.studies.audit:audit", "the data check", ("data",), show_audit, goes_on=True),
    "cost": Command(
        "eyas.studies.cost:compare",
        "MAdds, parameters and activations of architectures",
        ("arch",),
        show_cost,
        rows=cost_rows,
    ),
    "plan": Command("eyas.studies.plan:plan", "which network fits a budget, and what binds", (), _show_plan, goes_on=True),
    "evaluate": Command(
        "eyas.studies.evaluate:evaluate", "a model's figures on labelled images", ("run", "data"), show_evaluate
    ),
    "predict": Command(
        "eyas.studies.predict:predict",
        "answers to pictures, by an exported file or a run",
        ("model", "images"),
        show_predict,
        failed=lambda answer: answer.error is not None,
    ),
    "label": Command(
        "eyas.studies.label:label", "soft labels for a pile, in parquet", ("run", "pool"), show_label, goes_on=True
    ),
    "embed": Command(
        "eyas.studies.embed:embed", "a vector for every image, in parquet", ("run", "data"), show_embed, goes_on=True
    ),
    "neighbors": Command(
        "eyas.studies.neighbors:neighbors", "the images most like one, by their vectors", ("image", "index"), show_neighbors
    ),
    "export": Command("eyas.studies.export:export", "files that ship, with parity and latency", ("run",), show_export),
    "measure": Command(
        "eyas.studies.measure:measure", "exported files timed in turn; latency tables of devices", ("artifacts",), show_measure
    ),
    "reproduce": Command(
        "eyas.studies.reproduce:reproduce",
        "a paper's ablations on your data, and which findings hold",
        ("study", "data"),
        show_reproduce,
        goes_on=True,
    ),
    "report": Command("eyas.studies.report:write_report", "report.html of a run again", ("run",), show_report),
}
