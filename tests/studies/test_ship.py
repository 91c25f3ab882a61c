"""Which of the exported files ships: the fastest of the planned precision that keeps every promise."""

from pathlib import Path

import pytest

from eyas.arch.budget import Budget
from eyas.cli.show import show_export
from eyas.deploy.measure import Comparison, Latency, Ratio
from eyas.deploy.target import TARGETS
from eyas.errors import ContractError, UserError
from eyas.run import Done, Run
from eyas.studies import ship
from eyas.studies.export import Exported, frame_of, targets_of
from eyas.studies.ship import artifact_name, defaults, shipped, target_of, timed, timing_of


def made(**reasons: list[str]) -> dict[str, Done]:
    """Artifacts by target (`_` for `-`), with the reasons for which they were rejected."""
    return {name.replace("_", "-"): Done(Path(), {"reasons": why}, name) for name, why in reasons.items()}


def timing(**ratios: float) -> dict[str, dict]:
    return {name.replace("_", "-"): {"ratio": {"median": ratio}} for name, ratio in ratios.items()}


FILES = made(onnx=[], onnx_int8=[], openvino=[], openvino_bf16=[])


class TestShipped:
    def test_is_the_fastest_of_the_planned_precision(self):
        raced = timing(onnx=1.8, openvino=1.3, openvino_bf16=1.0, onnx_int8=1.0)
        assert shipped(FILES, "onnx", raced) == "openvino-bf16"
        assert shipped(FILES, "onnx-int8", raced) == "onnx-int8"

    @pytest.mark.parametrize(("ratio", "ships"), [(1.0, "onnx"), (1.05, "onnx"), (1.06, "openvino")])
    def test_is_the_planned_one_while_it_is_less_than_a_twentieth_slower(self, ratio, ships):
        assert shipped(FILES, "onnx", timing(onnx=ratio, openvino=1.0, openvino_bf16=1.2)) == ships

    def test_is_never_one_that_was_rejected(self):
        files = made(onnx=[], onnx_int8=[], openvino=["too large"])
        assert shipped(files, "openvino", timing(onnx=1.0)) == "onnx"

    def test_is_of_the_other_precision_where_none_of_the_planned_one_is_accepted(self):
        files = made(onnx=["too slow"], openvino=["too slow"], onnx_int8=[])
        assert shipped(files, "onnx", timing(onnx_int8=1.0)) == "onnx-int8"

    def test_is_none_that_is_over_the_budget_when_it_is_timed_again(self):
        raced = timing(onnx=1.0, openvino=1.2, openvino_bf16=1.3, onnx_int8=1.0)
        late = {"reasons": ["latency 6ms is over 5ms"]}
        raced["onnx"] |= late
        assert shipped(FILES, "onnx", raced) == "openvino"
        with pytest.raises(ContractError, match=r"\(onnx: latency 6ms is over 5ms\)"):
            shipped(made(onnx=[]), "onnx", raced)

    def test_is_the_planned_one_where_nothing_was_timed(self):
        assert shipped(FILES, "openvino") == "openvino"
        assert shipped(FILES, "") == "onnx"

    def test_is_none_where_all_were_rejected(self):
        with pytest.raises(ContractError, match=r"no exported file keeps .* \(onnx: too slow; onnx-int8: too large, it lies\)"):
            shipped(made(onnx=["too slow"], onnx_int8=["too large", "it lies"]), "onnx")


@pytest.mark.parametrize("planned", ["onnx", "onnx-int8"])
def test_what_is_made_by_default_can_ship_in_either_precision_but_is_timed_in_the_planned_one(planned):
    names = defaults(planned)
    assert {"onnx", "onnx-int8"} <= set(names)
    others = {TARGETS[name].precision == "int8" for name in names if not name.startswith("onnx")}
    assert others <= {planned == "onnx-int8"}


class TestTimed:
    def test_holds_latency_against_the_budget_once_more(self, tmp_path, monkeypatch):
        def compare(_: object, threads: int) -> Comparison:
            slow, quick = (
                Latency(median, median, median, median, 30, threads, 1, "onnxruntime", "a processor", 2)
                for median in (6.0, 4.0)
            )
            return Comparison((slow, quick), 1, (Ratio(1.5, 1.4, 1.6), Ratio(1.0, 1.0, 1.0)))

        monkeypatch.setattr(ship, "compare", compare)
        monkeypatch.setattr(ship, "load", lambda *_: None)
        files = made(onnx=[], openvino=[])
        with Run.open(tmp_path / "run") as run:
            raced = timed(run, files, 1, Budget(latency=5.0))
            assert timing_of(run, files) == raced
        assert raced["onnx"]["reasons"] == ["timed again beside the other files, latency 6ms is over 5ms"]
        assert raced["openvino"]["reasons"] == []
        assert shipped(files, "onnx", raced) == "openvino"


class TestTargets:
    def test_are_the_8_bit_variants_where_these_are_asked_for(self):
        assert targets_of(["onnx", "onnx-int8"], int8=True) == ["onnx-int8"]
        assert targets_of(["pt2"], int8=False) == ["pt2"]

    @pytest.mark.parametrize("name", ["pt2", "timm", "onnx-fp16"])
    def test_without_one_are_told_which_have(self, name):
        with pytest.raises(UserError, match=f"^{name} has no int8 variant; these have one: onnx, openvino, litert"):
            targets_of([name], int8=True)


class TestFrame:
    def test_goes_beside_the_file_that_takes_none(self):
        assert artifact_name("onnx-int8", (480, 640)) == "onnx-int8-480x640"
        assert [target_of(artifact_name("onnx-int8", frame)) for frame in ((480, 640), None)] == ["onnx-int8"] * 2

    def test_is_height_by_width(self):
        assert frame_of("480x640") == (480, 640)
        assert frame_of(None) is None

    @pytest.mark.parametrize("text", ["480", "480x", "0x640", "480x640x3", "-1x2", "480 640"])
    def test_is_refused_otherwise(self, text):
        with pytest.raises(UserError, match="give HEIGHTxWIDTH in pixels, for example 480x640"):
            frame_of(text)


class TestShown:
    def test_an_export_tells_what_it_costs_in_accuracy_and_the_way_to_int8(self, capsys):
        facts = {
            "bytes": 1000,
            "rung": "mse",
            "latency": {"median_ms": 1.0, "p90_ms": 1.5, "threads": 1},
            "parity": {"agreement": 0.98, "images": 80, "measure": "accuracy"},
            "change": {"before": 0.9, "after": 0.8875, "points": -1.25, "low": -4.0, "high": 1.0},
        }
        show_export(Exported(Path("artifacts"), {"onnx-int8": facts, "onnx": facts | {"rung": None}}))
        shown = capsys.readouterr().out
        assert shown.count("accuracy on them 90.0% -> 88.8%, -1.2 points (95 % interval -4.0 to +1.0)") == 2
        assert shown.count("int8 by the way [mse] of docs/int8.md") == 1
