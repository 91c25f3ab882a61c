"""Detectors by name: built, given published weights, written and read again."""

from pathlib import Path

import torch
from torch import nn

from eyas.arch.spec import Arch
from eyas.errors import UserError
from eyas.nn.build import Network, drawn
from eyas.nn.detector import Detector, Form
from eyas.nn.faster_rcnn import FasterRcnn
from eyas.nn.published import Weights, load
from eyas.nn.ssd import Ssd
from eyas.nn.weights import described_in, tensors_of

SPREAD = 0.03  # of fresh weights on the blocks, normally distributed (Huang et al. 2016; torchvision's SSDLite has the same)


def build_detector(
    arch: Arch, form: Form, classes: int, drop_path: float = 0.0, norm_momentum: float | None = None, seed: int = 0
) -> Detector:
    """A detector with weights drawn from `seed`; in channels-last memory.

    Args:
        arch: of the network that it stands on, at the resolution of the images.
        form: `ssd` and `faster_rcnn` as in MobileNets, Table 13; `ssdlite` is the first made of separable convolutions.
        classes: how many, without the background.
        drop_path: stochastic depth of the last block, less in earlier ones, linearly.
        norm_momentum: share of a new batch in the running statistics; `None` takes the published one.
        seed: of the weights.

    Raises:
        UserError: torchvision is not installed, or the network has maps of one size only.
    """
    made = (
        FasterRcnn(arch, classes, drop_path, norm_momentum)
        if form == "faster_rcnn"
        else Ssd(arch, form, classes, drop_path, norm_momentum)
    )
    drawn(made, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    for top in made.tops():
        for layer in top.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=SPREAD, generator=generator)
    return made


def load_blocks(detector: Detector, weights: Weights) -> None:
    """Give the detector's blocks published weights of a classifier.

    Raises:
        UserError: the file is damaged, or of another network.
    """
    plain = Network(detector.arch, nn.Linear(detector.arch.features, 1))
    load(plain, weights)
    detector.blocks.load_state_dict(plain.blocks.state_dict())
    detector.mean.copy_(plain.mean)
    detector.std.copy_(plain.std)


def load_detector(path: Path) -> tuple[Detector, tuple[str, ...]]:
    """The detector of a file written by `eyas.nn.weights.save_network`, ready to answer, and its class names.

    Raises:
        UserError: the file is missing, damaged, or holds no detector.
    """
    try:
        found = described_in(path)
    except FileNotFoundError:
        raise UserError(f"no model at {path}; is {path.parent} a finished run of Eyas?") from None
    tensors = tensors_of(path)
    form = _form(set(tensors))
    if found is None or form is None:
        raise UserError(f"{path} holds no detector; give the run of eyas train --task detect")
    arch, classes = found
    detector = build_detector(arch, form, len(classes))
    try:
        detector.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(
            f"{path} is damaged: its tensors are not those of {form} on {arch} with {len(classes)} classes"
        ) from None
    return detector.eval(), classes


def _form(names: set[str]) -> Form | None:
    """Which detector has tensors of these names."""
    if "rpn.head.cls_logits.weight" in names:
        return "faster_rcnn"
    if "scores.module_list.0.weight" in names:
        return "ssd"
    return "ssdlite" if any(name.startswith("scores.module_list.0.") for name in names) else None
