"""How the papers trained their networks on ImageNet, as recipes: `replace(EFFICIENTNET, batch=256)`.

Their rates are for their batches and follow another `batch`. Two things differ from the papers: depthwise filters, and in
the EfficientNets biases, have no weight decay here, and nothing stands in AutoAugment's place. Behind each figure stands its
source, and where it was recalled and not read again; docs/training.md has the same recipes as files for the command line.
"""

from dataclasses import replace

from eyas.recipe import Augment, Training

# Inception's crops, as recalled of preprocessing.py in EfficientNet's code.
PLAIN = Augment(operations=0, crop=0.08, flips="horizontal")

MOBILENETS = Training(
    epochs=412,  # card: 5.5 M steps of 96 images on one GPU, of 1.28 M images
    min_steps=0,
    batch=96,  # MobileNetV2, section 6.1
    optimizer="rmsprop",  # MobileNets, section 3.2; decay and momentum 0.9: MobileNetV2, section 6.1
    rate=0.045,  # MobileNetV2, section 6.1
    rate_batch=96,
    warmup=0.0,
    schedule="exponential",
    decay_factor=0.98,  # MobileNetV2, section 6.1
    decay_epochs=2.5,  # card, on one GPU
    weight_decay=4e-5,  # MobileNetV2, section 6.1; none on depthwise filters: MobileNets, section 3.2
    label_smoothing=0.0,  # MobileNets, section 3.2
    ema=0.9999,  # card
    norm_momentum=0.0003,  # slim/nets/mobilenet_v1.py: batch_norm_decay 0.9997
    dropout=0.001,  # dropout_keep_prob 0.999, as recalled of slim/nets/mobilenet_v1.py
    drop_path=0.0,
    clip=0.0,
    augment=PLAIN,  # MobileNets, section 3.2: fewer distortions than for large networks
)
"""MobileNets (1704.04861), which gives no figures; those of MobileNetV2 (1801.04381) and its card, slim/nets/mobilenet."""

EFFICIENTNET = Training(
    epochs=350,  # code: 109,474 steps of 4,096 images
    min_steps=0,
    batch=4096,  # code
    optimizer="rmsprop",  # section 5.2: decay and momentum 0.9; code: epsilon 0.001
    rate=0.256,  # section 5.2
    rate_batch=4096,
    warmup=0.0143,  # code: 5 epochs
    schedule="exponential",
    decay_factor=0.97,  # section 5.2
    decay_epochs=2.4,  # section 5.2
    weight_decay=1e-5,  # section 5.2
    label_smoothing=0.1,  # code
    ema=0.9999,  # code
    norm_momentum=0.01,  # section 5.2: batch norm momentum 0.99
    dropout=0.2,  # section 5.2: 0.2 for B0, linearly to 0.5 for B7
    drop_path=0.2,  # section 5.2: survival 0.8
    clip=0.0,
    augment=PLAIN,
)
"""EfficientNet (1905.11946), section 5.2, and its code, tpu/models/official/efficientnet; AutoAugment left out."""

NOISY_STUDENT = replace(
    EFFICIENTNET,
    batch=2048,  # section 3.1: labelled images
    rate=0.128,  # section 3.1: at 2,048
    rate_batch=2048,
    dropout=0.5,  # section 3.1
    drop_path=0.2,  # section 3.1: survival 0.8
    augment=replace(PLAIN, operations=2, magnitude=27.0, operation_set="code"),  # section 3.1; the 16 operations: code
)
"""Noisy Student (1911.04252), section 3.1, for networks larger than B4; for smaller ones 700 epochs, decayed every 4.8."""
