import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eyas.data.decode import Refusal, decode, size
from tests.images import ORIENTATION, encoded, grey_16_bits, hostile, huge_png, image, picture, put

TURNED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}  # what a camera stores for an upright picture, by EXIF orientation


def stored(tmp_path, content, name="image.bin"):
    return str(put(tmp_path / name, content))


def test_every_odd_file_is_read_or_refused_with_its_reason(tmp_path):
    for name, reason in hostile(tmp_path).items():
        if reason is None:
            pixels = decode(str(tmp_path / name))
            assert pixels.dtype == np.uint8, name
            assert pixels.shape[2] in (1, 3), name
        else:
            with pytest.raises(Refusal, match=f"^{reason}"):
                decode(str(tmp_path / name))


@pytest.mark.parametrize(
    ("format", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})]
)
def test_pixels_survive_whatever_the_suffix_says(tmp_path, format, options):
    np.testing.assert_array_equal(decode(stored(tmp_path, encoded(image(), format, **options), "x.jpg")), picture())


def test_grey_has_one_channel(tmp_path):
    np.testing.assert_array_equal(decode(stored(tmp_path, encoded(image(channels=1), "PNG"))), picture(channels=1))


def test_black_and_white_spans_the_range(tmp_path):
    pixels = decode(stored(tmp_path, encoded(image().convert("1"), "PNG")))
    assert set(np.unique(pixels)) == {0, 255}
    assert pixels.shape == (24, 32, 1)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_a_turned_photograph_comes_out_upright(tmp_path, format, orientation):
    upright = np.kron(picture(0, 4, 6), np.ones((8, 8, 1), np.uint8))  # blocks: JPEG keeps them at any turn
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = Image.fromarray(np.ascontiguousarray(TURNED[orientation](upright)))
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    pixels = decode(stored(tmp_path, encoded(turned, format, exif=exif, **lossless)))
    assert pixels.shape == upright.shape
    np.testing.assert_allclose(pixels.astype(int), upright, atol=4 if format == "JPEG" else 0)


def test_a_usual_jpeg_is_read_without_pillow_and_is_what_pillow_reads(tmp_path, monkeypatch):
    contents = [encoded(image(channels=channels), "JPEG", **how) for channels in (1, 3) for how in ({}, {"progressive": True})]
    expected = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    monkeypatch.setattr("eyas.data.decode._header", None)
    for content, pixels in zip(contents, expected, strict=True):
        source = stored(tmp_path, content)
        assert size(source) == decode(source).shape
        np.testing.assert_array_equal(decode(source).squeeze(), pixels)


def test_what_xmp_says_of_a_turn_counts(tmp_path):
    note = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode(stored(tmp_path, encoded(image(), "JPEG", xmp=note))).shape == (32, 24, 3)


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    content = encoded(image(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f garbage")
    assert decode(stored(tmp_path, content)).shape == (24, 32, 3)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_never_clipped(tmp_path, format):
    values = grey_16_bits()
    pixels = decode(stored(tmp_path, encoded(Image.fromarray(values), format)))
    np.testing.assert_array_equal(pixels[..., 0], np.rint(values / 257))


def test_numbers_without_a_range_are_refused(tmp_path):
    for values in (np.ones((4, 4), np.float32), np.ones((4, 4), np.int32)):
        with pytest.raises(Refusal, match="without a known range"):
            decode(stored(tmp_path, encoded(Image.fromarray(values), "TIFF")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_show_white(tmp_path, mode):
    layers = Image.new(mode, (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        layers.putpixel((x, 0), (*[100] * (len(mode) - 1), alpha))
    pixels = decode(stored(tmp_path, encoded(layers, "PNG")))
    assert pixels[0, :, 0].tolist() == [255, round((100 * 128 + 255 * 127) / 255), 100]
    assert pixels.shape[2] == len(mode) - 1


def test_a_transparent_colour_shows_white(tmp_path):
    for mode, key, other in (("L", 7, 90), ("RGB", (7, 7, 7), (90, 90, 90)), ("P", 7, 90)):
        layer = Image.new(mode, (2, 1), key)
        layer.putpixel((1, 0), other)
        if mode == "P":
            layer.putpalette([value for value in range(256) for _ in "rgb"])
        pixels = decode(stored(tmp_path, encoded(layer, "PNG", transparency=key)))
        assert pixels[0, :, 0].tolist() == [255, 90], mode


def test_cmyk_becomes_the_colours_that_it_prints(tmp_path):
    blue = Image.new("RGB", (16, 16), (20, 40, 220)).convert("CMYK")
    np.testing.assert_allclose(decode(stored(tmp_path, encoded(blue, "JPEG", quality=95)))[8, 8], (20, 40, 220), atol=12)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (200, 100)]
    for format in ("GIF", "PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert decode(stored(tmp_path, content))[0, 0].tolist() == [200, 0, 0], format


def test_a_picture_just_within_the_limit_is_read_without_a_warning(tmp_path):
    source = stored(tmp_path, huge_png(10_000, 9_500))  # Pillow itself warns here
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert decode(source).shape == (9_500, 10_000, 1)
    assert not caught


WHOLE = {
    format: encoded(image(0, 40, 50), format, **options)
    for format, options in [
        *(("PNG", {}), ("JPEG", {"progressive": True}), ("GIF", {}), ("BMP", {}), ("PPM", {}), ("WEBP", {"lossless": True})),
        *(("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("JPEG2000", {}), ("QOI", {})),
    ]
}


@pytest.mark.parametrize("format", WHOLE)
@given(data=st.data())
def test_a_cut_file_is_refused_or_whole(tmp_path_factory, format, data):
    """Wherever a file is cut, it is refused, or every pixel is there."""
    whole = WHOLE[format]
    cut = data.draw(st.integers(0, len(whole) - 1))
    source = stored(tmp_path_factory.getbasetemp(), whole[:cut], f"cut.{format}")
    try:
        pixels = decode(source)
    except Refusal:
        return
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(whole)).convert("RGB")))


def test_a_jpeg_2000_cut_behind_its_header_is_not_a_black_picture(tmp_path):
    whole = WHOLE["JPEG2000"]
    start_of_tile = whole.index(b"\xff\x90")
    with pytest.raises(Refusal, match="truncated"):
        decode(stored(tmp_path, whole[: start_of_tile + 2]))


@pytest.mark.parametrize("format", WHOLE)
@given(data=st.data())
def test_damage_never_raises_anything_but_a_refusal(tmp_path_factory, format, data):
    content = bytearray(WHOLE[format])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    source = stored(tmp_path_factory.getbasetemp(), bytes(content), f"damaged.{format}")
    try:
        assert decode(source).ndim == 3
    except Refusal as refusal:
        assert str(refusal)
