"""How much other work on the machine slows a training step down, by how threads wait for each other.

    python benchmarks/waiting.py [--json] [--out benchmarks/results] [--neighbours 2]

Ours spin briefly, as the command line has it; the peers are the runtime's default, which spins for long, and threads that
sleep at once. Each measurement is a process of its own, since the OpenMP runtime reads its policy once, at its start; the
three take turns, alone on the machine and beside processes that train the same network with the runtime's default.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np

ARCH = "mobilenet_v1x0.35@32/8"
STEPS = 15
ROUNDS = 3
LIMIT = 120  # seconds after which a measurement counts as this slow


BRIEFLY = {"GOMP_SPINCOUNT": "10000"}
PEERS = {"the runtime's default": {}, "threads that sleep": {"OMP_WAIT_POLICY": "PASSIVE"}}


def measure(policy: dict[str, str]) -> float:
    """Median milliseconds of a step in a fresh process."""
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} | policy
    command = [sys.executable, __file__, "--step", str(STEPS)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=True)
    except subprocess.TimeoutExpired:
        return LIMIT * 1e3 / STEPS
    return float(done.stdout)


def steps(count: int) -> list[float]:
    from train_step import eyas_step, plain, seconds

    step = eyas_step(ARCH, plain("float32"))
    step()
    return [1e3 * seconds(step) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--neighbours", type=int, default=2)
    parser.add_argument("--step", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(np.median(steps(given.step)))
        return
    rows = []
    for neighbours in (0, given.neighbours):
        beside = [subprocess.Popen([sys.executable, __file__, "--step", "1000000"]) for _ in range(neighbours)]
        time.sleep(20 if neighbours else 0)
        times = np.array([[measure(policy) for policy in (BRIEFLY, *PEERS.values())] for _ in range(ROUNDS)])
        for process in beside:
            process.kill()
        ours, *theirs = times.T
        for peer, values in zip(PEERS, theirs, strict=True):
            ratios = values / ours
            rows.append(
                {
                    "case": f"{ARCH} beside {neighbours}",
                    "peer": peer,
                    "peer_value": round(float(np.median(values)), 1),
                    "eyas_value": round(float(np.median(ours)), 1),
                    "unit": "ms a step",
                    "ratio": round(float(np.median(ratios)), 3),
                    "low": round(float(min(ratios)), 3),
                    "high": round(float(max(ratios)), 3),
                }
            )
    for row in rows:
        text = f"{row['case']}: {row['eyas_value']} ms, with {row['peer']} {row['peer_value']} ms, {row['ratio']}x"
        print(json.dumps(row) if given.json else text)
    if given.out:
        from eyas.deploy.measure import machine
        from eyas.run import write_json

        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "waiting.json", {"date": str(date.today()), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
