"""One optimizer step, of ours and of timm, timed in turn in one run; what the loop costs; whether bfloat16 learns as well.

    python benchmarks/train_step.py [--case NAME ...] [--json] [--out benchmarks/results] [--pairs 20] [--seeds 20] [--profile]

Only the ratio holds from one machine, or one minute, to another. --out keeps the rows of other cases that a file there has.

* NETWORK: the peer is timm's network of the same shapes in its defaults (float32, NCHW). Ours is computed as
  `eyas.learn.way` chooses for a long run (not compiled), and includes what `eyas.learn.train` does around the step:
  schedule, clipping, averaged weights. All optimizers are fused AdamW. `roofline` is the time that our step would take if
  its convolutions ran as fast as a matrix product in the precision chosen, or moving its maps once in each of forward,
  and twice in backward, as a copy does (the larger of the two), over the time that it takes; both measured in the same run.
* NETWORK bfloat16: our own step in bfloat16 against float32, both with torch's operations.
* NETWORK fused: our own step with the kernels of `eyas.nn.fused` against torch's operations, each in the precision in which
  it is faster.
* NETWORK compiled: our own step compiled by torch against its operations as they are, both in the precision in which the latter
  are faster; `compiling` are the seconds of the first step.
* NETWORK layout: our own step channels-last against channels-first, both with torch's operations.
* loop overhead: the loop (schedule, norm of the gradient, clipping, average of the weights) against a bare forward, backward
  and step of the same network and the same optimizer, each made eight times, as where it happens to lie in memory changes a
  step by more than the loop does; the ratio is bare over loop, so 0.97 is an overhead of 3 %.
* loss curve: 200 steps on the same batches, fused in bfloat16 against torch's in float32, from --seeds seeds (without a
  compiler torch's in bfloat16); the values are the mean losses of
  the last 20 steps, the ratio is ours over the peer's, and `spread` is how far the seeds alone are apart in float32
  (standard deviation over mean): a ratio can be known no better than that over the root of their number.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import timm
import torch
from kept import Row, keep_row
from torch import nn
from torch.profiler import ProfilerActivity, profile

from eyas.arch.cost import breakdown, cost
from eyas.arch.parse import parse
from eyas.data.batches import Batch
from eyas.learn.device import Device, choose
from eyas.learn.optim import optimizer
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.learn.way import Way, choose_way
from eyas.memory import keep
from eyas.nn.build import build
from eyas.recipe import Training
from eyas.tasks.classify import Classify

PEERS = {  # timm's name, and a width that no name of it has
    "mobilenet_v1x0.25@128": ("mobilenetv1_100", 0.25),
    "mobilenet_v1x0.5@160": ("mobilenetv1_100", 0.5),
    "mobilenet_v1@224": ("mobilenetv1_100", 1.0),
    "efficientnet_b0@128": ("tf_efficientnet_b0", 1.0),
    "efficientnet_b0@224": ("tf_efficientnet_b0", 1.0),
    "mobilenet_v2@224": ("mobilenetv2_100", 1.0),
}
BFLOAT16, FUSED, COMPILED, LAYOUT = " bfloat16", " fused", " compiled", " layout"
OVERHEAD, CURVE = "loop overhead", "loss curve"
CASES = (*PEERS, *(case + what for what in (BFLOAT16, FUSED, COMPILED, LAYOUT) for case in PEERS), OVERHEAD, CURVE)
SMALL = "mobilenet_v1x0.25@128"  # where the loop weighs most
PLACES = 8  # in memory, of the networks that the loop is measured with
BATCH = 32
CLASSES = 10
STEPS = 200  # of a loss curve
LONG = 10**6  # steps of a run that is worth a measurement

Step = Callable[[], None]


def state_of(name: str, device: Device) -> State:
    arch, recipe = parse(name), Training()
    network = build(arch, nn.Linear(arch.features, CLASSES), recipe.dropout, recipe.drop_path)
    return State.new(network.to(device.name), recipe, seed=0)


def batch_of(resolution: int, seed: int = 0) -> Batch:
    """Random images, darker or brighter by class, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(BATCH) % CLASSES
    noise = torch.randint(0, 128, (BATCH, resolution, resolution, 3), generator=generator)
    images = (noise + 12 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Batch(images, torch.eye(CLASSES)[labels], torch.ones(BATCH, dtype=torch.bool))


def fastest(name: str, **asked: str) -> Way:
    """The way that a long run would choose, not compiled."""
    device = choose()
    recipe = Training(**{"compile": "off", **asked})
    return choose_way(state_of(name, device).model, recipe, BATCH, LONG, device)


def plain(precision: str) -> Way:
    """With torch's operations."""
    return Way(precision, False, torch.get_num_threads())


def eyas_step(name: str, way: Way, channels_last: bool = True) -> Step:
    device = way.device(choose())
    state, task = state_of(name, device), Classify(tuple("0123456789"), 0.1)
    way.apply(state.model, device)
    batch = batch_of(parse(name).resolution)
    if not channels_last:
        state.model.to(memory_format=torch.contiguous_format)
        state.model.blocks[0].register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
    steps = train(state, task, repeat(batch), Training(), 10 * LONG, device)

    def step() -> None:
        next(steps)

    return step


def bare_step(name: str, way: Way) -> Step:
    """Forward, backward and the recipe's optimizer of our network, and nothing else."""
    device = way.device(choose())
    network = state_of(name, device).model.train()
    way.apply(network, device)
    update = optimizer(network, Training())
    task = Classify(tuple("0123456789"), 0.1)
    batch = batch_of(parse(name).resolution).to(device.name)

    def step() -> None:
        with device.autocast():
            out = task.forward(network, batch)
        torch.stack(list(task.loss(out, batch).values())).sum().backward()
        update.step()
        update.zero_grad()

    return step


def timm_model(name: str, width: float) -> nn.Module:
    if width == 1:
        return timm.create_model(name, num_classes=CLASSES)
    from timm.models.efficientnet import _gen_mobilenet_v1  # what its names are made with; none has this width

    return _gen_mobilenet_v1(name, width, num_classes=CLASSES)


def timm_step(name: str, width: float, resolution: int, device: Device) -> Step:
    model = timm_model(name, width).to(device.name).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    images = torch.randn(BATCH, 3, resolution, resolution, device=device.name)
    labels = torch.arange(BATCH, device=device.name) % CLASSES

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


def row(case: str, peer: str, unit: str, eyas: float, theirs: float, ratios: np.ndarray) -> Row:
    rng = np.random.default_rng(0)
    low, high = np.percentile([np.median(rng.choice(ratios, len(ratios))) for _ in range(2000)], [2.5, 97.5])
    return {
        "case": case,
        "peer": peer,
        "peer_value": round(theirs, 1),
        "eyas_value": round(eyas, 1),
        "unit": unit,
        "ratio": round(float(np.median(ratios)), 3),
        "low": round(float(low), 3),
        "high": round(float(high), 3),
    }


def compare(case: str, peer: str, ours: Step, theirs: Step, pairs: int) -> Row:
    return faster(case, peer, in_turn(ours, theirs, pairs))


def in_turn(ours: Step, theirs: Step, pairs: int) -> np.ndarray:
    """Seconds of both [pairs, 2]."""
    for _ in range(3):
        ours()
        theirs()
    return np.array([(seconds(ours), seconds(theirs)) for _ in range(pairs)])


def faster(case: str, peer: str, times: np.ndarray) -> Row:
    speed = BATCH / np.median(times, axis=0)
    return row(case, peer, "images/s", float(speed[0]), float(speed[1]), times[:, 1] / times[:, 0])


def roofline(name: str, device: Device) -> float:
    """Images a second that products and copies at this machine's own rates would allow."""
    arch = parse(name)
    dtype = torch.bfloat16 if device.bfloat16 else torch.float32
    left = torch.randn(2048, 2048, device=device.name).to(dtype)
    from_, to = (torch.zeros(2**25, device=device.name) for _ in range(2))
    products = 2 * 2048**3 / min(seconds(lambda: left @ left) for _ in range(5))
    copies = 2 * 4 * 2**25 / min(seconds(lambda: to.copy_(from_)) for _ in range(5))
    flops = 3 * 2 * cost(arch, CLASSES).madds
    moved = 3 * dtype.itemsize * sum(share.moved for share in breakdown(arch, "stage", CLASSES))
    return 1 / max(flops / products, moved / copies)


def network_case(case: str, pairs: int) -> Row:
    name, _, what = case.partition(" ")
    if what == "bfloat16":
        return compare(case, "eyas float32", eyas_step(name, plain("bfloat16")), eyas_step(name, plain("float32")), pairs)
    if what:
        return way_case(case, name, what, pairs)
    way, (peer, width) = fastest(name), PEERS[name]
    theirs = timm_step(peer, width, parse(name).resolution, choose())
    found = compare(case, f"timm {timm.__version__} {peer}", eyas_step(name, way), theirs, pairs)
    ceiling = roofline(name, way.device(choose()))
    share = round(float(found["eyas_value"]) / ceiling, 3)  # ty: ignore[invalid-argument-type]
    return found | {"precision": way.precision, "fused": way.fused, "roofline": share}


def way_case(case: str, name: str, what: str, pairs: int) -> Row:
    """Another way to compute our step against torch's operations as they are."""
    as_it_is = fastest(name, fused="off")
    peer, more = eyas_step(name, as_it_is, channels_last=what != "layout"), {}
    if what == "fused":
        way = fastest(name, fused="on")
        ours, more = eyas_step(name, way), {"precision": way.precision}
    elif what == "compiled":
        ours = eyas_step(name, replace(as_it_is, compiled=True))
        more = {"compiling": round(seconds(ours), 1)}
    else:
        ours = eyas_step(name, as_it_is)
    found = compare(case, "channels-first" if what == "layout" else f"eyas {as_it_is.precision}", ours, peer, pairs)
    return found | more


def overhead(pairs: int) -> Row:
    way = fastest(SMALL)
    times = [in_turn(eyas_step(SMALL, way), bare_step(SMALL, way), -(-pairs // PLACES)) for _ in range(PLACES)]
    return faster(OVERHEAD, "bare step", np.concatenate(times))


def last_loss(way: Way, seed: int) -> float:
    """Mean loss of the last 20 of 200 steps, without dropout: its masks would differ between the precisions."""
    recipe, arch, device = Training(dropout=0, drop_path=0), parse(SMALL), way.device(choose())
    network = build(arch, nn.Linear(arch.features, CLASSES), seed=seed).to(device.name)
    way.apply(network, device)
    batches = [batch_of(arch.resolution, number) for number in range(20)] * (STEPS // 20)
    steps = train(State.new(network, recipe, seed), Classify(tuple("0123456789"), 0.1), batches, recipe, STEPS, device)
    return float(np.mean([float(sum(step.losses.values())) for step in steps][-20:]))


def curve(seeds: int) -> Row:
    ways = fastest(SMALL, precision="bfloat16", fused="on"), plain("float32")
    losses = np.array([[last_loss(way, seed) for way in ways] for seed in range(seeds)])
    ours, theirs = losses.mean(axis=0)
    found = row(CURVE, "eyas float32", "nats", ours, theirs, losses[:, 0] / losses[:, 1])
    values = {"peer_value": round(float(theirs), 4), "eyas_value": round(float(ours), 4)}
    return found | values | {"spread": round(float(losses[:, 1].std(ddof=1) / theirs), 4), "seeds": seeds}


def measured(case: str, pairs: int, seeds: int) -> Row:
    if case == OVERHEAD:
        return overhead(pairs)
    return curve(seeds) if case == CURVE else network_case(case, pairs)


def show_profile(case: str) -> None:
    """Where the time of our step goes, by operation and kind of convolution: as torch computes it, and as a long run would."""
    for way in (fastest(case, fused="off"), fastest(case)):
        step = eyas_step(case, way)
        for _ in range(3):
            step()
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        with profile(activities=kinds, record_shapes=True) as found:
            for _ in range(3):
                step()
        print(f"{case} in {way.precision}{', fused' if way.fused else ''}")
        times = Counter[str]()
        for each in found.key_averages(group_by_input_shape=True):
            times[operation(each.key, each.input_shapes)] += each.self_cpu_time_total / 3e3
        for name, taken in times.most_common(14):
            print(f"  {name[:60]:60s} {taken:8.1f} ms {taken / times.total():6.1%}")


def operation(name: str, shapes: list[list[int]]) -> str:
    """The name of an operation; of a convolution with what it is, by its kernel [outputs, inputs of a group, k, k]."""
    kernels = [shape for shape in shapes if len(shape) == 4][-1:] if "convolution" in name else []
    for _, inputs, side, _ in kernels:
        kind = "pointwise" if side == 1 else "depthwise" if inputs == 1 else "full"
        return f"{name}, {kind}"
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, nargs="+", metavar="NAME", default=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=20, help="of the loss curve")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    given = parser.parse_args()
    keep()  # as in every training of Eyas; both sides gain
    if given.profile:
        for case in given.case:
            if case in PEERS:
                show_profile(case)
        return
    for case in given.case:
        each = measured(case, given.pairs, given.seeds)
        text = f"{each['case']:32s} {each['ratio']:6.3f}x ({each['low']} to {each['high']}) of {each['peer']}"
        print(json.dumps(each) if given.json else text, flush=True)
        if given.out:
            keep_row(given.out / "train_step.json", each, CASES)


if __name__ == "__main__":
    main()
