"""Peak memory of a training step, with activations kept and with them computed again.

    python benchmarks/memory.py [--case NAME] [--json] [--out benchmarks/results]

Each side is a process of its own, which takes two steps. On a processor its peak is how far its resident memory rises above
what it was before the first; on a GPU it is the most that was allocated, the network included. `ratio` is kept over computed
again, of one run of each: memory does not vary as time does.
"""

import argparse
import json
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path

import torch
from torch import nn

from eyas.arch.parse import parse
from eyas.data.batches import Batch
from eyas.deploy.measure import machine
from eyas.learn.device import choose
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.nn.build import build
from eyas.recipe import Training
from eyas.run import write_json
from eyas.tasks.classify import Classify

CASES = {"efficientnet_b0@224": 16, "mobilenet_v1@224": 16}  # images a step
GPU_CASES = {"efficientnet_b0@224": 256, "efficientnet_b7@600": 8}


def peak(case: str, images: int, checkpointing: bool) -> int:
    """Bytes that two steps take at most, in this process."""
    device, arch = choose(), parse(case)
    recipe = Training(batch=images, checkpoint_activations=checkpointing)
    network = build(arch, nn.Linear(arch.features, 10), recipe.dropout, recipe.drop_path).to(device.name)
    pixels = torch.randint(0, 256, (images, arch.resolution, arch.resolution, 3), dtype=torch.uint8)
    batch = Batch(pixels, torch.eye(10)[torch.arange(images) % 10], torch.ones(images, dtype=torch.bool))
    before = resident()
    for _ in train(State.new(network, recipe, 0), Classify(tuple("0123456789")), [batch, batch], recipe, 2, device):
        pass
    return torch.cuda.max_memory_allocated() if device.name == "cuda" else resident() - before


def resident() -> int:
    """The most memory that this process had so far, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def child(case: str, images: int, checkpointing: bool) -> float:
    """Megabytes, measured in a process that has done nothing else."""
    words = [sys.executable, __file__, "--one", case, str(images), str(int(checkpointing))]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout) / 1e6


def compare(case: str, images: int) -> dict[str, object]:
    kept, again = (child(case, images, checkpointing) for checkpointing in (False, True))
    return {
        "case": f"{case} batch {images}",
        "peer": "activations kept",
        "peer_value": round(kept),
        "eyas_value": round(again),
        "unit": "MB",
        "ratio": round(kept / again, 2),
    }


def main() -> None:
    cases = GPU_CASES if torch.cuda.is_available() else CASES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=cases)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "IMAGES", "AGAIN"), help="measure one side in this process")
    given = parser.parse_args()
    if given.one:
        print(peak(given.one[0], int(given.one[1]), given.one[2] == "1"))
        return
    found = [compare(case, images) for case, images in cases.items() if given.case in (None, case)]
    for row in found:
        form = "{case:32s} {peer_value:6d} MB kept, {eyas_value:6d} MB computed again: {ratio:.2f}x less"
        print(json.dumps(row) if given.json else form.format(**row))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "memory.json", {"date": str(date.today()), "machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
