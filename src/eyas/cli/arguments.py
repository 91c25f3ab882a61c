"""A command's arguments, from the signature and docstring of its study; and what is wrong with them, in plain words."""

import re
from argparse import Action, ArgumentError
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from eyas.errors import UserError

Study = Callable[..., Any]


def read(words: list[str], name: str, study: Study, positional: tuple[str, ...], csv: bool, trains: bool) -> Namespace:
    """The words of a command as values: the study's parameters, `json` and, where the command has them, `csv`, `tensorboard`.

    Args:
        words: what follows the command's name.
        name: of the command.
        study: the function that the command runs.
        positional: its parameters that need no name.
        csv: whether the command offers `--csv`.
        trains: whether it offers `--tensorboard`.

    Raises:
        UserError: a word is not understood, or one is missing.
    """
    parser = _parser(name, study, positional, csv, trains)
    try:
        given = parser.instantiate(parser.parse_args([_underscored(word) for word in words]))
    except ArgumentError as error:
        wrong = _plainly(error.message, positional, parser.get_defaults().keys())
        raise UserError(f"{wrong}; see eyas {name} --help") from None
    if csv and given.csv and given.json:
        raise UserError(f"--csv and --json are two forms of one output: keep one of them; see eyas {name} --help")
    return given


def _parser(name: str, study: Study, positional: tuple[str, ...], csv: bool, trains: bool) -> ArgumentParser:
    """Arguments from the function's signature and docstring; settings in a file with `--config`."""
    hints, helps = get_type_hints(study), _argument_helps(study)
    parser = ArgumentParser(
        prog=f"eyas {name}",
        usage=_usage(name, study, positional, hints),
        description=" ".join((study.__doc__ or "").partition("Args:")[0].split()),
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,  # a misspelt --training.rat would set --training.rate
    )
    for argument in positional:
        parser.add_argument(argument, help=helps.get(argument, ""), **_count(study, argument, hints[argument]))
    lines = ", a line each" if get_origin(hints.get("return")) in (list, Iterator) else ""
    parser.add_argument("--json", action="store_true", help=f"print the result as JSON{lines}")
    if csv:
        parser.add_argument("--csv", action="store_true", help="print the result as CSV, numbers unrounded")
    if trains:
        parser.add_argument("--tensorboard", action="store_true", help="write what TensorBoard shows to OUT/tensorboard")
    parser.add_argument("--config", action="config", help="read settings from a YAML file; see --print_config")
    plain_words = _add_plain_words(parser, {name: hints[name] for name in hints if name not in positional}, helps)
    parser.add_function_arguments(study, skip={*positional, *plain_words}, as_group=False, sub_configs=True)
    return parser


def _usage(name: str, study: Study, positional: tuple[str, ...], hints: dict[str, Any]) -> str:
    """`eyas cost ARCH [ARCH ...] [OPTIONS]`: what must be given, and that there is more."""
    upper = {argument: argument.upper() for argument in positional}
    forms = {"+": "{0} [{0} ...]", "*": "[{0} ...]", "?": "[{0}]", None: "{0}"}
    needed = [forms[_count(study, name, hints[name]).get("nargs")].format(word) for name, word in upper.items()]
    named = (key for key, value in signature(study).parameters.items() if _must_be_named(value, positional))
    return " ".join([f"eyas {name}", *needed, *(f"--{key} {key.upper()}" for key in named), "[OPTIONS]"])


def _count(study: Study, argument: str, hint: Any) -> dict[str, Any]:
    """How many words a positional argument takes: several, any number, one or none, or one."""
    if hint == list[str]:
        return {"nargs": "+", "type": str}
    if hint == list[str] | None:
        return {"nargs": "*", "type": str}
    if signature(study).parameters[argument].default is not Parameter.empty:
        return {"nargs": "?", "type": str}
    return {"type": hint}


def _underscored(word: str) -> str:
    """`--cache-dir` as `--cache_dir`: both are understood."""
    return re.sub(r"^--[\w.-]+", lambda name: "--" + name[0][2:].replace("-", "_"), word)


def _must_be_named(value: Parameter, positional: tuple[str, ...]) -> bool:
    return value.default is Parameter.empty and value.name not in positional


def _add_plain_words(parser: ArgumentParser, hints: dict[str, Any], helps: dict[str, str]) -> list[str]:
    """`--int8` and `--to onnx openvino`, where the signature alone would ask for `--int8 true` and `--to [onnx,openvino]`."""
    switches = [name for name, hint in hints.items() if hint is bool]
    lists = [name for name, hint in hints.items() if hint == list[str] | None]
    for name in switches:
        parser.add_argument(f"--{name}", action="store_true", help=helps[name])
    for name in lists:
        parser.add_argument(f"--{name}", nargs="+", type=str, help=helps[name])
    return switches + lists


def _argument_helps(study: Study) -> dict[str, str]:
    return {each.arg_name: each.description or "" for each in parse_docstring(study.__doc__ or "").params}


class _Help(DefaultHelpFormatter):
    """Help without the names of Python types and without defaults that are nothing."""

    def _get_type_str(self, action: Action) -> str | None:  # noqa: ARG002 (the parent's form)
        return None

    def _expand_help(self, action: Action) -> str:
        return re.sub(r" \((required|default: (null|==SUPPRESS==|False))\)$", "", super()._expand_help(action))


_EXPECTED = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}


def _plainly(message: str, positional: tuple[str, ...], options: Iterable[str]) -> str:
    """What is wrong with the words of a command, in one line and in the user's terms."""
    text = " ".join(message.split())
    named = {option: option.upper() if option in positional else f"--{option}" for option in options}
    if form := re.fullmatch(r"the following arguments are required: (.*)", text):
        return f"{' and '.join(named.get(name, name) for name in form[1].split(', '))} must be given"
    if form := re.fullmatch(r"unrecognized arguments: (\S+).*", text):
        near = get_close_matches(form[1].lstrip("-").partition("=")[0], named, n=1)
        meant = f"; did you mean {named[near[0]]}?" if near and form[1].startswith("-") else ""
        return f"unexpected {form[1]!r}{meant}"
    if form := re.fullmatch(r'Parser key "([^"]+)": Expected a (.*)\. Got value: (.*)', text):
        expected = _EXPECTED.get(form[2], re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", form[2]))
        return f"{named.get(form[1], form[1])} is {form[3]!r}; it must be {expected}"
    if form := re.fullmatch(r'Parser key "([^"]+)": Does not validate against any of the Union.* Given value: (.*)', text):
        unknown = re.search(r"Option '([^']+)' is not accepted", text)
        wrong = f"has an unknown setting {unknown[1]!r}" if unknown else f"is {form[2]!r}"
        return f"{named.get(form[1], form[1])} {wrong}; it must be a whole number, or a list of settings in braces"
    return re.sub(r'Parser key "([^"]+)":', lambda form: f"{named.get(form[1], form[1])}:", text)
