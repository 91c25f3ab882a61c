"""What `test_team` starts twice: everything that a team of two does, each process leaving what it found in a file."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eyas.data.batches import Part, Stream, in_order
from eyas.errors import UserError
from eyas.learn.device import Device
from eyas.learn.evaluate import answers
from eyas.learn.state import State
from eyas.learn.team import join
from eyas.learn.train import train
from eyas.nn.sync_norm import synchronise
from eyas.recipe import Augment, Training
from eyas.tasks.classify import Classify
from eyas.team import current
from tests.fakes import COLOURS, colours, shaken, stream_of, tiny

CPU = Device("cpu", False)
TASK = Classify(COLOURS, smoothing=0.1)
CALM = Training(optimizer="sgd", rate=0.05, ema=0.9, dropout=0.0, drop_path=0.0)
NOISY = Training(rate=0.01, ema=0.9, dropout=0.4, drop_path=0.4)
COUNTS = (1, 2, 11, 12)


def stream() -> Stream:
    """Labelled and pseudo-labelled images, in numbers that two processes cannot halve, mixed with their neighbours."""
    choice = Augment(operations=1, magnitude=5, crop=0.7, mixup=0.4, cutmix=1.0)
    return stream_of(Part(colours(30), 9), Part(colours(20, seed=1, labelled=False), 7), choice=choice)


def trained(training: Training, together: bool, steps: int = 10) -> dict[str, torch.Tensor]:
    """All that training leaves, and what the log says of it."""
    network = tiny(training)
    if together:
        synchronise(network)
    state = State.new(network, training, seed=0)
    found = {}
    for step in train(state, TASK, stream().run(0, steps), training, steps, CPU):
        found |= {f"{name} {step.number}": loss for name, loss in step.losses.items()}
        found[f"gradient {step.number}"] = step.gradient
    found |= {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    return found | {f"ema.{name}": tensor for name, tensor in state.ema.state_dict().items()}


def normalised(batch: slice) -> dict[str, torch.Tensor]:
    """A batch norm's answer, gradients and statistics, from these images of a batch whose mean is far from 0."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 5, 4, 3, generator=generator, dtype=torch.float64).mul(0.1).add(50)[batch].requires_grad_()
    slope = torch.randn(6, 5, 4, 3, generator=generator, dtype=torch.float64)[batch]
    norm = shaken(torch.nn.Sequential(torch.nn.BatchNorm2d(5, momentum=0.3))).double().train()
    synchronise(norm)
    y = norm(x)
    (y * slope).sum().backward()
    found = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    found |= {f"{name} gradient": parameter.grad for name, parameter in norm.named_parameters()}
    return found | {"y": y.detach(), "x gradient": x.grad, "evaluated": norm.eval()(x).detach()}


def given(count: int) -> torch.Tensor:
    """Answers to so many images."""
    return answers(shaken(tiny()), TASK, in_order(colours(count), 16, size=4), CPU)


def refused(make: Callable[[], Any]) -> str:
    try:
        make()
    except UserError as error:
        return str(error)
    return "nothing"


def fail() -> None:
    raise UserError(f"process {current().rank} of {current().size} says so")


def main(folder: Path) -> None:
    with join() as team:
        share = slice(3 * team.rank, 3 * team.rank + 3)
        found = {
            "together": trained(CALM, together=True),
            "apart": trained(CALM, together=False, steps=2),
            "noisy": trained(NOISY, together=False, steps=2),
            "noisy again": trained(NOISY, together=False, steps=2),
            "normalised": normalised(share),
            "answers": {count: given(count) for count in COUNTS},
            "agreed": team.agree(lambda: ["as", current().rank, current().size]),
            "refused": refused(lambda: team.agree(fail)),
            "drawn": torch.rand(3),
        }
        torch.save(found, folder / f"{team.rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
