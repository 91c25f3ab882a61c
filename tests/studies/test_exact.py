"""The same bytes whatever happens to the process: killed, interrupted, begun again."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.studies.conftest import Photos

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("exact")]

# Where a shell began the tests in the background, it had them ignore Ctrl-C, and what they start as well.
HEEDS = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
EYAS = (sys.executable, "-c", f"{HEEDS}from eyas.cli import main; sys.exit(main())")
EXACT = ("*.safetensors", "log.jsonl", "*.parquet", "*.onnx", "pixels.bin", "selection.json", "verdict.json", "audit.json")


def exact(run: Path) -> dict[str, bytes]:
    """All that must not depend on when, where and how often the command was given."""
    files = {file for pattern in EXACT for file in run.rglob(pattern)}
    assert {"teacher", "student", "control", "labels"} <= {file.parent.name for file in files}
    return {str(file.relative_to(run)): file.read_bytes() for file in sorted(files)}


def begin(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([*EYAS, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(words: list[str]) -> None:
    done = subprocess.run([*EYAS, *words], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def wait_until(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    while not moment():
        assert process.poll() is None, "the run was over before the moment came"
        time.sleep(0.002)


def lines(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


def checkpointed(stage: Path) -> bool:
    return any(stage.glob(".checkpoint-*"))


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "while images are read": lambda run: (run / "data" / "inputs.json").exists(),
    "while candidates are measured": lambda run: (run / "plan" / "inputs.json").exists(),
    "before the teacher's first checkpoint": lambda run: (run / "teacher" / "inputs.json").exists(),
    "right after a checkpoint": lambda run: checkpointed(run / "teacher"),
    "between checkpoints": lambda run: lines(run / "teacher" / "log.jsonl") >= 30,
    "while the pile is labelled": lambda run: (run / "round-1" / "labels" / "inputs.json").exists(),
    "in the noised student": lambda run: lines(run / "round-1" / "student" / "log.jsonl") >= 20,
    "while the teacher is taken for the control": lambda run: (run / "round-1" / "control" / "inputs.json").exists(),
    "in the distillation": lambda run: lines(run / "student" / "log.jsonl") >= 10,
    "while a file is exported": lambda run: (run / "artifacts" / "onnx" / "inputs.json").exists(),
    "between two files": lambda run: (run / "artifacts" / "onnx" / "stage.json").exists(),
}


def test_killed_in_every_stage(reference: Path, photos: Photos, tmp_path: Path) -> None:
    run = tmp_path / "run"
    later = random.Random(0)
    for name, moment in MOMENTS.items():
        process = begin(photos.fit(run))
        wait_until(process, lambda moment=moment: moment(run))
        if name == "between checkpoints":
            time.sleep(later.uniform(0.02, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, name
    finish(photos.fit(run))
    assert exact(run) == exact(reference)
    assert [file.name for file in run.rglob(".*")] == [".eyas-run"]


def test_stopped_by_the_user_and_then_killed_at_random(reference: Path, photos: Photos, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = begin(photos.fit(run))
    wait_until(process, lambda: checkpointed(run / "teacher"))
    os.kill(process.pid, signal.SIGINT)
    shown, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert shown == ""
    assert told.splitlines()[-1] == "eyas fit: stopped; give the same command again to go on from the last checkpoint"
    news = ("✓", "images prepared by an earlier run")
    assert all(line.startswith(news) and "teacher" not in line for line in told.splitlines()[:-1])
    later = random.Random(1)
    for _ in range(2):
        process = begin(photos.fit(run))
        with suppress(subprocess.TimeoutExpired):
            process.wait(later.uniform(3, 9))
        process.kill()
        process.communicate()
    finish(photos.fit(run))
    assert exact(run) == exact(reference)
