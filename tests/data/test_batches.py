import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from eyas.data import batches, resident
from eyas.data.augment import prepare
from eyas.data.batches import Batch, Part, Stream, in_order, one_hot, stacked, three_channels
from eyas.data.sampling import Groups, epoch
from eyas.recipe import Augment
from tests.fakes import examples_of, numbered, store_of, stream_of
from tests.images import picture


def shown(batch: Batch) -> list[int]:
    """The numbers of the images in a batch; every pixel of an image says it."""
    flat = batch.images.flatten(1)
    assert (flat == flat[:, :1]).all()
    return flat[:, 0].tolist()


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("images", "targets", "labelled"))


@pytest.fixture
def noisy() -> Stream:
    """Two sources under all the noise there is; 7 and 5 images, so that epochs end inside batches."""
    labelled = examples_of([picture(seed, 20, 24) for seed in range(7)])
    pile = examples_of([picture(seed, 24, 18, 1) for seed in range(5)], np.full((5, 7), 1 / 7), labelled=False)
    choice = Augment(operation_set="code", erase=0.3, mixup=0.4, cutmix=1.0)
    weights = np.array([0.1, 0.2, 0.7, 1.0, 1.0, 1.5, 2.5])
    return Stream((Part(labelled, 4, weights), Part(pile, 2)), choice, "both", 16, seed=3)


class TestPureFunctionOfSeedAndStep:
    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_ahead_of_time_in_threads_or_one_by_one(self, noisy, threads):
        made = list(noisy.run(2, 9, threads))
        assert len(made) == 7
        assert all(same(batch, noisy.at(step)) for step, batch in enumerate(made, 2))

    def test_in_any_order_from_any_copy(self, noisy):
        late = noisy.at(8)
        noisy.at(0)
        assert same(noisy.at(8), late)
        assert same(replace(noisy).at(8), late)

    def test_changed_on_its_way_to_a_device_it_is_the_batch_of_the_processor(self, noisy, monkeypatch):
        """An accelerator is given cropped images and the numbers; the processor, taken for one here, does the same to them."""
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda images: images.clone())
        monkeypatch.setattr(resident, "_memory", lambda _: 0)
        made = list(noisy.run(2, 7, device="cpu:0"))
        assert all(same(batch, noisy.at(step)) for step, batch in enumerate(made, 2))

    def test_of_images_that_stay_on_a_device_it_is_the_same_but_for_rounding(self, noisy, monkeypatch):
        """What fits into its memory is sent once, and cropped there."""
        monkeypatch.setattr(resident, "_memory", lambda _: 2**30)
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda _: pytest.fail("nothing is sent any more"))
        for step, batch in enumerate(noisy.run(2, 9, device="cpu:0"), 2):
            here = noisy.at(step)
            apart = (batch.images.int() - here.images.int()).abs().float()
            assert apart.mean() < 0.5
            assert torch.equal(batch.targets, here.targets)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
    def test_an_accelerator_makes_the_same_batch_but_for_rounding(self, noisy):
        for step, batch in enumerate(noisy.run(2, 7, device="cuda"), 2):
            here = noisy.at(step)
            apart = (batch.images.cpu().int() - here.images.int()).abs().float()
            assert apart.mean() < 0.5
            assert torch.equal(batch.targets.cpu(), here.targets)

    def test_another_seed_or_step_is_another_batch(self, noisy):
        assert not torch.equal(noisy.at(0).images, replace(noisy, seed=4).at(0).images)
        assert not torch.equal(noisy.at(0).images, noisy.at(1).images)

    def test_the_random_state_of_others_does_not_matter(self, noisy):
        first = noisy.at(1)
        np.random.seed(1)
        torch.manual_seed(1)
        assert same(noisy.at(1), first)

    def test_an_image_has_other_noise_whenever_it_comes(self):
        stream = replace(stream_of(Part(examples_of([picture(0, 20, 24)]), 3)), augment=Augment())
        views = torch.cat([stream.at(0).images, stream.at(1).images])
        assert len(torch.unique(views, dim=0)) == 6

    def test_nothing_is_made_that_nobody_will_ask_for(self, noisy):
        assert list(noisy.run(4, 4)) == []
        assert len(list(noisy.run(0, 1))) == 1

    def test_is_made_a_few_batches_ahead(self, monkeypatch):
        stream = stream_of(Part(examples_of(numbered(5)), 2))
        made: list[int] = []
        at, lock = Stream.at, threading.Lock()

        def counted(self, step):
            with lock:
                made.append(step)
            return at(self, step)

        monkeypatch.setattr(Stream, "at", counted)
        made_ahead = stream.run(0, 100, threads=2)
        next(made_ahead)
        made_ahead.close()
        assert set(made) <= set(range(4))

    def test_an_error_in_a_thread_comes_out(self):
        examples = replace(examples_of(numbered(3)), positions=np.array([0, 1, 99]))
        with pytest.raises(IndexError):
            list(stream_of(Part(examples, 3)).run(0, 2))


class TestEpochs:
    @pytest.mark.parametrize(("images", "count"), [(10, 4), (10, 10), (7, 3), (3, 8), (1, 4), (5, 1)])
    def test_every_image_once_before_any_comes_again(self, images, count):
        """Also where a batch holds several epochs."""
        stream = stream_of(Part(examples_of(numbered(images)), count))
        seen = [number for step in range(3 * images) for number in shown(stream.at(step))]
        assert all(len(shown(stream.at(step))) == count for step in range(3))
        for start in range(0, len(seen), images):
            assert sorted(seen[start : start + images]) == list(range(images))

    def test_each_epoch_has_its_own_order(self):
        stream = stream_of(Part(examples_of(numbered(20)), 20))
        orders = {tuple(shown(stream.at(step))) for step in range(6)}
        assert len(orders) == 6
        assert tuple(range(20)) not in orders

    def test_weights_say_how_often_an_image_comes(self):
        weights = np.array([0.25, 0.25, 0.5, 3.0])
        stream = stream_of(Part(examples_of(numbered(4)), 3, weights))
        seen = Counter(number for step in range(200) for number in shown(stream.at(step)))
        assert [seen[number] / 150 for number in range(4)] == pytest.approx(weights.tolist(), abs=0.08)

    def test_a_shuffle_is_made_once_while_it_lasts(self, monkeypatch):
        shuffled: list[int] = []

        def counted(weights, images, rng):
            shuffled.append(images)
            return epoch(weights, images, rng)

        monkeypatch.setattr(batches, "epoch", counted)
        targets = np.eye(2, dtype=np.float32)
        ten, thirty = (examples_of(numbered(count), targets[np.arange(count) % 2]) for count in (10, 30))
        stream = stream_of(Part(thirty, 2), Part(ten, 5))
        for step in range(30):
            stream.at(step)
        assert Counter(shuffled) == {30: 2, 10: 15}

    def test_two_sources_are_shuffled_apart(self):
        one = examples_of(numbered(20))
        stream = stream_of(Part(one, 20), Part(one, 20))
        numbers = shown(stream.at(0))
        assert numbers[:20] != numbers[20:]

    def test_the_noise_of_an_image_is_not_drawn_as_the_order_is(self, monkeypatch):
        """numpy takes a seed (s, i, e) for (s, i, e, 0): the shuffle of an epoch and the noise of a step must not meet."""
        seeds: list[tuple[int, ...]] = []
        original = np.random.default_rng

        def noted(seed):
            seeds.append(seed)
            return original(seed)

        monkeypatch.setattr(np.random, "default_rng", noted)
        stream = stream_of(Part(examples_of(numbered(2)), 2))
        for step in range(2):
            stream.at(step)
        states = Counter(original(seed).integers(2**62) for seed in set(seeds))
        assert len(set(seeds)) == 4
        assert set(states.values()) == {1}


class TestMixture:
    def test_every_batch_has_the_asked_count_of_each_source(self):
        labelled, pile = examples_of(numbered(6)), examples_of(numbered(9, first=100), np.full((9, 6), 1 / 6), labelled=False)
        stream = stream_of(Part(labelled, 3), Part(pile, 5))
        for step in range(6):
            batch = stream.at(step)
            numbers = torch.tensor(shown(batch))
            assert (numbers < 100).sum() == 3
            assert torch.equal(batch.labelled, numbers < 100)

    def test_the_pile_may_be_28_times_as_much_as_the_labelled_images(self):
        """Noisy Student, appendix A.2: the ratio of EfficientNet-L2's unlabelled to its labelled batch."""
        labelled, pile = examples_of(numbered(6)), examples_of(numbered(9, first=100), np.full((9, 6), 1 / 6), labelled=False)
        stream = stream_of(Part(labelled, 4), Part(pile, 112))
        for batch in stream.run(0, 3):
            numbers = torch.tensor(shown(batch))
            assert batch.labelled.tolist() == [True] * 4 + [False] * 112
            assert torch.equal(batch.labelled, numbers < 100)
            counts = Counter(numbers[4:].tolist())
            assert max(counts.values()) - min(counts.values()) <= 1 + 1  # epochs begin and end inside

    def test_targets_are_mixed_with_their_images(self):
        """Images that are all one value, and targets that say it: mixed by the same shares, they still agree."""
        images = [np.full((16, 16, 1), value, np.uint8) for value in (0, 200)]
        for mixture in ({"mixup": 1.0}, {"cutmix": 1.0}):
            stream = stream_of(Part(examples_of(images), 40), choice=Augment(operations=0, crop=1.0, **mixture))
            batch = stream.at(0)
            shown_in_full = batch.images.float().mean((1, 2, 3)) / 200
            torch.testing.assert_close(batch.targets[:, 1], shown_in_full, atol=0.004, rtol=0)
            assert ((batch.targets > 0.05) & (batch.targets < 0.95)).any()

    def test_sources_are_not_mixed_with_each_other(self):
        images = [np.full((16, 16, 1), value, np.uint8) for value in (10, 200)]
        one, other = (
            replace(examples_of(images), positions=np.array([i]), targets=np.eye(2, dtype=np.float32)[[i]]) for i in (0, 1)
        )
        stream = stream_of(Part(one, 3), Part(other, 3), choice=Augment(operations=0, crop=1.0, mixup=1.0))
        assert shown(stream.at(0)) == [10] * 3 + [200] * 3

    def test_a_ratio_of_nothing_from_the_pile(self):
        labelled, pile = examples_of(numbered(6)), examples_of(numbered(9, first=100), np.full((9, 6), 1 / 6), labelled=False)
        stream = stream_of(Part(labelled, 3), Part(pile, 0))
        assert all(batch.labelled.tolist() == [True] * 3 for batch in stream.run(0, 4))

    def test_targets_stay_with_their_images(self):
        rng = np.random.default_rng(0)
        order = rng.permutation(12)
        images = numbered(12)
        examples = replace(examples_of(images), positions=order, targets=np.eye(12, dtype=np.float32)[order])
        stream = stream_of(Part(examples, 5))
        for batch in stream.run(0, 7):
            assert batch.targets.argmax(1).tolist() == shown(batch)

    def test_rows_may_name_an_image_more_than_once(self):
        examples = replace(examples_of(numbered(4), np.eye(4)[[2, 2, 2, 0]]), positions=np.array([2, 2, 2, 0]))
        assert Counter(shown(stream_of(Part(examples, 4)).at(0))) == {2: 3, 0: 1}

    def test_grey_and_colour_in_one_batch(self):
        images = [picture(0, 16, 16, 1), picture(1, 16, 16, 3)]
        batch = stream_of(Part(examples_of(images), 2)).at(0)
        assert batch.images.shape == (2, 16, 16, 3)
        assert batch.images.dtype == torch.uint8
        for image, target in zip(batch.images, batch.targets, strict=True):
            original = three_channels(images[int(target.argmax())])
            np.testing.assert_array_equal(image.numpy(), original)
        (grey,) = batch.images[batch.targets[:, 0] == 1]
        assert torch.equal(grey[..., 0], grey[..., 1])
        assert torch.equal(grey[..., 0], grey[..., 2])

    def test_on_its_way_to_a_device_a_batch_keeps_its_values(self, noisy):
        assert same(noisy.at(0).to("cpu"), noisy.at(0))


class TestGroups:
    def test_batches_of_identities_are_a_function_of_seed_and_step(self):
        identities = np.arange(30) // 5
        part = Part(examples_of(numbered(30), identities[:, None]), 6, groups=Groups.of(identities, 3))
        stream, again = stream_of(part), stream_of(part)
        steps = [stream.at(step).targets[:, 0].tolist() for step in range(20)]
        assert [again.at(step).targets[:, 0].tolist() for step in reversed(range(20))] == steps[::-1]
        assert stream_of(part, seed=1).at(0).targets[:, 0].tolist() != steps[0]
        for targets in steps:
            first, second = targets[:3], targets[3:]
            assert len(set(first)) == len(set(second)) == 1 and first != second
        assert len(set(map(tuple, steps))) > 5


class TestWithoutNoise:
    @pytest.mark.parametrize(("count", "size"), [(10, 4), (8, 4), (3, 64), (1, 1)])
    def test_every_example_once_and_in_order(self, count, size):
        order = np.arange(count)[::-1].copy()
        examples = replace(examples_of(numbered(count)), positions=order, targets=np.eye(count, dtype=np.float32)[order])
        found = list(in_order(examples, 8, size))
        assert [len(batch.images) for batch in found] == [size] * (count // size) + [count % size] * bool(count % size)
        assert [number for batch in found for number in shown(batch)] == order.tolist()
        assert [number for batch in found for number in batch.targets.argmax(1).tolist()] == order.tolist()
        assert all(batch.labelled.all() for batch in found)

    def test_pixels_are_those_of_prepare(self):
        images = [picture(0, 30, 20), picture(1, 16, 40, 1)]
        (batch,) = in_order(examples_of(images, labelled=False), 16)
        for image, original in zip(batch.images, images, strict=True):
            np.testing.assert_array_equal(image.numpy(), three_channels(prepare(original, 16)))
        assert not batch.labelled.any()
        np.testing.assert_array_equal(stacked(examples_of(images), 16), batch.images.numpy())

    def test_stacked_takes_any_number(self):
        whole = stacked(examples_of(numbered(70)), 4)
        assert whole.shape == (70, 4, 4, 3)
        assert whole[:, 0, 0, 0].tolist() == list(range(70))


def test_one_hot_in_the_order_of_the_classes():
    assert one_hot(["b", "a", "b"], ("a", "b", "c")).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    with pytest.raises(KeyError):
        one_hot(["d"], ("a", "b", "c"))


def test_three_channels_leave_colour_alone():
    colour = picture(0, 5, 6, 3)
    np.testing.assert_array_equal(three_channels(colour), colour)


def test_the_store_in_memory_is_a_store():
    images = [picture(0, 5, 6, 3), picture(1, 7, 4, 1)]
    store = store_of(images)
    assert len(store) == 2
    for number, image in enumerate(images):
        np.testing.assert_array_equal(store[number], image)
