import json
from itertools import islice

import pytest
import torch
from torch import nn

from eyas.arch.latency import Table
from eyas.arch.parse import parse
from eyas.cli import main
from eyas.deploy.measure import Comparison, Ratio
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import export
from eyas.errors import UserError
from eyas.studies import measure as study
from eyas.studies.measure import Kit, Measurement, measure


class Mean(nn.Module):
    """Two classes by the mean brightness."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, images):
        return self.head(images.permute(0, 3, 1, 2).float().mean((2, 3)))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return export(Shipment(Mean(), "mean", ("dark", "light"), 16), tmp_path_factory.mktemp("artifact"), "onnx")


@pytest.fixture
def run(artifact, tmp_path):
    """A run with an accepted and a rejected artifact."""
    (tmp_path / "recipe.json").write_text("{}")
    for target, status in (("onnx", "accepted"), ("onnx-int8", "rejected")):
        folder = tmp_path / "artifacts" / target
        folder.mkdir(parents=True)
        for file in artifact.folder.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        facts = json.loads((folder / "artifact.json").read_text())
        (folder / "artifact.json").write_text(json.dumps(facts | {"status": status}))
    return tmp_path


@pytest.fixture(autouse=True)
def no_energy(monkeypatch):
    monkeypatch.setattr(study, "energy", lambda *_: study.Energy(None, "none in this test"))


def test_artifacts_are_measured_side_by_side(artifact):
    rows = measure([str(artifact.folder)] * 2, repeats=8)
    assert all(isinstance(row, Measurement) for row in rows)
    assert [row.arch for row in rows] == ["mean"] * 2
    assert {row.verdict for row in rows} in ({"fastest", "slower"}, {"among the fastest", "no difference could be measured"})
    assert all(row.images_per_second == pytest.approx(1e3 / row.median_ms) for row in rows)
    assert all(row.peak_bytes > 1e6 and row.energy_note == "none in this test" for row in rows)


def test_a_run_stands_for_its_accepted_artifacts(run, capsys):
    assert main(["measure", str(run), "--repeats", "6", "--batch", "2", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["artifact"] for line in lines] == [str(run / "artifacts" / "onnx")]
    assert (lines[0]["batch"], lines[0]["repeats"], lines[0]["verdict"]) == (2, 6, "fastest")


def test_people_see_a_table(run, capsys):
    assert main(["measure", str(run / "artifacts" / "onnx"), str(run / "artifacts" / "onnx-int8"), "--repeats", "6"]) == 0
    shown = capsys.readouterr().out
    assert "6 runs of each in turn" in shown
    assert "mean, onnx," in shown
    assert "of memory at most" in shown
    assert ("as long as the fastest" in shown) != ("no difference from the fastest" in shown)
    assert "energy: none in this test" in shown


def test_a_model_file_stands_for_its_folder(run):
    (row,) = measure([str(run / "artifacts" / "onnx" / "model.onnx")], repeats=6)
    assert row.artifact == str(run / "artifacts" / "onnx")


def test_a_changed_file_is_told_in_a_sentence(run):
    model = run / "artifacts" / "onnx" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"^{model} was changed or cut short after its export"):
        measure([str(model.parent)])
    with pytest.raises(UserError, match="is not an artifact"):
        measure([str(run / "recipe.json")])


@pytest.mark.parametrize(
    ("ratios", "verdicts"),
    [
        ([(1, 1, 1), (2, 1.8, 2.2)], ["fastest", "slower"]),
        ([(1, 1, 1), (1.1, 0.9, 1.2), (2, 1.8, 2.2)], ["among the fastest", "no difference could be measured", "slower"]),
    ],
)
def test_only_one_from_which_all_others_differ_is_the_fastest(ratios, verdicts):
    found = Comparison((), 0, tuple(Ratio(*ratio) for ratio in ratios))
    assert [study._verdict(index, found) for index in range(len(ratios))] == verdicts


def test_a_run_without_accepted_artifacts_is_told(run):
    (run / "artifacts" / "onnx" / "artifact.json").unlink()
    with pytest.raises(UserError, match="1 artifacts, none of them accepted"):
        measure([str(run)])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to measure"),
        (["x", "--device-table", "--out", "t.json"], "artifacts are timed, or a latency table is made"),
        (["--device-table"], "--device-table needs --out"),
        (["x", "--out", "t.json"], "--timings and --out belong to --device-table"),
        (["x", "--repeats", "3"], "--repeats is 3; it must be 6 or above"),
        (["nowhere"], "nowhere is not an artifact"),
        (["--device-table", "--out", "t.json", "--timings", "none.json"], "there are no timings none.json"),
        *(
            (["--device-table", "--out", "t.json", "--timings", "x.json", *more], "x.json tells its own target and threads")
            for more in (["--target", "onnx-int8"], ["--threads", "2"], ["--kit", "kit"])
        ),
    ],
)
def test_words_that_make_no_sense_are_told(words, told, capsys):
    assert main(["measure", *words]) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")


def test_a_kit_is_written_and_says_what_comes_next(tmp_path, capsys, few):
    assert measure(kit=str(tmp_path / "kit"), target="openvino-int8") == Kit(tmp_path / "kit", "openvino-int8", len(few))
    assert json.loads((tmp_path / "kit" / "models.json").read_text())["target"] == "openvino-int8"
    assert all((tmp_path / "kit" / name).is_file() for name in ("time_models.py", "models.json", "reference.onnx", "000.onnx"))
    assert main(["measure", "--kit", str(tmp_path / "kit")]) == 0
    assert "python time_models.py" in capsys.readouterr().out


def test_a_table_of_this_machine_can_be_read_by_a_plan(tmp_path, few):
    out = tmp_path / "table.json"
    made = measure(device_table=True, out=str(out))
    assert made.path == out
    table = Table.load(out)
    assert (table.target, table.threads, table.probes) == ("onnx", 1, len(few))
    assert table.runtime.startswith("onnxruntime 1.")
    again = measure(device_table=True, timings=str(tmp_path / "table.timings.json"), out=str(tmp_path / "again.json"))
    assert again.error == made.error
    assert (tmp_path / "again.json").read_bytes() == out.read_bytes()
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UserError, match="is not what the script of eyas measure --kit writes"):
        measure(device_table=True, timings=str(tmp_path / "other.json"), out=str(out))


@pytest.fixture
def few(monkeypatch):
    """A handful of probes in place of hundreds, each timed a few times."""
    from eyas.deploy import device_table, kit, probes, time_models

    whole = [probes.whole(parse(name), 10) for name in ("mobilenet_v1x0.25@64", "mobilenet_v2x0.25@64")]
    some = [*whole, *islice(probes.rows(), 3)]
    for module in (kit, device_table):
        monkeypatch.setattr(module, "probes", lambda: some)
    monkeypatch.setattr(time_models, "PAIRS", (2, 3))
    return some
