"""Cost of any `nn.Module`: torch's own counter of operations, on shapes alone, so that nothing is computed or stored."""

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from eyas.arch.cost import Cost, Share
from eyas.errors import UserError, first_line

# What moves numbers: whatever multiplies and adds, and the pooling of windows, as in the cost of an `Arch`. The rest
# (normalisation, activation, sums) is taken as part of the layer before it, as inference engines do.
MOVING = (*flop_registry, torch.ops.aten.max_pool2d_with_indices, torch.ops.aten.avg_pool2d)


@dataclass(frozen=True, slots=True)
class _Row:
    """What one module does itself, without the modules inside it; `moved` is in elements."""

    path: str
    type: str
    madds: int
    params: int
    weights: int
    moved: int


def count(module: nn.Module, resolution: int = 224) -> Cost:
    """Cost of `module` for one image, float [1, 3, resolution, resolution], as it runs in evaluation.

    MAdds are half of the FLOPs that `torch.utils.flop_counter` counts: convolutions, matrix products and attention.
    `weights` are the parameters with two dimensions or more; the peak of the activations is not known.

    Raises:
        UserError: the module does not take such an image.
    """
    rows = _rows(module, resolution)
    return Cost(
        madds=sum(row.madds for row in rows),
        params=sum(row.params for row in rows),
        weights=sum(row.weights for row in rows),
        peak_activation_bytes=None,
    )


def breakdown(module: nn.Module, by: Literal["layer", "type", "stage"], resolution: int = 224) -> list[Share]:
    """Cost by `layer` (a module that does something itself), `type`, or `stage` (the modules at the top), in their order.

    Raises:
        UserError: the module does not take such an image.
    """
    groups: dict[str, list[_Row]] = {}
    for row in _rows(module, resolution):
        match by:
            case "layer":
                key = f"{row.path} {row.type}".strip()
            case "type":
                key = row.type
            case "stage":
                key = row.path.partition(".")[0] or row.type
        groups.setdefault(key, []).append(row)
    return [_share(group, rows) for group, rows in groups.items()]


def type_of(module: nn.Module) -> str:
    """What `eyas.arch.cost.type_of` calls such a layer; of one that an `Arch` never has, the name of its class."""
    match module:
        case nn.Conv2d(kernel_size=kernel, groups=groups, in_channels=channels):
            form = "" if groups == 1 else "DW " if groups == channels else "grouped "
            return f"Conv {form}{kernel[0]}x{kernel[1]}"
        case nn.Linear():
            return "Fully Connected"
        case nn.MaxPool2d(kernel_size=int(side)):
            return f"Max pool {side}x{side}"
        case _:
            return type(module).__name__


def _share(group: str, rows: list[_Row]) -> Share:
    madds, params = sum(row.madds for row in rows), sum(row.params for row in rows)
    return Share(group, madds, params, len(rows), moved=sum(row.moved for row in rows))


def _rows(module: nn.Module, resolution: int) -> list[_Row]:
    """Every module that multiplies, has parameters or moves numbers, in order."""
    probe = _on_meta(module)
    meter = _Meter(probe)
    floating = (each.dtype for each in probe.parameters() if not is_lazy(each) and each.is_floating_point())
    image = torch.empty(1, 3, resolution, resolution, device="meta", dtype=next(floating, torch.float32))
    try:
        with torch.no_grad(), meter.flops, meter.elements:
            probe(image)
    except Exception as error:  # a module of anyone's may raise anything
        name, size = type(module).__name__, f"{resolution} x {resolution} pixels"
        raise UserError(f"{name} does not run on an image of {size}: {first_line(error)}") from error
    params, weights = Counter[str](), Counter[str]()
    for name, parameter in probe.named_parameters():  # what several modules share is counted once
        path = name.rpartition(".")[0]
        params[path] += parameter.numel()
        weights[path] += parameter.numel() if parameter.ndim > 1 else 0
    rows = []
    for path, each in probe.named_modules():
        # What no counted operation reads, such as the scale and shift of a normalisation, is moved once as well.
        moved = meter.moved_of[path] or params[path]
        rows.append(_Row(path, type_of(each), meter.flops_of[path] // 2, params[path], weights[path], moved))
    return [row for row in rows if row.moved]


def _on_meta(module: nn.Module) -> nn.Module:
    """A copy of which only the shapes are there, in evaluation."""
    loose = (value for each in module.modules() for value in vars(each).values() if isinstance(value, Tensor))
    tensors = chain(module.parameters(), module.buffers(), loose)
    return deepcopy(module, {id(tensor): _shape(tensor) for tensor in tensors}).eval()


def _shape(tensor: Tensor) -> Tensor:
    """A tensor without memory; that of a lazy module takes its shape when the module is run."""
    if is_lazy(tensor):
        with torch.device("meta"):
            return type(tensor)(requires_grad=False)
    shape = tensor.detach().to("meta")
    return nn.Parameter(shape, requires_grad=False) if isinstance(tensor, nn.Parameter) else shape


class _Meter:
    """Counts what runs, and for which module: the innermost one that is running."""

    def __init__(self, module: nn.Module) -> None:
        self.flops = FlopCounterMode(display=False)
        self.elements = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(MOVING, _elements))
        self.flops_of, self.moved_of = Counter[str](), Counter[str]()
        self._running: list[str] = []
        self._charged = 0, 0
        for path, each in module.named_modules():
            each.register_forward_pre_hook(lambda *_, path=path: self._enter(path))
            each.register_forward_hook(lambda *_: self._leave())

    def _enter(self, path: str) -> None:
        self._charge()
        self._running.append(path)

    def _leave(self) -> None:
        self._charge()
        self._running.pop()

    def _charge(self) -> None:
        """Put what was counted since the last time down to the innermost module."""
        flops, moved = self.flops.get_total_flops(), self.elements.get_total_flops()
        if self._running:
            self.flops_of[self._running[-1]] += flops - self._charged[0]
            self.moved_of[self._running[-1]] += moved - self._charged[1]
        self._charged = flops, moved


def _elements(*given: Any, out_shape: Any, **_: Any) -> int:
    """Numbers that an operation reads and writes: the counter calls it with shapes in place of tensors."""
    first = out_shape if isinstance(out_shape, torch.Size) else out_shape[0]
    return sum(shape.numel() for shape in (*given, first) if isinstance(shape, torch.Size))
