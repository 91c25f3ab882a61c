"""Small ONNX graphs written byte by byte, so that drawing them needs no ONNX package.

What is written is the wire format of protocol buffers: a number of a field and of how it is encoded, then its value. The
numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

OPSET, VERSION = 20, 10  # of the operators, and of the file
TYPES = {np.dtype(kind): number for number, kind in ((1, "float32"), (2, "uint8"), (3, "int8"), (6, "int32"), (7, "int64"))}
FLOAT, INT, TENSOR, INTS = 1, 2, 4, 7  # kinds of attributes


@dataclass
class Drawing:
    """A graph that grows: each node gives the name of its one output."""

    nodes: list[bytes] = field(default_factory=list)
    constants: list[bytes] = field(default_factory=list)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; attributes are whole numbers, floats, lists of whole numbers or arrays."""
        output = f"{op.lower()}{len(self.nodes)}"
        parts = [_text(1, name) for name in inputs] + [_text(2, output), _text(3, output), _text(4, op)]
        self.nodes.append(b"".join(parts + [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]))
        return output

    def constant(self, value: Any) -> str:
        """Add a constant array."""
        name = f"constant{len(self.constants)}"
        self.constants.append(_tensor(np.asarray(value), name))
        return name

    def filled(self, shape: tuple[int, ...], value: np.generic) -> str:
        """A tensor of equal values, which the runtime makes when it loads the file: the file itself stays small."""
        return self.node("ConstantOfShape", self.constant(np.array(shape, np.int64)), value=np.array([value], value.dtype))

    def model(self, given: str, shape: tuple[int, ...], kind: str, answer: str, answer_shape: tuple[int, ...]) -> bytes:
        """The file: it takes `given`, of this shape and kind, and returns `answer`, which is float32."""
        graph = [_bytes(1, node) for node in self.nodes] + [_text(2, "probe")] + [_bytes(5, each) for each in self.constants]
        graph += [_bytes(11, _value(given, kind, shape)), _bytes(12, _value(answer, "float32", answer_shape))]
        opset = _text(1, "") + _number(2, OPSET)
        return _number(1, VERSION) + _text(2, "eyas") + _bytes(7, b"".join(graph)) + _bytes(8, opset)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers as their two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(name: int, value: int) -> bytes:
    return _varint(name << 3) + _varint(value)


def _bytes(name: int, value: bytes) -> bytes:
    return _varint(name << 3 | 2) + _varint(len(value)) + value


def _text(name: int, value: str) -> bytes:
    return _bytes(name, value.encode())


def _tensor(value: np.ndarray, name: str) -> bytes:
    dims = b"".join(_number(1, side) for side in value.shape)
    return dims + _number(2, TYPES[value.dtype]) + _text(8, name) + _bytes(9, value.tobytes())


def _value(name: str, kind: str, shape: tuple[int, ...]) -> bytes:
    sides = _bytes(2, b"".join(_bytes(1, _number(1, side)) for side in shape))
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, TYPES[np.dtype(kind)]) + sides))


def _attribute(name: str, value: Any) -> bytes:
    start = _text(1, name)
    if isinstance(value, np.ndarray):
        return start + _bytes(5, _tensor(value, "")) + _number(20, TENSOR)
    if isinstance(value, float):
        return start + _varint(2 << 3 | 5) + np.float32(value).tobytes() + _number(20, FLOAT)
    if isinstance(value, int):
        return start + _number(3, value) + _number(20, INT)
    return start + b"".join(_number(8, each) for each in value) + _number(20, INTS)
