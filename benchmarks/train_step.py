"""One optimizer step, of ours and of a peer, timed in turn in one run.

    python benchmarks/train_step.py [--case NAME] [--json] [--out benchmarks/results] [--pairs 20]

Only the ratio holds from one machine, or one minute, to another. The peer is timm's network of the same shapes in its
defaults (float32, NCHW), or our own step in float32 where the case is bfloat16. All optimizers are fused AdamW; ours
includes what `eyas.learn.train` does around the step: schedule, clipping, averaged weights.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from eyas.arch.parse import parse
from eyas.data.batches import Batch
from eyas.deploy.measure import machine
from eyas.learn.device import Device, choose
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.nn.build import build
from eyas.recipe import Training
from eyas.run import write_json
from eyas.tasks.classify import Classify

PEERS = {
    "efficientnet_lite0@128": "tf_efficientnet_lite0",
    "efficientnet_b0@128": "tf_efficientnet_b0",
    "mobilenet_v1@128": "mobilenetv1_100",
}
BFLOAT16 = " bfloat16"
CASES = (*PEERS, *(case + BFLOAT16 for case in PEERS))
BATCH = 32

Step = Callable[[], None]


def eyas_step(name: str, device: Device) -> Step:
    arch = parse(name)
    recipe = Training()
    network = build(arch, nn.Linear(arch.features, 10), recipe.dropout, recipe.drop_path).to(device.name)
    state = State.new(network, recipe, seed=0)
    images = torch.randint(0, 256, (BATCH, arch.resolution, arch.resolution, 3), dtype=torch.uint8)
    batch = Batch(images, torch.eye(10)[torch.arange(BATCH) % 10], torch.ones(BATCH, dtype=torch.bool))
    task = Classify(tuple("0123456789"), 0.1)

    def step() -> None:
        for _ in train(state, task, [batch], recipe, 1000, device):
            pass

    return step


def timm_step(name: str, resolution: int, device: Device) -> Step:
    model = timm.create_model(name, num_classes=10).to(device.name).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    images = torch.randn(BATCH, 3, resolution, resolution, device=device.name)
    labels = torch.arange(BATCH, device=device.name) % 10

    def step() -> None:
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        optimizer.step()

    return step


def seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def pair(case: str) -> tuple[Step, Step, str]:
    """Our step, the peer's, and the peer's name."""
    device = choose()
    if case.endswith(BFLOAT16):
        name = case.removesuffix(BFLOAT16)
        return eyas_step(name, Device(device.name, True)), eyas_step(name, Device(device.name, False)), "eyas float32"
    peer = PEERS[case]
    return eyas_step(case, device), timm_step(peer, parse(case).resolution, device), f"timm {timm.__version__} {peer}"


def compare(case: str, pairs: int) -> dict[str, object]:
    ours, theirs, peer = pair(case)
    for _ in range(3):
        ours()
        theirs()
    times = np.array([(seconds(ours), seconds(theirs)) for _ in range(pairs)])
    ratios = times[:, 1] / times[:, 0]
    rng = np.random.default_rng(0)
    low, high = np.percentile([np.median(rng.choice(ratios, pairs)) for _ in range(2000)], [2.5, 97.5])
    speed = BATCH / np.median(times, axis=0)
    return {
        "case": case,
        "peer": peer,
        "peer_value": round(float(speed[1]), 1),
        "eyas_value": round(float(speed[0]), 1),
        "unit": "images/s",
        "ratio": round(float(np.median(ratios)), 3),
        "low": round(float(low), 3),
        "high": round(float(high), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--pairs", type=int, default=20)
    given = parser.parse_args()
    found = [compare(case, given.pairs) for case in ([given.case] if given.case else CASES)]
    for row in found:
        if given.json:
            print(json.dumps(row))
        else:
            print(f"{row['case']:34s} {row['ratio']:5.2f}x ({row['low']} to {row['high']}) of {row['peer']}")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "train_step.json", {"date": str(date.today()), "machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
