import json
import subprocess
import sys

import numpy as np
import pytest

from eyas.deploy import predict as page
from eyas.deploy.fresh import peak_bytes
from eyas.deploy.measure import Folder, Ratio, compare, fresh_process, machine, measure
from eyas.deploy.target import Artifact
from eyas.errors import UserError
from eyas.run import plain


class Clock:
    """A clock that only fakes move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Fake:
    """Answers after `ms` milliseconds of the clock, more or less by `jitter` (a share), and writes its name down."""

    side = (8, 4)

    def __init__(self, clock, ms, jitter=0.0, seed=0, name="", asked=None):
        self.clock, self.ms, self.jitter = clock, ms, jitter
        self.random = np.random.default_rng(seed)
        self.name, self.asked = name, asked if asked is not None else []

    def predictor(self, _threads=0):
        def predict(images):
            self.asked.append((self.name, images))
            self.clock.now += self.ms / 1e3 * (1 + self.jitter * self.random.normal())

        return predict

    def runtime(self):
        return "fake 1"


def compared(*fakes, **options):
    return compare(fakes, clock=fakes[0].clock, **options)


def test_two_that_are_equal_cannot_be_told_apart():
    clock = Clock()
    for seed in range(5):
        found = compared(Fake(clock, 5, 0.2, seed), Fake(clock, 5, 0.2, 100 + seed))
        assert not any(ratio.differs for ratio in found.ratios)


def test_one_that_is_twice_as_slow_is_told():
    clock = Clock()
    found = compared(Fake(clock, 10, 0.2, 1), Fake(clock, 5, 0.2, 2))
    assert found.best == 1
    assert found.ratios[0].differs
    assert found.ratios[0].median == pytest.approx(2, rel=0.2)
    assert found.ratios[1] == Ratio(1, 1, 1)
    assert not found.ratios[1].differs


def test_a_slow_phase_of_the_machine_changes_times_and_no_ratio():
    clock = Clock()

    class Swinging(Fake):
        @property
        def ms(self):
            return self.own * (1 if len(self.asked) % 40 < 20 else 7)

        @ms.setter
        def ms(self, value):
            self.own = value

    asked = []
    found = compared(*(Swinging(clock, ms, asked=asked) for ms in (3, 6)), repeats=100, warmup=0)
    assert found.latencies[0].p90_ms == pytest.approx(21)
    assert found.ratios[1].median == pytest.approx(2)
    assert found.ratios[1].differs


def test_they_are_asked_in_turn_the_same_and_the_warm_up_is_not_timed():
    clock, asked = Clock(), []
    found = compared(*(Fake(clock, 1, name=name, asked=asked) for name in "ABC"), repeats=4, warmup=2, batch=3)
    assert "".join(name for name, _ in asked) == "ABC" * 6
    assert all(images.shape == (3, 8, 4, 3) and images.dtype == np.uint8 for _, images in asked)
    assert all((images == asked[0][1]).all() for _, images in asked)
    assert asked[0][1].std() > 50
    assert [latency.repeats for latency in found.latencies] == [4] * 3


def test_the_interval_holds_the_median_of_what_the_times_are_drawn_from():
    clock, held = Clock(), 0
    for seed in range(200):
        latency = compared(Fake(clock, 10, 0.3, seed), repeats=30, warmup=0).latencies[0]
        assert latency.low_ms <= latency.median_ms <= latency.high_ms <= 1e3
        held += latency.low_ms <= 10 <= latency.high_ms
    assert held >= 0.92 * 200  # 95 % and a little more: order statistics are few


def test_a_latency_is_positive_and_says_how_it_was_taken(float32):
    latency = measure(float32, threads=1, repeats=12, warmup=2, batch=4)
    assert 0 < latency.low_ms <= latency.median_ms <= latency.p90_ms < 1000
    assert (latency.repeats, latency.threads, latency.batch) == (12, 1, 4)
    assert latency.runtime.startswith("onnxruntime 1.")
    assert latency.processor
    assert latency.cores >= 1


def test_a_folder_answers_as_the_artifact_does_and_names_the_same_runtime(float32, validation):
    folder = Folder(float32.folder)
    assert folder.side == (16, 16)
    assert folder.runtime() == float32.runtime()
    np.testing.assert_allclose(folder.predictor(1)(validation[0]), float32.predictor(1)(validation[0]), atol=1e-6)


def test_a_folder_that_holds_no_artifact_is_named(tmp_path):
    with pytest.raises(UserError, match="is not an artifact"):
        _ = Folder(tmp_path).side


def test_a_fresh_process_tells_its_memory_and_times_without_torch(float32):
    found = fresh_process(float32.folder)
    assert 10e6 < found["peak_bytes"] < 400e6  # torch alone takes more
    assert found["first_ms"] > 0
    assert found["load_ms"] > 0


def test_a_fresh_process_that_cannot_answer_says_why(float32, tmp_path):
    (tmp_path / "artifact.json").write_bytes((float32.folder / "artifact.json").read_bytes())
    with pytest.raises(UserError, match=r"^\S*model\.onnx cannot be read \(No such file or directory\); export again$"):
        fresh_process(tmp_path)


def test_a_fresh_process_that_breaks_off_says_so(float32, monkeypatch):
    monkeypatch.setattr("eyas.deploy.fresh.__file__", "nowhere.py")
    with pytest.raises(UserError, match=r"could not answer in a process of its own: .*nowhere\.py"):
        fresh_process(float32.folder)


def test_a_number_of_threads_that_the_page_cannot_give_is_given_by_eyas(float32, tmp_path, monkeypatch):
    facts = json.loads((float32.folder / "artifact.json").read_text())
    (tmp_path / "artifact.json").write_text(json.dumps(facts | {"target": "executorch"}))
    (tmp_path / "model.onnx").write_bytes(float32.path.read_bytes())
    monkeypatch.setattr(Artifact, "predictor", lambda _, threads: lambda _images: threads)
    monkeypatch.setattr(page, "open_model", lambda _folder, threads: lambda _images: ("the page", threads))
    assert Folder(tmp_path).predictor(2)(np.zeros(1)) == 2
    assert Folder(tmp_path).predictor(0)(np.zeros(1)) == ("the page", 0)


def test_peak_memory_is_read_from_proc(tmp_path):
    (tmp_path / "status").write_text("Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t   1234 kB\n")
    assert peak_bytes(tmp_path / "status") == 1234 * 1024
    assert peak_bytes(tmp_path / "none") > 1e6


def test_measuring_needs_no_torch():
    code = "import sys, eyas.studies.measure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_machine_is_named(monkeypatch):
    facts = machine()
    assert facts["memory_gb"] > 0.1
    assert plain(facts) == facts
    assert json.dumps(facts)
    monkeypatch.setattr("eyas.deploy.measure.version", missing)
    assert machine()["onnxruntime"] is None


def missing(name):
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)
