"""THE loop. It takes an optimizer step and yields; the caller decides when to log, evaluate, save and stop."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from eyas.data.batches import Batch
from eyas.learn.device import Device
from eyas.learn.optim import clip, total_norm, training_mode
from eyas.learn.schedule import factor, rate
from eyas.learn.state import State
from eyas.learn.team import average
from eyas.recipe import Training
from eyas.tasks.task import Task
from eyas.team import current


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimizer step did. `number` counts from 1; figures stay tensors so that no one waits for them.

    Attributes:
        number: of the step.
        rate: its learning rate.
        losses: the terms of the loss; what was minimised is their sum.
        gradient: norm of the gradient, before clipping.
        batch: what was learned from.
    """

    number: int
    rate: float
    losses: dict[str, Tensor]
    gradient: Tensor
    batch: Batch


def train(state: State, task: Task, batches: Iterable[Batch], recipe: Training, steps: int, device: Device) -> Iterator[Step]:
    """Train `state` on `batches`, which begin at `state.step`, as a run of `steps` in all."""
    parameters = list(state.model.parameters())
    state.model.eval()
    for batch in batches:
        batch = batch.to(device.name)
        if not state.model.training:  # at the beginning, and when it was looked at in between
            training_mode(state.model, recipe)
        # For dropout and stochastic depth, which every process of a team draws for its own images.
        device.seed((state.seed * 1_000_003 + state.step) * current().size + current().rank)
        losses = average(state.model, _gradients(state, task, batch, recipe, device))
        gradient = total_norm([slope for parameter in parameters if (slope := parameter.grad) is not None])
        if recipe.clip:
            clip(state.optimizer, parameters, gradient, recipe.clip)
        now = rate(state.step, steps, recipe) * factor(state.scores, recipe)
        for group in state.optimizer.param_groups:
            group["lr"] = now * group["scale"]
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.step += 1
        state.average()
        yield Step(state.step, now, losses, gradient, batch)


def _gradients(state: State, task: Task, batch: Batch, recipe: Training, device: Device) -> dict[str, Tensor]:
    """The gradients of the batch's loss, a share of the batch at a time; the loss."""
    total: dict[str, Tensor] = {}
    for part in batch.parts(recipe.accumulate):
        with device.autocast():
            out = task.forward(state.model, part)
        share = len(part) / len(batch)
        losses = {name: loss * share for name, loss in task.loss(out, part).items()}
        torch.stack(list(losses.values())).sum().backward()
        for name, loss in losses.items():
            total[name] = total[name] + loss.detach() if name in total else loss.detach()
    return total
