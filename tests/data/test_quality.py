"""What is measured of a picture while it is decoded, and which pictures are called odd."""

import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter

from eyas.data.outliers import EXAMPLES, KINDS, outliers
from eyas.data.quality import THUMBNAIL, look
from tests.images import image, picture

# What is measured of one picture


def test_light_of_a_picture_in_two_halves():
    pixels = np.zeros((40, 60, 1), np.uint8)
    pixels[:, 30:] = 255
    seen = look(pixels)
    assert (seen.brightness, seen.contrast, seen.dark, seen.light) == pytest.approx((127.5, 127.5, 0.5, 0.5))


def test_a_grey_picture_in_three_channels_looks_as_in_one():
    grey = picture(3, 200, 300, 1)
    assert look(np.repeat(grey, 3, 2)) == look(grey)


def test_the_size_of_a_picture_changes_little():
    large = image(1, 64, 96).resize((960, 640), Image.Resampling.BICUBIC)
    one, other = look(np.asarray(large)), look(np.asarray(large.resize((480, 320), Image.Resampling.BOX)))
    assert one.brightness == pytest.approx(other.brightness, abs=1)
    assert one.sharpness == pytest.approx(other.sharpness, rel=0.2)
    difference = np.frombuffer(one.thumbnail, np.uint8).astype(int) - np.frombuffer(other.thumbnail, np.uint8)
    assert np.abs(difference).max() <= 6


def test_the_more_blurred_the_less_sharp():
    sharp = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))
    found = [look(np.asarray(sharp.filter(ImageFilter.GaussianBlur(radius)))).sharpness for radius in (0, 1, 2, 4)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 100 * found[-1]


def test_grey_and_sharpness_are_those_of_pillow_and_of_the_definition():
    pixels = np.random.default_rng(1).integers(0, 256, (100, 128, 3), np.uint8)
    grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(float)
    seen = look(pixels)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    assert seen.brightness == pytest.approx(grey.mean(), rel=1e-12)
    assert seen.contrast == pytest.approx(grey.std(), rel=1e-9)
    assert seen.sharpness == pytest.approx(laplacian.var(), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 1), (700, 2, 3), (2, 2, 1)])
def test_pictures_of_any_shape_can_be_looked_at(shape):
    seen = look(np.full(shape, 7, np.uint8))
    assert seen.thumbnail == bytes([7]) * THUMBNAIL**2
    assert (seen.brightness, seen.contrast, seen.sharpness) == (7, 0, 0)


# Which are odd


def table(**columns):
    """Measures of some fifty images that differ a little, and the given values in front."""
    usual = {"brightness": 120, "contrast": 50, "dark": 0, "light": 0, "sharpness": 400}
    usual |= {"original_width": 500, "original_height": 400}
    rows = max(map(len, columns.values()), default=0)
    wobble = 1 + 0.1 * np.sin(np.arange(50))
    found = {name: [*columns.get(name, [value] * rows), *(value * wobble)] for name, value in usual.items()}
    return [str(row) for row in range(rows + 50)], pa.table(found)


@pytest.mark.parametrize(
    ("name", "measure", "values"),
    [
        ("dark", "brightness", [60, 10]),
        ("bright", "brightness", [200, 250]),
        ("pale", "contrast", [20, 2]),
        ("black", "dark", [0.2, 0.9]),
        ("burnt out", "light", [0.2, 0.9]),
        ("blurred", "sharpness", [40, 1]),
        ("wide", "original_width", [1200, 4000]),
        ("tall", "original_height", [1200, 4000]),
        ("small", "original_width", [150, 20]),
        ("large", "original_width", [1500, 9000]),
    ],
)
def test_each_kind_finds_its_own_and_the_oddest_first(name, measure, values):
    found = outliers(*table(**{measure: values}))
    assert found[name]["images"] == 2
    assert [row["id"] for row in found[name]["examples"]] == ["1", "0"]
    last, bound = found[name]["examples"][-1]["value"], found[name]["from"]
    assert last > bound if KINDS[name].high else last < bound


def test_usual_pictures_are_not_odd():
    assert not any(kind["images"] for kind in outliers(*table()).values())


def test_data_that_is_all_alike_calls_no_trifle_odd():
    rows = {name: [value] * 20 for name, value in {"brightness": 90.0, "contrast": 40.0, "dark": 0.0, "light": 0.0}.items()}
    rows |= {"sharpness": [300.0] * 20, "original_width": [64] * 20, "original_height": [64] * 20}
    rows["brightness"][3], rows["dark"][4], rows["sharpness"][5] = 95.0, 0.01, 290.0
    assert not any(kind["images"] for kind in outliers([str(row) for row in range(20)], pa.table(rows)).values())


def test_long_lists_are_cut_and_counts_are_not():
    _, index = table()
    many = pa.concat_tables([index] * 5)
    black = [0.9] * 60 + [0.0] * (len(many) - 60)
    found = outliers([str(row) for row in range(len(many))], many.set_column(2, "dark", pa.array(black)))
    assert (found["black"]["images"], len(found["black"]["examples"])) == (60, EXAMPLES)


def test_nothing_to_look_at():
    _, index = table()
    found = outliers([], index.slice(0, 0))
    assert {kind["images"] for kind in found.values()} == {0}
    json.dumps(found, allow_nan=False)
