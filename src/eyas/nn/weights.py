"""Model files: our own, written and read, and the tensors in anybody's."""

import json
import pickle
import re
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from eyas.arch.parse import described, from_description
from eyas.arch.spec import Arch
from eyas.errors import UserError, first_line
from eyas.nn.answers import Kind
from eyas.nn.build import Network, build
from eyas.run import write_atomic

FACTS = "eyas"
PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
WRAPPERS = ("state_dict_ema", "state_dict", "model")  # under which trainers keep the tensors beside other things


def save_network(network: Network, path: Path, classes: tuple[str, ...], kind: Kind = "classify") -> None:
    """Write weights, architecture, the names of the outputs and, of another task than classification, which one it is."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    task = {} if kind == "classify" else {"task": kind}
    facts = json.dumps({**described(network.arch), "classes": classes, **task})
    write_atomic(path, save(tensors, {FACTS: facts}))  # one entry: several would be written in an order that varies


def load_network(path: Path) -> tuple[Network, tuple[str, ...]]:
    """The network of a file written by `save_network`, ready to answer, and its class names.

    Raises:
        UserError: the file is missing, damaged, or not such a file.
    """
    try:
        found = described_in(path)
    except FileNotFoundError:
        raise UserError(f"no model at {path}; is {path.parent} a finished run of Eyas?") from None
    if found is None:
        raise UserError(f"{path} is not a model of Eyas, or is damaged: it names no architecture and no classes")
    arch, classes = found
    network = build(arch, nn.Linear(arch.features, len(classes)))
    try:
        network.load_state_dict(tensors_of(path))
    except RuntimeError:
        raise UserError(f"{path} is damaged: its tensors are not those of {arch} with {len(classes)} classes") from None
    return network.eval(), classes


def kind_of(path: Path) -> Kind:
    """Which task a file written by `save_network` is for.

    Raises:
        UserError: it is no such file, or of a task that this version does not know.
    """
    try:
        described_in(path)
    except FileNotFoundError:
        raise UserError(f"no model at {path}; is {path.parent} a finished run of Eyas?") from None
    with safe_open(path, "pt") as file:
        kind = json.loads((file.metadata() or {}).get(FACTS, "{}")).get("task", "classify")
    if kind not in get_args(Kind):
        raise UserError(f"{path} is a model for the task {kind!r}; this version of Eyas knows {', '.join(get_args(Kind))}")
    return kind


def described_in(path: Path) -> tuple[Arch, tuple[str, ...]] | None:
    """Architecture and class names of a file written by `save_network`; `None` for safetensors of others.

    Raises:
        FileNotFoundError: there is no file.
        UserError: it is no safetensors file, or says that it is ours and cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(FACTS)
        if text is None:
            return None
        facts = json.loads(text)
        if not isinstance(facts, dict) or not isinstance(facts.get("arch"), str):
            raise TypeError("it names no architecture")
        return from_description(facts), tuple(facts["classes"])
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a model of Eyas, or is damaged: {error}") from None


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of one that `torch.save` wrote; nothing in a file is ever run.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    try:
        if path.suffix not in PICKLED:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        raise UserError(f"{path} holds no weights that can be read, or is damaged: {_reason(error)}") from None
    for wrapper in WRAPPERS:
        if isinstance(held, dict) and isinstance(held.get(wrapper), dict):
            held = held[wrapper]
    if not isinstance(held, dict) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise UserError(f"{path} holds no weights: a dictionary of tensors by name is expected")
    return {name.removeprefix("module."): value for name, value in held.items()}


def _reason(error: Exception) -> str:
    """torch's refusal to build an object from a file in our words, anything else in its own first line."""
    if held := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
        return f"it holds a {held[1]} beside its tensors, which is not opened, as that could run code; save the tensors alone"
    if isinstance(error, pickle.UnpicklingError):  # torch would advise to open it without its safeguard
        return "its bytes are not those of tensors"
    return re.sub(r"\x1b\[[\d;]*m", "", first_line(error))
