"""What a latency table is measured on: parts of networks and whole ones, drawn as ONNX graphs with made-up weights.

A layer alone in a graph tells little: runtimes join it with its activation and the sum behind it, choose another layout for
it, and each run has a cost of its own. So layers are timed several in a row, as parts of networks (neighbouring blocks) and
within whole networks. The graphs are those of the exporter, node by node.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eyas.arch.latency import Glue, Step, steps_of
from eyas.arch.layer import Activation, Block, Gate, Layer
from eyas.arch.scale import at, wider
from eyas.arch.spec import Arch, after_pooling, blocks
from eyas.arch.tables import ARCHS
from eyas.deploy.onnx_bytes import Drawing

Format = Literal["onnx", "onnx-int8"]

# Families whose whole networks and parts are measured, by how often they are drawn.
FAMILIES = {
    "mobilenet_v1": 4,
    "mobilenet_v2": 4,
    "efficientnet_lite0": 4,
    "efficientnet_b0": 3,
    "mobilenet_v3_large": 2,
    "mobilenet_v3_small": 2,
    "mnasnet_a1": 1,
    "resnet18": 1,
    "resnet50": 1,
}
WIDTHS = (0.25, 0.35, 0.5, 0.6, 0.75, 0.9, 1.0, 1.2, 1.4)
SIDES = (64, 96, 128, 160, 192, 224, 256)
CLASSES = (2, 10, 100, 1000)
COPIES = 4  # of a layer in a row
LARGEST = 600_000_000  # MAdds of a probe: a second on the slowest devices


@dataclass(frozen=True)
class Probe:
    """A graph to time: blocks in turn, and for a whole network (`resolution`) the images before and the layers after them."""

    name: str
    blocks: tuple[Block, ...]
    resolution: int = 0
    after: tuple[Layer, ...] = ()

    @property
    def steps(self) -> list[Step]:
        """All that is done in it."""
        found = [step for block in self.blocks for step in steps_of(block)]
        first, last = self.blocks[0].layers[0], self.blocks[-1]
        if self.resolution:
            return [*found, Glue("images", 3, self.resolution), Glue("mean", last.outputs, last.output_size), *self.after]
        return [*found, Glue("border", first.inputs, first.size), Glue("border", last.outputs, last.output_size)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what it takes: images [1, h, w, 3], or a map [1, c, h, w]."""
        first = self.blocks[0].layers[0]
        return (1, self.resolution, self.resolution, 3) if self.resolution else (1, first.inputs, first.size, first.size)

    @property
    def kind(self) -> str:
        """Of what it takes: `uint8` images, or a `float32` map."""
        return "uint8" if self.resolution else "float32"


def probes(networks: int = 50, parts: int = 200, seed: int = 0) -> list[Probe]:
    """Whole networks, parts of others, and rows of equal layers; the same for the same `seed`, none of them twice."""
    draw = random.Random(seed)
    drawn = [whole(*_drawn(draw)) for _ in range(networks)] + [part(_drawn(draw)[0], draw) for _ in range(parts)]
    found = {probe.name: probe for probe in (*rows(), *drawn)}
    kept = [probe for probe in found.values() if _madds(probe) <= LARGEST]
    draw.shuffle(kept)  # what is alike should not be timed in the same minute
    return kept


def whole(arch: Arch, classes: int) -> Probe:
    """A whole network."""
    return Probe(f"{arch}, {classes} classes", blocks(arch), arch.resolution, tuple(after_pooling(arch, arch.pooled, classes)))


def part(arch: Arch, draw: random.Random) -> Probe:
    """One to three neighbouring blocks of a network."""
    every = blocks(arch)
    start = draw.randrange(len(every))
    stop = min(len(every), start + draw.choice((1, 2, 3)))
    return Probe(f"{arch}, blocks {start} to {stop - 1}", every[start:stop])


def rows() -> Iterator[Probe]:
    """Equal layers in a row: 1x1 convolutions to and fro, and depthwise ones."""
    for size in (7, 14, 28, 56, 112):
        for channels in (16, 32, 64, 128, 256, 512, 1024):
            if not 20_000 <= channels * size**2 <= 1_700_000:
                continue
            for kernel in (3, 5):
                yield _row(Layer("depthwise", kernel, 1, channels, channels, size, "relu6"))
            for wider_by in (1, 2, 6):
                if channels * wider_by <= 1536 and channels**2 * wider_by * size**2 <= 120e6:
                    yield _row(
                        Layer("conv", 1, 1, channels, channels * wider_by, size, "relu6"),
                        Layer("conv", 1, 1, channels * wider_by, channels, size),
                    )


def drawing(probe: Probe, format_: Format) -> bytes:
    """The probe as an ONNX file of a few kilobytes."""
    pen = _Pen(format_ == "onnx-int8")
    value = "given"
    if probe.resolution:
        value = pen.images(value)
    for block in probe.blocks:
        value = pen.block(value, block)
    if probe.resolution:
        value = pen.mean(value, keep=False)
        for layer in probe.after:
            value = pen.linear(value, layer)
        value = pen.drawing.node("Softmax", value, axis=-1)
    last = probe.blocks[-1]
    answer = (1, probe.after[-1].outputs) if probe.after else (1, last.outputs, last.output_size, last.output_size)
    return pen.drawing.model("given", probe.shape, probe.kind, value, answer)


class _Pen:
    """Draws what layers are in ONNX; in eight bits with every convolution between QuantizeLinear and DequantizeLinear."""

    def __init__(self, int8: bool) -> None:
        self.drawing = Drawing()
        self.int8 = int8
        self.rounded: set[str] = set()  # values that have gone through eight bits
        self.weighted = 0

    def images(self, value: str) -> str:
        turned = self.drawing.node("Transpose", value, perm=[0, 3, 1, 2])
        value = self.drawing.node("Cast", turned, to=1)
        for op, by in (("Div", [255.0]), ("Sub", [0.5, 0.4, 0.3]), ("Div", [0.25, 0.24, 0.23])):
            value = self.drawing.node(op, value, self.drawing.constant(np.array(by, np.float32).reshape(-1, 1, 1)))
        return value

    def block(self, value: str, block: Block) -> str:
        around = value
        if block.shortcut:
            around = self.layer(value, block.shortcut)
        for layer in block.layers:
            value = self.layer(value, layer)
        if block.residual or block.shortcut:
            value = self.drawing.node("Add", self._round(around), self._round(value))
            value = self._activated(value, block.activation)
        return value

    def layer(self, value: str, layer: Layer) -> str:
        match layer.kind:
            case "squeeze":
                return self._squeeze(value, layer)
            case "pool":
                around = layer.kernel // 2
                sides = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2, "pads": [around] * 4}
                return self.drawing.node("MaxPool", value, **sides)
            case _:
                groups = layer.inputs if layer.kind == "depthwise" else 1
                made = self._convolved(value, layer.inputs, layer.outputs, layer.kernel, layer.stride, groups)
                return self._activated(made, layer.activation)

    def mean(self, value: str, keep: bool) -> str:
        return self.drawing.node("ReduceMean", value, self.drawing.constant(np.array([2, 3])), keepdims=int(keep))

    def linear(self, value: str, layer: Layer) -> str:
        inputs = self._round(value)
        made = self.drawing.node("Gemm", inputs, *self._weights((layer.outputs, layer.inputs), layer.inputs), transB=1)
        # The classifier's own answer stays float.
        return self._activated(made, layer.activation) if layer.activation else made

    def _squeeze(self, value: str, layer: Layer) -> str:
        narrow = self._convolved(self.mean(value, keep=True), layer.inputs, layer.hidden, 1, 1, 1)
        wide = self._convolved(self._activated(narrow, layer.activation), layer.hidden, layer.outputs, 1, 1, 1)
        return self.drawing.node("Mul", value, self._gate(self._round(wide), layer.gate))

    def _gate(self, value: str, gate: Gate) -> str:
        if gate == "sigmoid":
            return self.drawing.node("Sigmoid", value)
        return self.drawing.node("HardSigmoid", value, alpha=1 / 6)

    def _activated(self, value: str, activation: Activation) -> str:
        match activation:
            case "":
                return self._round(value)
            case "relu":
                return self._round(self.drawing.node("Relu", value))
            case "relu6":
                bounds = (self.drawing.constant(np.float32(bound)) for bound in (0, 6))
                return self._round(self.drawing.node("Clip", value, *bounds))
            case "silu":
                value = self._round(value)
                return self.drawing.node("Mul", value, self.drawing.node("Sigmoid", value))
            case "hard_swish":
                return self.drawing.node("HardSwish", self._round(value))

    def _convolved(self, value: str, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> str:
        weights = self._weights((outputs, inputs // groups, kernel, kernel), inputs // groups * kernel**2)
        sides = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": groups}
        return self.drawing.node("Conv", self._round(value), *weights, **sides)

    def _weights(self, shape: tuple[int, ...], fan_in: int) -> tuple[str, str]:
        """Weights and biases. Each layer has others: runtimes keep equal tensors only once."""
        self.weighted += 1
        other = 1 + self.weighted / 1000
        biases = np.full(shape[0], 0.01 * other, np.float32)
        if not self.int8:
            return self.drawing.filled(shape, np.float32(other / fan_in)), self.drawing.constant(biases)
        ones = np.ones(shape[0], np.int32)
        stored = self.drawing.filled(shape, np.int8(1 + self.weighted % 120)), self.drawing.constant(ones)
        steps = np.full(shape[0], other / fan_in / 100, np.float32), np.full(shape[0], STEP * other / fan_in / 100, np.float32)
        of_weights, of_biases = (
            self.drawing.node("DequantizeLinear", whole, self.drawing.constant(step), axis=0)
            for whole, step in zip(stored, steps, strict=True)
        )
        return of_weights, of_biases

    def _round(self, value: str) -> str:
        """The value through eight bits, once, where the graph is int8."""
        if not self.int8 or value in self.rounded:
            return value
        scale, zero = self.drawing.constant(np.float32(STEP)), self.drawing.constant(np.uint8(0))
        stored = self.drawing.node("QuantizeLinear", value, scale, zero)
        made = self.drawing.node("DequantizeLinear", stored, scale, zero)
        self.rounded.add(made)
        return made


STEP = 6 / 255  # what one of 256 steps of an activation stands for


def _drawn(draw: random.Random) -> tuple[Arch, int]:
    name = draw.choices(list(FAMILIES), list(FAMILIES.values()))[0]
    return at(wider(ARCHS[name], draw.choice(WIDTHS)), draw.choice(SIDES)), draw.choice(CLASSES)


def _row(*layers: Layer) -> Probe:
    first = layers[0]
    name = f"{first.kind} {first.kernel}x{first.kernel} {first.inputs} to {first.outputs} at {first.size}"
    return Probe(name, tuple(Block(0, (layer,)) for layer in layers) * (COPIES // len(layers)))


def _madds(probe: Probe) -> int:
    return sum(block.sums[0] for block in probe.blocks)
