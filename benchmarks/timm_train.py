"""A training made of timm's own pieces as its train.py puts them together; the peer of benchmarks/end_to_end.py.

    python benchmarks/timm_train.py FOLDER --model mobilenetv1_100 --side 128 --epochs 3 --workers 2 --batch 32 --channels-last

timm's package does not hold its train.py. As there: datasets and loaders of timm with its default augmentation, AdamW with
timm's groups, a cosine with warm-up, averaged weights, an evaluation of these after each epoch, and a checkpoint when
it is the best; `--channels-last` and `--amp` (bfloat16) are its options of these names. FOLDER holds `train` and
`validation` with a folder for each class.
"""

import argparse
import warnings
from pathlib import Path

import torch
from timm.data import create_dataset, create_loader
from timm.models import create_model
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn


def loader(folder: Path, split: str, given: argparse.Namespace) -> torch.utils.data.DataLoader:
    training = split == "train"
    return create_loader(
        create_dataset("", root=str(folder), split=split, is_training=training),
        (3, given.side, given.side),
        given.batch,
        is_training=training,
        auto_augment="rand-m5-mstd0.5" if training else None,
        num_workers=given.workers,
        persistent_workers=given.workers > 0,
        device=torch.device("cpu"),
    )


@torch.inference_mode()
def accuracy(model: nn.Module, images: torch.utils.data.DataLoader, given: argparse.Namespace) -> float:
    model.eval()
    right = 0.0
    for pixels, labels in images:
        with autocast(given):
            answers = model(laid_out(pixels, given))
        right += float((answers.argmax(1) == labels).sum())
    return right / len(images.dataset)  # ty: ignore[invalid-argument-type]


def laid_out(pixels: torch.Tensor, given: argparse.Namespace) -> torch.Tensor:
    return pixels.contiguous(memory_format=torch.channels_last) if given.channels_last else pixels


def autocast(given: argparse.Namespace) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=given.amp)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mobilenetv1_100")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    train, validation = (loader(given.folder, split, given) for split in ("train", "validation"))
    model = create_model(given.model, num_classes=2, drop_rate=0.2)
    if given.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.02)
    schedule, epochs = create_scheduler_v2(optimizer, "cosine", num_epochs=given.epochs, updates_per_epoch=len(train))
    average = ModelEmaV3(model, decay=0.99)
    saver = CheckpointSaver(model, optimizer, model_ema=average, checkpoint_dir=str(given.out), recovery_dir=str(given.out))
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    updates = 0
    for epoch in range(epochs):
        model.train()
        for pixels, labels in train:
            optimizer.zero_grad()
            with autocast(given):
                found = loss(model(laid_out(pixels, given)), labels)
            found.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            updates += 1
            average.update(model, step=updates)
            schedule.step_update(num_updates=updates)
        found = accuracy(average.module, validation, given)
        schedule.step(epoch + 1, found)
        saver.save_checkpoint(epoch, metric=found)
        print(f"epoch {epoch}: {found:.1%}", flush=True)


if __name__ == "__main__":
    main()
