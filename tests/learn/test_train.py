import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from eyas.data.batches import Batch, Part, Stream, in_order
from eyas.learn.device import Device
from eyas.learn.evaluate import answers
from eyas.learn.optim import clip, total_norm
from eyas.learn.schedule import rate
from eyas.learn.state import State
from eyas.learn.train import Step, train
from eyas.recipe import Augment, Training
from eyas.tasks.classify import Classify
from eyas.tasks.distill import Distill
from tests.fakes import COLOURS, colours, shaken, stream_of, tiny

CPU = Device("cpu", False)
TASK = Classify(COLOURS, smoothing=0.1)
NOISY = {"dropout": 0.3, "drop_path": 0.3, "batch": 6}
OPTIMIZERS = ("adamw", "sgd", "rmsprop")


def state_of(training: Training, seed: int = 0) -> State:
    return State.new(tiny(training, seed), training, seed)


def noisy_stream() -> Stream:
    """Labelled images, some more often than others, and pseudo-labelled ones, under all the noise there is."""
    labelled, soft = colours(15), colours(10, seed=1, labelled=False)
    choice = Augment(operations=2, magnitude=5, crop=0.5, operation_set="code", erase=0.3, mixup=0.4, cutmix=1.0)
    return stream_of(Part(labelled, 4, np.repeat([0.4, 1.0, 1.6], 5)), Part(soft, 2), choice=choice)


def advance(state: State, stream: Stream, training: Training, until: int, steps: int) -> list[Step]:
    return list(train(state, TASK, stream.run(state.step, until), training, steps, CPU))


def everything(state: State) -> dict[str, torch.Tensor]:
    """All that a later step could depend on."""
    memory = state.optimizer.state_dict()["state"]
    found = {f"model {name}": tensor for name, tensor in state.model.state_dict().items()}
    found |= {f"ema {name}": tensor for name, tensor in state.ema.state_dict().items()}
    found |= {f"memory {index} {name}": tensor for index, of in memory.items() for name, tensor in of.items()}
    return {name: tensor.clone() for name, tensor in found.items()}


def differences(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.mark.parametrize("choice", OPTIMIZERS)
class TestExactness:
    def test_stopped_saved_and_resumed_is_the_run_that_never_stopped(self, tmp_path, choice):
        training = Training(optimizer=choice, rate=0.01, ema=0.9, **NOISY)
        straight = state_of(training)
        losses = [step.losses for step in advance(straight, noisy_stream(), training, 7, 7)]

        stopped = state_of(training)
        advance(stopped, noisy_stream(), training, 3, 7)
        stopped.best, stopped.best_step, stopped.scores = 0.75, 2, [0.5, 0.75]
        (tmp_path / "checkpoint").write_bytes(stopped.content())

        resumed = State.new(tiny(training, seed=9), training, seed=9)
        torch.manual_seed(123)
        resumed.restore(tmp_path / "checkpoint")
        assert (resumed.step, resumed.best, resumed.best_step, resumed.scores, resumed.seed) == (3, 0.75, 2, [0.5, 0.75], 0)
        assert differences(everything(resumed), everything(stopped)) == []
        later = [step.losses for step in advance(resumed, noisy_stream(), training, 7, 7)]
        assert later == losses[3:]
        assert resumed.step == 7
        assert differences(everything(resumed), everything(straight)) == []

    def test_evaluations_and_other_work_between_the_steps_change_nothing(self, choice):
        training = Training(optimizer=choice, rate=0.01, **NOISY)
        straight, watched = state_of(training), state_of(training)
        advance(straight, noisy_stream(), training, 5, 5)
        for step in train(watched, TASK, noisy_stream().run(0, 5, threads=4), training, 5, CPU):
            if step.number in (2, 3):
                for network in (watched.ema, watched.model):
                    answers(network, TASK, in_order(colours(6, seed=3), 16), CPU)
                torch.rand(step.number)
                tiny(seed=step.number)
        assert differences(everything(watched), everything(straight)) == []


def test_another_seed_is_another_noise():
    training = Training(rate=0.01, **NOISY)
    first, second = state_of(training), state_of(training)
    second.seed = 1
    for state in (first, second):
        advance(state, noisy_stream(), training, 2, 2)
    assert differences(everything(first), everything(second))


def test_the_noise_of_a_step_is_its_own():
    """Dropout drawn from the same seed at every step would drop the same features for ever."""
    training = Training(rate=1e-30, weight_decay=0, ema=0, dropout=0.5, drop_path=0, norm_momentum=0.1)
    state = state_of(training)
    (batch,) = stream_of(Part(colours(12), 12)).run(0, 1)
    same = itertools.repeat(batch, 4)
    losses = [step.losses["labelled"].item() for step in train(state, TASK, same, training, 4, CPU)]
    assert len(set(losses)) == 4


class TestStep:
    def test_is_taken_when_it_is_asked_for(self):
        training = Training()
        state = state_of(training)
        taken = train(state, TASK, stream_of(Part(colours(6), 6)).run(0, 5), training, 5, CPU)
        assert state.step == 0
        assert [next(taken).number, state.step] == [1, 1]
        assert [next(taken).number, state.step] == [2, 2]
        taken.close()
        assert state.step == 2

    def test_reports_its_rate_and_the_losses_of_each_source(self):
        training = Training(rate=0.01, **NOISY)
        state = state_of(training)
        for step in train(state, TASK, noisy_stream().run(0, 4), training, 4, CPU):
            assert step.rate == rate(step.number - 1, 4, training)
            assert {group["lr"] for group in state.optimizer.param_groups} == {step.rate}
            assert set(step.losses) == {"labelled", "pseudo"}
            assert not any(loss.requires_grad for loss in step.losses.values())

    def test_minimises_the_sum_of_the_losses(self):
        """Nesterov's first step is 1.9 times the rate times the gradient, which is here taken by hand."""
        training = Training(optimizer="sgd", rate=0.05, warmup=0, weight_decay=0, clip=0, dropout=0, drop_path=0)
        state, twin = state_of(training), tiny(training).train()
        (batch,) = noisy_stream().run(0, 1)
        functional.cross_entropy(twin(batch.images), batch.targets * 1.0, reduction="none").mean().backward()
        next(train(state, Classify(COLOURS), [batch], training, 1, CPU))
        for (name, ours), theirs in zip(state.model.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs - 0.05 * 1.9 * theirs.grad, rtol=1e-4, atol=1e-5, msg=name)

    @pytest.mark.parametrize("clip", [0.001, 0.0])
    def test_clipping_bounds_the_gradient_of_all_weights_together(self, clip):
        training = Training(optimizer="sgd", rate=0.1, warmup=0, weight_decay=0, clip=clip)
        state = state_of(training)
        before = [parameter.detach().clone() for parameter in state.model.parameters()]
        advance(state, stream_of(Part(colours(6), 6)), training, 1, 1)
        moves = [(new - old).flatten() for new, old in zip(state.model.parameters(), before, strict=True)]
        gradient = torch.cat(moves).norm().item() / 0.1 / 1.9
        if clip:
            assert gradient == pytest.approx(clip, rel=0.01)
        else:
            assert gradient > 0.1

    @pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
    def test_every_optimizer_steps_as_if_the_gradients_were_clipped_first(self, name):
        """Twice: with gradients that are too large, then with some that are not."""
        training = Training(optimizer=name, rate=0.01, warmup=0)
        ours, theirs = state_of(training), state_of(training)
        for scale in (5.0, 1e-3):
            for state in (ours, theirs):
                drawn = torch.Generator().manual_seed(1)
                for parameter in state.model.parameters():
                    parameter.grad = scale * torch.randn(parameter.shape, generator=drawn)
            parameters = list(ours.model.parameters())
            found = total_norm([slope for parameter in parameters if (slope := parameter.grad) is not None])
            clip(ours.optimizer, parameters, found, 1.0)
            assert found == pytest.approx(clip_grad_norm_(theirs.model.parameters(), 1.0).item(), rel=1e-5)
            for state in (ours, theirs):
                state.optimizer.step()
            for one, other in zip(parameters, theirs.model.parameters(), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)

    def test_gradients_do_not_pile_up(self):
        training = Training()
        state = state_of(training)
        advance(state, stream_of(Part(colours(6), 6)), training, 2, 2)
        assert all(parameter.grad is None for parameter in state.model.parameters())

    def test_averages_after_every_step(self):
        training = Training(ema=0.0, rate=0.05)
        state = state_of(training)
        for _ in train(state, TASK, stream_of(Part(colours(6), 6)).run(0, 2), training, 2, CPU):
            ours, averaged = state.model.state_dict(), state.ema.state_dict()
            assert all(torch.equal(ours[name], averaged[name]) for name in ours)  # a decay of 0 keeps nothing

    def test_in_bfloat16_the_weights_and_the_loss_stay_in_float32(self):
        training = Training(**NOISY)
        state = state_of(training)
        (step,) = train(state, TASK, noisy_stream().run(0, 1), training, 1, Device("cpu", True))
        assert {loss.dtype for loss in step.losses.values()} == {torch.float32}
        assert {tensor.dtype for tensor in state.model.parameters()} == {torch.float32}
        assert all(tensor.isfinite().all() for tensor in state.model.parameters())


class TestAccumulation:
    """Batch norm sees a part at a time, so the network here has its statistics fixed."""

    def gradient(self, accumulate: int) -> tuple[torch.Tensor, dict[str, float]]:
        training = Training(optimizer="sgd", dropout=0, drop_path=0, clip=0, accumulate=accumulate, freeze=4)
        state = state_of(training)
        (step,) = advance(state, stream_of(Part(colours(9), 5), Part(colours(6, labelled=False), 3)), training, 1, 1)
        return step.gradient, {name: loss.item() for name, loss in step.losses.items()}

    @pytest.mark.parametrize("parts", [2, 3, 8, 100])
    def test_parts_of_a_batch_have_the_gradient_and_the_losses_of_the_whole(self, parts):
        (whole, losses), (summed, terms) = self.gradient(1), self.gradient(parts)
        torch.testing.assert_close(summed, whole, rtol=1e-5, atol=1e-6)
        assert terms == pytest.approx(losses, rel=1e-5)

    def test_each_part_has_its_share_of_every_source(self):
        (batch,) = stream_of(Part(colours(9), 6), Part(colours(6, labelled=False), 4)).run(0, 1)
        parts = list(batch.parts(2))
        assert [(len(part), int(part.labelled.sum())) for part in parts] == [(5, 3), (5, 3)]
        together = torch.cat([part.images for part in parts])
        assert sorted(image.sum().item() for image in together) == sorted(image.sum().item() for image in batch.images)


@pytest.mark.parametrize(("choice", "peak"), [("adamw", 0.01), ("sgd", 0.1), ("rmsprop", 0.02)])
def test_a_small_problem_is_learned(choice, peak):
    training = Training(optimizer=choice, rate=peak, dropout=0.1, drop_path=0.1)
    steps = advance(state_of(training), stream_of(Part(colours(48), 16)), training, 30, 30)
    assert steps[-1].losses["labelled"] < 0.6 * steps[0].losses["labelled"]


def test_the_averaged_weights_have_learned_it_too():
    training = Training(rate=0.01, ema=0.8, dropout=0.1, drop_path=0.1)
    state = state_of(training)
    advance(state, stream_of(Part(colours(48), 16)), training, 30, 30)
    unseen = colours(60, seed=7)
    given = answers(state.ema, TASK, in_order(unseen, 16), CPU)
    assert TASK.metrics(given, torch.from_numpy(unseen.targets))["accuracy"] > 0.9


def test_a_student_learns_from_a_teacher_alone():
    training = Training(rate=0.01, ema=0.8, dropout=0, drop_path=0)
    teacher = shaken(tiny(seed=3))
    nn.init.normal_(teacher.head.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    state = state_of(training)
    task = Distill(TASK, teacher, temperature=2.0)
    images = colours(48, labelled=False)
    losses = [step.losses for step in train(state, task, stream_of(Part(images, 16)).run(0, 40), training, 40, CPU)]
    assert [set(each) for each in losses] == [{"distilled"}] * 40
    given, taught = (answers(network, TASK, in_order(images, 16), CPU) for network in (state.ema, teacher))
    start = answers(tiny(training), TASK, in_order(images, 16), CPU)
    assert (given - taught).abs().mean() < 0.5 * (start - taught).abs().mean()
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_batches_may_come_from_anywhere():
    """The loop asks only for an iterable of batches."""
    training = Training()
    images = torch.zeros(4, 16, 16, 3, dtype=torch.uint8)
    batch = Batch(images, torch.eye(3)[[0, 1, 2, 0]], torch.ones(4, dtype=torch.bool))
    assert [step.number for step in train(state_of(training), TASK, [batch, batch], training, 2, CPU)] == [1, 2]
