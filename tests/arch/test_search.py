"""The networks that a plan weighs."""

import pytest

from eyas.arch.accuracy import FAMILIES
from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.arch.search import HEAVIEST, dialled, front, seen_at, students, tables, weigh, weighed
from eyas.arch.spec import layers
from eyas.errors import UserError

TEACHERS = ["efficientnet_lite0@128", "mobilenet_v1x0.35@32/16", "mobilenet_v1x1.4@64", "efficientnet_lite0d1.2@96"]


@pytest.fixture(scope="module")
def all_networks():
    return weighed(dialled(tables(["mobilenet_v1", "efficientnet"])), 10)


def test_families_and_tables_name_tables():
    assert tables(["mobilenet_v3", "resnet18"]) == ["mobilenet_v3_large", "mobilenet_v3_small", "resnet18"]
    assert tables(None) == [name for names in FAMILIES.values() for name in names]
    assert tables(["mobilenet_v1_shallow"]) == ["mobilenet_v1_shallow"]


def test_an_unknown_family_is_told_with_what_there_is():
    with pytest.raises(
        UserError, match=r"no family is named 'mobilenet3'; did you mean mobilenet_v3 or .*There are mobilenet_v1"
    ):
        tables(["mobilenet3"])


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_smallx0.75@96", "resnet18x0.35", "efficientnet_b0d1.2", "mobilenet_v1x0.5@32/8", "mnasnet_a1"]
)
def test_what_is_weighed_is_the_cost(name):
    arch = parse(name)
    one, spent = weigh(arch, 7), cost(arch, 7)
    assert (one.madds, one.params, one.weights) == (spent.madds, spent.params, spent.weights)
    slow = sum(layer.activation in ("silu", "hard_swish") and layer.kind != "linear" for _, layer in layers(arch, 7))
    assert one.steps == len([*layers(arch, 7)]) + slow


def test_every_dial_is_turned(all_networks):
    archs = [one.arch for one in all_networks]
    assert len(archs) > 1500
    assert {"mobilenet_v1", "efficientnet_b0", "efficientnet_b7"} < {arch.name for arch in archs}
    assert len({arch.width for arch in archs}) >= 19
    assert len({arch.depth for arch in archs}) >= 6
    assert len({arch.resolution / arch.native for arch in archs}) >= 8
    assert "efficientnet_b0x1.21d1.44@296" in {str(arch) for arch in archs}  # φ = 2


def test_each_network_stands_there_once_by_its_simplest_name(all_networks):
    keys = [(one.arch.name, one.arch.resolution, one.madds, one.params) for one in all_networks]
    assert len(set(keys)) == len(keys)
    names = {str(one.arch) for one in all_networks}
    assert {"mobilenet_v1", "mobilenet_v1x0.5@128", "efficientnet_b0", "efficientnet_b3"} < names
    assert max(one.madds for one in all_networks) <= HEAVIEST


class TestStudents:
    @pytest.mark.parametrize("teacher", TEACHERS)
    def test_see_no_more_pixels_than_the_teacher_which_is_one_of_them(self, teacher):
        arch = parse(teacher)
        found = weighed(students(arch, tables(None)), 2)
        assert str(found[0].arch) == teacher
        assert max(one.arch.resolution for one in found) == arch.resolution
        assert len({one.arch.name for one in found}) > 10

    def test_of_its_own_table_are_no_wider_for_they_could_not_inherit(self):
        own = [arch for arch in students(parse("mobilenet_v1x0.5@224"), tables(None)) if arch.name == "mobilenet_v1"]
        assert max(arch.width for arch in own) == 0.5
        assert {arch.resolution for arch in own if arch.width == 0.5} == {224, 160, 112}

    def test_of_small_pictures_keep_its_stride(self):
        found = list(students(parse("mobilenet_v1x0.5@32/8"), tables(None)))
        assert {arch.total_stride for arch in found} == {8}

    def test_are_of_its_depth_so_that_they_can_inherit(self):
        own = [arch for arch in students(parse("efficientnet_lite0d1.2@96"), tables(None)) if arch.name == "efficientnet_lite0"]
        assert {arch.depth for arch in own} == {1.0, 1.2}


def test_for_small_images_strides_are_taken_out():
    found = list(seen_at(32, ["mobilenet_v1", "resnet18"], 8))
    assert {arch.total_stride for arch in found} == {8}
    assert {arch.resolution for arch in found} == {32}


def test_a_front_holds_what_nothing_cheaper_is_as_good_as():
    points = [(1, 50.0), (2, 49.0), (3, 50.3), (4, 53.0), (4, 52.0), (9, 53.4), (10, 53.5)]
    made = front(points, value=lambda point: point[1], spent=lambda point: point[0], step=0.5)
    assert made == [(1, 50.0), (4, 53.0), (10, 53.5)]
