"""Training below the resolution of evaluation and the fine-tune at it: what each phase is, and which weights stay."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eyas.arch.parse import parse
from eyas.data.batches import Part
from eyas.errors import UserError
from eyas.nn.weights import save_network, tensors_of
from eyas.recipe import Augment, Training
from eyas.studies.resolution import Phase, fine_tuning, in_phases, phases, shallow, train_side
from tests.fakes import COLOURS, TINY, colours, tiny

NOISY = Training(augment=Augment(operations=2, magnitude=9.0, crop=0.4, erase=0.5, mixup=0.2, cutmix=1.0), fine_tune=1.5)


class TestTrainSide:
    @pytest.mark.parametrize(
        ("arch", "share", "side"),
        [
            ("efficientnet_lite0@128", 0.8, 96),
            ("efficientnet_lite0@224", 0.86, 192),
            ("efficientnet_lite0@224", 0.01, 32),
            ("mobilenet_v1x0.5@32/8", 0.8, 24),
            ("efficientnet_b3@300", 0.99, 288),
        ],
    )
    def test_is_a_whole_multiple_of_the_stride(self, arch, share, side):
        assert train_side(parse(arch), Training(train_resolution=share)) == side

    @given(side=st.integers(32, 400), share=st.floats(0.01, 1.0))
    def test_is_never_above_evaluation_s(self, side, share):
        found = train_side(parse(f"mobilenet_v1@{side}"), Training(train_resolution=share))
        assert found <= side
        assert share < 1 or found == side


class TestShallow:
    def test_stages_stand_before_the_last_halving(self):
        # Rows of Lite0's table: strides 2 1 2 2 2 1 2 1 (EfficientNet, Table 1).
        assert shallow(parse("efficientnet_lite0")) == 6
        assert shallow(TINY) == 2

    def test_some_of_every_network_learns_on(self):
        for name in ("mobilenet_v2", "mobilenet_v3_small", "resnet18", "efficientnet_b7"):
            assert 0 < shallow(parse(name)) < len(parse(name).stages)


class TestPhases:
    labelled, pile = Part(colours(30), 8), Part(colours(60, labelled=False), 24)

    def test_without_a_fine_tune_there_is_the_training_as_asked(self):
        training = replace(NOISY, fine_tune=0.0)
        assert phases(training, TINY, (self.labelled,), 40) == (Phase("", training, (self.labelled,), 40),)

    def test_the_end_is_on_labelled_images_alone_for_so_many_passes(self):
        main, end = phases(replace(NOISY, batch=10), TINY, (self.labelled, self.pile), 40)
        assert (main.sources, main.steps) == ((self.labelled, self.pile), 40)
        (source,) = end.sources
        assert source.examples is self.labelled.examples
        assert (source.count, end.steps) == (10, round(1.5 * 30 / 10))

    def test_the_end_is_gentle(self):
        found = fine_tuning(replace(NOISY, train_resolution=0.7), TINY)
        noise = found.augment
        assert (noise.operations, noise.erase, noise.mixup, noise.cutmix, noise.crop) == (0, 0, 0, 0, 0.9)
        assert (found.train_resolution, found.fine_tune, found.freeze) == (1.0, 0.0, 2)
        assert (found.rate, found.schedule) == (pytest.approx(NOISY.rate / 10), "constant")

    def test_what_was_frozen_before_stays_frozen(self):
        assert fine_tuning(replace(NOISY, freeze=3), TINY).freeze == 3

    def test_crops_follow_the_test_crop_and_are_never_stronger_than_before(self):
        assert fine_tuning(replace(NOISY, test_crop=0.8), TINY).augment.crop == pytest.approx(0.9 * 0.64)
        assert fine_tuning(replace(NOISY, augment=Augment(crop=1.0)), TINY).augment.crop == 1.0


class Taught:
    """A stand-in for training: adds 1 to the first weight and claims the scores that it is given."""

    def __init__(self, *scores: float) -> None:
        self.scores, self.done = list(scores), []

    def __call__(self, place, network, phase):
        self.done.append(phase.name)
        network.mean += 1
        save_network(network, place / "model", COLOURS)
        lines = [json.dumps({"step": step, "loss": 0.5}) for step in range(1, phase.steps + 1)]
        (place / "log").write_text("\n".join(lines) + "\n")
        return {"arch": str(network.arch), "steps": phase.steps, "best_step": 2, "validation": self.scores.pop(0)}


def in_two(folder, teach):
    asked = phases(replace(NOISY, batch=10), TINY, (TestPhases.labelled,), 5)
    return in_phases(folder, tiny(), asked, teach, "model", "log")


class TestInPhases:
    @pytest.mark.parametrize(("after", "best", "kept"), [(0.9, 7, 2), (0.8, 7, 2), (0.7, 2, 1)])
    def test_the_fine_tune_is_kept_where_it_is_no_worse(self, tmp_path, after, best, kept):
        found = in_two(tmp_path, Taught(0.8, after))
        assert (found["steps"], found["best_step"], found["validation"]) == (5 + 4, best, max(0.8, after))
        assert found["phases"] == [0.8, after]
        torch.testing.assert_close(tensors_of(tmp_path / "model")["mean"] - tiny().mean, torch.full((3, 1, 1), float(kept)))

    def test_one_log_and_nothing_else_is_left(self, tmp_path):
        in_two(tmp_path, Taught(0.8, 0.9))
        steps = [json.loads(line)["step"] for line in (tmp_path / "log").read_text().splitlines()]
        assert steps == list(range(1, 10))
        assert {file.name for file in tmp_path.iterdir()} == {"model", "log"}

    def test_after_a_kill_what_was_done_is_kept(self, tmp_path):
        class Killed(Taught):
            def __call__(self, place, network, phase):
                if phase.name:
                    raise KeyboardInterrupt
                return super().__call__(place, network, phase)

        with pytest.raises(KeyboardInterrupt):
            in_two(tmp_path, Killed(0.8))
        again, whole = Taught(0.9), tmp_path / "whole"
        found = in_two(tmp_path, again)
        assert again.done == ["fine-tuning"]
        whole.mkdir()
        assert in_two(whole, Taught(0.8, 0.9)) == found
        assert (whole / "model").read_bytes() == (tmp_path / "model").read_bytes()
        assert (whole / "log").read_bytes() == (tmp_path / "log").read_bytes()


@pytest.mark.parametrize("name", ["test_crop", "train_resolution"])
def test_shares_of_a_side_are_at_most_the_side(name):
    for value in (0.0, 1.01, -1.0, np.nan):
        with pytest.raises(UserError, match=f"Training.{name} is .*; it must be above 0 and at most 1"):
            Training(**{name: value})
