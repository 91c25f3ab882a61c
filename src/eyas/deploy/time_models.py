"""Time the models of this folder on this device, and write one JSON file. Needs only Python, numpy and the runtime.

Copy the whole folder to the device (a Raspberry Pi, another computer) and run there

    python time_models.py --out timings.json

It may be stopped at any moment; the same command goes on. Back on the computer that has Eyas,
`eyas measure --device-table --timings timings.json --out table.json` makes a latency table of the file.

The speed of a device swings with its temperature and with what else it does. So each model is timed in turn with one and the
same reference model, and what counts is the ratio of their medians. On one thread, time is that of the processor spent by this
process, so that waiting for others who use the device is not taken for work; on several it is the time that passed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

LIST = "models.json"
FORMAT = "eyas timings 1"
WARMUP = 3  # runs, in which the runtime allocates
PAIRS = (10, 80)  # of a model and the reference: as many of them as fit into
SECONDS = 0.25

Run = Callable[[], Any]
Timed = Literal["onnx", "onnx-int8", "openvino", "openvino-bf16", "openvino-int8"]


class Unusable(ValueError):  # noqa: N818 - an answer about a file, not an error of the program
    """What was found cannot be gone on with; the message says why and what to do."""


def main(words: list[str] | None = None) -> int:
    """Read the command's words, time the models, and tell how far it is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", default=str(Path(__file__).resolve().parent), help="where the models lie")
    parser.add_argument("--out", default="timings.json", help="the file to write")
    parser.add_argument("--threads", type=int, default=1, help="for the runtime; 0 lets it choose")
    parser.add_argument("--target", choices=get_args(Timed), help="another than the folder was written for")
    given = parser.parse_args(words)
    folder, out = Path(given.folder), Path(given.out)

    def tell(done: int, total: int, name: str) -> None:
        sys.stderr.write(f"{done} of {total}: {name}\n")

    try:
        time_models(folder, out, given.target or _listed(folder)["target"], given.threads, tell)
    except Unusable as error:
        sys.stderr.write(f"time_models.py: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("time_models.py: stopped; the same command goes on\n")
        return 130
    sys.stderr.write(f"written: {out}\n")
    return 0


def time_models(folder: Path, out: Path, target: str, threads: int, tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Time every model that `models.json` lists, and keep what is known after each in `out`; go on where it was stopped.

    Unusable: the folder holds no models, or none for the target; the runtime is not installed; `out` holds something else, or
    cannot be written.
    """
    listed = _listed(folder)
    if is_int8(target) != is_int8(listed["target"]):
        raise Unusable(f"the models of {folder} are for {listed['target']}, not for {target}; write others with --kit")
    facts = {
        "format": FORMAT,
        "kit": listed["kit"],
        "target": target,
        "device": device(),
        "runtime": runtime(target),
        "threads": threads,
    }
    kept = _begun(out, facts)
    found: dict[str, Any] = kept.get("models", {})
    clock = time.process_time if threads == 1 else time.perf_counter
    reference = opened(folder / listed["reference"]["file"], listed["reference"], target, threads)
    for number, model in enumerate(listed["models"]):
        if model["name"] not in found:
            found[model["name"]] = _paired(opened(folder / model["file"], model, target, threads), reference, clock)
            at = statistics.median(each["reference_ms"] for each in found.values())
            kept = {**facts, "date": time.strftime("%Y-%m-%d"), "reference_ms": at, "models": found}
            _write(out, kept)
        tell(number + 1, len(listed["models"]), model["name"])
    return kept


def is_int8(target: str) -> bool:
    """Whether the models for a target compute in eight bits."""
    return target.endswith("-int8")


def _listed(folder: Path) -> dict[str, Any]:
    """What `models.json` in the folder says."""
    try:
        found = json.loads((folder / LIST).read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not {"kit", "target", "reference", "models"} <= set(found):
        raise Unusable(f"{folder} holds no models to time, or not all of them: copy the whole folder that --kit wrote")
    return found


def opened(path: Path, model: dict[str, Any], target: str, threads: int) -> Run:
    """A model behind its runtime, ready to run on random numbers of the shape that it takes."""
    random = np.random.default_rng(0)
    if model["kind"] == "uint8":
        given = random.integers(0, 256, model["shape"], dtype=np.uint8)
    else:
        given = random.random(model["shape"], dtype=np.float32)
    if target.startswith("openvino"):
        return _openvino(path, given, target, threads)
    onnxruntime = _imported("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: given})


def _openvino(path: Path, given: np.ndarray, target: str, threads: int) -> Run:
    openvino = _imported("openvino")
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "bf16" if target == "openvino-bf16" else "f32"
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda: request.infer([given])


def runtime(target: str) -> str:
    """Name and version of what runs the models."""
    name = "openvino" if target.startswith("openvino") else "onnxruntime"
    return f"{name} {_imported(name).__version__}"


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise Unusable(f"{name} is not installed: pip install {name}") from None


def device() -> str:
    """The name of the board or of the processor."""
    board = Path("/proc/device-tree/model")
    if board.exists():
        return board.read_text().strip("\0\n ")
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text().splitlines() if processor.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware"))]
    return names[0] if names else platform.processor() or platform.machine()


def _paired(model: Run, reference: Run, clock: Callable[[], float]) -> dict[str, Any]:
    """Both in turn: the ratio of their medians, and what the reference took."""
    for _ in range(WARMUP):
        model()
        reference()
    pairs: list[tuple[float, float]] = []
    begun = time.perf_counter()
    while len(pairs) < PAIRS[0] or (len(pairs) < PAIRS[1] and time.perf_counter() - begun < SECONDS):
        start = clock()
        model()
        between = clock()
        reference()
        pairs.append((between - start, clock() - between))
    mine, its = (statistics.median(times) for times in zip(*pairs))  # noqa: B905 - `strict` came with Python 3.10
    return {"ratio": mine / its, "reference_ms": 1e3 * its, "pairs": len(pairs)}


def _begun(out: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """What an earlier start left in `out`, if it timed the same on the same."""
    if not out.exists():
        return {}
    try:
        kept = json.loads(out.read_text())
    except (OSError, ValueError):
        kept = None
    same = isinstance(kept, dict) and all(kept.get(name) == value for name, value in facts.items())
    if not same:
        raise Unusable(f"{out} holds timings of another device, runtime, kit or number of threads; remove it")
    return kept


def _write(out: Path, value: dict[str, Any]) -> None:
    temporary = out.with_name(out.name + ".partial")
    try:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
        temporary.replace(out)
    except OSError as error:
        raise Unusable(f"{out} cannot be written ({error.strerror}); give another --out") from None


if __name__ == "__main__":
    sys.exit(main())
