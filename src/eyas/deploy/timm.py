"""Weights in the layout of timm: a folder that `timm.create_model("local-dir:FOLDER")` opens, and the hub takes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from safetensors.torch import load_file, save
from torch import Tensor, nn

from eyas.arch.spec import Arch
from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.shipment import Quantization, Shipment
from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.nn.foreign import timm_model, timm_version
from eyas.nn.layouts import timm as layout
from eyas.nn.published import timm_name
from eyas.run import read_json

CONFIG = "config.json"


class Timm:
    """The format; timm itself answers from it, so the parity check is timm's own network on the exported tensors."""

    precision: Precision = "float32"
    file = "model.safetensors"
    runs_on_devices = False

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,  # noqa: ARG002 - weights that stay float32 need none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The tensors by timm's names, and timm's configuration with the preprocessing that Eyas trains and tests with.

        Raises:
            UserError: timm is not installed, has no such network, or the network was trained for another task or is to crop and
                resize frames by itself.
        """
        network = shipment.network
        if not isinstance(network, Network):
            raise UserError(f"{shipment.arch} is no network of Eyas; only those can be written in timm's layout")
        if shipment.kind != "classify":
            raise UserError(f"timm has networks that classify, and this one is for {shipment.kind}; take another format")
        if shipment.frame:
            raise UserError("timm crops and resizes before the network, so its files take no frame; leave --frame out for timm")
        name, options = named(network.arch)
        config = configuration(name, options, network, shipment.classes, shipment.resolution, shipment.crop)
        model = timm_model(name, len(shipment.classes), **options)
        files = {self.file: save(renamed(network, model), {"format": "pt"}), CONFIG: json.dumps(config, indent=2).encode()}
        return files, {"timm": timm_version(), "model": name, "options": options}

    def open(self, path: Path, threads: int) -> Predictor:
        """timm's network behind the preprocessing of its configuration."""
        config: Any = read_json(path.parent / CONFIG)
        model = timm_model(config["architecture"], config["num_classes"], **config["model_args"]).eval()
        model.load_state_dict(load_file(path))
        return _predictor(model, config["pretrained_cfg"], threads)

    def runtime(self) -> str:
        """Name and version of what answers: `timm 1.0.20`."""
        return f"timm {timm_version()}"


def named(arch: Arch) -> tuple[str, dict[str, Any]]:
    """timm's name of an architecture, and the options that say what it does differently from timm's own.

    Raises:
        UserError: timm has no such network.
    """
    name = timm_name(arch)
    if name is None or arch.output_stride is not None:
        raise UserError(
            f"timm has no {arch}: it has each table at its published depth, strides and a few widths, "
            "for example mobilenetv1_100 or tf_efficientnet_lite0"
        )
    if not name.startswith("resnet"):
        padding = "same" if arch.padding == "same" else ""
        return name, {"bn_eps": arch.norm_eps, "act_layer": arch.activation, "pad_type": padding}
    if (arch.padding, arch.norm_eps, arch.activation) != ("symmetric", 1e-5, "relu"):
        raise UserError(f"timm's {name} has symmetric padding, an epsilon of 1e-5 and ReLU, which this {arch} has not")
    return name, {}


def renamed(network: Network, model: nn.Module) -> dict[str, Tensor]:
    """The network's tensors by timm's names, in the shapes that timm's model has (a 1x1 convolution for a linear layer)."""
    names = dict(layout(network.arch))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    made: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        module, _, leaf = name.rpartition(".")
        if module:  # mean and standard deviation of the images are in the configuration
            theirs = f"{names[module]}.{leaf}"
            made[theirs] = tensor.detach().cpu().reshape(shapes[theirs]).contiguous()
    return made


def configuration(
    name: str, options: dict[str, Any], network: Network, classes: Sequence[str], resolution: int, crop: float
) -> dict[str, Any]:
    """timm's config.json. Eyas shows its networks the whole image, its sides scaled apart ("squash"), bicubic.

    With a test crop it is the middle of that: timm scales to the input over `crop_pct`, and cuts the input out of it.
    """
    return {
        "architecture": name,
        "num_classes": len(classes),
        "num_features": network.arch.features,
        "label_names": list(classes),
        "model_args": options,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, resolution, resolution],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": crop,
            "crop_mode": "squash",
            "mean": network.mean.flatten().tolist(),
            "std": network.std.flatten().tolist(),
            "num_classes": len(classes),
            "first_conv": "conv1" if name.startswith("resnet") else "conv_stem",
            "classifier": "fc" if name.startswith("resnet") else "classifier",
        },
    }


def _predictor(
    model: nn.Module, about: dict[str, Any], threads: int
) -> Callable[[UInt8[np.ndarray, "n h w 3"]], Float32[np.ndarray, "n k"]]:
    mean, std = (torch.tensor(about[name]).view(3, 1, 1) for name in ("mean", "std"))

    @torch.inference_mode()
    def predict(images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n k"]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        try:
            x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
            return model(x).softmax(1).numpy()
        finally:
            torch.set_num_threads(before)

    return predict
