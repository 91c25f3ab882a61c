"""Models of others: torchvision's, timm's, and any module that can be imported by name. Nothing is downloaded to build one."""

import re
import sys
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from eyas.arch.spec import Preprocessing
from eyas.errors import UserError, first_line

_FORM = re.compile(r"(?P<package>[A-Za-z_][\w.]*):(?P<name>[^@\s]+)(?:@(?P<resolution>\d{1,9}))?")

# Training adds heads to these that are not run afterwards; their weights are drawn slowly, and never looked at here.
_INFERENCE = {name: {"aux_logits": False, "init_weights": False} for name in ("googlenet", "inception_v3")}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model as the command line names it; `classes` is `None` where its outputs are its own affair."""

    module: nn.Module
    resolution: int
    classes: int | None


def model_of(text: str, classes: int = 1000) -> Foreign:
    """The model that `PACKAGE:NAME[@RESOLUTION]` names, to be counted: its weights are not there where it can do without.

    Args:
        text: `torchvision:vgg16`, `timm:resnet50@288`, or `my.module:make_model`: an `nn.Module`, its class, or a
            function that makes one, called without arguments; the module may be a file of the current directory.
        classes: outputs of the classifier, where the package is torchvision or timm.

    Raises:
        UserError: the package or the name is not there, or what it makes is no module.
    """
    form = _FORM.fullmatch(text.strip())
    if not form:
        raise UserError(
            f"model {text!r} is not of the form PACKAGE:NAME[@<resolution>], for example torchvision:vgg16, timm:resnet50@288 "
            "or my.module:make_model"
        )
    package, name, resolution = form["package"], form["name"], int(form["resolution"] or 224)
    if resolution < 1:
        raise UserError(f"resolution {resolution} of {package}:{name}: it must be at least 1 pixel")
    if make := LIBRARIES.get(package):
        with _needed(package):
            import_module(package)  # now: what it makes while it is imported must not be without memory
        return Foreign(_built(text, lambda: make(name, classes)), resolution, classes)
    with _current_directory():
        found = _attribute(package, name)
        return Foreign(found if isinstance(found, nn.Module) else _built(text, found), resolution, None)


def torchvision_model(name: str, classes: int = 1000) -> nn.Module:
    """torchvision's model of that name as it is after training, with fresh weights.

    Raises:
        UserError: torchvision is not installed, or has no such model.
    """
    with _needed("torchvision"):
        from torchvision.models import get_model, get_model_builder, list_models
    _check("torchvision", name, list_models())
    # Models for detection and segmentation would otherwise download the weights of the network inside them.
    inner = {"weights_backbone": None} if "weights_backbone" in signature(get_model_builder(name)).parameters else {}
    return get_model(name, weights=None, num_classes=classes, **inner, **_INFERENCE.get(name, {}))


def torchvision_detection() -> tuple[ModuleType, ModuleType]:
    """torchvision's `models.detection` and `ops`: the heads, anchors, matching and suppression of its detectors.

    Raises:
        UserError: torchvision is not installed.
    """
    with _needed("torchvision", "detect"):
        from torchvision import ops
        from torchvision.models import detection
    return detection, ops


def torchvision_file(name: str) -> tuple[Path, Preprocessing]:
    """The file of torchvision's weights `MODEL[.TAG]`, downloaded where it is not yet there, and their preprocessing.

    Raises:
        UserError: torchvision is not installed, has no such weights, or they cannot be downloaded.
    """
    with _needed("torchvision"):
        from torchvision.models import get_model_weights, list_models
    model, _, tag = name.partition(".")
    _check("torchvision", model, list_models())
    published = get_model_weights(model)
    if tag and tag not in published.__members__:
        tags = " and ".join(each.name for each in published)
        raise UserError(f"torchvision has no weights {tag!r} of {model}; it has {tags}")
    weights = published[tag or "DEFAULT"]
    try:
        weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"torchvision's weights {weights.url} cannot be downloaded: {first_line(error)}") from None
    shown = weights.transforms()
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    crop = shown.crop_size[0] / shown.resize_size[0]
    return file, Preprocessing(tuple(shown.mean), tuple(shown.std), shown.interpolation.value, crop)


def timm_model(name: str, classes: int = 1000, **options: Any) -> nn.Module:
    """timm's model of that name, with fresh weights and timm's own `options`.

    Raises:
        UserError: timm is not installed, or has no such model.
    """
    with _needed("timm"):
        from timm import create_model
    _check("timm", name.partition(".")[0], timm_names())  # what follows a dot is the tag of weights
    return create_model(name, pretrained=False, num_classes=classes, **options)


def timm_names() -> list[str]:
    """Every model that timm has, without the tags of weights.

    Raises:
        UserError: timm is not installed.
    """
    with _needed("timm"):
        from timm import list_models
    return list_models()


def timm_version() -> str:
    """For example `1.0.20`.

    Raises:
        UserError: timm is not installed.
    """
    with _needed("timm"):
        from timm import __version__
    return __version__


def _built(text: str, make: Callable[[], Any]) -> nn.Module:
    """Weights are first left without memory; some constructors look at values, and then they have to be there."""
    failed: Exception | None = None
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), warnings.catch_warnings(action="ignore"):
                made = make()
        except UserError:
            raise
        except Exception as error:  # a constructor of anyone's may raise anything
            failed = error
            continue
        if not isinstance(made, nn.Module):
            raise UserError(f"{text} gives something of type {type(made).__name__}; it must be or make a torch.nn.Module")
        return made
    raise UserError(f"{text} cannot be built: {first_line(failed)}") from failed


def _attribute(package: str, name: str) -> Any:
    with _needed(package):
        module = import_module(package)
    found = getattr(module, name, None)
    if found is None:
        _check(package, name, (key for key, value in vars(module).items() if callable(value)))
    if not callable(found):
        raise UserError(f"{package}:{name} is of type {type(found).__name__}; it must be or make a torch.nn.Module")
    return found


def _check(package: str, name: str, names: Iterable[str]) -> None:
    known = list(names)
    if name not in known:
        near = get_close_matches(name, known, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"{package} has no {name!r}{meant}")


@contextmanager
def _needed(package: str, of: str = "weights") -> Generator[None]:
    """A failed import as one sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise UserError(f"{package} cannot be imported: {first_line(error)}") from error
        extra = f"pip install 'eyas[{of}]'"
        where = extra if package in LIBRARIES else "install it, or work in the directory that holds it"
        raise UserError(f"{package} is not installed: {where}") from None
    except Exception as error:  # the code of another package may raise anything
        raise UserError(f"{package} cannot be imported: {first_line(error)}") from error


@contextmanager
def _current_directory() -> Generator[None]:
    """Files of the current directory can be imported, as by `python -m`."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


LIBRARIES: dict[str, Callable[[str, int], nn.Module]] = {"torchvision": torchvision_model, "timm": timm_model}
