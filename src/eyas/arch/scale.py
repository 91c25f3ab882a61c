"""The dials: pure functions from an `Arch` to an `Arch`. Scaling by 1 changes nothing; the order does not matter.

Each raises `UserError` for a value that leaves no network, or one nobody could lay out.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace

from eyas.arch.cost import cost
from eyas.arch.spec import Arch
from eyas.errors import UserError

LARGEST = 100  # far above any published multiplier (EfficientNet-L2: 5.3), and still a table that can be laid out
ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15  # found by grid search on EfficientNet-B0 (EfficientNet, section 3.3)
REACH = 30_000  # thousandths of φ: further, at the paper's α, β and γ, than any network that can be laid out


@dataclass(frozen=True, slots=True)
class Coefficients:
    """How far a network is scaled: φ, and the depth, width and resolution (in pixels) that it stands for."""

    phi: float
    depth: float
    width: float
    resolution: int


def wider(arch: Arch, width: int | float) -> Arch:
    """Multiply the width multiplier α: every layer's channels, rounded to 8 (MobileNets, section 3.3)."""
    return replace(arch, width=_multiplier(arch, "width", arch.width * width, "x0.5"))


def deeper(arch: Arch, depth: int | float) -> Arch:
    """Multiply the depth: every stage's repetitions, rounded up (EfficientNet, section 3.3)."""
    return replace(arch, depth=_multiplier(arch, "depth", arch.depth * depth, "d1.2"))


def at(arch: Arch, resolution: int) -> Arch:
    """Set the input side in pixels; resolution / native is the paper's ρ (MobileNets, section 3.4)."""
    return _checked(replace(arch, resolution=resolution))


def seen(arch: Arch, view: float) -> Arch:
    """The network evaluated on a centred box of `view` times the sides of each image; 1 is the whole image."""
    return replace(arch, preprocessing=replace(arch.preprocessing, view=float(view)))


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


def compound(arch: Arch, phi: float, alpha: float = ALPHA, beta: float = BETA, gamma: float = GAMMA) -> Arch:
    """Scale depth by α^φ, width by β^φ and resolution by γ^φ (EfficientNet, equation 3); φ below 0 shrinks.

    With α·β²·γ² near 2, each step of φ doubles the MAdds.
    """
    to = _scaled(arch, phi, alpha, beta, gamma)
    return at(wider(deeper(arch, to.depth), to.width), to.resolution)


def coefficients(
    arch: Arch, target_madds: int | float, alpha: float = ALPHA, beta: float = BETA, gamma: float = GAMMA
) -> Coefficients:
    """The largest compound scaling of `arch` that needs at most `target_madds` an image, φ to a thousandth.

    Raises:
        UserError: no network of this family is that small.
    """

    if not target_madds > 0:  # NaN too
        raise UserError(f"target of {target_madds} MAdds: it must be above 0")

    def too_large(thousandths: int) -> bool:
        try:
            return cost(compound(arch, thousandths / 1000, alpha, beta, gamma)).madds > target_madds
        except UserError:  # far below 0 there is no network left, far above 0 none that could be laid out
            return thousandths > 0

    phi = (bisect_left(range(-REACH, REACH), True, key=too_large) - REACH - 1) / 1000  # MAdds never fall as φ grows
    try:
        compound(arch, phi, alpha, beta, gamma)
    except UserError:
        raise UserError(
            f"no {arch.name} of this scaling needs as few as {target_madds:,.0f} MAdds: below its total stride, "
            f"{arch.total_stride} pixels, there is no network; begin with a smaller one, or take strides out (for example /8)"
        ) from None
    return _scaled(arch, phi, alpha, beta, gamma)


def _scaled(arch: Arch, phi: float, alpha: float, beta: float, gamma: float) -> Coefficients:
    if min(alpha, beta, gamma) < 1 or max(alpha, beta, gamma) == 1:
        raise UserError(
            f"alpha, beta and gamma are {alpha:g}, {beta:g} and {gamma:g}; "
            "each must be 1 or above, and one of them above 1 (EfficientNet, equation 3)"
        )
    if not abs(phi) <= REACH / 1000:
        raise UserError(f"phi is {phi:g}; it must be from {-REACH // 1000} to {REACH // 1000}")
    try:
        return Coefficients(phi, alpha**phi, beta**phi, round(arch.resolution * gamma**phi))
    except OverflowError:
        raise UserError(f"phi {phi:g} at alpha {alpha:g}, beta {beta:g} and gamma {gamma:g} is beyond any network") from None


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
