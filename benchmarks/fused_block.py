"""What a hand-written depthwise block would bring: a prototype that is no part of Eyas, against the plain step, in turn.

    python benchmarks/fused_block.py [--case NAME] [--json] [--out benchmarks/results] [--pairs 9]

`fused/fused.cpp` computes a depthwise convolution with its batch norm and activation, or batch norm and activation alone,
forward and backward, in as few passes over memory as they need: float32, channels last, for processors with AVX-512. The
ratio is of optimizer steps (forward, backward, fused AdamW) of 32 images, plain over prototype; the peer is the plain step.
The gradients of both are compared first. Needs g++.
"""

import argparse
import copy
import ctypes
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyas.arch.parse import parse
from eyas.deploy.measure import machine
from eyas.nn import blocks
from eyas.nn.build import Network, build
from eyas.run import write_json

CASES = ("mobilenet_v1x0.25@128", "mobilenet_v1@128", "mobilenet_v1@224", "efficientnet_b0@128")
SOURCE = Path(__file__).parent / "fused" / "fused.cpp"
BATCH = 32
ACTIVATIONS = ("", "relu", "relu6", "silu", "hard_swish")
POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
LAST = torch.channels_last
PLAIN = blocks.ConvNorm.forward


class Norm(ctypes.Structure):
    """A batch norm, and where its mean and the inverse of its deviation are kept."""

    _fields_ = (
        *(("gamma", POINTER), ("beta", POINTER), ("eps", ctypes.c_float), ("momentum", ctypes.c_float)),
        *(("running_mean", POINTER), ("running_var", POINTER), ("mean", POINTER), ("inverse", POINTER)),
    )


class Shape(ctypes.Structure):
    """Of a depthwise convolution's maps, and its padding."""

    _fields_ = tuple((name, LONG) for name in ("n", "c", "h", "w", "oh", "ow", "top", "left"))


def compiled(folder: Path) -> ctypes.CDLL:
    library = folder / "fused.so"
    subprocess.run(
        ["g++", "-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC", "-o", library, SOURCE], check=True
    )
    found = ctypes.CDLL(str(library))
    found.eyas_norm_forward.argtypes = [POINTER, POINTER, LONG, LONG, POINTER, INT]
    found.eyas_norm_backward.argtypes = [*[POINTER] * 3, LONG, LONG, POINTER, INT, POINTER, POINTER]
    found.eyas_depthwise_forward.argtypes = [*[POINTER] * 5, INT, INT, POINTER, INT]
    found.eyas_depthwise_backward.argtypes = [*[POINTER] * 7, INT, INT, POINTER, INT, POINTER, POINTER]
    return found


def norm_of(module: nn.BatchNorm2d, saved: Tensor) -> Norm:
    assert module.running_mean is not None and module.running_var is not None
    tensors = module.weight, module.bias, module.running_mean, module.running_var, saved[0], saved[1]
    gamma, beta, mean, var, kept, inverse = (tensor.data_ptr() for tensor in tensors)
    return Norm(gamma, beta, module.eps, module.momentum, mean, var, kept, inverse)


def autograd(library: ctypes.CDLL) -> tuple[Any, Any]:
    """Batch norm with activation, and the same behind a depthwise convolution."""

    class Normed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, *rest: Any) -> Tensor:
            _, _, module, act = rest  # weight and bias are given for their gradients
            x = x.contiguous(memory_format=LAST)
            y, saved = torch.empty_like(x), torch.empty(2, x.shape[1])
            norm, rows = norm_of(module, saved), x.numel() // x.shape[1]
            library.eyas_norm_forward(x.data_ptr(), y.data_ptr(), rows, x.shape[1], ctypes.byref(norm), act)
            ctx.save_for_backward(x, saved)
            ctx.rest = module, act
            return y

        @staticmethod
        def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
            (x, saved), (module, act) = ctx.saved_tensors, ctx.rest
            dy = given[0].contiguous(memory_format=LAST)
            dx, d, norm = torch.empty_like(x), torch.empty(2, x.shape[1]), norm_of(module, saved)
            rows = x.numel() // x.shape[1]
            pointers = x.data_ptr(), dy.data_ptr(), dx.data_ptr()
            library.eyas_norm_backward(*pointers, rows, x.shape[1], ctypes.byref(norm), act, d[0].data_ptr(), d[1].data_ptr())
            return dx, d[0], d[1], None, None

    class Depthwise(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, *rest: Any) -> Tensor:
            kernel, _, _, module, act, how = rest
            x = x.contiguous(memory_format=LAST)
            (n, c, h, w), side = x.shape, kernel.shape[-1]
            stride, left, right, top, bottom = how
            oh, ow = (h + top + bottom - side) // stride + 1, (w + left + right - side) // stride + 1
            z = torch.empty(n, c, oh, ow, memory_format=LAST)
            y, saved, taps = torch.empty_like(z), torch.empty(2, c), kernel.view(c, side * side).t().contiguous()
            norm, shape = norm_of(module, saved), Shape(n, c, h, w, oh, ow, top, left)
            pointers = x.data_ptr(), taps.data_ptr(), z.data_ptr(), y.data_ptr()
            library.eyas_depthwise_forward(*pointers, ctypes.byref(shape), side, stride, ctypes.byref(norm), act)
            ctx.save_for_backward(x, taps, z, saved)
            ctx.rest = module, act, shape, side, stride
            return y

        @staticmethod
        def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
            (x, taps, z, saved), (module, act, shape, side, stride) = ctx.saved_tensors, ctx.rest
            dy = given[0].contiguous(memory_format=LAST)
            dx, dw, d, norm = torch.empty_like(x), torch.empty_like(taps), torch.empty(2, x.shape[1]), norm_of(module, saved)
            pointers = (tensor.data_ptr() for tensor in (x, taps, z, dy, dx, dw))
            both = d[0].data_ptr(), d[1].data_ptr()
            library.eyas_depthwise_backward(*pointers, ctypes.byref(shape), side, stride, ctypes.byref(norm), act, *both)
            return dx, dw.t().reshape(x.shape[1], 1, side, side), d[0], d[1], None, None, None

    return Normed, Depthwise


def forward_of(normed: Any, depthwise: Any) -> Callable[[blocks.ConvNorm, Tensor], Tensor]:
    """What takes the place of `ConvNorm.forward`."""

    def forward(self: blocks.ConvNorm, x: Tensor) -> Tensor:
        layer, norm = self.layer, self.norm
        act, half = ACTIVATIONS.index(layer.activation), layer.kernel // 2
        pad = blocks._same(x, layer.kernel, layer.stride) if self.pad else (half,) * 4
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        if layer.kind == "depthwise":
            return depthwise.apply(x, self.conv.weight, norm.weight, norm.bias, norm, act, (layer.stride, *pad))
        convolved = self.conv(functional.pad(x, pad) if self.pad else x)
        return normed.apply(convolved, norm.weight, norm.bias, norm, act)

    return forward


def stepper(network: Network, forward: Callable[..., Tensor]) -> tuple[Callable[[], float], Callable[[], None]]:
    """The gradient, as the loss that it is of; and a whole step."""
    side = network.arch.resolution
    images = torch.randint(0, 256, (BATCH, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)

    def gradient() -> float:
        blocks.ConvNorm.forward = forward  # ty: ignore[invalid-assignment]
        loss = functional.cross_entropy(network(images), torch.arange(BATCH) % 10)
        loss.backward()
        return loss.item()

    def step() -> None:
        gradient()
        optimizer.step()
        optimizer.zero_grad()

    return gradient, step


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def compare(case: str, pairs: int, fused: Callable[..., Tensor]) -> dict[str, object]:
    arch = parse(case)
    ours = build(arch, nn.Linear(arch.features, 10)).train()
    theirs = copy.deepcopy(ours)
    (our_gradient, our_step), (their_gradient, their_step) = stepper(ours, fused), stepper(theirs, PLAIN)
    gap = abs(our_gradient() - their_gradient())
    of = zip(ours.parameters(), theirs.parameters(), strict=True)
    worst = max(
        float((a.grad - b.grad).norm() / (b.grad.norm() + 1e-6)) for a, b in of if a.grad is not None and b.grad is not None
    )
    our_step(), their_step()
    times = np.array([(seconds(our_step), seconds(their_step)) for _ in range(pairs)])
    ratios, rng = times[:, 1] / times[:, 0], np.random.default_rng(0)
    low, high = np.percentile([np.median(rng.choice(ratios, pairs)) for _ in range(2000)], [2.5, 97.5])
    speed = BATCH / np.median(times, axis=0)
    row = {
        "case": case,
        "peer": "plain step",
        "peer_value": round(float(speed[1]), 1),
        "eyas_value": round(float(speed[0]), 1),
        "unit": "images/s",
        "ratio": round(float(np.median(ratios)), 3),
        "low": round(float(low), 3),
        "high": round(float(high), 3),
    }
    return row | {"loss_gap": round(gap, 6), "worst_gradient": round(worst, 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--pairs", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fused = forward_of(*autograd(compiled(Path(folder))))
        found = []
        for case in [given.case] if given.case else CASES:
            found.append(row := compare(case, given.pairs, fused))
            print(
                json.dumps(row) if given.json else f"{case:24s} {row['ratio']:.2f}x ({row['low']} to {row['high']})", flush=True
            )
    if given.out:
        write_json(given.out / "fused_block.json", {"date": str(date.today()), "machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
