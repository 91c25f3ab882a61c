"""`eyas train` by two processes: one run, one message, and the same bytes after a kill."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eyas.cli import main
from eyas.nn.weights import tensors_of
from tests.learn.test_team import free_port, launch
from tests.scenes import write_scenes
from tests.studies.conftest import contents

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("team")]

ARCH = ("--arch", "mobilenet_v1x0.25@32")
LESSON = ("--training.epochs", "0.1", "--training.min_steps", "6", "--training.batch", "8", "--training.checkpoint_every", "2")
WORDS = (*ARCH, *LESSON, "--cache-dir", "none")
LIMIT = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("team") / "data", 10)


def given(*words: object) -> list[str]:
    return ["-W", "error", "-m", "eyas", *map(str, words)]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, what was shown and what was told, of each process."""
    told = [process.communicate(timeout=LIMIT) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, told, strict=True)]


def written(run: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in contents(run).items()}


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    (code, shown, told), *others = ended(launch(given("train", data, "--out", run, *WORDS)))
    assert (code, others) == (0, [(0, "", "")])
    assert shown.splitlines()[0].startswith("mobilenet_v1x0.25@32: test accuracy ")
    assert shown.splitlines()[1] == f"run  {run}"
    assert [line.split()[1] for line in told.splitlines()] == ["reading", "looking", "training"]
    return run


def test_it_leaves_the_files_of_one_process(whole, data, tmp_path):
    run = tmp_path / "run"
    assert main(["train", str(data), "--out", str(run), *WORDS]) == 0
    assert written(run).keys() == written(whole).keys()
    lines = [(folder / "model" / "log.jsonl").read_text().splitlines() for folder in (run, whole)]
    assert [[json.loads(line)["step"] for line in log] for log in lines] == [[1, 2, 3, 4, 5, 6]] * 2
    alone, team = (tensors_of(folder / "model" / "model.safetensors") for folder in (run, whole))
    assert alone.keys() == team.keys()


def test_killed_and_begun_again_it_leaves_the_same_bytes(whole, data, tmp_path):
    run = tmp_path / "run"
    processes = launch(given("train", data, "--out", run, *WORDS))
    until = time.monotonic() + LIMIT
    while not list((run / "model").glob(".checkpoint*")) and time.monotonic() < until:
        time.sleep(0.002)
    for process in processes:
        process.kill()
    assert {code for code, _, _ in ended(processes)} == {-9}
    assert not (run / "model" / "stage.json").exists()
    assert [code for code, _, _ in ended(launch(given("train", data, "--out", run, *WORDS)))] == [0, 0]
    assert written(run) == written(whole)


class TestFailure:
    """One process tells, whichever it is; the other says nothing, and does not wait for ever."""

    def told(self, processes: list[subprocess.Popen[str]], code: int = 2) -> str:
        found = ended(processes)
        assert {code for code, _, _ in found} == {code}
        texts = [line for _, shown, told in found for line in (shown + told).splitlines()]
        return "\n".join(line for line in texts if not line.startswith("✓"))

    def test_of_the_first(self, tmp_path):
        processes = launch(given("train", tmp_path / "nowhere", "--out", tmp_path / "run", *WORDS))
        told = self.told(processes)
        assert told.startswith(f"eyas train: no data at {tmp_path / 'nowhere'}; ")
        assert "\n" not in told

    def test_of_all(self, data, tmp_path):
        words = (*WORDS, "--training.batch", "7")
        told = self.told(launch(given("train", data, "--out", tmp_path / "run", *words)))
        assert told == (
            "eyas train: a batch has 7 images, which 2 processes cannot share equally; give training.batch a multiple of 2"
        )

    def test_of_one_that_is_killed(self, data, tmp_path):
        run = tmp_path / "run"
        words = (*WORDS, "--training.min_steps", "100000")
        processes = launch(given("train", data, "--out", run, *words))
        until = time.monotonic() + LIMIT
        while not (run / "model" / "log.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.01)
        processes[1].kill()
        (code, shown, told), (killed, *_) = ended(processes)
        assert (code, shown, killed) == (2, "", -9)
        last = told.splitlines()[-1]
        assert last == "eyas train: another of the 2 processes has ended; give the same command again to go on"

    def test_of_a_command_that_is_for_one(self):
        told = self.told(launch(given("cost", "mobilenet_v1")))
        assert told == "eyas cost: eyas cost works in one process; start it without torchrun"


def test_torchrun_starts_it(whole, data, tmp_path):
    words = ["--nproc-per-node", "2", "--master-port", str(free_port()), "-m", "eyas", "train", str(data), "--out"]
    command = [sys.executable, "-m", "torch.distributed.run", *words, str(tmp_path / "run"), *WORDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"run  {tmp_path / 'run'}"
    assert len(done.stdout.splitlines()) == 2
    assert written(tmp_path / "run") == written(whole)
