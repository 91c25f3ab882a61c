"""Which of the exported files ships: the fastest of the planned precision that keeps every promise."""

from pathlib import Path

import pytest

from eyas.deploy.target import TARGETS
from eyas.errors import ContractError, UserError
from eyas.run import Done
from eyas.studies.export import frame_of
from eyas.studies.ship import defaults, shipped


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


class TestFrame:
    def test_is_height_by_width(self):
        assert frame_of("480x640") == (480, 640)
        assert frame_of(None) is None

    @pytest.mark.parametrize("text", ["480", "480x", "0x640", "480x640x3", "-1x2", "480 640"])
    def test_is_refused_otherwise(self, text):
        with pytest.raises(UserError, match="give HEIGHTxWIDTH in pixels, for example 480x640"):
            frame_of(text)
