import hashlib
import json
import shutil
import sys
from dataclasses import replace

import pytest

from eyas.deploy.target import DEVICE_TARGETS, TARGETS, Artifact, export
from eyas.errors import UserError


@pytest.fixture
def copied(float32, tmp_path):
    """An artifact that a test may spoil."""
    return replace(float32, folder=shutil.copytree(float32.folder, tmp_path / "artifact"))


def test_what_is_saved_is_what_is_loaded(int8):
    assert Artifact.load(int8.folder) == int8
    assert Artifact.load(str(int8.folder)).classes == ("red", "green", "blue")


def test_the_facts_are_the_files(float32):
    facts = json.loads((float32.folder / "artifact.json").read_text())
    assert facts["target"] == "onnx"
    assert facts["bytes"] == float32.path.stat().st_size
    assert facts["status"] == "unchecked"
    assert "folder" not in facts


def test_an_artifact_of_another_layout_is_to_be_exported_again(copied):
    facts = json.loads((copied.folder / "artifact.json").read_text())
    del facts["eyas"]
    (copied.folder / "artifact.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"is not one that this version of Eyas .* writes; export again"):
        Artifact.load(copied.folder)


def test_a_verdict_is_recorded(copied):
    replace(copied, status="accepted").save()
    assert Artifact.load(copied.folder).status == "accepted"


def test_a_changed_model_file_is_refused(copied):
    content = bytearray(copied.path.read_bytes())
    content[len(content) // 2] ^= 1
    copied.path.write_bytes(content)
    with pytest.raises(UserError, match="sha256 checksum"):
        Artifact.load(copied.folder)


def test_a_truncated_model_file_is_refused(copied):
    copied.path.write_bytes(copied.path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.onnx was changed after its export: .* export again"):
        Artifact.load(copied.folder)


def test_each_file_of_a_model_has_its_checksum(copied):
    content = b"weights beside the graph"
    files = copied.files | {"model.bin": hashlib.sha256(content).hexdigest()}
    replace(copied, files=files).save()
    with pytest.raises(UserError, match=r"model\.bin is missing"):
        Artifact.load(copied.folder)
    (copied.folder / "model.bin").write_bytes(content)
    assert Artifact.load(copied.folder).files == files
    (copied.folder / "model.bin").write_bytes(content[::-1])
    with pytest.raises(UserError, match=r"model\.bin was changed after its export"):
        Artifact.load(copied.folder)


def test_a_file_that_the_runtime_cannot_open_is_refused_in_a_sentence(copied):
    content = b"\x89PNG\r\n a picture, signed for as a model"
    copied.path.write_bytes(content)
    replace(copied, files={"model.onnx": hashlib.sha256(content).hexdigest()}).save()
    with pytest.raises(UserError, match=r"model\.onnx cannot be opened by onnxruntime \S+ \(.+\); export again$") as refused:
        Artifact.load(copied.folder).predictor()
    assert "\n" not in str(refused.value)


def test_a_missing_model_file_is_named(copied):
    copied.path.unlink()
    with pytest.raises(UserError, match=r"model\.onnx is missing"):
        Artifact.load(copied.folder)


def test_folders_that_are_no_artifact_are_refused(copied, tmp_path):
    with pytest.raises(UserError, match=r"is not an artifact: it has no artifact\.json"):
        Artifact.load(tmp_path)
    with pytest.raises(UserError, match="is not an artifact"):
        Artifact.load(tmp_path / "nowhere")
    for content in ('{"name": "of another program"}', "[]", "not json"):
        (copied.folder / "artifact.json").write_text(content)
        with pytest.raises(UserError, match=r"artifact\.json"):
            Artifact.load(copied.folder)


def test_an_unknown_target_and_an_unwritable_folder_are_refused(shipment, tmp_path):
    with pytest.raises(UserError, match="there are onnx, onnx-fp16, onnx-int8"):
        export(shipment, tmp_path, "caffe")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write an artifact"):
        export(shipment, tmp_path / "file", "onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_exporter_names_the_extra(shipment, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"need {package}, .* pip install 'eyas\[export\]'"):
        export(shipment, tmp_path, "onnx")


def test_a_missing_runtime_names_the_extra(float32, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"need onnxruntime, .* pip install 'eyas\[export\]'"):
        float32.predictor()


def test_each_target_writes_the_precision_it_promises(float32, int8):
    assert {float32.target, int8.target} <= set(DEVICE_TARGETS) < set(TARGETS)
    assert [TARGETS[made.target].precision for made in (float32, int8)] == [float32.precision, int8.precision]
