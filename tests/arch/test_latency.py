import json

import pytest

from eyas.arch.latency import Glue, Measured, Table, group_of, steps, work_of
from eyas.arch.layer import Layer
from eyas.arch.parse import parse
from eyas.arch.scale import wider
from eyas.arch.spec import layers
from eyas.arch.tables import ARCHS, MOBILENET_V1
from eyas.errors import UserError

# A millisecond for a million multiply-adds, a tenth for a million elements moved, a hundredth for each step.
PRICES = {"madds": 1.0, "read": 0.1, "written": 0.1, "elements": 0.1, "steps": 0.01}
CONV = Layer("conv", 1, 1, 64, 128, 28, "relu6")


def groups():
    return {group_of(step) for arch in ARCHS.values() for step in steps(arch, 10)}


def fake(measured=(), **facts):
    known = {"device": "a board", "runtime": "fake 1", "target": "onnx", "threads": 1, "date": "2026-11-22"}
    models = dict.fromkeys(groups(), PRICES)
    return Table(**known | {"probes": 0, "error": 0.0, "run_ms": 0.5} | facts, models=models, measured=tuple(measured))


def test_a_network_takes_as_long_as_its_steps():
    table, arch = fake(), parse("efficientnet_b0@96")
    expected = table.run_ms + sum(table.step(step) for step in steps(arch, 7))
    assert table.predict(arch, 7) == pytest.approx(expected)
    assert table.predict(arch, 1000) > table.predict(arch, 7)


@pytest.mark.parametrize("name", ARCHS)
def test_every_layer_of_every_architecture_is_among_the_steps_and_every_step_has_work(name):
    found = steps(ARCHS[name], 10)
    assert [layer for _, layer in layers(ARCHS[name], 10)] == [step for step in found if isinstance(step, Layer)]
    assert all(min(work_of(step).values()) >= 0 < work_of(step)["steps"] for step in found)


def test_a_wider_network_and_a_larger_picture_take_longer():
    table = fake()
    times = [table.predict(wider(MOBILENET_V1, width), 10) for width in (0.25, 0.5, 0.75, 1, 1.5)]
    assert times == sorted(times)
    assert table.predict(parse("mobilenet_v1@128"), 10) < table.predict(parse("mobilenet_v1@160"), 10)


def test_residuals_and_ends_are_counted():
    found = steps(parse("mobilenet_v2"), 10)
    added = [step for step in found if isinstance(step, Glue) and step.kind == "add"]
    assert len(added) == 10  # MobileNetV2, Table 2: repeats after the first of each row
    assert Glue("images", 3, 224) in found
    assert Glue("mean", 1280, 7) in found


def test_a_measured_layer_has_its_own_time_and_pulls_its_neighbours_with_it():
    slow = fake([Measured(CONV, 40.0, 2.0)])
    plain = fake()
    near, far = CONV._replace(outputs=160), CONV._replace(inputs=1024, outputs=16, size=4)
    assert slow.step(CONV) == 40.0
    assert slow.step(near) > 1.2 * plain.step(near)
    assert slow.step(far) == pytest.approx(plain.step(far), rel=1e-3)
    other = CONV._replace(kernel=3)  # of another group
    assert slow.step(other) == plain.step(other)


def test_saving_and_loading_is_the_identity(tmp_path):
    table = fake([Measured(CONV, 1 / 3, -0.7), Measured(Glue("add", 24, 56), 0.01, 0.2)])
    table.save(tmp_path / "table.json")
    again = Table.load(tmp_path / "table.json")
    assert again.measured == table.measured
    assert (again.device, again.runtime, again.threads, again.run_ms) == ("a board", "fake 1", 1, 0.5)
    for name in ("mobilenet_v3_large", "resnet18@96"):
        assert again.predict(parse(name), 10) == table.predict(parse(name), 10)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "table.json").read_bytes()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "eyas latency table 1"}', '{"format": "2"}'])
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(UserError, match=r"table\.json is no latency table .*make one with eyas measure --device-table"):
        Table.load(tmp_path / "table.json")


def test_a_table_that_is_not_there_and_one_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no latency table"):
        Table.load(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot write"):
        fake().save(tmp_path / "none" / "table.json")


def test_the_file_has_a_line_for_each_measured_layer(tmp_path):
    fake([Measured(CONV, 1.0, 0.0), Measured(Glue("images", 3, 96), 0.1, 0.0)]).save(tmp_path / "table.json")
    text = (tmp_path / "table.json").read_text()
    assert '["layer", "conv", 1, 1, 64, 128, 28, "relu6", 0, "sigmoid", 1.0, 0.0]' in text
    assert json.loads(text)["threads"] == 1
