"""The batched operations are Pillow's, and do what they say."""

import numpy as np
import pytest
import torch
from PIL import Image

from eyas.data import randaugment as kernels
from eyas.data.amounts import LARGEST_SHIFT
from eyas.data.noise import CODE, PAPER, Noise
from eyas.data.randaugment import randaugment
from tests.data.reference import OPERATIONS
from tests.images import picture

EVERY = (*PAPER, *CODE[13:])
SIGNED = ("rotate", "color", "contrast", "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y")
MOVING = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def noise_of(operations: list[list[str]], names: tuple[str, ...], sign: float = 1.0) -> Noise:
    """Nothing but these operations for each image."""
    count, turns = len(operations), len(operations[0])
    numbers = np.array([[names.index(name) for name in row] for row in operations])
    boxes = np.zeros((count, 4))
    return Noise(
        crop=np.tile([0.0, 0.0, 1.0, 1.0], (count, 1)),
        operations=numbers,
        signs=np.full((count, turns), float(sign)),
        places=np.full((count, turns, 2), 0.5),
        mirrored=np.zeros((count, 2), bool),
        erased=boxes,
        kept=np.ones(count),
        pasted=boxes,
    )


def changed(name: str, images: list[np.ndarray], level: float, sign: float = 1.0) -> list[np.ndarray]:
    """Images of one shape after an operation, as whole numbers."""
    kept = "paper" if name in PAPER else "code"
    noise = noise_of([[name]] * len(images), PAPER if kept == "paper" else CODE, sign)
    return [image.numpy().astype(int) for image in randaugment(torch.from_numpy(np.stack(images)), noise, kept, level)]


def apply(name: str, pixels: np.ndarray, level: float, sign: float = 1.0) -> np.ndarray:
    return changed(name, [pixels], level, sign)[0]


def expected(name: str, pixels: np.ndarray, level: float, sign: float) -> np.ndarray:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(OPERATIONS[name](image, level, sign, (0.5, 0.5))).reshape(pixels.shape).astype(int)


def dull(seed: int, channels: int) -> np.ndarray:
    """A picture that is neither black nor white anywhere, so that autocontrast and equalize have work."""
    return (picture(seed, 40, 40, channels) // 3 + 60).astype(np.uint8)


class TestPillows:
    """Each within a level of Pillow's; where pixels move, but for those on an edge between two."""

    @pytest.mark.parametrize("name", EVERY)
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("level", [0.3, 0.9, 2.7])
    def test_operations_are(self, name, channels, level):
        images = [picture(0, 40, 40, channels), dull(1, channels), np.full((40, 40, channels), 77, np.uint8)]
        for sign in (1.0, -1.0):
            for image, found in zip(images, changed(name, images, level, sign), strict=True):
                apart = np.abs(found - expected(name, image, level, sign))
                if name in MOVING:
                    assert (apart > 0).mean() < 0.02
                else:
                    assert apart.max() <= 1

    def test_inside_of_what_moves_too(self):
        for level in (0.3, 0.9):
            for name in MOVING:
                pixels = picture(4, 40, 40)
                found, other = apply(name, pixels, level), expected(name, pixels, level, 1.0)
                kept = expected(name, np.full_like(pixels, 255), level, 1.0) == 255
                for axis, by in ((0, 1), (0, -1), (1, 1), (1, -1)):  # two pixels from whatever moved in, and from the edge
                    kept &= np.roll(kept, by, axis) & np.roll(kept, 2 * by, axis)
                kept[:2] = kept[-2:] = kept[:, :2] = kept[:, -2:] = False
                assert kept.any()
                assert np.abs(found - other)[kept].max() <= 1, (name, level)

    def test_every_operation_has_a_kernel(self):
        assert {*kernels.OPERATIONS, "identity"} == set(EVERY)
        assert set(OPERATIONS) == set(EVERY)

    def test_the_sets_are_those_of_the_paper_and_of_the_code(self):
        """RandAugment (1909.13719), section 3: the transformations by name; the code of Noisy Student has another list."""
        paper = "identity autoContrast equalize rotate solarize color posterize contrast brightness sharpness"
        paper += " shear-x shear-y translate-x translate-y"
        code = "AutoContrast Equalize Invert Rotate Posterize Solarize Color Contrast Brightness Sharpness Shear_X Shear_Y"
        code += " Translate_X Translate_Y Cutout Solarize_Add"
        assert set(PAPER) == set(paper.lower().replace("-", "_").split())
        assert set(CODE) == set(code.lower().split())
        assert (len(PAPER), len(CODE)) == (14, 16)


class TestBatch:
    def test_each_image_has_its_own_operations_one_after_the_other(self):
        rng = np.random.default_rng(0)
        rows = [[str(name) for name in rng.choice(CODE, 3)] for _ in range(24)]
        images = [picture(seed, 32, 32) for seed in range(24)]
        whole = randaugment(torch.from_numpy(np.stack(images)), noise_of(rows, CODE), "code", 0.5)
        for image, names, found in zip(images, rows, whole, strict=True):
            alone = image
            for name in names:
                alone = apply(name, alone, 0.5).astype(np.uint8)
            np.testing.assert_array_equal(found.numpy(), alone)

    def test_grey_is_one_channel_of_equal_three(self):
        for name in EVERY:
            grey = picture(3, 24, 24, 1)
            three = apply(name, np.repeat(grey, 3, 2), 0.9)
            assert (three == apply(name, grey, 0.9)).all(), name


class TestOperations:
    @pytest.mark.parametrize("name", EVERY)
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("side", [1, 2, 17])
    def test_take_images_of_any_size(self, name, channels, side):
        for level in (0.0, 2.7):
            assert apply(name, picture(3, side, side, channels), level).shape == (side, side, channels)

    @pytest.mark.parametrize("name", [*SIGNED, "identity", "solarize", "posterize", "cutout", "solarize_add"])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_at_level_0_do_nothing(self, name, channels, sign):
        pixels = picture(3, 20, 20, channels)
        np.testing.assert_array_equal(apply(name, pixels, 0, sign), pixels)

    @pytest.mark.parametrize("name", SIGNED)
    def test_the_sign_tells_one_way_from_the_other(self, name):
        pixels = picture(3, 16, 16)
        assert not np.array_equal(apply(name, pixels, 0.5, 1), apply(name, pixels, 0.5, -1))

    @pytest.mark.parametrize("name", sorted(set(EVERY) - {"identity", "autocontrast", "equalize", "sharpness", "invert"}))
    def test_change_more_at_a_higher_level(self, name):
        pixels = picture(3, 32, 32)
        changes = [np.abs(apply(name, pixels, level) - pixels).mean() for level in (0.0, 0.3, 0.9)]
        assert changes == sorted(set(changes))

    @pytest.mark.parametrize("name", EVERY)
    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_leave_something_to_see_at_the_papers_magnitude(self, name, sign):
        """Noisy Student's 27 is 2.7 here: what ends in one even colour would be an image with a label and no content."""
        assert np.ptp(apply(name, picture(3, 32, 32), 2.7, sign)) > 10

    def test_move_as_they_say(self):
        pixels = picture(3, 20, 20)
        np.testing.assert_array_equal(apply("translate_x", pixels, 1, 1)[:, :11], pixels[:, 9:])  # 0.45 of the side
        np.testing.assert_array_equal(apply("translate_y", pixels, 1, -1)[9:], pixels[:11])
        assert (apply("translate_x", pixels, 1, 1)[:, 11:] == 128).all()
        far = round(LARGEST_SHIFT * 20)
        np.testing.assert_array_equal(apply("translate_x", pixels, 9, 1)[:, : 20 - far], pixels[:, far:])
        right_angle = apply("rotate", pixels, 3, 1)  # 30 degrees at level 1
        np.testing.assert_array_equal(right_angle, np.rot90(pixels))

    def test_change_colours_as_they_say(self):
        pixels = picture(3, 20, 20)
        assert apply("brightness", pixels, 0.5, 1).mean() > pixels.mean() > apply("brightness", pixels, 0.5, -1).mean()
        assert apply("contrast", pixels, 0.5, 1).std() > pixels.std() > apply("contrast", pixels, 0.5, -1).std()
        np.testing.assert_array_equal(apply("solarize", pixels, 1), 255 - pixels)
        np.testing.assert_array_equal(apply("invert", pixels, 1), 255 - pixels)
        np.testing.assert_array_equal(apply("posterize", pixels, 1), pixels // 16 * 16)
        grey = apply("color", pixels, 1, -1)
        assert np.ptp(grey, axis=2).mean() < 0.2 * np.ptp(pixels.astype(int), axis=2).mean()
        assert (np.ptp(apply("autocontrast", pixels // 2 + 40, 1), axis=(0, 1)) == 255).all()
        added = apply("solarize_add", pixels, 1)
        np.testing.assert_array_equal(added, np.where(pixels < 128, pixels.astype(int) + 110, pixels))

    def test_cut_out_a_square_as_large_as_the_level_says(self):
        pixels = np.full((112, 112, 1), 9, np.uint8)
        for level, side in ((0.5, 20), (1.0, 40), (9.0, 78)):  # 40 of 112 at level 1 is the code's 80 of 224
            assert (apply("cutout", pixels, level) == 128).sum() == pytest.approx(side**2, rel=0.06)
