"""What pixels.cpp makes of images is what torch makes of them, byte by byte."""

import ctypes
import mmap
import platform
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eyas.compiled import library
from eyas.data import pixels as module
from eyas.data.augment import apply, crops
from eyas.data.batches import Examples, Part, Stream
from eyas.data.noise import CODE, PAPER, SETS, Noise, draw
from eyas.data.pixels import PixelKernels, pixel_kernels
from eyas.data.quality import look
from eyas.data.resize import resize
from eyas.errors import UserError
from eyas.progress import listening
from eyas.recipe import Augment
from tests.fakes import store_of
from tests.heard import Heard
from tests.images import picture

EVERY = tuple(dict.fromkeys((*PAPER, *CODE)))


@pytest.fixture(scope="module")
def ours() -> PixelKernels:
    found = pixel_kernels()
    if not found and not shutil.which("g++"):
        pytest.skip("no g++ here")
    assert found
    return found


def noise_of(count: int, choice: Augment, seed: int = 0) -> Noise:
    return draw(choice, "both", count, np.random.default_rng(seed))


def noisy_picture(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    """No level and no neighbour is like another."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def fenced(pixels: np.ndarray) -> np.ndarray:
    """The same, with memory behind the last byte that nobody may read."""
    room = -(-pixels.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, room + mmap.PAGESIZE)
    whole = np.frombuffer(pages, np.uint8)
    fence = ctypes.c_void_p(whole.__array_interface__["data"][0] + room)
    assert ctypes.CDLL(None).mprotect(fence, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    found = whole[room - pixels.nbytes : room].reshape(pixels.shape)
    found[:] = pixels
    return found


class TestLikeTorch:
    @given(
        st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 3])), min_size=1, max_size=4),
        st.integers(1, 250),
        st.floats(0.02, 1),
        st.integers(0, 1000),
    )
    def test_crops(self, ours, shapes, side, smallest, seed):
        images = [noisy_picture(seed + row, *shape) for row, shape in enumerate(shapes)]
        noise = noise_of(len(images), Augment(operations=0, crop=smallest), seed)
        assert torch.equal(crops(images, noise, side, ours), crops(images, noise, side))

    @given(
        *(st.integers(1, 700), st.integers(1, 700), st.sampled_from([1, 3])),
        *(st.integers(1, 300), st.integers(1, 300), st.integers(0, 1000), st.booleans()),
    )
    def test_other_sizes(self, ours, height, width, channels, high, wide, seed, extreme):
        pixels = noisy_picture(seed, height, width, channels)
        if extreme:  # bicubic goes beyond both ends
            pixels = np.where(pixels < 128, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(resize(pixels, high, wide, ours), resize(pixels, high, wide))

    @given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 3]), st.integers(0, 1000))
    def test_looks(self, ours, height, width, channels, seed):
        pixels = noisy_picture(seed, height, width, channels)
        assert look(pixels, ours) == look(pixels)

    def test_the_look_of_a_large_picture(self, ours):
        pixels = picture(3, 1500, 2000)
        assert look(pixels, ours) == look(pixels)
        assert look(pixels[::2, ::3], ours) == look(pixels[::2, ::3])

    @pytest.mark.parametrize("name", EVERY)
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("side", [1, 2, 40, 65])
    def test_operations(self, ours, name, channels, side):
        kept = "paper" if name in PAPER else "code"
        noise = noise_of(6, Augment(operations=1, operation_set=kept))
        noise = replace(
            noise.mild(), operations=np.full((6, 1), SETS[kept].index(name)), signs=noise.signs, places=noise.places
        )
        flat = np.full((side, side, channels), 9, np.uint8)
        images = [picture(1, side, side, channels), picture(2, side, side, channels) // 3 + 60, flat]
        given = np.stack([*images, *(noisy_picture(seed, side, side, channels) for seed in range(3))])
        for magnitude in (0.0, 3.0, 9.5, 27.0):
            choice = Augment(operations=1, magnitude=magnitude, operation_set=kept)
            every = [apply(torch.from_numpy(given.copy()), noise, choice, by) for by in (ours, None)]
            assert torch.equal(*every), magnitude

    @given(
        st.integers(0, 5),
        st.floats(0, 30),
        st.sampled_from(["paper", "code"]),
        st.sampled_from([0.0, 0.5]),
        st.integers(0, 1000),
    )
    def test_operations_one_after_the_other(self, ours, operations, magnitude, kept, erase, seed):
        choice = Augment(operations=operations, magnitude=magnitude, operation_set=kept, erase=erase, mixup=0.3, cutmix=0.5)
        given = np.stack([picture(seed + row, 31, 31) for row in range(5)])
        noise = noise_of(5, choice, seed)
        every = [apply(torch.from_numpy(given.copy()), noise, choice, by) for by in (ours, None)]
        assert torch.equal(*every)

    def test_every_operation_has_a_number(self):
        assert {*module.KINDS} == {*EVERY}


@pytest.mark.parametrize("width", ["no-avx512bw", "no-avx2", "no-sse4.1"])
def test_processors_with_shorter_vectors_make_the_same(width, tmp_path):
    if platform.machine() != "x86_64" or not shutil.which("g++"):
        pytest.skip("no g++, or other vectors")
    other = PixelKernels(library(module.SOURCE, tmp_path, "tests", (*module.EXACT, f"-m{width}")))
    for seed, (height, wide, channels) in enumerate([(90, 120, 3), (41, 400, 3), (7, 5, 3), (200, 3, 3), (60, 50, 1)]):
        pixels = noisy_picture(seed, height, wide, channels)
        for high, across in ((30, 40), (91, 121), (1, 1), (height, 17)):
            np.testing.assert_array_equal(resize(pixels, high, across, other), resize(pixels, high, across))
        noise = noise_of(1, Augment(operations=0), seed)
        assert torch.equal(crops([pixels], noise, 33, other), crops([pixels], noise, 33))
        assert look(pixels, other) == look(pixels)


def memory() -> list[int]:
    """Bytes of this process: of its addresses, and of the memory behind them."""
    return [int(pages) * mmap.PAGESIZE for pages in Path("/proc/self/statm").read_text().split()[:2]]


class TestMemory:
    def test_images_are_only_read(self, ours):
        images = [picture(seed, 30, 40) for seed in range(3)]
        before = [image.copy() for image in images]
        for image in images:
            image.flags.writeable = False
        crops(images, noise_of(3, Augment()), 24, ours)
        np.testing.assert_array_equal(images, before)

    @pytest.mark.parametrize("shape", [(64, 64, 3), (9, 200, 3), (5, 7, 3), (1, 1, 3), (30, 41, 1)])
    def test_nothing_behind_an_image_is_read(self, ours, shape):
        image = fenced(noisy_picture(0, *shape))
        noise = replace(noise_of(1, Augment(operations=0)), crop=np.array([[0.5, 0.5, 1.0, 1.0]]))
        assert torch.equal(crops([image], noise, 20, ours), crops([image], noise, 20))
        np.testing.assert_array_equal(resize(image, 20, 30, ours), resize(image.copy(), 20, 30))
        assert look(image, ours) == look(image.copy())

    @pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells and limits a process's memory so")
    def test_where_there_is_not_enough_it_is_said(self, ours):
        """Weights of ten million pixels take 720 MB while they are made."""
        strip = np.zeros((1, 20_000_000, 1), np.uint8)
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory()[0] + 100_000_000, before[1]))
        try:
            with pytest.raises(MemoryError):
                ours.resize(strip, 1, 10_000_000)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        assert ours.resize(strip[:, :20], 1, 10).shape == (1, 10, 1)

    @pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells a process's memory so")
    def test_weights_of_sizes_that_were_met_take_little(self, ours):
        strip = np.zeros((1, 400_000, 1), np.uint8)
        ours.resize(strip, 1, 150_000)
        before = memory()[1]
        for length in range(300_000, 300_040):  # each some 5 MB
            ours.resize(strip[:, :length], 1, 150_000)
        assert memory()[1] - before < 60_000_000

    def test_views_with_gaps_are_changed_too(self, ours):
        choice = Augment(operations=2)
        images = torch.from_numpy(np.stack([picture(seed, 20, 40) for seed in range(4)]))
        some = [
            images[:, :, ::2].clone(memory_format=torch.preserve_format) if copy else images[:, :, ::2]
            for copy in (True, False)
        ]
        every = [apply(view, noise_of(4, choice), choice, by) for view, by in zip(some, (None, ours), strict=True)]
        assert torch.equal(*every)


class TestWithoutACompiler:
    @pytest.fixture(autouse=True)
    def bare(self, monkeypatch):
        def missing(*_: object) -> None:
            raise UserError("there is no g++")

        monkeypatch.setattr(module, "library", missing)
        pixel_kernels.cache_clear()
        yield
        pixel_kernels.cache_clear()

    def test_it_is_said_once(self):
        heard = Heard()
        with listening(heard):
            assert pixel_kernels() is None
            assert pixel_kernels() is None
        assert heard.said == ["what the processor changes of images, torch does, more slowly: there is no g++"]

    def test_batches_are_the_same(self, monkeypatch):
        pictures = [picture(seed, 40, 30 + seed) for seed in range(12)]
        examples = Examples(store_of(pictures), np.arange(12), np.eye(12, dtype=np.float32), labelled=True)
        stream = Stream((Part(examples, 6, weak=True),), Augment(operations=2, erase=0.3, cutmix=1.0), "both", 24, seed=3)
        plain = list(stream.run(0, 4))
        monkeypatch.undo()
        pixel_kernels.cache_clear()
        for ours, theirs in zip(stream.run(0, 4), plain, strict=True):
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.weak, theirs.weak)
