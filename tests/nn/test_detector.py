"""Detectors: what the papers say they cost, and torchvision's own code on the same numbers."""

import copy

import pytest
import torch
from torchvision.models.detection import _utils, anchor_utils
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_convert, box_iou

from eyas.arch.cost import cost
from eyas.arch.ops import conv, separable
from eyas.arch.parse import parse
from eyas.arch.scale import at
from eyas.arch.spec import Arch, Stage
from eyas.errors import UserError
from eyas.nn.answers import answered
from eyas.nn.build import build
from eyas.nn.detector import Truth, detector_cost, taps
from eyas.nn.detectors import build_detector, load_blocks, load_detector
from eyas.nn.faster_rcnn import FasterRcnn
from eyas.nn.fold import folded
from eyas.nn.published import find
from eyas.nn.ssd import Ssd, box_shapes, default_boxes
from eyas.nn.weights import save_network
from tests.fakes import shaken

SMALL = Arch(
    "small",
    resolution=32,
    padding="same",
    stages=(Stage(conv, 3, 2, 8), Stage(separable, 3, 2, 16), Stage(separable, 3, 2, 24, 2)),
)
NAMED = parse("mobilenet_v1x0.25@32")  # what is written to a file must have a name
CLASSES = 3


def truth(*boxes):
    rows = torch.tensor([box[:4] for box in boxes]).reshape(-1, 4)
    return Truth(rows, torch.tensor([box[4] for box in boxes], dtype=torch.int64))


TRUTHS = [
    truth((0.1, 0.2, 0.5, 0.6, 1)),
    truth((0.0, 0.0, 0.9, 0.9, 0), (0.3, 0.3, 0.4, 0.45, 2), (0.5, 0.1, 0.95, 0.4, 2)),
]


def images(count, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


def made(form, seed=0, arch=SMALL):
    return build_detector(arch, form, CLASSES, seed=seed)


class TestCost:
    """MobileNets, Table 13, to the digits printed; COCO's classes have numbers up to 90, and Huang et al. learn as many."""

    @pytest.mark.parametrize(
        ("arch", "form", "billion", "million"),
        [
            ("mobilenet_v1@300", "ssd", "1.2", "6.8"),
            ("mobilenet_v1@300", "faster_rcnn", "25.2", "6.1"),
            ("mobilenet_v1@600", "faster_rcnn", "30.5", "6.1"),
        ],
    )
    def test_the_detectors_of_the_paper_cost_what_it_says(self, arch, form, billion, million):
        with torch.device("meta"):
            found = detector_cost(FasterRcnn(parse(arch), 90) if form == "faster_rcnn" else Ssd(parse(arch), form, 90))
        assert f"{found.madds / 1e9:.1f}" == billion
        assert f"{found.params / 1e6:.1f}" == million

    def test_ssdlite_of_mobilenet_v1_costs_what_the_second_paper_says(self):
        """MobileNetV2, Table 6: 1.3 B MAdds; the 5.1 M parameters are those of 80 classes."""
        with torch.device("meta"):
            found = detector_cost(Ssd(parse("mobilenet_v1@320"), "ssdlite", 80))
        assert f"{found.madds / 1e9:.1f}" == "1.3"
        assert f"{found.params / 1e6:.1f}" == "5.1"

    def test_a_300_pixel_ssd_has_1917_boxes(self):
        """As the detector of Huang et al. has, by its own code."""
        assert len(default_boxes([19, 10, 5, 3, 2, 1], box_shapes(6))) == 1917


class TestBoxes:
    def test_behind_the_first_map_they_are_torchvisions(self):
        sides, shapes = [19, 10, 5, 3, 2, 1], box_shapes(6)
        theirs = anchor_utils.DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95, clip=False)
        grid = theirs._grid_default_boxes([[side, side] for side in sides], [300, 300])
        skipped = 19 * 19
        own = torch.tensor(default_boxes(sides, shapes))[skipped * 3 :]
        known = {tuple(row) for row in grid[skipped * 6 :].mul(1e4).round().long().tolist()}
        assert {tuple(row) for row in own.mul(1e4).round().long().tolist()} == known
        assert len(own) == len(grid) - skipped * 6

    def test_taps_are_the_last_maps_of_each_side(self):
        assert [(tap.channels, tap.side) for tap in taps(parse("mobilenet_v1@320"))[-2:]] == [(512, 20), (1024, 10)]

    def test_a_network_with_one_size_of_maps_is_refused(self):
        with pytest.raises(UserError, match="one size"):
            Ssd(Arch("flat", resolution=8, stages=(Stage(conv, 3, 2, 8),)), "ssd", 2)


class TestSsd:
    @pytest.mark.parametrize("form", ["ssd", "ssdlite"])
    def test_the_loss_is_torchvisions(self, form):
        detector = made(form).eval()
        raw = detector(images(2))
        own = detector.loss(raw, TRUTHS)
        corners = box_convert(detector.anchors, "cxcywh", "xyxy")
        targets = [{"boxes": each.boxes, "labels": each.classes + 1} for each in TRUTHS]
        theirs = object.__new__(SSD)
        torch.nn.Module.__init__(theirs)
        theirs.box_coder, theirs.neg_to_pos_ratio = _utils.BoxCoder((10.0, 10.0, 5.0, 5.0)), 3.0
        matcher = _utils.SSDMatcher(0.5)
        matched = [matcher(box_iou(each.boxes, corners)) for each in TRUTHS]
        outputs = {"bbox_regression": raw[..., :4], "cls_logits": raw[..., 4:]}
        expected = theirs.compute_loss(targets, outputs, [corners, corners], matched)
        torch.testing.assert_close(own["places"], expected["bbox_regression"])
        torch.testing.assert_close(own["classes"], expected["classification"])

    def test_an_image_without_things_is_learned_from(self):
        detector = made("ssd").eval()
        loss = detector.loss(detector(images(1)), [truth()])
        assert loss["classes"] > 0
        assert loss["places"] == 0

    def test_what_it_was_taught_by_heart_it_finds(self):
        torch.manual_seed(0)
        detector = made("ssd").train()
        optimizer = torch.optim.Adam(detector.parameters(), 0.01)
        shown = images(2)
        for _ in range(40):
            optimizer.zero_grad()
            sum(detector.loss(detector(shown), TRUTHS).values()).backward()
            optimizer.step()
        with torch.no_grad():
            found = detector.decode(detector(shown))
        for answer, wanted in zip(found, TRUTHS, strict=True):
            best = answer.scores[: len(wanted.classes)]
            assert (best > 0.5).all()
            overlaps = box_iou(wanted.boxes, answer.boxes[: len(wanted.classes)])
            assert (overlaps.max(1).values > 0.7).all()
            assert answer.classes[overlaps.argmax(1)].tolist() == wanted.classes.tolist()


class TestFasterRcnn:
    def test_both_stages_learn(self):
        detector = made("faster_rcnn").train()
        loss = detector.loss(detector(images(2)), TRUTHS)
        assert set(loss) == {"classes", "places", "proposals", "proposed_places"}
        sum(loss.values()).backward()
        assert all(parameter.grad is not None for parameter in detector.parameters())

    def test_the_same_seed_learns_from_the_same_proposals(self):
        detector = made("faster_rcnn").train()
        losses = []
        for _ in range(2):
            torch.manual_seed(3)
            losses.append(copy.deepcopy(detector).loss(detector(images(2)).detach(), TRUTHS)["classes"].item())
        assert losses[0] == losses[1]

    def test_an_image_without_things_is_learned_from(self):
        detector = made("faster_rcnn").train()
        loss = detector.loss(detector(images(2)), [truth(), truth()])
        assert loss["places"] == 0 and loss["classes"] > 0

    def test_answers_are_boxes_within_the_image(self):
        detector = made("faster_rcnn").eval()
        with torch.no_grad():
            found = detector.decode(detector(images(2)))
        for each in found:
            assert 0 < len(each.boxes) <= 100
            assert each.boxes.min() >= 0 and each.boxes.max() <= 1
            assert set(each.classes.tolist()) <= set(range(CLASSES))
            assert each.scores.tolist() == sorted(each.scores.tolist(), reverse=True)

    def test_there_is_no_loss_without_training(self):
        detector = made("faster_rcnn").eval()
        with pytest.raises(AssertionError, match="other regions for learning"):
            detector.loss(detector(images(1)), TRUTHS[:1])


@pytest.mark.parametrize("form", ["ssd", "ssdlite", "faster_rcnn"])
def test_weights_follow_from_the_seed(form):
    first, again, other = made(form), made(form), made(form, seed=1)
    names = [name for name in first.state_dict() if name.endswith("weight") and first.state_dict()[name].ndim > 1]
    assert all(torch.equal(first.state_dict()[name], again.state_dict()[name]) for name in names)
    assert any(not torch.equal(first.state_dict()[name], other.state_dict()[name]) for name in names)


@pytest.mark.parametrize("form", ["ssd", "ssdlite", "faster_rcnn"])
def test_without_batch_norm_it_answers_alike(form):
    detector = shaken(made(form)).eval()
    twin = folded(detector)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in twin.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in detector.modules())
    shown = images(2)
    with torch.no_grad():
        torch.testing.assert_close(twin(shown), detector(shown), rtol=1e-4, atol=1e-4)
        for one, other in zip(twin.decode(twin(shown)), detector.decode(detector(shown)), strict=True):
            torch.testing.assert_close(one.scores[0], other.scores[0], rtol=1e-3, atol=1e-4)
            assert one.classes[0] == other.classes[0]


def test_the_exported_form_is_the_answer_as_probabilities():
    detector = made("ssd").eval()
    shown = images(2)
    with torch.no_grad():
        raw = detector(shown)
    rows = answered(raw, "detect")
    rows = rows.view(raw.shape)
    torch.testing.assert_close(rows[..., :4], raw[..., :4])
    torch.testing.assert_close(rows[..., 4:], raw[..., 4:].softmax(2))


@pytest.mark.parametrize("name", ["mobilenet_v2x0.35@64", "mobilenet_v3_small@64", "efficientnet_b0@64/16", "resnet18@64"])
@pytest.mark.parametrize("form", ["ssdlite", "faster_rcnn"])
def test_any_architecture_can_carry_a_detector(name, form):
    with torch.device("meta"):
        arch = parse(name)
        detector = FasterRcnn(arch, 2) if form == "faster_rcnn" else Ssd(arch, form, 2)
    assert detector_cost(detector).madds > cost(arch, 0).madds
    assert not [key for key in detector.state_dict() if key.startswith(("head", "hidden"))]


def test_maps_of_any_resolution_are_read():
    for side in (24, 40, 56):
        detector = build_detector(at(SMALL, side), "ssdlite", 2).eval()
        with torch.no_grad():
            assert detector(images(1, side)).shape == (1, len(detector.anchors), 4 + 1 + 2)


@pytest.mark.parametrize("form", ["ssd", "ssdlite", "faster_rcnn"])
def test_a_saved_detector_answers_as_before(form, tmp_path):
    detector = made(form, arch=NAMED).eval()
    save_network(detector, tmp_path / "model.safetensors", ("a", "b", "c"), "detect")
    loaded, classes = load_detector(tmp_path / "model.safetensors")
    assert (loaded.form, classes) == (form, ("a", "b", "c"))
    with torch.no_grad():
        first, again = (each.decode(each(images(1)))[0] for each in (detector, loaded))
    assert torch.equal(first.boxes, again.boxes) and torch.equal(first.scores, again.scores)


def test_a_classifier_is_no_detector(tmp_path):
    save_network(build(NAMED, torch.nn.Linear(NAMED.features, 2)), tmp_path / "model.safetensors", ("a", "b"))
    with pytest.raises(UserError, match="no detector"):
        load_detector(tmp_path / "model.safetensors")


def test_weights_of_a_classifier_become_the_blocks(tmp_path):
    plain = build(NAMED, torch.nn.Linear(NAMED.features, 2), seed=5)
    save_network(plain, tmp_path / "model.safetensors", ("a", "b"))
    detector = made("ssd", arch=NAMED)
    load_blocks(detector, find(str(tmp_path / "model.safetensors"), NAMED))
    loaded = detector.blocks.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in plain.blocks.state_dict().items())
