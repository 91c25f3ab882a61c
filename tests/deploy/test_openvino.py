"""OpenVINO's files, made and asked by OpenVINO itself."""

import json
import logging
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from eyas.deploy.parity import CONTRACTS, breaches, check, reference_of
from eyas.deploy.shipment import Quantization
from eyas.deploy.target import TARGETS, export
from eyas.errors import UserError

pytest.importorskip("openvino")
pytest.importorskip("nncf")


@pytest.fixture(scope="module", params=["openvino", "openvino-bf16", "openvino-int8"])
def made(request, shipment, tmp_path_factory):
    return export(shipment, tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def whole(shipment, tmp_path_factory):
    return export(shipment, tmp_path_factory.mktemp("openvino"), "openvino")


def kinds(artifact):
    return [layer.get("type") for layer in ElementTree.parse(artifact.path).getroot().find("layers")]


def test_each_keeps_its_contract_for_any_number_of_images(network, made, validation):
    parity = check(reference_of(network), made.predictor(threads=1), *validation)
    assert not breaches(parity, CONTRACTS[made.precision])
    assert parity.agreement >= 0.95
    for count in (1, 3):
        found = made.predictor()(validation[0][:count])
        assert (found.dtype, found.shape) == (np.float32, (count, 3))
        assert found.sum(1) == pytest.approx(np.ones(count), abs=1e-2)


def test_float32_is_the_networks_own_answer(network, whole, validation):
    assert check(reference_of(network), whole.predictor(), *validation).largest_gap < 1e-5


def test_the_two_files_are_the_model(made):
    assert made.files.keys() == {"model.xml", "model.bin"}
    assert made.bytes == sum((made.folder / name).stat().st_size for name in made.files)
    assert made.runtime().startswith("openvino 2")


def test_bf16_takes_about_half_and_int8_about_a_quarter(whole, shipment, tmp_path):
    half, quarter = (export(shipment, tmp_path / name, name) for name in ("openvino-bf16", "openvino-int8"))
    weights = {one.target: (one.folder / "model.bin").stat().st_size for one in (whole, half, quarter)}
    assert weights["openvino-bf16"] < 0.6 * weights["openvino"]
    assert weights["openvino-int8"] < 0.5 * weights["openvino"]


def test_the_file_says_what_it_is_and_in_what_it_is_computed(made):
    told = ElementTree.parse(made.path).getroot().find("rt_info")
    labels = {entry.tag: entry.get("value") for entry in told.find("model_info")}
    assert json.loads(labels["classes"]) == ["red", "green", "blue"]
    assert (labels["arch"], labels["resolution"]) == ("tiny", "16")
    hint = told.find("runtime_options/INFERENCE_PRECISION_HINT").get("value")
    assert hint == ("bf16" if made.precision == "bfloat16" else "f32")


def test_the_same_network_gives_the_same_files(shipment, tmp_path):
    first, second = (export(replace(shipment), tmp_path, "openvino-int8").files for _ in range(2))
    assert first == second


def test_norms_are_folded_and_preprocessing_is_inside(whole):
    assert kinds(whole).count("Convolution") + kinds(whole).count("GroupConvolution") == 4
    assert not {"BatchNormInference", "ShapeOf", "Reshape"} & set(kinds(whole))


def stored(artifact):
    """The types of the constants in a file."""
    layers = ElementTree.parse(artifact.path).iter("layer")
    return [layer.find("data").get("element_type") for layer in layers if layer.get("type") == "Const"]


class TestInt8:
    def rounded(self, shipment, folder, quantization=Quantization()):
        return export(shipment, folder, "openvino-int8", quantization)

    def test_modules_that_are_named_stay_in_floating_point(self, shipment, tmp_path):
        plain = self.rounded(shipment, tmp_path / "plain")
        kept = self.rounded(shipment, tmp_path / "kept", Quantization(floats=("depthwise", "head")))
        assert [stored(one).count("i8") for one in (plain, kept)] == [5, 3]

    def test_ranges_are_honoured(self, shipment, tmp_path):
        files = {ranges: self.rounded(shipment, tmp_path / ranges, Quantization(ranges=ranges)).files for ranges in RANGES}
        assert len({tuple(sorted(each.items())) for each in files.values()}) == 3

    def test_the_resizing_of_frames_stays_exact(self, network, shipment, validation, tmp_path):
        framed = replace(shipment, frame=(24, 32))
        artifact = self.rounded(framed, tmp_path)
        parity = check(reference_of(network), artifact.predictor(), *validation, seen=framed.framed(validation[0]))
        assert parity.agreement > 0.9
        assert stored(artifact).count("i8") == 5  # of the network alone

    def test_needs_calibration_images(self, shipment, tmp_path):
        with pytest.raises(UserError, match="none were given"):
            self.rounded(replace(shipment, calibration=None), tmp_path)


RANGES = ("minmax", "percentile", "mse")


def test_an_export_is_silent(shipment, made, tmp_path, capfd, caplog):
    export(shipment, tmp_path, made.target).predictor()
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


@pytest.mark.parametrize(("package", "target"), [("openvino", "openvino"), ("nncf", "openvino-int8")])
def test_a_missing_package_names_the_extra(shipment, tmp_path, monkeypatch, package, target):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"need {package}.*, .* pip install 'eyas\[openvino\]'"):
        export(shipment, tmp_path, target)


def test_a_foreign_file_is_one_sentence(whole, tmp_path):
    (tmp_path / "model.xml").write_text("<html>not found</html>")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"model\.xml cannot be opened by openvino .*; export again"):
        replace(whole, folder=tmp_path).predictor()
    assert TARGETS["openvino"].file == "model.xml"
