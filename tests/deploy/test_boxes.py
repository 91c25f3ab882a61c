"""The decoding on the device is torchvision's, without torch; and what it finds can be drawn."""

import ast
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.detection import _utils
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_convert

from eyas.arch.parse import parse
from eyas.deploy import boxes
from eyas.errors import UserError
from eyas.nn.detectors import build_detector, raw_module
from tests.fakes import lively, pictures

CLASSES = 3


@pytest.fixture(scope="module")
def exported():
    """A detector whose answers overlap, and its answers to images as they are exported."""
    detector = build_detector(parse("mobilenet_v1x0.25@64"), "ssd", CLASSES)
    generator = torch.Generator().manual_seed(0)
    for head, spread in ((detector.scores, 2.0), (detector.offsets, 1.0)):
        for layer in head.module_list:
            torch.nn.init.normal_(layer.bias, std=spread, generator=generator)
    images = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=generator)
    noise = torch.randn(3, len(detector.anchors), 4 + 1 + CLASSES, generator=generator)
    made = raw_module(detector)
    with torch.no_grad():
        raw = detector(images) + noise
        rows = torch.cat([raw[..., :4], raw[..., 4:].softmax(2)], 2).flatten(1)
    return made, raw, rows.numpy()


def test_the_default_boxes_are_the_detectors(exported):
    made, _, _ = exported
    np.testing.assert_allclose(boxes.default_boxes(made.facts), made.detector.anchors.numpy(), atol=1e-7)


def test_it_finds_what_evaluation_finds(exported):
    made, raw, rows = exported
    for row, wanted in zip(rows, made.detector.decode(raw), strict=True):
        _agree(boxes.decode(row, made.facts), wanted.boxes, wanted.classes, wanted.scores)


def test_it_finds_what_torchvision_finds(exported):
    made, raw, rows = exported
    theirs = object.__new__(SSD)
    torch.nn.Module.__init__(theirs)
    theirs.box_coder = _utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    theirs.score_thresh, theirs.nms_thresh, theirs.topk_candidates, theirs.detections_per_img = 0.01, 0.5, 400, 100
    anchors = made.detector.anchors
    corners = box_convert(anchors, "cxcywh", "xyxy")
    outputs = {"bbox_regression": raw[..., :4], "cls_logits": raw[..., 4:]}
    for row, wanted in zip(rows, theirs.postprocess_detections(outputs, [corners] * 3, [(1, 1)] * 3), strict=True):
        _agree(boxes.decode(row, made.facts), wanted["boxes"], wanted["labels"] - 1, wanted["scores"])


def test_a_picture_without_anything_gives_nothing(exported):
    made, _, rows = exported
    found = boxes.decode(rows[0], made.facts, lowest=1.0)
    assert [len(found[name]) for name in ("boxes", "classes", "scores")] == [0, 0, 0]
    assert found["boxes"].shape == (0, 4)


def test_it_needs_numpy_and_nothing_of_eyas():
    tree = ast.parse(Path(boxes.__file__).read_text())
    outside = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name for node in outside}
    assert names - set(sys.stdlib_module_names) == {"numpy"}


def test_boxes_are_drawn_where_they_are():
    picture = Image.new("RGB", (120, 80), "white")
    found = {
        "boxes": np.array([[0.25, 0.5, 0.75, 0.9], [0, 0, 1, 1]], np.float32),
        "classes": np.array([0, 1]),
        "scores": np.array([0.9, 0.2], np.float32),
    }
    drawn = boxes.drawn(picture, found, ["face", "food"])
    assert picture.getpixel((30, 50)) == (255, 255, 255)  # the user's picture is as it was
    assert drawn.getpixel((30, 60)) == drawn.getpixel((90, 60)) == drawn.getpixel((60, 72)) == (230, 25, 75)
    assert drawn.getpixel((60, 60)) == (255, 255, 255)
    assert drawn.getpixel((0, 40)) == (255, 255, 255)  # too little certain to be drawn


def test_an_exported_file_finds_what_evaluation_finds(tmp_path):
    """From a picture's bytes through onnxruntime and numpy to boxes, any number of pictures at once."""
    onnxruntime = pytest.importorskip("onnxruntime")
    detector = build_detector(parse("mobilenet_v1x0.25@64"), "ssd", CLASSES)
    made = raw_module(lively(detector, detector.classify))
    images = pictures(3, 64)
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(made, (images[:2],), path, dynamo=True, dynamic_shapes=({0: "n"},), verbose=False)
    session = onnxruntime.InferenceSession(path)
    rows = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    with torch.no_grad():
        wanted = made.detector.decode(made.detector(images))
    facts = json.loads(json.dumps(made.facts))  # as they come out of the artifact
    for row, each in zip(rows, wanted, strict=True):
        found = boxes.decode(row, facts)
        assert len(each.scores) > 10
        assert found["classes"].tolist() == each.classes.tolist()
        np.testing.assert_allclose(found["boxes"], each.boxes.numpy(), atol=1e-4)
        np.testing.assert_allclose(found["scores"], each.scores.numpy(), atol=1e-4)


def test_faster_rcnn_says_that_it_is_for_machines_with_torch():
    detector = build_detector(parse("mobilenet_v1x0.1@32"), "faster_rcnn", 2)
    with pytest.raises(UserError, match="Faster R-CNN cannot be exported"):
        raw_module(detector)


def _agree(found, wanted_boxes, wanted_classes, wanted_scores):
    assert len(wanted_scores) > 10
    assert found["classes"].tolist() == wanted_classes.tolist()
    np.testing.assert_allclose(found["scores"], wanted_scores.numpy(), atol=1e-6)
    np.testing.assert_allclose(found["boxes"], wanted_boxes.numpy(), atol=1e-6)
