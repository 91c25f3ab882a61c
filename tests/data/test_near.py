"""Copies that were changed on their way are found; pictures that only look alike are not taken for copies."""

import io

import numpy as np
import pytest
from PIL import Image

from eyas.data.near import near_copies
from eyas.data.quality import look
from eyas.data.spectrum import aligned, spectra, turn, views

COUNT, LEAKED = 300, 40
TURNS = Image.Transpose


def photo(seed):
    """Detail at every scale, less of it the finer it is, as in photographs."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((90, 120), np.float32)
    for cells in (2, 4, 8, 16, 32):
        grid = Image.fromarray(rng.normal(0, cells**-0.7, (cells, cells)).astype(np.float32))
        pixels += np.asarray(grid.resize((120, 90), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(128 + 60 * pixels / pixels.std(), 0, 255).astype(np.uint8))


def cell(seed):
    """A solar cell: the same bars on all, and a few marks of its own."""
    pixels = np.full((120, 120), 170.0)
    pixels[[20, 21, 60, 61, 100, 101]] = 40
    pixels[:, :4] = pixels[:, -4:] = 60
    rng = np.random.default_rng(seed)
    for _ in range(4):
        row, column, height, width = rng.integers((8, 8, 4, 2), (100, 100, 16, 10))
        pixels[row : row + height, column : column + width] -= 60
    return Image.fromarray(np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8))


def thumbnails(images):
    seen = [np.frombuffer(look(np.asarray(image)[..., None]).thumbnail, np.uint8) for image in images]
    return np.stack(seen).reshape(-1, 32, 32)


def encoded(image, kind, quality):
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return Image.open(file).convert("L")


def cropped(image, share, place):
    width, height = (round(side * share) for side in image.size)
    left, top = (round((whole - part) * place) for whole, part in zip(image.size, (width, height), strict=True))
    return image.crop((left, top, left + width, top + height))


@pytest.fixture(scope="module")
def photos():
    return [photo(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def held_out(photos):
    return thumbnails(photos)


CHANGES = {
    "copy": lambda image: image,
    "jpeg 30": lambda image: encoded(image, "JPEG", 30),
    "jpeg 95": lambda image: encoded(image, "JPEG", 95),
    "webp 50": lambda image: encoded(image, "WEBP", 50),
    "half the size": lambda image: image.resize((60, 45), Image.Resampling.BILINEAR),
    "twice the size": lambda image: image.resize((240, 180), Image.Resampling.BICUBIC),
    "brighter": lambda image: image.point(lambda level: min(255, 1.1 * level)),
    "darker": lambda image: image.point(lambda level: 0.85 * level),
    **{name.name.lower(): (lambda image, name=name: image.transpose(name)) for name in TURNS},
    "turned and jpeg 60": lambda image: encoded(image.transpose(TURNS.TRANSVERSE), "JPEG", 60),
}


@pytest.mark.parametrize("change", CHANGES)
def test_leaked_copies_are_found_and_nothing_else_is(photos, held_out, change):
    leaked = [CHANGES[change](image) for image in photos[:LEAKED]]
    strangers = [photo(1000 + seed) for seed in range(LEAKED)]
    found = near_copies(thumbnails([*leaked, *strangers]), held_out)
    assert (found.query == found.reference).all()  # no picture is taken for another one's copy
    assert len(found.query) >= 0.95 * LEAKED


@pytest.mark.parametrize(("share", "least"), [(0.98, 0.9), (0.95, 0.6)])
def test_most_slight_crops_are_found(photos, held_out, share, least):
    leaked = [cropped(image, share, place=row % 3 / 2) for row, image in enumerate(photos[:LEAKED])]
    found = near_copies(thumbnails(leaked), held_out)
    assert (found.query == found.reference).all()
    assert len(found.query) >= least * LEAKED


def test_solar_cells_that_all_look_alike_are_not_copies():
    cells = [cell(seed) for seed in range(COUNT)]
    seen = thumbnails(cells)
    units = spectra(seen[:2]).reshape(2, -1)
    assert units[0] @ units[1] > 0.5 * np.linalg.norm(units[0]) * np.linalg.norm(units[1])  # they do look alike
    assert len(near_copies(seen, seen, itself=True).query) == 0
    found = near_copies(thumbnails([encoded(each.transpose(TURNS.ROTATE_90), "JPEG", 50) for each in cells[:LEAKED]]), seen)
    assert (found.query == found.reference).all()
    assert len(found.query) >= 0.95 * LEAKED


def test_a_pair_within_the_data_is_found_once_with_the_earlier_row_as_the_reference(photos):
    seen = thumbnails([*photos[:50], encoded(photos[7], "JPEG", 60), photos[7].transpose(TURNS.ROTATE_180)])
    found = near_copies(seen, seen, itself=True)
    assert sorted(zip(found.query.tolist(), found.reference.tolist(), strict=True)) == [(50, 7), (51, 7), (51, 50)]
    assert found.likeness.min() > 0.95


def test_among_very_few_images_only_what_compression_changes_is_a_copy(photos):
    seen = thumbnails(photos[:3])
    assert len(near_copies(seen, seen, itself=True).query) == 0
    found = near_copies(thumbnails([encoded(photos[1], "JPEG", 90)]), seen)
    assert found.reference.tolist() == [1]


def test_five_versions_of_each_picture_are_told_from_other_pictures(photos):
    tiny = [photo.resize((48, 36), Image.Resampling.BOX) for photo in photos[:30]]  # where compression does most harm
    versions = [encoded(each, kind, quality) for each in tiny for kind in ("JPEG", "WEBP") for quality in (35, 60)]
    seen = thumbnails([*photos[:30], *versions])
    picture = np.concatenate([np.arange(30), np.repeat(np.arange(30), 4)])
    found = near_copies(seen, seen, itself=True)
    assert (picture[found.query] == picture[found.reference]).all()
    assert len(found.query) >= 0.95 * 30 * 10


def test_pictures_without_texture_match_nothing(held_out):
    flat = np.full((20, 32, 32), 128, np.uint8)
    flat[1::2, 0, 0] += 1
    everything = np.concatenate([flat, held_out])
    found = near_copies(everything, everything, itself=True)
    assert not len(found.query)


def test_nothing_to_compare(held_out):
    nothing = np.zeros((0, 32, 32), np.uint8)
    assert len(near_copies(nothing, held_out).query) == len(near_copies(held_out, nothing).query) == 0


def test_a_view_of_the_spectrum_is_the_spectrum_of_the_turned_thumbnail(held_out):
    some = held_out[:16]
    for number, view in enumerate(views(spectra(some))):
        turned = spectra(turn(some, np.full(len(some), number)))
        np.testing.assert_allclose(view, turned, atol=0.05)
    assert len({turn(some[:1], np.array([number])).tobytes() for number in range(8)}) == 8


def test_the_place_of_a_crop_is_found(photos):
    whole = thumbnails(photos[:LEAKED])
    part = thumbnails([cropped(image, 0.95, place=row % 3 / 2) for row, image in enumerate(photos[:LEAKED])])

    def straight(one, other):
        a, b = (spectra(each).reshape(len(each), -1) for each in (one, other))
        return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    assert np.median(straight(whole, part)) < 0.9 < np.median(aligned(whole, part))
    np.testing.assert_allclose(aligned(whole, part), aligned(part, whole), atol=1e-6)  # either may be the crop
