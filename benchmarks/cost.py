"""What it takes to know a network's cost: one network, a hundred thousand of them, and torch's counter for scale.

    python benchmarks/cost.py [--case NAME] [--json] [--out benchmarks/results]

`cost` keeps the blocks that it has seen, so one network is costed in three ways: the same again, others of its family (each
new in width and resolution, none seen before), and those with everything forgotten in between. The hundred thousand are made
from their dials, costed and held against a budget, in the order in which they are listed and shuffled; the seconds hold
all of that. torch's counter builds the network on the meta device and sends one image through it, timed in turn with `cost`:
only that ratio holds from one machine, or one minute, to another.
"""

import argparse
import gc
import itertools
import json
import os
import random
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from statistics import quantiles
from time import perf_counter, process_time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eyas.arch import spec
from eyas.arch.budget import Budget
from eyas.arch.cost import cost
from eyas.arch.scale import at, deeper, wider
from eyas.arch.spec import Arch
from eyas.arch.tables import ARCHS, EFFICIENTNET_B0
from eyas.deploy.measure import machine
from eyas.nn.build import Network
from eyas.run import write_json

Dials = tuple[Arch, float, float, int]

BUDGET = Budget.parse("madds<=60M,params<=1.5M")
MANY = 100_000
WIDTHS = [n / 10 for n in range(2, 30)]
DEPTHS = [n / 2 for n in range(1, 7)]  # a repetition is rounded up: closer together, some would be the same network
SIDES = range(64, 64 + 22 * 16, 16)
# Each new in width, and so in most of its channels; odd sides, ten of them.
OTHERS = [at(wider(EFFICIENTNET_B0, 0.5 + n / 100), 65 + 32 * (n % 10)) for n in range(200)]


def forget() -> None:
    """Empty what `cost` keeps; everything is again as in a new process."""
    for kept in (spec._block, spec.blocks, spec._head):
        kept.cache_clear()


def seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def microseconds(times: Iterable[float]) -> dict[str, Any]:
    """Median and quartiles."""
    taken = [1e6 * time for time in times]
    low, median, high = quantiles(taken, n=4)
    return {"unit": "us", "median": round(median, 1), "q1": round(low, 1), "q3": round(high, 1), "samples": len(taken)}


def again() -> dict[str, Any]:
    cost(EFFICIENTNET_B0)
    return microseconds(seconds(lambda: cost(EFFICIENTNET_B0)) for _ in range(2000))


def others() -> dict[str, Any]:
    forget()
    return microseconds([seconds(lambda arch=arch: cost(arch)) for arch in OTHERS])


def others_forgotten() -> dict[str, Any]:
    times = []
    for arch in OTHERS:
        forget()
        times.append(seconds(lambda arch=arch: cost(arch)))
    return microseconds(times)


def many_dials() -> list[Dials]:
    return list(itertools.islice(itertools.product(ARCHS.values(), WIDTHS, DEPTHS, SIDES), MANY))


def networks(dials: list[Dials]) -> int:
    """How many of them differ as networks and not only in their dials."""
    made = (at(deeper(wider(arch, width), depth), side) for arch, width, depth, side in dials)
    return len({(arch.name, tuple(spec.scaled_stages(arch)), spec._head_width(arch), arch.resolution) for arch in made})


def fitting(dials: list[Dials]) -> list[Arch]:
    """Those within the budget: what is timed."""
    found = []
    for table, width, depth, side in dials:
        arch = at(deeper(wider(table, width), depth), side)
        of = cost(arch)
        if BUDGET.admits(madds=of.madds, params=of.params):
            found.append(arch)
    return found


def many(shuffled: bool) -> dict[str, Any]:
    dials = many_dials()
    if shuffled:
        random.Random(0).shuffle(dials)
    different = networks(dials)
    forget()
    gc.collect()
    start, start_cpu = perf_counter(), process_time()
    found = fitting(dials)
    taken, taken_cpu = perf_counter() - start, process_time() - start_cpu
    return {
        "unit": "s",
        "value": round(taken, 2),
        "of_processor": round(taken_cpu, 2),
        "specs": len(dials),
        "distinct_networks": different,
        "budget": str(BUDGET),
        "fit": len(found),
        "us_each": round(1e6 * taken / len(dials), 1),
    }


def counted_by_torch() -> int:
    """MAdds of B0 as torch counts them: half its FLOPs."""
    with torch.device("meta"), torch.no_grad():
        network = Network(EFFICIENTNET_B0, nn.Linear(EFFICIENTNET_B0.features, 1000)).eval()
        side = EFFICIENTNET_B0.resolution
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, side, side, 3, dtype=torch.uint8))
    return counter.get_total_flops() // 2


def torch_counter() -> dict[str, Any]:
    counted_by_torch()
    cost(EFFICIENTNET_B0)
    pairs = [(seconds(counted_by_torch), seconds(lambda: cost(EFFICIENTNET_B0))) for _ in range(50)]
    low, median, high = quantiles([torch_s / eyas_s for torch_s, eyas_s in pairs], n=4)
    return {
        **microseconds(torch_s for torch_s, _ in pairs),
        "eyas_median": round(1e6 * quantiles([eyas_s for _, eyas_s in pairs], n=4)[1], 1),
        "ratio": round(median),
        "ratio_q1": round(low),
        "ratio_q3": round(high),
        "madds_torch": counted_by_torch(),
        "madds_eyas": cost(EFFICIENTNET_B0).madds,
    }


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "efficientnet_b0 again": again,
    "others of its family": others,
    "others, all forgotten": others_forgotten,
    "100,000 in order": lambda: many(shuffled=False),
    "100,000 shuffled": lambda: many(shuffled=True),
    "torch's counter on efficientnet_b0": torch_counter,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    given = parser.parse_args()
    before = os.getloadavg()[0]
    found = [{"case": case, **CASES[case]()} for case in ([given.case] if given.case else CASES)]
    for row in found:
        shown = "  ".join(f"{key} {value}" for key, value in row.items() if key != "case")
        print(json.dumps(row) if given.json else f"{row['case']:36s} {shown}")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        load = {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)}  # processes, over the last minute
        result = {"date": str(date.today()), "machine": machine(), "load": load, "rows": found}
        write_json(given.out / "cost.json", result)


if __name__ == "__main__":
    main()
