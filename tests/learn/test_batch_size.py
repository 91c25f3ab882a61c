import pytest
import torch

from eyas.data.batches import Batch
from eyas.errors import UserError
from eyas.learn import batch_size
from eyas.learn.batch_size import largest, search
from eyas.learn.device import Device
from eyas.learn.memory import available
from eyas.nn.build import Network
from eyas.recipe import Training
from eyas.tasks.classify import Classify
from tests.fakes import COLOURS, pictures, tiny

CPU = Device("cpu", False)
TASK = Classify(COLOURS)


def sample(images: int = 1) -> Batch:
    return Batch(pictures(images, 16), torch.eye(3)[[0] * images], torch.tensor([True] + [False] * (images - 1)))


def found(monkeypatch, free: float, recipe: Training | None = None, images: int = 1, network: Network | None = None) -> int:
    monkeypatch.setattr(batch_size, "available", lambda: int(free))
    return largest(network or tiny(), TASK, sample(images), recipe or Training(), CPU, 10**6)


class TestSearch:
    @pytest.mark.parametrize(
        ("room", "expected"), [(2, 2), (3, 3), (5, 5), (7, 7), (16, 16), (23, 22), (24, 24), (31, 30), (100, 96), (127, 120)]
    )
    def test_doubles_then_halves_what_is_added(self, room, expected):
        assert search(lambda batch: batch <= room, 10**6) == expected

    def test_never_above_the_most(self):
        tried = []
        assert search(lambda batch: not tried.append(batch), 100) == 96
        assert max(tried) <= 100

    def test_never_tries_twice_what_has_failed(self):
        """Each failure may cost a full memory."""
        tried = []
        search(lambda batch: tried.append(batch) or batch <= 100, 10**6)
        assert len(tried) == len(set(tried))

    def test_nothing_fits(self):
        with pytest.raises(ValueError):
            search(lambda _: False, 100)


class TestOnAProcessor:
    def test_more_memory_is_a_larger_batch_in_proportion(self, monkeypatch):
        some, more = found(monkeypatch, 100e6), found(monkeypatch, 400e6)
        assert 3 < more / some < 5

    def test_what_it_finds_fits_and_a_quarter_more_does_not(self, monkeypatch):
        """Held against the same count of a step of just that size, where it was found from two small ones."""
        free = 40e6
        batch = found(monkeypatch, free)
        assert batch > 32
        arguments = tiny(), TASK, sample()
        assert batch_size._bytes(*arguments, Training(batch=batch), CPU) <= 0.8 * free
        assert batch_size._bytes(*arguments, Training(batch=batch * 5 // 4), CPU) > 0.8 * free

    def test_images_that_are_mixed_in_take_their_share(self, monkeypatch):
        assert 2.5 < found(monkeypatch, 100e6) / found(monkeypatch, 100e6, images=4) < 5

    def test_a_gradient_in_parts_and_recomputed_activations_make_room(self, monkeypatch):
        plain = found(monkeypatch, 100e6)
        assert found(monkeypatch, 100e6, Training(accumulate=4)) > 2.5 * plain
        assert found(monkeypatch, 100e6, Training(checkpoint_activations=True)) > 1.4 * plain

    def test_the_network_stays_as_it_is(self, monkeypatch):
        network = tiny()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        found(monkeypatch, 100e6, network=network)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())

    def test_too_little_memory_is_said(self, monkeypatch):
        with pytest.raises(UserError, match=r"^a training step of tiny\S* needs more than the 0\.0 GB of memory that are free"):
            found(monkeypatch, 1e5)

    def test_the_found_batch_is_said(self, monkeypatch):
        said = []
        monkeypatch.setattr(batch_size, "say", said.append)
        batch = found(monkeypatch, 100e6)
        assert said == [f"batch: {batch} labelled images a step, the largest that fits into the 0.1 GB of memory that are free"]

    def test_no_more_than_there_are(self):
        assert largest(tiny(), TASK, sample(), Training(), CPU, most=12) == 12
        assert available() > 0


class TestOnAnAccelerator:
    """Its memory played by a function: what is held is what is done around running out of it."""

    @pytest.fixture
    def calls(self, monkeypatch):
        made = []
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share: made.append(share))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: made.append("emptied"))
        return made

    def test_running_out_of_memory_is_an_answer(self, calls):
        def step(batch: int) -> None:
            if batch > 100:
                raise torch.cuda.OutOfMemoryError

        fits = batch_size._tried(step)
        assert search(fits, 10**6) == 96
        assert calls[:3] == [0.8, 1.0, "emptied"]

    def test_another_error_is_not_hidden_and_gives_the_memory_back(self, calls):
        def step(_: int) -> None:
            raise ValueError("a bug")

        with pytest.raises(ValueError, match="a bug"):
            batch_size._tried(step)(2)
        assert calls == [0.8, 1.0]
