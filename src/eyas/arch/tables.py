"""The published architectures, laid out as the papers lay them out. A new one is one table and its name in `ARCHS`."""

from dataclasses import replace

from eyas.arch.ops import basic, bneck, bottleneck, conv, mbconv, pool, separable
from eyas.arch.spec import HALVES, IMAGENET, Arch, Preprocessing, Stage

# Table 1 of the paper, rows of equal width taken together so that depth scales a stage and not each of its rows. The
# last stage's second layer has stride 1: the paper's "s2" is a misprint (only stride 1 gives its 7x7 map and 569 M MAdds).
MOBILENET_V1 = Arch(
    "mobilenet_v1",
    resolution=224,
    norm_momentum=0.0003,
    dropout=0.001,
    top1=70.6,
    source="MobileNets (1704.04861), Table 1",
    stages=(
        #     op         k  s     c  n
        Stage(conv,      3, 2,   32),
        Stage(separable, 3, 1,   64),
        Stage(separable, 3, 2,  128, 2),
        Stage(separable, 3, 2,  256, 2),
        Stage(separable, 3, 2,  512, 6),
        Stage(separable, 3, 2, 1024, 2),
    ),
)

# "Conv MobileNet": full convolutions in place of the separable ones.
MOBILENET_V1_CONV = replace(
    MOBILENET_V1,
    name="mobilenet_v1_conv",
    top1=71.7,
    source="MobileNets (1704.04861), Table 4",
    stages=tuple(replace(stage, op=conv) for stage in MOBILENET_V1.stages),
)

# "Shallow MobileNet": without the five blocks of 14x14x512.
MOBILENET_V1_SHALLOW = replace(
    MOBILENET_V1,
    name="mobilenet_v1_shallow",
    top1=65.3,
    source="MobileNets (1704.04861), Table 5",
    stages=tuple(replace(stage, repeat=1) if stage.channels == 512 else stage for stage in MOBILENET_V1.stages),
)

MOBILENET_V2 = Arch(
    "mobilenet_v2",
    resolution=224,
    head=1280,
    head_scales="up",  # "all layers except the very last convolutional layer" are narrowed (section 6.1)
    activation="relu6",
    norm_momentum=0.003,
    dropout=0.2,
    top1=72.0,
    source="MobileNetV2 (1801.04381), Tables 2 and 4",
    stages=(
        #     op      k  s    c  n expand
        Stage(conv,   3, 2,  32),
        Stage(mbconv, 3, 1,  16, 1, 1),
        Stage(mbconv, 3, 2,  24, 2, 6),
        Stage(mbconv, 3, 2,  32, 3, 6),
        Stage(mbconv, 3, 2,  64, 4, 6),
        Stage(mbconv, 3, 1,  96, 3, 6),
        Stage(mbconv, 3, 2, 160, 3, 6),
        Stage(mbconv, 3, 1, 320, 1, 6),
    ),
)

# The paper prints the expanded width ("exp size"); the reference code writes it as here, over the input's.
MOBILENET_V3_LARGE = Arch(
    "mobilenet_v3_large",
    resolution=224,
    head=960,
    hidden=1280,
    activation="hard_swish",
    norm_momentum=0.003,
    dropout=0.2,
    preprocessing=IMAGENET,
    top1=75.2,
    source="MobileNetV3 (1905.02244), Tables 1 and 3",
    stages=(
        #     op     k  s    c  n   expand  squeeze own activation
        Stage(conv,  3, 2,  16),
        Stage(bneck, 3, 1,  16, 1,       1, 0,     "relu"),
        Stage(bneck, 3, 2,  24, 1,  64/16,  0,     "relu"),
        Stage(bneck, 3, 1,  24, 1,  72/24,  0,     "relu"),
        Stage(bneck, 5, 2,  40, 1,  72/24,  1 / 4, "relu"),
        Stage(bneck, 5, 1,  40, 2, 120/40,  1 / 4, "relu"),
        Stage(bneck, 3, 2,  80, 1, 240/40),
        Stage(bneck, 3, 1,  80, 1, 200/80),
        Stage(bneck, 3, 1,  80, 2, 184/80),
        Stage(bneck, 3, 1, 112, 1, 480/80,  1 / 4),
        Stage(bneck, 3, 1, 112, 1, 672/112, 1 / 4),
        Stage(bneck, 5, 2, 160, 1, 672/112, 1 / 4),
        Stage(bneck, 5, 1, 160, 2, 960/160, 1 / 4),
    ),
)

MOBILENET_V3_SMALL = replace(
    MOBILENET_V3_LARGE,
    name="mobilenet_v3_small",
    head=576,
    hidden=1024,
    top1=67.4,
    source="MobileNetV3 (1905.02244), Tables 2 and 3",
    stages=(
        #     op     k  s   c  n   expand squeeze own activation
        Stage(conv,  3, 2, 16),
        Stage(bneck, 3, 2, 16, 1,      1, 1 / 4, "relu"),
        Stage(bneck, 3, 2, 24, 1,  72/16, 0,     "relu"),
        Stage(bneck, 3, 1, 24, 1,  88/24, 0,     "relu"),
        Stage(bneck, 5, 2, 40, 1,  96/24, 1 / 4),
        Stage(bneck, 5, 1, 40, 2, 240/40, 1 / 4),
        Stage(bneck, 5, 1, 48, 1, 120/40, 1 / 4),
        Stage(bneck, 5, 1, 48, 1, 144/48, 1 / 4),
        Stage(bneck, 5, 2, 96, 1, 288/48, 1 / 4),
        Stage(bneck, 5, 1, 96, 2, 576/96, 1 / 4),
    ),
)

MNASNET_A1 = Arch(
    "mnasnet_a1",
    resolution=224,
    head=1280,
    head_scales="never",
    dropout=0.2,
    init="fan_out",
    preprocessing=IMAGENET,
    top1=75.2,
    source="MnasNet (1807.11626), Figure 7 and Table 1",
    stages=(
        #     op      k  s    c  n expand squeeze
        Stage(conv,   3, 2,  32),
        Stage(mbconv, 3, 1,  16, 1, 1),
        Stage(mbconv, 3, 2,  24, 2, 6),
        Stage(mbconv, 5, 2,  40, 3, 3, 1 / 4),
        Stage(mbconv, 3, 2,  80, 4, 6),
        Stage(mbconv, 3, 1, 112, 2, 6, 1 / 4),
        Stage(mbconv, 5, 2, 160, 3, 6, 1 / 4),
        Stage(mbconv, 3, 1, 320, 1, 6),
    ),
)

# Found without squeeze-and-excitation in the search space; what torchvision calls MnasNet.
MNASNET_B1 = replace(
    MNASNET_A1,
    name="mnasnet_b1",
    top1=73.456,
    source="MnasNet (1807.11626), released code, mnasnet_b1; top-1 of torchvision's weights",
    stages=(
        #     op      k  s    c  n expand
        Stage(conv,   3, 2,  32),
        Stage(mbconv, 3, 1,  16, 1, 1),
        Stage(mbconv, 3, 2,  24, 3, 3),
        Stage(mbconv, 5, 2,  40, 3, 3),
        Stage(mbconv, 5, 2,  80, 3, 6),
        Stage(mbconv, 3, 1,  96, 2, 6),
        Stage(mbconv, 5, 2, 192, 4, 6),
        Stage(mbconv, 3, 1, 320, 1, 6),
    ),
)

EFFICIENTNET_B0 = Arch(
    "efficientnet_b0",
    resolution=224,
    head=1280,
    activation="silu",
    padding="same",
    dropout=0.2,
    init="fan_out",
    preprocessing=IMAGENET,
    top1=77.1,
    source="EfficientNet (1905.11946), Tables 1 and 2",
    stages=(
        #     op      k  s    c  n expand squeeze
        Stage(conv,   3, 2,  32),
        Stage(mbconv, 3, 1,  16, 1, 1, 1 / 4),
        Stage(mbconv, 3, 2,  24, 2, 6, 1 / 4),
        Stage(mbconv, 5, 2,  40, 2, 6, 1 / 4),
        Stage(mbconv, 3, 2,  80, 3, 6, 1 / 4),
        Stage(mbconv, 5, 1, 112, 3, 6, 1 / 4),
        Stage(mbconv, 5, 2, 192, 4, 6, 1 / 4),
        Stage(mbconv, 3, 1, 320, 1, 6, 1 / 4),
    ),
)

# B0 for integer hardware: no squeeze-and-excitation, ReLU6, stem and head of fixed size.
EFFICIENTNET_LITE0 = replace(
    EFFICIENTNET_B0,
    name="efficientnet_lite0",
    activation="relu6",
    head_scales="never",
    scale_ends=False,
    preprocessing=HALVES,
    top1=75.1,
    source="EfficientNet-Lite (tensorflow/tpu), its README",
    stages=tuple(replace(stage, squeeze=0.0) for stage in EFFICIENTNET_B0.stages),
)


def _scaled(base: Arch, *rows: tuple[str, float, float, int, float, float | None, str]) -> tuple[Arch, ...]:
    """Larger ones: the coefficients of the reference code, which are not powers of the paper's α, β and γ."""
    return tuple(
        replace(
            base,
            name=name,
            coefficients=(width, depth),
            resolution=resolution,
            native=0,
            dropout=dropout,
            preprocessing=replace(base.preprocessing, crop=resolution / (resolution + 32)),
            top1=top1,
            source=source,
        )
        for name, width, depth, resolution, dropout, top1, source in rows
    )


_PAPER = "EfficientNet (1905.11946), Table 2, and its reference code"
_NOISY = "Noisy Student (1911.04252), Table 2, without its pile, and its reference code"

EFFICIENTNETS = (
    EFFICIENTNET_B0,
    *_scaled(
        EFFICIENTNET_B0,
        # name             width depth  res dropout top-1
        ("efficientnet_b1", 1.0, 1.1,   240,  0.2,  79.1, _PAPER),
        ("efficientnet_b2", 1.1, 1.2,   260,  0.3,  80.1, _PAPER),
        ("efficientnet_b3", 1.2, 1.4,   300,  0.3,  81.6, _PAPER),
        ("efficientnet_b4", 1.4, 1.8,   380,  0.4,  82.9, _PAPER),
        ("efficientnet_b5", 1.6, 2.2,   456,  0.4,  83.6, _PAPER),
        ("efficientnet_b6", 1.8, 2.6,   528,  0.5,  84.0, _PAPER),
        ("efficientnet_b7", 2.0, 3.1,   600,  0.5,  84.3, _PAPER),
        ("efficientnet_b8", 2.2, 3.6,   672,  0.5,  None, "EfficientNet's reference code"),
        ("efficientnet_l2", 4.3, 5.3,   800,  0.5,  85.5, _NOISY),
    ),
)

EFFICIENTNET_LITES = (
    EFFICIENTNET_LITE0,
    *_scaled(
        EFFICIENTNET_LITE0,
        # name                width depth  res dropout top-1
        ("efficientnet_lite1", 1.0, 1.1,   240,  0.2,  76.7, EFFICIENTNET_LITE0.source),
        ("efficientnet_lite2", 1.1, 1.2,   260,  0.3,  77.6, EFFICIENTNET_LITE0.source),
        ("efficientnet_lite3", 1.2, 1.4,   280,  0.3,  79.8, EFFICIENTNET_LITE0.source),
        ("efficientnet_lite4", 1.4, 1.8,   300,  0.3,  81.5, EFFICIENTNET_LITE0.source),
    ),
)

# Table 1 of the paper; a block's inner width is a quarter of the width that leaves it.
RESNET_50 = Arch(
    "resnet50",
    resolution=224,
    stem=2,
    norm_eps=1e-5,
    norm_momentum=0.1,
    init="fan_out",
    preprocessing=Preprocessing(IMAGENET.mean, IMAGENET.std, "bilinear"),
    top1=76.0,
    source="ResNet (1512.03385), Table 1; top-1 of EfficientNet (1905.11946), Table 2",
    stages=(
        #     op          k  s     c  n expand
        Stage(conv,       7, 2,   64),
        Stage(pool,       3, 2,   64),
        Stage(bottleneck, 3, 1,  256, 3, 1 / 4),
        Stage(bottleneck, 3, 2,  512, 4, 1 / 4),
        Stage(bottleneck, 3, 2, 1024, 6, 1 / 4),
        Stage(bottleneck, 3, 2, 2048, 3, 1 / 4),
    ),
)

RESNET_18 = replace(
    RESNET_50,
    name="resnet18",
    top1=69.758,
    source="ResNet (1512.03385), Table 1; top-1 of torchvision's weights",
    stages=(
        #     op     k  s    c  n
        Stage(conv,  7, 2,  64),
        Stage(pool,  3, 2,  64),
        Stage(basic, 3, 1,  64, 2),
        Stage(basic, 3, 2, 128, 2),
        Stage(basic, 3, 2, 256, 2),
        Stage(basic, 3, 2, 512, 2),
    ),
)


def _repeated(arch: Arch, name: str, top1: float, source: str, *repeats: int) -> Arch:
    stem, rows = arch.stages[:2], arch.stages[2:]
    stages = (*stem, *(replace(row, repeat=repeat) for row, repeat in zip(rows, repeats, strict=True)))
    return replace(arch, name=name, top1=top1, source=source, stages=stages)


RESNET_34 = _repeated(RESNET_18, "resnet34", 73.314, RESNET_18.source, 3, 4, 6, 3)
RESNET_101 = _repeated(RESNET_50, "resnet101", 77.374, RESNET_18.source, 3, 4, 23, 3)
RESNET_152 = _repeated(RESNET_50, "resnet152", 77.8, RESNET_50.source, 3, 8, 36, 3)

ARCHS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        MOBILENET_V1,
        MOBILENET_V1_CONV,
        MOBILENET_V1_SHALLOW,
        MOBILENET_V2,
        MOBILENET_V3_LARGE,
        MOBILENET_V3_SMALL,
        MNASNET_A1,
        MNASNET_B1,
        *EFFICIENTNETS,
        *EFFICIENTNET_LITES,
        RESNET_18,
        RESNET_34,
        RESNET_50,
        RESNET_101,
        RESNET_152,
    )
}
