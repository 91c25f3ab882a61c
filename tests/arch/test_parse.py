"""Names of architectures: both ways, and what a misspelt one is told."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.arch.parse import described, from_description, parse
from eyas.arch.scale import at, deeper, seen, strided, wider
from eyas.arch.spec import Arch
from eyas.arch.tables import ARCHS, MOBILENET_V1
from eyas.errors import UserError

law = settings(deadline=None, max_examples=100)
archs = st.sampled_from(list(ARCHS.values()))
factors = st.sampled_from([1.0, 0.25, 0.5, 1.2 * 1.2, 1.1**3, 2.0]) | st.floats(1e-6, 100.0)


@given(archs, factors, factors, st.integers(32, 1000), st.sampled_from([2, 4, 8, 16, 32]))
@law
def test_parse_reads_what_str_writes(arch: Arch, width: float, depth: float, resolution: int, stride: int) -> None:
    scaled = at(strided(deeper(wider(arch, width), depth), stride), resolution)
    assert parse(str(scaled)) == scaled


multipliers = (
    st.decimals("0.01", "99.99", places=2).map(lambda value: f"{value.normalize():f}").filter(lambda text: text != "1")
)


@given(
    st.sampled_from(sorted(ARCHS)),
    st.just("") | multipliers.map("x{}".format),
    st.just("") | multipliers.map("d{}".format),
    st.just("") | st.integers(32, 999).map("@{}".format),
    st.sampled_from(["", "/2", "/4", "/8", "/16"]),
)
@law
def test_str_writes_what_parse_reads(name: str, width: str, depth: str, resolution: str, stride: str) -> None:
    written = "" if resolution == f"@{ARCHS[name].native}" else resolution  # the published one is not written
    assert str(parse(f"{name}{width}{depth}{resolution}{stride}")) == f"{name}{width}{depth}{written}{stride}"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("mobilenet_v1x1.0", "mobilenet_v1"),
        ("mobilenet_v1x0.50@224/32", "mobilenet_v1x0.5"),
        ("  mobilenet_v1@0160 ", "mobilenet_v1@160"),
    ],
)
def test_dials_that_change_nothing_are_left_out(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


def test_the_papers_names() -> None:
    assert parse("mobilenet_v1x0.5@160") == at(wider(MOBILENET_V1, 0.5), 160)
    assert parse("mobilenet_v1x0.5@32/8") == at(strided(wider(MOBILENET_V1, 0.5), 8), 32)


def test_small_images_need_only_the_stride_they_are_given() -> None:
    assert parse("mobilenet_v1@8/8").resolution == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mobilnet_v1", "no architecture is named 'mobilnet_v1'; did you mean mobilenet_v1 "),
        ("efficientnetb0", "no architecture is named 'efficientnetb0'; did you mean efficientnet_b0 "),
        ("efficientnet-lite0", "architecture 'efficientnet-lite0' is not of the form NAME[x<width>]"),
        ("MobileNet", "architecture 'MobileNet' is not of the form NAME[x<width>]"),
        ("", "architecture '' is not of the form NAME[x<width>]"),
        ("mobilenet_v1@160x0.5", "architecture 'mobilenet_v1@160x0.5' is not of the form"),
        ("mobilenet_v1@1.5", "architecture 'mobilenet_v1@1.5' is not of the form"),
        ("mobilenet_v1x-1", "architecture 'mobilenet_v1x-1' is not of the form"),
        (f"mobilenet_v1@{'9' * 5000}", "architecture 'mobilenet_v1@999"),
        ("mobilenet_v1x0", "width multiplier 0 of mobilenet_v1: it must be above 0"),
        (f"mobilenet_v1x{'9' * 400}", "width multiplier inf of mobilenet_v1: it must be above 0 and at most 100"),
        ("mobilenet_v1d0", "depth multiplier 0 of mobilenet_v1: it must be above 0"),
        ("mobilenet_v1d1000000000", "depth multiplier 1e+09 of mobilenet_v1: it must be above 0 and at most 100"),
        ("mobilenet_v1@7", "resolution 7 of mobilenet_v1: it must be at least the total stride, 32 pixels; for smaller images"),
        ("mobilenet_v1@7/8", "resolution 7 of mobilenet_v1: it must be at least the total stride, 8 pixels"),
        ("mobilenet_v1/3", "output stride /3 of mobilenet_v1: it must be one of 2, 4, 8, 16, 32"),
        ("mobilenet_v1/0", "output stride /0 of mobilenet_v1: it must be one of 2, 4, 8, 16, 32"),
    ],
)
def test_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["nosuch", "zzz", "resnet"])
def test_the_nearest_names_are_suggested(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert sum(f" {name} " in str(caught.value).replace("?", " ") for name in ARCHS) == 3


@pytest.mark.parametrize("name", ARCHS)
def test_every_name_of_the_tables_is_its_own(name: str) -> None:
    assert parse(name) is ARCHS[name]
    assert ARCHS[name].name == name


@given(archs, st.sampled_from([0.5, 0.875, 0.9]))
@law
def test_a_test_crop_is_described_and_read_again(arch: Arch, view: float) -> None:
    cropped = seen(arch, view)
    assert from_description(described(cropped)) == cropped
    assert str(cropped) == str(arch)
    assert seen(cropped, 1.0) == arch


@given(archs)
@law
def test_the_whole_image_goes_without_saying(arch: Arch) -> None:
    assert described(arch) == {"arch": str(arch)}
    other = replace(arch, preprocessing=replace(arch.preprocessing, mean=(0.1, 0.2, 0.3)))
    assert "view" not in described(other)["preprocessing"], "descriptions from before there was a choice stay as they were"
    assert from_description(described(other)) == other
