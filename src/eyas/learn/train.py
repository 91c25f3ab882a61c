"""THE loop. It takes an optimizer step and yields; the caller decides when to log, evaluate, save and stop."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from eyas.data.batches import Batch
from eyas.learn.device import Device
from eyas.learn.optim import rate
from eyas.learn.state import State
from eyas.recipe import Training
from eyas.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimizer step did. `number` counts from 1; the losses stay tensors so that no one waits for them."""

    number: int
    rate: float
    losses: dict[str, Tensor]


def train(state: State, task: Task, batches: Iterable[Batch], recipe: Training, steps: int, device: Device) -> Iterator[Step]:
    """Train `state` on `batches`, which begin at `state.step`, as a run of `steps` in all."""
    state.model.train()
    for batch in batches:
        batch = batch.to(device.name)
        torch.manual_seed(state.seed * 1_000_003 + state.step)  # dropout and stochastic depth
        with device.autocast():
            out = task.forward(state.model, batch)
        losses = task.loss(out, batch)
        torch.stack(list(losses.values())).sum().backward()
        if recipe.clip:
            clip_grad_norm_(state.model.parameters(), recipe.clip)
        now = rate(state.step, steps, recipe)
        for group in state.optimizer.param_groups:
            group["lr"] = now
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.step += 1
        state.average()
        yield Step(state.step, now, {name: loss.detach() for name, loss in losses.items()})
        state.model.train()
