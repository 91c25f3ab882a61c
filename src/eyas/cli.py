"""The command line: made from the signatures of the studies, and the only place that prints."""

import ctypes
import json
import os
import re
import sys
from argparse import Action, ArgumentError
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, signature
from time import perf_counter
from typing import Any, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, DefaultHelpFormatter
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from eyas import __version__
from eyas.arch.budget import show
from eyas.errors import EyasError, UserError
from eyas.progress import listening
from eyas.run import plain

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Command:
    """A study on the command line.

    Attributes:
        study: module and function.
        does: its line in the list of commands.
        positional: arguments that need no name.
        show: prints its result.
        goes_on: whether the same command, given again, goes on where it was stopped.
        failed: whether part of what was asked for could not be done, as the result itself tells.
    """

    study: str
    does: str
    positional: tuple[str, ...]
    show: Callable[[Any], None]
    goes_on: bool = False
    failed: Callable[[Any], bool] = lambda _: False


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
        return _run(COMMANDS[name], name, words[1:])
    except EyasError as error:
        err.print(f"[bold red]eyas {name}:[/] {escape(str(error))}")
        return error.exit_code
    except OSError as error:
        if error.errno is None:
            raise
        err.print(f"[bold red]eyas {name}:[/] {escape(str(error.filename or 'the disk'))}: {error.strerror}")
        return 2
    except KeyboardInterrupt:
        how = "; give the same command again to go on from the last checkpoint" if COMMANDS[name].goes_on else ""
        err.print(f"eyas {name}: stopped{how}")
        return 130


def _run(command: Command, name: str, words: list[str]) -> int:
    _settle()
    module, _, function_name = command.study.partition(":")
    function = getattr(import_module(module), function_name)
    parser = _parser(name, command, function)
    try:
        given = parser.instantiate(parser.parse_args(words))
    except ArgumentError as error:
        raise UserError(f"{_plainly(error.message, command, parser.get_defaults().keys())}; see eyas {name} --help") from None
    values = {key: value for key, value in vars(given).items() if key in signature(function).parameters}
    with Bars() as bars, listening(bars):
        result = function(**values)
    if given.json:
        for line in result if isinstance(result, list) else [result]:
            sys.stdout.write(json.dumps(plain(_fields(line))) + "\n")
    else:
        command.show(result)
    return 2 if command.failed(result) else 0


def _settle() -> None:
    """Set this process up for training, before torch is loaded (docs/log.md, 2026-11-22).

    Threads that wait should spin only briefly: with the runtime's default they starve each other as soon as another
    process works on the machine. And memory of large activations should stay with the process from step to step.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    with suppress(OSError, AttributeError):  # another C library than glibc
        library = ctypes.CDLL("libc.so.6")
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            library.mallopt(option, 2**30)


def _fields(result: Any) -> Any:
    """A result with all its fields: what reads as a sentence for people is numbers for programs."""
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result


def _parser(name: str, command: Command, function: Callable[..., Any]) -> ArgumentParser:
    """Arguments from the function's signature and docstring; settings in a file with `--config`."""
    text = (function.__doc__ or "").partition("Args:")[0]
    needed = [argument.upper() for argument in command.positional]
    needed += [
        f"--{key} {key.upper()}" for key, value in signature(function).parameters.items() if _must_be_named(value, command)
    ]
    usage = f"eyas {name} {' '.join(needed)} [OPTIONS]"
    parser = ArgumentParser(
        prog=f"eyas {name}",
        usage=usage,
        description=" ".join(text.split()),
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,  # a misspelt --training.rat would set --training.rate
    )
    hints = get_type_hints(function)
    helps = _argument_helps(function)
    for argument in command.positional:
        many = {"nargs": "+", "type": str} if hints[argument] == list[str] else {"type": hints[argument]}
        parser.add_argument(argument, help=helps.get(argument, ""), **many)
    lines = ", a line each" if get_origin(hints.get("return")) is list else ""
    parser.add_argument("--json", action="store_true", help=f"print the result as JSON{lines}")
    parser.add_argument("--config", action="config", help="read settings from a YAML file; see --print_config")
    plain_words = _add_plain_words(parser, hints, helps)
    parser.add_function_arguments(function, skip={*command.positional, *plain_words}, as_group=False, sub_configs=True)
    return parser


def _add_plain_words(parser: ArgumentParser, hints: dict[str, Any], helps: dict[str, str]) -> list[str]:
    """`--int8` and `--to onnx openvino`, where the signature alone would ask for `--int8 true` and `--to [onnx,openvino]`."""
    switches = [name for name, hint in hints.items() if hint is bool]
    lists = [name for name, hint in hints.items() if hint == list[str] | None]
    for name in switches:
        parser.add_argument(f"--{name}", action="store_true", help=helps[name])
    for name in lists:
        parser.add_argument(f"--{name}", nargs="+", type=str, help=helps[name])
    return switches + lists


def _must_be_named(value: Parameter, command: Command) -> bool:
    return value.default is Parameter.empty and value.name not in command.positional


def _argument_helps(function: Callable[..., Any]) -> dict[str, str]:
    return {each.arg_name: each.description or "" for each in parse_docstring(function.__doc__ or "").params}


class _Help(DefaultHelpFormatter):
    """Help without the names of Python types and without defaults that are nothing."""

    def _get_type_str(self, action: Action) -> str | None:  # noqa: ARG002 (the parent's form)
        return None

    def _expand_help(self, action: Action) -> str:
        return re.sub(r" \((required|default: (null|==SUPPRESS==|False))\)$", "", super()._expand_help(action))


_EXPECTED = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}


def _plainly(message: str, command: Command, options: Iterable[str]) -> str:
    """What is wrong with the words of a command, in one line and in the user's terms."""
    text = " ".join(message.split())
    named = {option: option.upper() if option in command.positional else f"--{option}" for option in options}
    if form := re.fullmatch(r"the following arguments are required: (.*)", text):
        return f"{' and '.join(named.get(name, name) for name in form[1].split(', '))} must be given"
    if form := re.fullmatch(r"unrecognized arguments: (\S+).*", text):
        near = get_close_matches(form[1].lstrip("-").partition("=")[0], named, n=1)
        meant = f"; did you mean {named[near[0]]}?" if near and form[1].startswith("-") else ""
        return f"unexpected {form[1]!r}{meant}"
    if form := re.fullmatch(r'Parser key "([^"]+)": Expected a (.*)\. Got value: (.*)', text):
        expected = _EXPECTED.get(form[2], re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", form[2]))
        return f"{named.get(form[1], form[1])} is {form[3]!r}; it must be {expected}"
    return re.sub(r'Parser key "([^"]+)":', lambda form: f"{named.get(form[1], form[1])}:", text)


def _overview(asked: str) -> int:
    """The list of commands; exit 2 where something else was asked for."""
    if asked not in ("--help", "-h", "help"):
        near = get_close_matches(asked, COMMANDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        err.print(f"[bold red]eyas:[/] no command {escape(repr(asked))}{meant} (eyas --help lists them)")
        return 2
    out.print("\n[bold]eyas[/] COMMAND [ARGUMENTS]\n\nLabelled images, an unlabelled pile and a device budget in;")
    out.print("the most accurate model that fits the device out.\n")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for name, command in COMMANDS.items():
        table.add_row(f"[bold]{name}[/]", command.does)
    out.print(table)
    out.print("\neyas COMMAND --help tells more; eyas --version tells which this is.")
    return 0


class Bars:
    """Progress on the terminal's error stream: bars with the time left, and plain lines where there is no terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
        note = TextColumn("[dim]{task.fields[note]}")
        self.bars = Progress(*columns, note, console=err, transient=True, disable=not err.is_terminal)
        self.tasks: dict[str, tuple[TaskID, float]] = {}

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bars.live.is_started:
            self.bars.stop()

    def begin(self, label: str, total: int | None) -> None:
        """Show a bar."""
        self.bars.start()
        self.tasks[label] = self.bars.add_task(label, total=total, note=""), perf_counter()

    def advance(self, label: str, done: int, note: str) -> None:
        """Move it."""
        self.bars.update(self.tasks[label][0], completed=done, note=escape(note))

    def end(self, label: str) -> None:
        """Leave one line in its place, unless the work was given up."""
        task, began = self.tasks.pop(label)
        note = self.bars.tasks[self.bars.task_ids.index(task)].fields["note"]
        self.bars.remove_task(task)
        if sys.exc_info()[0] is not None:  # the work is left because of an exception
            return
        self.bars.console.print(f"[green]✓[/] {label} [dim]{_duration(perf_counter() - began)}  {note}")

    def say(self, text: str) -> None:
        """One line."""
        self.bars.console.print(f"[dim]{escape(text)}")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _show_fit(result: Any) -> None:
    table = Table(title="Accuracy on the test split", title_justify="left", box=SIMPLE)
    for column in ("model", "accuracy", "95 % interval", "images"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, found in result.test.items():
        table.add_row(name, f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}", str(found.images))
    out.print(table)
    out.print(f"[bold]{escape(result.verdict)}")
    ships = f"{show('size', result.size)}, {show('latency', result.latency_ms)} an image"
    out.print(f"ships   {escape(str(result.artifact))} ({ships})\nreport  {escape(str(result.report))}")


def _show_train(result: Any) -> None:
    out.print(f"{result.arch}: test accuracy {result.test} on {result.test.images} images\nrun  {escape(str(result.run))}")


def _show_cost(result: Any) -> None:
    found = result.cost
    out.print(f"[bold]{result.arch}[/] at {result.resolution} x {result.resolution} pixels, {result.classes} classes")
    out.print(f"  MAdds             {found.madds / 1e6:,.1f} M   multiply-adds of one image; FLOPs are twice that")
    out.print(
        f"  parameters        {found.params / 1e6:,.2f} M   all trainable; {found.weights / 1e6:,.2f} M are kernel weights"
    )
    peak = found.peak_activation_bytes / 1e6
    out.print(f"  peak activations  {peak:,.2f} MB  in int8; {4 * peak:,.2f} MB in float32")
    if result.shares:
        table = Table(box=SIMPLE)
        for column in ("", "layers", "MAdds", "share", "parameters", "share"):
            table.add_column(column, justify="right" if column else "left")
        for share in result.shares:
            madds, params = share.madds / found.madds, share.params / found.params
            table.add_row(
                share.group, str(share.layers), f"{share.madds:,}", f"{madds:.2%}", f"{share.params:,}", f"{params:.2%}"
            )
        out.print(table)


def _show_evaluate(result: Any) -> None:
    out.print(f"accuracy {result.accuracy} on {result.accuracy.images} images")
    out.print(f"left out: {result.seen} that the run had seen, {result.unreadable} that cannot be read")
    for name, found in result.recalls.items():
        out.print(f"  {escape(name)}: {found} of {found.images}")


def _show_predict(result: Any) -> None:
    for answer in result:
        text = f"cannot be read: {answer.error}" if answer.error else f"{answer.label} {answer.confidence:.1%}"
        out.print(f"{escape(answer.image)}: {escape(text)}")


def _show_export(result: Any) -> None:
    for target, found in result.artifacts.items():
        latency, parity = found["latency"], found["parity"]
        out.print(f"{escape(str(result.folder / target))}: {show('size', found['bytes'])}")
        out.print(
            f"  {latency['median_ms']:.2f} ms an image, nine of ten {latency['p90_ms']:.2f}, {latency['threads']} thread(s)"
        )
        out.print(f"  agrees with the trained network on {parity['agreement']:.1%} of {parity['images']} validation images")


def _show_report(result: Any) -> None:
    out.print(escape(str(result)))


COMMANDS = {
    "fit": Command(
        "eyas.studies.fit:fit",
        "the main job: the most accurate model that fits a budget, proven",
        ("data",),
        _show_fit,
        goes_on=True,
    ),
    "train": Command("eyas.studies.train:train", "one supervised run", ("data",), _show_train, goes_on=True),
    "cost": Command("eyas.studies.cost:cost", "MAdds, parameters and activations of an architecture", ("arch",), _show_cost),
    "evaluate": Command("eyas.studies.evaluate:evaluate", "accuracy on labelled images", ("run", "data"), _show_evaluate),
    "predict": Command(
        "eyas.studies.predict:predict",
        "answers to image files",
        ("run", "images"),
        _show_predict,
        failed=lambda answers: any(answer.error for answer in answers),
    ),
    "export": Command("eyas.studies.export:export", "files that ship, with parity and latency", ("run",), _show_export),
    "report": Command("eyas.studies.report:write_report", "report.html of a run again", ("run",), _show_report),
}
