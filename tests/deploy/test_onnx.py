import json
import logging
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from eyas.arch.ops import conv, mbconv
from eyas.arch.spec import Arch, Stage
from eyas.deploy.parity import check, reference_of
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import export
from eyas.errors import UserError
from eyas.nn.build import build


@pytest.mark.parametrize("count", [1, 3, 8])
def test_any_number_of_images_gets_the_networks_probabilities(network, float32, validation, count):
    images = validation[0][:count]
    found = float32.predictor()(images)
    assert found.dtype == np.float32
    assert found.shape == (count, 3)
    assert found == pytest.approx(reference_of(network)(images), abs=1e-5)
    assert found.sum(1) == pytest.approx(np.ones(count), abs=1e-5)


def test_the_float32_file_agrees_on_every_image(network, float32, validation):
    parity = check(reference_of(network), float32.predictor(threads=1), *validation)
    assert parity.agreement == 1.0
    assert parity.largest_gap < 1e-5
    assert parity.artifact == parity.reference > 0.9


def test_an_export_folds_the_norms_and_leaves_the_network_as_it_was(network, shipment, float32, tmp_path):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    export(shipment, tmp_path, "onnx")
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    kinds = [node.op_type for node in onnx.load(float32.path).graph.node]
    assert kinds.count("Conv") == 4
    assert not {"BatchNormalization", "Pad"} & set(kinds)


def test_the_same_network_gives_the_same_bytes_in_whatever_memory_it_lies(network, shipment, float32, tmp_path):
    network.to(memory_format=torch.channels_last)
    assert export(shipment, tmp_path, "onnx").files == float32.files


def test_an_export_is_silent(shipment, tmp_path, capfd, caplog):
    export(shipment, tmp_path, "onnx-int8")
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


def test_the_file_says_what_it_is_and_nothing_of_where_it_was_made(float32):
    model = onnx.load(float32.path)
    labels = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(labels["classes"]) == ["red", "green", "blue"]
    assert labels["arch"] == "tiny"
    assert labels["resolution"] == "16"
    assert model.opset_import[0].version == float32.made_with["opset"] == 20
    assert b".py" not in float32.path.read_bytes()
    assert sorted(file.name for file in float32.folder.iterdir()) == ["artifact.json", "model.onnx", "predict.py"]


@pytest.mark.parametrize(
    "images",
    [np.zeros((1, 16, 16, 3), np.float32), np.zeros((1, 20, 20, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)],
    ids=["scaled", "of another size", "without a batch"],
)
def test_other_images_are_refused_in_words(float32, images):
    with pytest.raises(UserError, match=r"takes uint8 images \[n, 16, 16, 3\] and was given"):
        float32.predictor()(images)


def test_a_class_without_a_name_is_refused(shipment, tmp_path):
    with pytest.raises(UserError, match="gives 3 numbers, and 2 names need 2"):
        export(replace(shipment, classes=("red", "green")), tmp_path, "onnx")
    assert not (tmp_path / "artifact.json").exists()


def test_gates_and_same_padding_of_a_real_architecture_export_too(tmp_path):
    stages = (Stage(conv, 3, 2, 8), Stage(mbconv, 5, 2, 12, 2, 4, 1 / 4))
    arch = Arch("gated", resolution=19, head=16, activation="silu", padding="same", stages=stages)
    network = build(arch, nn.Linear(16, 4), drop_path=0.2)
    images = np.random.default_rng(0).integers(0, 256, (16, 19, 19, 3), dtype=np.uint8)
    with torch.no_grad():
        network(torch.from_numpy(images))  # norms that have seen images
    for target, gap in (("onnx", 1e-5), ("onnx-int8", 0.05)):
        artifact = export(Shipment(network, "gated", tuple("abcd"), 19, calibration=images), tmp_path / target, target)
        assert check(reference_of(network), artifact.predictor(), images).largest_gap < gap
