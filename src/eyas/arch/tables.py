"""The published architectures, laid out as the papers lay them out. A new one is one table and its name in `ARCHS`."""

from dataclasses import replace

from eyas.arch.ops import conv, mbconv, separable
from eyas.arch.spec import Arch, Stage

# Table 1 of the paper, rows of equal width taken together so that depth scales a stage and not each of its rows. The
# last stage's second layer has stride 1: the paper's "s2" is a misprint (only stride 1 gives its 7x7 map and 569 M MAdds).
MOBILENET_V1 = Arch(
    "mobilenet_v1",
    resolution=224,
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

EFFICIENTNET_B0 = Arch(
    "efficientnet_b0",
    resolution=224,
    head=1280,
    activation="silu",
    padding="same",
    dropout=0.2,
    init="efficientnet",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    top1=77.1,
    source="EfficientNet (1905.11946), Table 1",
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
    scale_ends=False,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    top1=75.1,
    source="EfficientNet-Lite release notes (tensorflow/tpu), efficientnet-lite0",
    stages=tuple(replace(stage, squeeze=0.0) for stage in EFFICIENTNET_B0.stages),
)

ARCHS: dict[str, Arch] = {
    arch.name: arch for arch in (MOBILENET_V1, MOBILENET_V1_CONV, MOBILENET_V1_SHALLOW, EFFICIENTNET_B0, EFFICIENTNET_LITE0)
}
