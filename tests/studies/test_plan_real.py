"""Plans with real exports: estimated sizes held against files, one small plan, and one student."""

import pytest

from eyas.arch.parse import parse
from eyas.arch.search import weighed
from eyas.cli import main
from eyas.run import read_json
from eyas.studies.plan import RELAX, TRIALS
from eyas.studies.plan_candidates import QUICK, beginning, candidates, estimate
from eyas.studies.plan_known import measuring

OTHERS = (
    "mobilenet_v3_small@64",
    "mnasnet_a1x0.5@64",
    "efficientnet_b0x0.5@64",
    "efficientnet_lite0x0.5@64",
    "resnet18x0.25@64",
)


@pytest.mark.parametrize("target", QUICK)
@pytest.mark.parametrize("name", ["mobilenet_v1x0.25@32", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_an_exported_file_is_as_large_as_estimated(name, target):
    (network,) = weighed([parse(name)], 2)
    (one,) = candidates([network], [target], 2, beginning(parse(name)))
    size, latency = measuring(None, ("a", "b"), 1)(one)
    assert estimate(network, target) == pytest.approx(size, rel=0.03)
    assert latency > 0


def test_a_small_plan(tmp_path, capsys):
    words = ["--family", "mobilenet_v1", "--classes", "2", "--budget", "size<=125KB", "--to", "onnx-int8"]
    assert main(["plan", *words, "--out", str(tmp_path / "out")]) == 0
    made = read_json(tmp_path / "out" / "plan" / "plan.json")
    assert made["chosen"]["measured"]
    assert made["chosen"]["size"] <= 125e3
    assert made["chosen"]["latency"] > 0
    assert "size<=125KB binds: at " in capsys.readouterr().out
    assert sum(one["measured"] for one in made["candidates"]) <= TRIALS + RELAX
