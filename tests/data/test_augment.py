import numpy as np
import pytest
from PIL import Image

from eyas.data import augment as module
from eyas.data.augment import OPERATIONS, augment, prepare
from eyas.recipe import Augment
from tests.images import picture

STILL = Augment(operations=0, crop=1.0)
SIGNED = ("rotate", "color", "contrast", "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y")


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def apply(name: str, pixels: np.ndarray, level: float, sign: float = 1.0) -> np.ndarray:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(OPERATIONS[name](image, level, sign)).reshape(pixels.shape).astype(int)


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


class TestAugment:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
    def test_the_generator_decides_everything(self, channels, flips):
        pixels = picture(1, 40, 30, channels)
        before = pixels.copy()
        first, again, other = (augment(pixels, Augment(), flips, 24, generator(seed)) for seed in (5, 5, 6))
        assert (first.shape, first.dtype) == ((24, 24, channels), np.uint8)
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        np.testing.assert_array_equal(pixels, before)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_without_noise_it_is_the_image_resized(self, channels):
        pixels = picture(1, 40, 30, channels)
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)).reshape(16, 16, channels)
        np.testing.assert_array_equal(augment(pixels, STILL, "none", 16, generator()), expected)
        np.testing.assert_array_equal(augment(picture(2, 24, 24), STILL, "none", 24, generator()), picture(2, 24, 24))

    def test_a_drawn_identity_changes_nothing(self, monkeypatch):
        monkeypatch.setattr(module, "OPERATIONS", {"identity": OPERATIONS["identity"]})
        choice = Augment(operations=3, magnitude=10, crop=1.0)
        np.testing.assert_array_equal(augment(picture(2, 24, 24), choice, "none", 24, generator()), picture(2, 24, 24))

    def test_so_many_operations_of_that_magnitude_are_drawn_from_all(self, monkeypatch):
        drawn = []

        def note(name):
            def operation(image, level, sign):
                drawn.append((name, level, sign))
                return image

            return operation

        monkeypatch.setattr(module, "OPERATIONS", {name: note(name) for name in OPERATIONS})
        rng = generator()
        for _ in range(300):
            augment(picture(0, 8, 8), Augment(operations=2, magnitude=9, crop=1.0), "none", 8, rng)
        names, levels, signs = zip(*drawn, strict=True)
        assert len(drawn) == 600
        assert set(names) == set(OPERATIONS)
        assert set(levels) == {0.9}
        assert np.mean(signs) == pytest.approx(0, abs=0.15)
        assert {sign for name, _, sign in drawn if name == "rotate"} == {-1.0, 1.0}

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
        found = [np.argwhere(augment(pixels, STILL, flips, 8, generator(seed))[..., 0])[0] // 7 for seed in range(400)]
        corners, counts = np.unique(found, axis=0, return_counts=True)
        shares = {tuple(corner): count / 400 for corner, count in zip(corners.tolist(), counts, strict=True)}
        assert shares == pytest.approx(expected, abs=0.1)


class TestCrop:
    """An image that says at each point where it is: red from left to right, green from top to bottom."""

    across, down = np.meshgrid(np.arange(256), np.arange(256))
    map = np.stack([across, down, np.full_like(across, 7)], -1).astype(np.uint8)

    def boxes(self, smallest: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the sides that `count` crops keep."""
        choice = Augment(operations=0, crop=smallest)
        views = [augment(self.map, choice, "none", 64, generator(seed)) for seed in range(count)]
        assert all((view[..., 2] == 7).all() for view in views)  # nothing moved in from outside
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
        """The box is in fractions of a pixel, and Pillow refuses one that is out of the image by the last digit."""
        rng = generator()
        for _ in range(300):
            height, width = (int(side) for side in rng.integers(1, 70, 2))
            view = augment(
                picture(0, height, width), Augment(operations=0, crop=float(rng.choice([0.01, 0.5, 0.999]))), "none", 8, rng
            )
            assert view.shape == (8, 8, 3)


class TestOperations:
    def test_are_the_14_of_the_paper(self):
        """RandAugment (1909.13719), section 3: the transformations by name."""
        paper = "identity autoContrast equalize rotate solarize color posterize contrast brightness sharpness"
        paper += " shear-x shear-y translate-x translate-y"
        assert set(OPERATIONS) == set(paper.lower().replace("-", "_").split())
        assert len(OPERATIONS) == 14

    @pytest.mark.parametrize("name", OPERATIONS)
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("level", [0.0, 0.9, 2.7])
    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_keep_size_and_channels_at_any_level(self, name, channels, level, sign):
        pixels = picture(3, 16, 16, channels)
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        found = OPERATIONS[name](image, level, sign)
        assert (found.size, found.mode) == (image.size, image.mode)

    @pytest.mark.parametrize("name", [*SIGNED, "identity", "solarize", "posterize"])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_at_level_0_do_nothing(self, name, channels, sign):
        pixels = picture(3, 15, 20, channels)
        np.testing.assert_array_equal(apply(name, pixels, 0, sign), pixels)

    @pytest.mark.parametrize("name", SIGNED)
    def test_the_sign_tells_one_way_from_the_other(self, name):
        pixels = picture(3, 16, 16)
        assert not np.array_equal(apply(name, pixels, 0.5, 1), apply(name, pixels, 0.5, -1))

    @pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"identity", "autocontrast", "equalize", "sharpness"}))
    def test_change_more_at_a_higher_level(self, name):
        pixels = picture(3, 32, 32)
        changes = [np.abs(apply(name, pixels, level) - pixels).mean() for level in (0.0, 0.3, 0.9)]
        assert changes == sorted(set(changes))

    @pytest.mark.parametrize("name", OPERATIONS)
    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_leave_something_to_see_at_the_papers_magnitude(self, name, sign):
        """Noisy Student's 27 is 2.7 here: what ends in one even colour would be an image with a label and no content."""
        assert np.ptp(apply(name, picture(3, 32, 32), 2.7, sign)) > 10

    def test_move_as_they_say(self):
        pixels = picture(3, 20, 20)
        np.testing.assert_array_equal(apply("translate_x", pixels, 1, 1)[:, :11], pixels[:, 9:])  # 0.45 of the side
        np.testing.assert_array_equal(apply("translate_y", pixels, 1, -1)[9:], pixels[:11])
        assert (apply("translate_x", pixels, 1, 1)[:, 11:] == 128).all()
        right_angle = apply("rotate", pixels, 3, 1)  # 30 degrees at level 1
        np.testing.assert_array_equal(right_angle, np.rot90(pixels))
        sheared = apply("shear_x", np.repeat(np.arange(0, 200, 10, dtype=np.uint8), 20).reshape(20, 20, 1).copy(), 1, 1)
        assert (sheared[0] == 0).all()

    def test_change_colours_as_they_say(self):
        pixels = picture(3, 20, 20)
        assert apply("brightness", pixels, 0.5, 1).mean() > pixels.mean() > apply("brightness", pixels, 0.5, -1).mean()
        assert apply("contrast", pixels, 0.5, 1).std() > pixels.std() > apply("contrast", pixels, 0.5, -1).std()
        np.testing.assert_array_equal(apply("solarize", pixels, 1), 255 - pixels)
        np.testing.assert_array_equal(apply("posterize", pixels, 1), pixels // 16 * 16)
        grey = apply("color", pixels, 1, -1)
        assert np.ptp(grey, axis=2).mean() < 0.2 * np.ptp(pixels.astype(int), axis=2).mean()
        assert (np.ptp(apply("autocontrast", pixels // 2 + 40, 1), axis=(0, 1)) == 255).all()
