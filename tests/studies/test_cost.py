"""`eyas cost` as a function: tables and modules alike."""

import pytest

from eyas.arch.cost import breakdown
from eyas.arch.cost import cost as cost_of
from eyas.arch.parse import parse
from eyas.arch.tables import ARCHS
from eyas.errors import UserError
from eyas.studies.cost import compare, cost


def test_of_a_table_is_that_of_its_value() -> None:
    found = cost("mobilenet_v1x0.50@160", by="type", classes=10)
    arch = parse("mobilenet_v1x0.5@160")
    assert (found.arch, found.resolution, found.classes) == ("mobilenet_v1x0.5@160", 160, 10)
    assert found.cost == cost_of(arch, 10)
    assert found.shares == breakdown(arch, "type", 10)


@pytest.mark.parametrize("name", ARCHS)
def test_a_published_accuracy_is_that_of_the_published_table(name: str) -> None:
    arch = ARCHS[name]
    assert cost(name).top1 == cost(f"{name}x1d1@{arch.resolution}").top1 == arch.top1
    for changed in (f"{name}x0.5", f"{name}d2", f"{name}@{arch.resolution + 32}", f"{name}/16"):
        assert cost(changed).top1 is None
    assert cost(name, classes=10).top1 is None


def test_several_keep_their_order() -> None:
    found = compare(["torchvision:alexnet@96", "mobilenet_v1", "mobilenet_v1"], classes=10)
    assert [each.arch for each in found] == ["torchvision:alexnet@96", "mobilenet_v1", "mobilenet_v1"]
    assert [each.resolution for each in found] == [96, 224, 224]
    assert found[1] == found[2] == cost("mobilenet_v1", classes=10)


def test_of_a_module_has_no_peak_and_no_accuracy() -> None:
    found = cost("timm:resnet18", by="stage")
    assert (found.cost.peak_activation_bytes, found.top1, found.classes) == (None, None, 1000)
    assert (found.cost.madds, found.cost.params) == (cost("resnet18").cost.madds, cost("resnet18").cost.params)
    assert [share.group for share in found.shares][-2:] == ["layer4", "fc"]


def test_no_classes_leave_the_classifier_out() -> None:
    for name in ("resnet18", "torchvision:resnet18", "timm:resnet18"):
        assert cost(name).cost.madds - cost(name, classes=0).cost.madds == 512 * 1000


@pytest.mark.parametrize(
    ("arch", "classes", "sentence"),
    [
        ("mobilenet_v1", -1, "classes is -1; it must be 0 or above"),
        ("timm:resnet18", -1, "classes is -1; it must be 0 or above"),
        ("mobilenet_v11", 10, "no architecture is named 'mobilenet_v11'; did you mean mobilenet_v1"),
        ("torchvision:vgg11@7", 10, "torchvision:vgg11@7: VGG does not run on an image of 7 x 7 pixels: "),
        ("timm:vit_tiny_patch16_224@96", 10, "timm:vit_tiny_patch16_224@96: VisionTransformer does not run on an image of 96"),
    ],
)
def test_what_is_wrong_in_one_sentence(arch: str, classes: int, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        compare([arch], classes=classes)
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)
