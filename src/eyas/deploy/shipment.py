"""What is shipped: a trained network, what a file made of it needs to know, and the module that every format exports."""

import copy
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from eyas.errors import UserError
from eyas.nn.answers import Kind, answered
from eyas.nn.detector import Detector
from eyas.nn.ssd import Ssd, layout

CALIBRATION = 256  # images that int8 ranges are chosen on, at most

Images = UInt8[np.ndarray, "n _ _ 3"]


@dataclass(frozen=True, eq=False)
class Shipment:
    """A trained network, with all that a file made of it needs to know.

    Attributes:
        network: uint8 [n, resolution, resolution, 3] to raw outputs, as logits; it scales and normalises by itself.
        arch: the architecture's name, for the record.
        classes: names of the outputs in their order; of a detector, of what it finds.
        resolution: side in pixels of the square images that the network sees.
        crop: share of a picture's sides that the centred box keeps which is resized to that; 1 is the whole picture.
        frame: height and width of the pictures that the file takes and crops and resizes by itself; None leaves that to
            the caller, and the file takes [n, resolution, resolution, 3].
        threshold: confidence from which on an answer is to be relied on, chosen on validation images; None where none is.
        calibration: training images uint8 [n, resolution, resolution, 3]; int8 files need about 256.
        kind: what it was trained for, which says what stands behind the raw outputs in the file (`eyas.nn.answers`).

    Raises:
        UserError: the frame has no pixels, or the calibration images are of another size.
    """

    network: nn.Module
    arch: str
    classes: tuple[str, ...]
    resolution: int
    crop: float = 1.0
    frame: tuple[int, int] | None = None
    threshold: float | None = None
    calibration: np.ndarray | None = None
    kind: Kind = "classify"

    def __post_init__(self) -> None:
        side = [self.resolution, self.resolution, 3]
        if min(self.side) < 1:
            raise UserError(f"a frame of {self.side[0]}x{self.side[1]} has no pixels; give HEIGHTxWIDTH, for example 480x640")
        if self.calibration is not None and [*self.calibration.shape[1:]] != side:
            raise UserError(f"calibration images are {list(self.calibration.shape[1:])}; {side} is needed")

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of the pictures that the file takes."""
        return self.frame or (self.resolution, self.resolution)

    @property
    def boxes(self) -> dict[str, Any] | None:
        """What makes boxes of a detector's answer (`eyas.deploy.boxes`); None of any other network."""
        return layout(self.network) if isinstance(self.network, Ssd) else None

    def module(self) -> "Shipped":
        """What is exported: uint8 [n, *side, 3] to answers float32 [n, k], such as probabilities.

        It is a copy on the processor, in float32 and for evaluation; the network itself is not touched.

        Raises:
            UserError: the network does not answer as many classes as are named, or is no graph of fixed shapes.
        """
        if isinstance(self.network, Detector) and not isinstance(self.network, Ssd):
            raise UserError(
                "Faster R-CNN cannot be exported: which regions it looks at again depends on the image, so it is no graph of "
                "fixed shapes; train ssd or ssdlite for a device"
            )
        network = copy.deepcopy(self.network).to("cpu", torch.float32).eval()
        resize = CropResize(self.frame, self.resolution, self.crop) if self.frame else None
        shipped = Shipped(network, resize, self.kind).eval()
        with torch.no_grad():
            answers = shipped(torch.zeros(1, *self.side, 3, dtype=torch.uint8)).shape[1]
        wanted = len(self.classes)
        if isinstance(network, Ssd):
            wanted = len(network.anchors) * (4 + 1 + wanted)
        if answers != wanted:
            raise UserError(
                f"the network gives {answers} numbers, and {len(self.classes)} names need {wanted}; name one for each answer"
            )
        return shipped

    def labels(self) -> dict[str, str]:
        """What the file itself is told, as text, where its format has a place for it."""
        height, width = self.side
        told = {
            "arch": self.arch,
            "task": self.kind,
            "classes": json.dumps(list(self.classes)),
            "resolution": str(self.resolution),
            "crop": str(self.crop),
            "input": f"uint8 [n, {height}, {width}, 3], RGB",
        }
        if self.frame:
            told["frame"] = f"{height}x{width}"
        if self.threshold is not None:
            told["threshold"] = str(self.threshold)
        if self.boxes:
            told["boxes"] = json.dumps(self.boxes)
        return told

    def calibrating(self) -> Images:
        """The calibration images, at most 256 evenly from all, at the size that the file takes: uint8 [n, *side, 3].

        Raises:
            UserError: there are none.
        """
        if self.calibration is None or not len(self.calibration):
            raise UserError("int8 needs training images to choose its ranges from, and none were given; give about 256")
        count = len(self.calibration)
        rows = np.linspace(0, count - 1, min(count, CALIBRATION)).round().astype(np.int64)
        return self.framed(self.calibration[rows])

    def framed(self, images: Images) -> Images:
        """Frames whose centred box shows `images` [n, resolution, resolution, 3]; where there is no frame, they themselves.

        Pixels are repeated: the file's own resizing gives nearly the same images back.
        """
        if self.frame is None:
            return images
        rows, columns = (_nearest(side, self.resolution, self.crop) for side in self.frame)
        return images[:, rows[:, None], columns]


@dataclass(frozen=True)
class Quantization:
    """How an int8 file is made; what stays in floating point ignores it.

    Attributes:
        ranges: how the range of an activation is chosen from what the calibration images give: all of it, all but a
            thousandth at its ends, or what rounds with the least squared error.
        floats: modules of the network that stay in floating point, by their names in `network.named_modules()`.
    """

    ranges: Literal["minmax", "percentile", "mse"] = "minmax"
    floats: tuple[str, ...] = ()


class CropResize(nn.Module):
    """The centred box of a frame at the network's resolution, by two constant matrices: any format can multiply.

    Pillow's bicubic resize over the whole footprint of a pixel, across and then down, each rounded to bytes, as images are
    prepared for training and evaluation: the same within two grey levels, mostly the very same.

    Attributes:
        across: [width, resolution], what each column of the result takes of the frame's columns.
        down: [resolution, height], what each row takes of the frame's rows.
    """

    def __init__(self, frame: tuple[int, int], resolution: int, crop: float) -> None:
        super().__init__()
        height, width = frame
        self.across = nn.Buffer(torch.from_numpy(shares(width, resolution, crop).T.copy()))
        self.down = nn.Buffer(torch.from_numpy(shares(height, resolution, crop)))

    def forward(self, frames: UInt8[Tensor, "n h w 3"]) -> UInt8[Tensor, "n r r 3"]:
        """Frames uint8 [n, height, width, 3] to uint8 [n, resolution, resolution, 3]."""
        planes = frames.permute(0, 3, 1, 2).to(torch.float32)
        small = _to_levels(self.down @ _to_levels(planes @ self.across))
        return small.permute(0, 2, 3, 1).to(torch.uint8)


class Shipped(nn.Module):
    """The network as users of a file meet it: crop and resize where there is a frame, and answers instead of raw outputs.

    Attributes:
        resize: frames to the network's images; None where the file takes those.
        network: uint8 images to raw outputs.
        kind: what it was trained for.
    """

    def __init__(self, network: nn.Module, resize: CropResize | None, kind: Kind) -> None:
        super().__init__()
        self.resize = resize
        self.network = network
        self.kind: Kind = kind

    def forward(self, images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n k"]:
        """Images uint8 [n, *side, 3] to answers float32 [n, k]."""
        if self.resize is not None:
            images = self.resize(images)
        return answered(self.network(images), self.kind)


def shares(side: int, resolution: int, crop: float) -> Float32[np.ndarray, "resolution side"]:
    """What each of `resolution` new pixels takes of the `side` old ones, of which the middle `crop` is resized; rows sum to 1.

    The cubic of Keys 1981 with a = -1/2, stretched over what a new pixel covers, so that nothing is skipped (Pillow,
    `precompute_coeffs` in Resample.c).
    """
    start = (1 - crop) / 2 * side
    scale = (side - 2 * start) / resolution
    centres = start + (np.arange(resolution) + 0.5) * scale
    far = np.abs(np.arange(side) + 0.5 - centres[:, None]) / max(scale, 1.0)
    near, wide = (1.5 * far - 2.5) * far**2 + 1, ((2.5 - 0.5 * far) * far - 4) * far + 2
    weights = np.where(far < 1, near, np.where(far < 2, wide, 0.0))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _to_levels(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Rounded to the nearest of the 256 grey levels."""
    return (values + 0.5).floor().clamp(0, 255)


def _nearest(side: int, resolution: int, crop: float) -> np.ndarray:
    """For each of `side` pixels the one of `resolution` that it shows, which lie in the middle `crop`."""
    start = (1 - crop) / 2 * side
    return ((np.arange(side) + 0.5 - start) * resolution / (side - 2 * start)).astype(np.int64).clip(0, resolution - 1)
