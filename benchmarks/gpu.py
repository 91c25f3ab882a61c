"""On a GPU: one optimizer step against timm's at its best; whether losses agree; what depthwise gradients take.

    python benchmarks/gpu.py [--case NAME] [--json] [--out benchmarks/results] [--pairs 20] [--batch 256]

* NETWORK: both in bfloat16 (AMP), channels-last, compiled, fused AdamW; ours includes schedule, clipping and averaged
  weights, and runs as CUDA graphs. Timed in turn in one run. `peer` compiles with the default mode, as timm's train.py does.
* loss curve: 200 steps on the same batches, compiled in bfloat16 against float32 as it is; mean losses of the last 20 steps.
* depthwise share: of the time on the device of a step that is not compiled, the share of the gradients of depthwise
  convolutions; the peer value is that of all convolutions' gradients. It says whether a kernel for them could be worthwhile.
* images on the device: eight epochs of augmented 224-pixel batches without a network, of images that stay on the device and are
  cropped there, sending them included, against images that threads crop and send.

A machine without a GPU says so and measures nothing.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import timm
import torch
from data import LIKE_TIMM, RESOLUTION, manifest_of, photographs, stream_of, taken
from torch import nn
from torch.profiler import ProfilerActivity, profile
from train_step import CLASSES, row, seconds

from eyas.arch.parse import parse
from eyas.data import resident
from eyas.data.batches import Batch
from eyas.data.store import build as build_store
from eyas.deploy.measure import machine
from eyas.learn.device import Device
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.learn.way import Way
from eyas.nn.build import build
from eyas.recipe import Training
from eyas.run import write_json
from eyas.studies.prepare import side_of
from eyas.tasks.classify import Classify

PEERS = {"mobilenet_v1@224": "mobilenetv1_100", "efficientnet_b0@224": "tf_efficientnet_b0"}
CURVE, SHARE, HELD = "loss curve", "depthwise share", "images on the device"
CASES = (*PEERS, CURVE, SHARE, HELD)
PICTURES, EPOCHS = 1024, 8
STEPS = 200
TASK = Classify(tuple("0123456789"), 0.1)

Row = dict[str, object]


def state_of(name: str, compiled: bool, precision: str) -> tuple[State, Device]:
    arch, recipe, device = parse(name), Training(), Device("cuda", precision == "bfloat16")
    network = build(arch, nn.Linear(arch.features, CLASSES), recipe.dropout, recipe.drop_path).to("cuda")
    state = State.new(network, recipe, seed=0)
    Way("bfloat16" if device.bfloat16 else "float32", compiled, torch.get_num_threads()).apply(state.model, device)
    return state, device


def batch_of(resolution: int, size: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(size) % CLASSES
    noise = torch.randint(0, 128, (size, resolution, resolution, 3), generator=generator)
    images = (noise + 12 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Batch(images, torch.eye(CLASSES)[labels], torch.ones(size, dtype=torch.bool)).to("cuda")


def eyas_step(name: str, size: int, compiled: bool = True) -> Callable[[], None]:
    (state, device), batch = state_of(name, compiled, "bfloat16"), batch_of(parse(name).resolution, size)

    def step() -> None:
        for _ in train(state, TASK, [batch], Training(), 10**6, device):
            pass

    return step


def timm_step(name: str, resolution: int, size: int) -> Callable[[], None]:
    model = timm.create_model(name, num_classes=CLASSES).to("cuda", memory_format=torch.channels_last).train()
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    images = torch.randn(size, 3, resolution, resolution, device="cuda").contiguous(memory_format=torch.channels_last)
    labels = torch.arange(size, device="cuda") % CLASSES

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            value = loss(compiled(images), labels)
        value.backward()
        optimizer.step()

    return step


def network_case(case: str, pairs: int, size: int) -> Row:
    ours, theirs = eyas_step(case, size), timm_step(PEERS[case], parse(case).resolution, size)
    for _ in range(10):
        ours()
        theirs()
    times = np.array([(seconds(ours), seconds(theirs)) for _ in range(pairs)])
    speed = size / np.median(times, axis=0)
    peer = f"timm {timm.__version__} {PEERS[case]}, AMP, channels-last, compiled"
    return row(case, peer, "images/s", float(speed[0]), float(speed[1]), times[:, 1] / times[:, 0])


def curve(size: int) -> Row:
    batches = [batch_of(128, size, seed) for seed in range(20)] * (STEPS // 20)
    last = []
    for compiled, precision in ((True, "bfloat16"), (False, "float32")):
        state, device = state_of("mobilenet_v1x0.25@128", compiled, precision)
        steps = train(state, TASK, batches, Training(), STEPS, device)
        last.append(float(np.mean([float(sum(step.losses.values())) for step in steps][-20:])))
    ratio = round(last[0] / last[1], 4)
    values = {"peer_value": round(last[1], 4), "eyas_value": round(last[0], 4), "unit": "nats"}
    return {"case": CURVE, "peer": "eyas float32", **values, "ratio": ratio, "low": ratio, "high": ratio}


def depthwise_share(size: int) -> Row:
    step = eyas_step("mobilenet_v1@224", size, compiled=False)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=True) as found:
        step()
        torch.cuda.synchronize()
    events = found.key_averages(group_by_input_shape=True)
    total = sum(event.self_device_time_total for event in events)
    gradients = [event for event in events if event.key == "aten::convolution_backward"]
    depthwise = [event for event in gradients if event.input_shapes[2][1] == 1]
    parts = [100 * sum(event.device_time_total for event in of) / total for of in (depthwise, gradients)]
    ratio = round(parts[0] / parts[1], 3)
    values = {"peer_value": round(parts[1], 1), "eyas_value": round(parts[0], 1), "unit": "% of a step"}
    return {"case": SHARE, "peer": "gradients of all convolutions", **values, "ratio": ratio, "low": ratio, "high": ratio}


def held(pairs: int) -> Row:
    with tempfile.TemporaryDirectory() as place:
        folder = photographs(Path(place) / "images", PICTURES, 375, 500)
        built = build_store(manifest_of(folder), Path(place) / "store", side_of(RESOLUTION))
        stream, usual = stream_of(built.store, LIKE_TIMM, RESOLUTION), resident.SHARE

        def epochs(share: float) -> float:
            resident.SHARE = share
            begun = time.perf_counter()
            taken(stream.run(0, EPOCHS * PICTURES // stream.parts[0].count, device="cuda"))
            torch.cuda.synchronize()
            return time.perf_counter() - begun

        epochs(0.0), epochs(usual)
        times = np.array([(epochs(usual), epochs(0.0)) for _ in range(pairs)])
    speed = EPOCHS * PICTURES / np.median(times, axis=0)
    return row(HELD, "cropped in threads", "images/s", float(speed[0]), float(speed[1]), times[:, 1] / times[:, 0])


def measured(case: str, pairs: int, size: int) -> Row:
    if case == CURVE:
        return curve(size)
    if case == HELD:
        return held(pairs)
    return depthwise_share(size) if case == SHARE else network_case(case, pairs, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU that torch can use is here; nothing was measured")
    found = []
    for case in [given.case] if given.case else CASES:
        found.append(measured(case, given.pairs, given.batch))
        each = found[-1]
        text = f"{each['case']:24s} {each['ratio']:6.3f}x ({each['low']} to {each['high']}) of {each['peer']}"
        print(json.dumps(each) if given.json else text, flush=True)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        about = {**machine(), "gpu": torch.cuda.get_device_name()}
        write_json(given.out / "gpu.json", {"date": str(date.today()), "machine": about, "rows": found})


if __name__ == "__main__":
    main()
