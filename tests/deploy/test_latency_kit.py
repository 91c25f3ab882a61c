"""The kit that times layers on a device, and the table that its timings make."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest

from eyas.arch.latency import Table, group_of, modelled, steps
from eyas.arch.parse import parse
from eyas.arch.tables import ARCHS
from eyas.deploy import device_table, kit, time_models
from eyas.deploy.device_table import fit
from eyas.deploy.probes import FAMILIES, drawing, probes, whole
from eyas.deploy.time_models import Unusable
from eyas.errors import UserError

EVERY = probes()
FEW = [probe for probe in EVERY if probe.resolution][:14] + [probe for probe in EVERY if not probe.resolution][:90]


def test_probes_are_the_same_each_time_and_none_is_there_twice():
    assert [probe.name for probe in probes()] == [probe.name for probe in EVERY]
    assert len({probe.name for probe in EVERY}) == len(EVERY)


def test_every_kind_of_layer_of_every_architecture_is_among_what_is_timed():
    timed = {group_of(step) for probe in EVERY for step in probe.steps}
    assert timed >= {group_of(step) for arch in ARCHS.values() for step in steps(arch, 10)}


@pytest.mark.parametrize("format_", ["onnx", "onnx-int8"])
@pytest.mark.parametrize("name", [f"{family}x0.25@64" for family in FAMILIES])
def test_a_drawn_network_is_a_sound_graph_that_answers(name, format_):
    probe = whole(parse(name), 7)
    content = drawing(probe, format_)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    images = np.random.default_rng(0).integers(0, 256, probe.shape, dtype=np.uint8)
    answer = opened(content).run(None, {"given": images})[0]
    assert answer.shape == (1, 7)
    assert answer.sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("format_", ["onnx", "onnx-int8"])
def test_a_drawn_network_does_the_work_of_its_architecture(format_):
    arch = parse("mobilenet_v2x0.5@64")
    model = onnx.load_from_string(drawing(whole(arch, 10), format_))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    layers = [step for step in whole(arch, 10).steps if getattr(step, "kind", "") in ("conv", "depthwise")]
    assert len(convolutions) == len(layers)
    rounded = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert rounded > len(layers) if format_ == "onnx-int8" else rounded == 0


def test_parts_and_rows_answer_in_both_formats():
    for probe in [probe for probe in FEW if not probe.resolution][:12]:
        for format_ in ("onnx", "onnx-int8"):
            given = np.random.default_rng(0).random(probe.shape, dtype=np.float32)
            last = probe.blocks[-1]
            answer = opened(drawing(probe, format_)).run(None, {"given": given})[0]
            assert answer.shape == (1, last.outputs, last.output_size, last.output_size)


def opened(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A kit of three models."""
    rows = [probe for probe in EVERY if " at 7" in probe.name][:3]
    monkeypatch.setattr(kit, "probes", lambda: rows)
    kit.write(tmp_path / "kit", "onnx")
    return tmp_path / "kit"


def bare(folder, *words):
    """The kit's script in a process that knows no Eyas: only what is copied, numpy and the runtime."""
    code = "import sys, runpy; sys.modules['eyas'] = None; sys.modules['torch'] = None; sys.modules['onnx'] = None; "
    code += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [sys.executable, "-I", "-c", code, str(folder / "time_models.py"), *words]
    return subprocess.run(words, capture_output=True, text=True, cwd=folder)


def test_the_script_runs_without_eyas_and_goes_on_where_it_was_stopped(small, tmp_path):
    moved = Path(shutil.move(small, tmp_path / "copied to the device"))
    done = bare(moved, "--out", "timings.json")
    assert done.returncode == 0, done.stderr
    timings = json.loads((moved / "timings.json").read_text())
    assert timings["runtime"] == f"onnxruntime {onnxruntime.__version__}"
    assert len(timings["models"]) == 3
    assert all(found["ratio"] > 0 for found in timings["models"].values())
    gone = dict(list(timings["models"].items())[:2])
    (moved / "timings.json").write_text(json.dumps(timings | {"models": gone}))
    assert bare(moved, "--out", "timings.json").returncode == 0
    again = json.loads((moved / "timings.json").read_text())["models"]
    assert again.keys() == timings["models"].keys()
    assert {name: again[name] for name in gone} == gone


def test_timings_of_something_else_are_not_gone_on_with(small):
    other = small / "timings.json"
    for content in ("{", '{"format": "x"}'):
        other.write_text(content)
        with pytest.raises(Unusable, match="remove it"):
            time_models.time_models(small, other, "onnx", 1, lambda *_: None)
        assert other.read_text() == content
    done = bare(small, "--out", "timings.json")
    assert done.returncode == 2
    assert done.stderr.startswith("time_models.py: timings.json holds")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("target", get_args(time_models.Timed))
def test_a_kit_is_for_the_target_it_was_asked_for(target, tmp_path, monkeypatch):
    monkeypatch.setattr(kit, "probes", lambda: EVERY[:1])
    kit.write(tmp_path, target)
    assert json.loads((tmp_path / "models.json").read_text())["target"] == target
    asked = []
    monkeypatch.setattr(time_models, "time_models", lambda _folder, _out, target, *_: asked.append(target))
    time_models.main(["--folder", str(tmp_path)])
    assert asked == [target]


def test_models_of_another_kind_are_not_timed(small):
    for target in ("onnx-int8", "openvino-int8"):
        with pytest.raises(Unusable, match=f"are for onnx, not for {target}"):
            time_models.time_models(small, small / "timings.json", target, 1, lambda *_: None)
    with pytest.raises(SystemExit):
        time_models.main(["--folder", str(small), "--target", "litert"])


def test_the_script_ends_in_a_sentence(small, tmp_path, monkeypatch, capsys):
    def told(*words):
        code = time_models.main(["--folder", *map(str, words)])
        return code, capsys.readouterr().err.splitlines()[-1]

    code, sentence = told(tmp_path)
    assert (code, "holds no models to time" in sentence) == (2, True)
    code, sentence = told(small, "--out", tmp_path / "nowhere" / "timings.json")
    assert (code, "cannot be written (No such file or directory)" in sentence) == (2, True)
    code, sentence = told(small, "--out", tmp_path)
    assert (code, "remove it" in sentence) == (2, True)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(time_models, "time_models", stopped)
    assert told(small) == (130, "time_models.py: stopped; the same command goes on")


def prices(step):
    """Milliseconds on a made-up device: each unit of work has its price, and the smaller a map the longer for its size."""
    units = {"steps": 0.01, "madds": 0.05, "elements": 0.3, "read": 0.1, "written": 0.2, "weights": 0.1, "odd madds": 0.1}
    units |= {"silu": 0.5, "hard_swish": 0.3}
    return modelled({group_of(step): units}, step) * (1 + 3 / step.size)


def times(every):
    return {probe.name: 0.1 + sum(map(prices, probe.steps)) for probe in every}


def test_the_fit_finds_the_device_behind_the_times():
    run_ms, models, measured = fit(FEW, times(FEW))
    table = Table("", "", "onnx", 1, "", len(FEW), 0.0, run_ms, models, measured)
    errors = []
    for family in ("mobilenet_v1", "mobilenet_v2", "efficientnet_lite0"):
        for dials in ("x0.4@112", "x0.8@176", "x1.1d0.5@144"):
            arch = parse(family + dials)
            errors.append(abs(table.predict(arch, 10) / (0.1 + sum(map(prices, steps(arch, 10)))) - 1))
    assert np.median(errors) < 0.04
    assert max(errors) < 0.15


def test_one_disturbed_probe_does_not_bend_the_rest():
    took = times(FEW)
    took[next(probe.name for probe in FEW if not probe.resolution)] *= 20
    run_ms, models, measured = fit(FEW, took)
    table = Table("", "", "onnx", 1, "", len(FEW), 0.0, run_ms, models, measured)
    arch = parse("mobilenet_v2x0.8@176")
    assert table.predict(arch, 10) == pytest.approx(0.1 + sum(map(prices, steps(arch, 10))), rel=0.1)


def timings(every):
    models = {name: {"ratio": ms / 2} for name, ms in times(every).items()}
    facts = {"device": "a board", "runtime": "fake 1", "target": "onnx", "threads": 2, "date": "2026-11-22"}
    return facts | {"kit": kit.version(every), "reference_ms": 2.0, "models": models}


def test_timings_make_a_table_that_knows_its_device_and_its_error(monkeypatch):
    monkeypatch.setattr(device_table, "probes", lambda: FEW)
    table = device_table.table(timings(FEW))
    assert (table.device, table.runtime, table.threads, table.probes) == ("a board", "fake 1", 2, len(FEW))
    assert 0 < table.error < 0.15  # of networks left out of a dozen


def test_timings_that_are_not_whole_or_of_another_kit_are_refused(monkeypatch):
    monkeypatch.setattr(device_table, "probes", lambda: FEW)
    found = timings(FEW)
    found["models"].pop(FEW[0].name)
    with pytest.raises(UserError, match=f"1 of {len(FEW)} models are not timed yet"):
        device_table.table(found)
    with pytest.raises(UserError, match="a kit that another version of Eyas wrote"):
        device_table.table(found | {"kit": "another"})
