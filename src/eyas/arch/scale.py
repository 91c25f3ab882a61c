"""The dials: pure functions from an `Arch` to an `Arch`. Scaling by 1 changes nothing; the order does not matter."""

import math
from dataclasses import replace

from eyas.arch.spec import Arch
from eyas.errors import UserError


def wider(arch: Arch, width: float) -> Arch:
    """Multiply the width multiplier α: every layer's channels, rounded to 8 (MobileNets, section 3.3)."""
    if not (math.isfinite(width) and width > 0):
        raise UserError(f"width multiplier {width:g} of {arch.name}: it must be above 0, for example x0.5")
    return replace(arch, width=arch.width * width)


def deeper(arch: Arch, depth: float) -> Arch:
    """Multiply the depth: every stage's repetitions, rounded up (EfficientNet, section 3.3)."""
    if not (math.isfinite(depth) and depth > 0):
        raise UserError(f"depth multiplier {depth:g} of {arch.name}: it must be above 0, for example d1.2")
    return replace(arch, depth=arch.depth * depth)


def at(arch: Arch, resolution: int) -> Arch:
    """Set the input side in pixels; resolution / native is the paper's ρ (MobileNets, section 3.4)."""
    if resolution < arch.total_stride:
        raise UserError(
            f"resolution {resolution} of {arch.name}: it must be at least the total stride, {arch.total_stride} pixels; "
            f"for smaller images set the output stride, for example @{max(resolution, 8)}/8"
        )
    return replace(arch, resolution=resolution)


def strided(arch: Arch, output_stride: int) -> Arch:
    """Take strides out of the earliest stages after the stem until the total stride is `output_stride`.

    The reference self-training code does so for 32-pixel images.
    """
    native = replace(arch, output_stride=None)
    stem = native.stages[0].stride
    allowed = [stride for stride in (2**i for i in range(12)) if stem <= stride <= native.total_stride]
    if output_stride not in allowed:
        choices = ", ".join(str(stride) for stride in allowed)
        raise UserError(f"output stride /{output_stride} of {arch.name}: it must be one of {choices}")
    return replace(arch, output_stride=None if output_stride == native.total_stride else output_stride)
