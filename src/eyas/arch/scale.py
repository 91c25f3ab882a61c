"""The dials: pure functions from an `Arch` to an `Arch`. Scaling by 1 changes nothing; the order does not matter.

Each raises `UserError` for a value that leaves no network, or one nobody could lay out.
"""

from dataclasses import replace

from eyas.arch.spec import Arch
from eyas.errors import UserError

LARGEST = 100  # far above any published multiplier (EfficientNet-L2: 5.3), and still a table that can be laid out


def wider(arch: Arch, width: int | float) -> Arch:
    """Multiply the width multiplier α: every layer's channels, rounded to 8 (MobileNets, section 3.3)."""
    return replace(arch, width=_multiplier(arch, "width", arch.width * width, "x0.5"))


def deeper(arch: Arch, depth: int | float) -> Arch:
    """Multiply the depth: every stage's repetitions, rounded up (EfficientNet, section 3.3)."""
    return replace(arch, depth=_multiplier(arch, "depth", arch.depth * depth, "d1.2"))


def at(arch: Arch, resolution: int) -> Arch:
    """Set the input side in pixels; resolution / native is the paper's ρ (MobileNets, section 3.4)."""
    return _checked(replace(arch, resolution=resolution))


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
    return _checked(replace(arch, output_stride=None if output_stride == native.total_stride else output_stride))


def _multiplier(arch: Arch, dial: str, value: float, example: str) -> float:
    if not 0 < value <= LARGEST:
        raise UserError(
            f"{dial} multiplier {value:g} of {arch.name}: it must be above 0 and at most {LARGEST}, for example {example}"
        )
    return value


def _checked(arch: Arch) -> Arch:
    if arch.resolution < arch.total_stride:
        raise UserError(
            f"resolution {arch.resolution} of {arch.name}: it must be at least the total stride, {arch.total_stride} pixels; "
            f"for smaller images set the output stride, for example @{max(arch.resolution, 8)}/8"
        )
    return arch
