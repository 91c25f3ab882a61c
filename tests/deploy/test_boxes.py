"""The decoding on the device is torchvision's, without torch; and what it finds can be drawn."""

import ast
import json
import sys
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
from eyas.deploy import predict as page
from eyas.deploy.parity import reference_of
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import export
from eyas.errors import UserError
from eyas.nn.answers import answered
from eyas.nn.detectors import build_detector
from eyas.nn.ssd import layout
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
    detector.eval()
    with torch.no_grad():
        raw = detector(images) + noise
    return detector, raw, answered(raw, "detect").numpy()


def test_the_default_boxes_are_the_detectors(exported):
    made, _, _ = exported
    np.testing.assert_allclose(boxes.default_boxes(layout(made)), made.anchors.numpy(), atol=1e-7)


def test_it_finds_what_evaluation_finds(exported):
    made, raw, rows = exported
    for row, wanted in zip(rows, made.decode(raw), strict=True):
        _agree(boxes.decode(row, layout(made)), wanted.boxes, wanted.classes, wanted.scores)


def test_it_finds_what_torchvision_finds(exported):
    made, raw, rows = exported
    theirs = object.__new__(SSD)
    torch.nn.Module.__init__(theirs)
    theirs.box_coder = _utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    theirs.score_thresh, theirs.nms_thresh, theirs.topk_candidates, theirs.detections_per_img = 0.01, 0.5, 400, 100
    anchors = made.anchors
    corners = box_convert(anchors, "cxcywh", "xyxy")
    outputs = {"bbox_regression": raw[..., :4], "cls_logits": raw[..., 4:]}
    for row, wanted in zip(rows, theirs.postprocess_detections(outputs, [corners] * 3, [(1, 1)] * 3), strict=True):
        _agree(boxes.decode(row, layout(made)), wanted["boxes"], wanted["labels"] - 1, wanted["scores"])


def test_a_picture_without_anything_gives_nothing(exported):
    made, _, rows = exported
    found = boxes.decode(rows[0], layout(made), lowest=1.0)
    assert [len(found[name]) for name in ("boxes", "classes", "scores")] == [0, 0, 0]
    assert found["boxes"].shape == (0, 4)


def test_it_needs_numpy_and_nothing_of_eyas():
    tree = ast.parse(Path(boxes.__file__).read_text())
    outside = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name for node in outside}
    assert names - set(sys.stdlib_module_names) == {"numpy"}


FOUND = {
    "boxes": np.array([[0.25, 0.5, 0.75, 0.9], [0, 0, 1, 1]], np.float32),
    "classes": np.array([0, 1]),
    "scores": np.array([0.9, 0.2], np.float32),
}


def test_boxes_are_listed_in_pixels_of_the_picture():
    first, second = boxes.listed(FOUND, ["face", "food"], 0.3, (120, 80))
    assert first == {"label": "face", "confidence": 0.9, "sure": True, "box": [30.0, 40.0, 90.0, 72.0]}
    assert (second["label"], second["sure"], second["box"]) == ("food", False, [0, 0, 120, 80])


@pytest.mark.parametrize(("threshold", "shown"), [(None, 1), (0.1, 2), (0.95, 0)])
def test_boxes_are_drawn_where_they_are_sure(threshold, shown):
    picture = Image.new("RGB", (120, 80), "white")
    drawn = boxes.drawn(picture, boxes.listed(FOUND, ["face", "food"], threshold, (120, 80)))
    assert picture.getpixel((30, 50)) == (255, 255, 255)  # the user's picture is as it was
    if shown:
        assert drawn.getpixel((30, 60)) == drawn.getpixel((90, 60)) == drawn.getpixel((60, 72)) == (230, 25, 75)
    assert drawn.getpixel((60, 60)) == (255, 255, 255)
    assert (drawn.getpixel((0, 40)) == (255, 255, 255)) == (shown < 2)


def test_pictures_are_drawn_into_new_files(tmp_path):
    (tmp_path / "street-boxes.png").write_bytes(b"the user's")
    draw = boxes.drawing(str(tmp_path))
    for pixels in (np.zeros((80, 120, 3), np.uint8), np.zeros((80, 120, 1), np.uint8)):
        draw("photos/street.jpg", pixels, boxes.listed(FOUND, ["face", "food"], None, (120, 80)))
    assert (tmp_path / "street-boxes.png").read_bytes() == b"the user's"
    for number in (2, 3):
        with Image.open(tmp_path / f"street-boxes-{number}.png") as drawn:
            assert drawn.size == (120, 80)


def test_an_exported_file_finds_what_evaluation_finds(tmp_path):
    """From a picture's bytes through the runtime and numpy to boxes, any number of pictures at once, by the artifact's page."""
    detector = build_detector(parse("mobilenet_v1x0.25@64"), "ssd", CLASSES)
    made, images = lively(detector, detector.classify).eval(), pictures(3, 64)
    names = ("bar", "dot", "square")
    artifact = export(Shipment(made, "ssd", names, 64, threshold=0.3, kind="detect"), tmp_path, "onnx")
    assert artifact.boxes == layout(made) == page.about(tmp_path)["boxes"]
    assert (tmp_path / "boxes.py").read_bytes() == Path(boxes.__file__).read_bytes()
    rows = page.open_model(tmp_path)(images.numpy())
    np.testing.assert_allclose(rows, reference_of(made, "detect")(images.numpy()), atol=1e-4)
    with torch.no_grad():
        wanted = made.decode(made(images))
    tell = page.teller(page.about(tmp_path))
    for row, each in zip(rows, wanted, strict=True):
        found = tell(row, (64, 64))["boxes"]
        assert len(each.scores) > 10
        assert [box["label"] for box in found] == [names[number] for number in each.classes]
        np.testing.assert_allclose([box["box"] for box in found], each.boxes.numpy() * 64, atol=0.06)
        np.testing.assert_allclose([box["confidence"] for box in found], each.scores.numpy(), atol=1e-4)
        assert [box["sure"] for box in found] == [box["confidence"] >= 0.3 for box in found]


def test_a_detector_whose_boxes_were_tampered_with_is_refused(tmp_path):
    made = build_detector(parse("mobilenet_v1x0.1@32"), "ssd", 2)
    export(Shipment(made, "ssd", ("bar", "dot"), 32, kind="detect"), tmp_path, "onnx")
    facts = json.loads((tmp_path / "artifact.json").read_text())
    for spoilt in ({}, {"maps": 3}, {"maps": [{"side": "x", "shapes": []}]}, {"maps": [{"side": 2}]}):
        (tmp_path / "artifact.json").write_text(json.dumps(facts | {"boxes": spoilt}))
        with pytest.raises(page.Unusable, match="damaged"):
            page.open_model(tmp_path)


def test_faster_rcnn_says_that_it_is_for_machines_with_torch(tmp_path):
    detector = build_detector(parse("mobilenet_v1x0.1@32"), "faster_rcnn", 2)
    with pytest.raises(UserError, match="Faster R-CNN cannot be exported"):
        export(Shipment(detector, "faster", ("bar", "dot"), 32, kind="detect"), tmp_path, "onnx")


def _agree(found, wanted_boxes, wanted_classes, wanted_scores):
    assert len(wanted_scores) > 10
    assert found["classes"].tolist() == wanted_classes.tolist()
    np.testing.assert_allclose(found["scores"], wanted_scores.numpy(), atol=1e-6)
    np.testing.assert_allclose(found["boxes"], wanted_boxes.numpy(), atol=1e-6)
