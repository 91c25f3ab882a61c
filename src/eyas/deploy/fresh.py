"""Load a model and answer once, in a process that does nothing else: `python -I fresh.py PAGE FOLDER THREADS BATCH`.

PAGE is the predict.py that goes with an artifact. Prints one line of JSON: peak memory, time to load, time of the first
answer. It needs nothing of Eyas, so what it tells is what the device has to hold.
"""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from time import perf_counter

UNUSABLE = 3  # exit code; Python's own are 1 and 2


def main(page: str, folder: str, threads: str, batch: str) -> int:
    """Load, answer, tell: 0, or `UNUSABLE` and a sentence where the model cannot be used."""
    from_file = spec_from_file_location("page", page)
    assert from_file is not None and from_file.loader is not None, page
    predict = module_from_spec(from_file)
    from_file.loader.exec_module(predict)
    try:
        facts = predict.about(folder)
        height, width = facts["frame"] or [facts["resolution"]] * 2
        start = perf_counter()
        ask = predict.open_model(folder, int(threads))
        loaded = perf_counter()
        ask(predict.np.full((int(batch), height, width, 3), 127, predict.np.uint8))
    except predict.Unusable as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    answered = perf_counter()
    found = {"peak_bytes": peak_bytes(), "load_ms": 1e3 * (loaded - start), "first_ms": 1e3 * (answered - loaded)}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def peak_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The most memory that this process had resident.

    Linux tells it of this program alone in /proc; what getrusage tells there may be that of the process that started it.
    """
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    import resource  # which Windows has not

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
