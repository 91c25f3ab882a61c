import numpy as np
import pytest
import torch
from PIL import Image

from eyas.data.augment import apply, crops, prepare
from eyas.data.noise import draw
from eyas.recipe import Augment
from tests.data.reference import one
from tests.images import picture

STILL = Augment(operations=0, crop=1.0)
MANY = 40


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def augmented(images: list[np.ndarray], choice: Augment, flips: str, resolution: int, seed: int = 0) -> np.ndarray:
    noise = draw(choice, flips, len(images), generator(seed))
    return apply(crops(images, noise, resolution), noise, choice).numpy()


class TestPrepare:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_whole_image_at_the_resolution(self, channels):
        pixels = picture(1, 30, 50, channels)
        prepared = prepare(pixels, 16)
        assert (prepared.shape, prepared.dtype) == ((16, 16, channels), np.uint8)
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        expected = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)).reshape(16, 16, channels)
        np.testing.assert_array_equal(prepared, expected)

    def test_nothing_is_cut_away(self):
        pixels = np.full((40, 100, 1), 100, np.uint8)
        pixels[:5, :10] = pixels[-5:, -10:] = 250  # two far corners, an eighth and a tenth of the sides
        prepared = prepare(pixels, 20)
        assert prepared[0, 0, 0] > 240
        assert prepared[-1, -1, 0] > 240
        assert prepared[0, -1, 0] == pytest.approx(100, abs=2)

    def test_an_image_of_that_size_is_as_it_was(self):
        np.testing.assert_array_equal(prepare(picture(2, 24, 24), 24), picture(2, 24, 24))

    def test_a_view_is_the_middle(self):
        pixels = picture(3, 40, 80)
        framed = np.full((40, 80, 3), 255, np.uint8)
        framed[4:36, 8:72] = 100
        assert prepare(framed, 20, 0.7).tolist() == np.full((20, 20, 3), 100).tolist()
        middle = prepare(pixels[10:30, 20:60], 20).astype(int)
        assert np.abs(prepare(pixels, 20, 0.5) - middle).mean() < 2  # but for what the border's pixels have beside them


class TestAugment:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
    def test_the_generator_decides_everything(self, channels, flips):
        images = [picture(seed, 40, 30, channels) for seed in range(3)]
        before = [image.copy() for image in images]
        choice = Augment(erase=0.5, mixup=0.4, cutmix=1.0)
        first, again, other = (augmented(images, choice, flips, 24, seed) for seed in (5, 5, 6))
        assert (first.shape, first.dtype) == ((3, 24, 24, 3), np.uint8)
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        np.testing.assert_array_equal(images, before)

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("operation_set", ["paper", "code"])
    def test_is_pillows_with_the_same_noise(self, channels, operation_set):
        """Operations of one image after the other can carry a level's difference further: equalize can, posterize can."""
        choice = Augment(operations=2, magnitude=7, crop=0.4, operation_set=operation_set, erase=0.5)
        images = [picture(seed, 50, 40 + seed, channels) for seed in range(MANY)]
        noise = draw(choice, "both", len(images), generator(1))
        found = apply(crops(images, noise, 32), noise, choice).numpy().astype(int)
        apart = [np.abs(found[row] - one(image, noise, row, choice, 32)).mean() for row, image in enumerate(images)]
        assert np.median(apart) < 1
        assert np.quantile(apart, 0.9) < 4

    def test_does_not_depend_on_its_neighbours_in_the_batch(self, monkeypatch):
        images = [picture(seed, 30, 30) for seed in range(MANY)]
        choice = Augment(operations=3, erase=0.5)
        noise = draw(choice, "both", len(images), generator())
        whole = apply(crops(images, noise, 40), noise, choice)
        monkeypatch.setattr("eyas.data.augment.CHUNK", 9 * 40 * 40 * 3)
        assert torch.equal(apply(crops(images, noise, 40), noise, choice), whole)  # nine at a time
        for row in (0, 5, 9, MANY - 1):
            some = noise.rows(row, row + 1)
            assert torch.equal(whole[row], apply(crops([images[row]], some, 40), some, choice)[0])

    @pytest.mark.parametrize("channels", [1, 3])
    def test_without_noise_it_is_the_image_resized(self, channels):
        pixels = picture(1, 40, 30, channels)
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)).reshape(16, 16, channels)
        (found,) = augmented([pixels], STILL, "none", 16)
        assert np.abs(found.astype(int) - expected).max() <= 1
        np.testing.assert_array_equal(augmented([picture(2, 24, 24)], STILL, "none", 24)[0], picture(2, 24, 24))

    def test_what_may_not_be_written_to_is_only_read(self):
        pixels = picture(2, 24, 24)
        pixels.flags.writeable = False
        np.testing.assert_array_equal(augmented([pixels], STILL, "none", 24)[0], pixels)

    def test_grey_and_colour_in_one_batch(self):
        grey, colour = picture(0, 16, 16, 1), picture(1, 16, 16, 3)
        found = augmented([grey, colour], STILL, "none", 16)
        np.testing.assert_array_equal(found[0], np.repeat(grey, 3, 2))
        np.testing.assert_array_equal(found[1], colour)

    @pytest.mark.parametrize(
        ("flips", "expected"),
        [
            ("none", {(0, 0): 1.0}),
            ("horizontal", {(0, 0): 0.5, (0, 1): 0.5}),
            ("both", {(y, x): 0.25 for y in (0, 1) for x in (0, 1)}),
        ],
    )
    def test_mirrorings(self, flips, expected):
        pixels = np.zeros((8, 8, 1), np.uint8)
        pixels[0, 0] = 255  # where this corner goes
        views = augmented([pixels] * 400, STILL, flips, 8)[..., 0]
        corners, counts = np.unique([np.argwhere(view)[0] // 7 for view in views], axis=0, return_counts=True)
        shares = {tuple(corner): count / 400 for corner, count in zip(corners.tolist(), counts, strict=True)}
        assert shares == pytest.approx(expected, abs=0.1)

    def test_erased_boxes_are_blank_in_as_many_images_as_asked(self):
        """Random erasing (1708.04896), Table 3: 2 to 40 % of the area."""
        views = augmented([np.full((50, 50, 1), 3, np.uint8)] * 400, Augment(operations=0, crop=1.0, erase=0.3), "none", 50)
        areas = (views[..., 0] == 128).mean((1, 2))
        assert (areas > 0).mean() == pytest.approx(0.3, abs=0.07)
        blanked = areas[areas > 0]
        assert (blanked.min() > 0.01, blanked.max() < 0.42, np.ptp(blanked) > 0.25) == (True, True, True)


class TestCrop:
    """An image that says at each point where it is: red from left to right, green from top to bottom."""

    across, down = np.meshgrid(np.arange(256), np.arange(256))
    map = np.stack([across, down, np.full_like(across, 7)], -1).astype(np.uint8)

    def boxes(self, smallest: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the sides that `count` crops keep."""
        views = augmented([self.map] * count, Augment(operations=0, crop=smallest), "none", 64)
        assert (views[..., 2] == 7).all()  # nothing moved in from outside
        spans = np.array([np.ptp(view[..., :2].reshape(-1, 2).astype(float), axis=0) for view in views])
        return spans[:, 0] * 64 / 63 / 256, spans[:, 1] * 64 / 63 / 256

    @pytest.mark.parametrize("smallest", [0.1, 0.5, 0.9])
    def test_keeps_at_least_its_share_of_the_area(self, smallest):
        wide, high = self.boxes(smallest, 200)
        area = wide * high
        assert area.min() > smallest - 0.02
        assert area.min() < smallest + 0.1
        assert area.max() > 0.93
        assert area.mean() == pytest.approx((1 + smallest) / 2, abs=0.06)

    def test_sides_are_3_to_4_at_most(self):
        wide, high = self.boxes(0.1, 200)
        assert (wide / high).min() > 0.75 * 0.96
        assert (wide / high).max() < 4 / 3 * 1.04
        assert np.ptp(wide / high) > 0.4

    def test_any_size_can_be_cropped_by_any_share(self):
        rng = generator()
        for seed in range(300):
            height, width = (int(side) for side in rng.integers(1, 70, 2))
            choice = Augment(operations=0, crop=float(rng.choice([0.01, 0.5, 0.999])))
            assert augmented([picture(0, height, width)], choice, "none", 8, seed).shape == (1, 8, 8, 3)
