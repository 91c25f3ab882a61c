"""What published accuracies say of networks in between: held against published ones that were left out."""

import pytest

from eyas.arch import accuracy
from eyas.arch.accuracy import FAMILIES, PUBLISHED, Top1, family_of, top1
from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.arch.scale import ALPHA, BETA
from eyas.arch.search import PHIS, compounds
from eyas.arch.tables import ARCHS, EFFICIENTNET_B0


@pytest.fixture(autouse=True)
def fresh():
    accuracy._curve.cache_clear()
    yield
    accuracy._curve.cache_clear()


def error_without(monkeypatch: pytest.MonkeyPatch, names: list[str], kept: list[str] = ()) -> list[float]:
    """How far off each published figure would be said to be if it, or all of `names` but `kept`, were not published."""
    errors = []
    for name in names:
        left_out = {name} if not kept else {each for each in names if each not in kept}
        if name in kept:
            continue
        known = {each: figure for each, figure in PUBLISHED.items() if each not in left_out}
        monkeypatch.setattr(accuracy, "PUBLISHED", known)
        accuracy._curve.cache_clear()
        said = top1(parse(name))
        if said and said.how != "published":
            errors.append(abs(said.value - PUBLISHED[name][0]))
    return errors


def released(table: str, largest: float) -> list[str]:
    """Published networks of a table at width and resolution, that cost no more than the table itself."""
    return [name for name in PUBLISHED if parse(name).name == table and cost(parse(name)).madds <= largest]


def test_a_published_figure_is_given_as_it_is_printed():
    assert top1(parse("mobilenet_v1x0.5@160")) == Top1(60.2, "published")  # MobileNets, Table 9
    assert top1(parse("mobilenet_v2x1.4")) == Top1(74.7, "published")  # MobileNetV2, Table 4
    assert all(top1(arch) == Top1(arch.top1, "published") for arch in ARCHS.values() if arch.top1)


def test_every_published_network_is_one_with_a_source():
    assert [name for name, (value, source) in PUBLISHED.items() if not (40 < value < 86 and source)] == []
    assert [name for name in PUBLISHED if str(parse(name)) != name] == []


@pytest.mark.parametrize(("table", "mean", "worst"), [("mobilenet_v1", 1.0, 3.0), ("mobilenet_v2", 0.8, 2.0)])
def test_between_published_networks_it_is_right_to_about_a_point(table, mean, worst, monkeypatch):
    inner = sorted(released(table, 570e6), key=lambda name: cost(parse(name)).madds)[1:-1]
    errors = error_without(monkeypatch, inner)
    assert len(errors) > 12
    assert sum(errors) / len(errors) < mean
    assert max(errors) < worst


@pytest.mark.parametrize(
    ("table", "kept", "mean"),
    [
        ("mobilenet_v1", ["mobilenet_v1"], 1.4),
        ("mobilenet_v3_large", ["mobilenet_v3_large"], 0.5),
        ("mnasnet_b1", ["mnasnet_b1"], 0.5),
    ],
)
def test_below_the_least_it_is_right_to_about_a_point_too(table, kept, mean, monkeypatch):
    """Said of all narrower and lower ones from the table's own figure alone, by what MobileNetV2 lost."""
    monkeypatch.setattr(accuracy, "_TOGETHER", ())
    errors = error_without(monkeypatch, released(table, cost(parse(table)).madds), kept)
    assert errors
    assert sum(errors) / len(errors) < mean


def test_nothing_is_said_where_nothing_is_known():
    for name in ("mobilenet_v1x0.5@32/8", "mobilenet_v1x0.25@64", "resnet18x0.5", "mobilenet_v1d0.5", "mobilenet_v1_convx0.5"):
        assert top1(parse(name)) is None


def test_beyond_the_largest_no_gain_is_promised():
    assert top1(parse("mobilenet_v3_largex2")) == Top1(75.2, "estimated")


def test_compound_scaling_is_not_called_shallow():
    assert all(top1(arch) for arch in compounds(EFFICIENTNET_B0))
    assert [arch.depth for arch in compounds(EFFICIENTNET_B0)] == [round(ALPHA**phi, 2) for phi in PHIS]
    assert [arch.width for arch in compounds(EFFICIENTNET_B0)] == [round(BETA**phi, 2) for phi in PHIS]


def test_more_madds_are_never_said_to_be_worse():
    for table in (name for names in FAMILIES.values() for name in names):
        said = [top1(parse(f"{table}x{width}")) for width in (0.33, 0.47, 0.62, 0.81, 0.93, 1.15)]
        values = [each.value for each in said if each]
        assert values == sorted(values)


def test_every_table_is_of_a_family():
    assert {family_of(name) for name in ARCHS} == {*FAMILIES, "mobilenet_v1_conv", "mobilenet_v1_shallow"}
