"""What several processes compute together: gradients averaged, answers gathered. The messages go through torch.distributed."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.errors import UserError
from eyas.team import Team, acting, current, launched, reached

# While the first process reads a large data set the others wait for it; one that is gone is noticed at once, without a limit.
PATIENCE = timedelta(days=30)
LAST_WORDS = 2.0  # seconds: as soon as one process has failed, torchrun ends the others, and one has something to say


@contextmanager
def join() -> Generator[Team]:
    """Become a member of the team that a launcher has started, until the block ends; alone without a launcher.

    An error that leaves the block does so in one process only, the first to have one; the others end quietly.

    Raises:
        UserError: the machine has fewer accelerators than processes.
    """
    if not launched():
        yield current()
        return
    store, rank, size = next(distributed.rendezvous("env://"))
    cuda = torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        with acting(Team(rank, size, int(os.environ.get("LOCAL_RANK", rank)))) as team:
            if cuda:
                _take_accelerator(team)
            yield team
    except BaseException as error:
        if not _tells(store):
            time.sleep(LAST_WORDS)
            raise SystemExit(getattr(error, "exit_code", 1)) from None
        raise
    distributed.destroy_process_group()


def _take_accelerator(team: Team) -> None:
    found, wanted = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", team.size))
    if found < wanted:
        raise UserError(
            f"{wanted} processes and {found} GPU(s): every process needs its own; give --nproc-per-node {found}, or set "
            "CUDA_VISIBLE_DEVICES to nothing to train on the processor"
        )
    torch.cuda.set_device(team.local_rank)


def _tells(store: distributed.Store) -> bool:
    """Whether this process is the first that asks, and so the one that tells the user what went wrong."""
    try:
        return store.add("told", 1) == 1
    except RuntimeError:  # whoever kept the store is gone, and has told
        return False


@torch.no_grad()
def average(model: nn.Module, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Average gradients, running statistics and losses over the team, in one message; the averaged losses.

    All processes have equally many images of a batch, so that this is the gradient of the whole batch's loss. With the
    statistics averaged too every process has the same network after every step, to the bit: any of them can be evaluated
    or saved for all.

    One message after the backward pass, not one a layer during it as torch's DistributedDataParallel: the networks are
    small, and it works the same with frozen stages, parts of a batch, recomputed activations and compiled networks.
    """
    team = current()
    if team.size == 1:
        return losses
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    tensors = [*gradients, *_statistics(model), *losses.values()]
    message = torch.cat([tensor.reshape(-1) for tensor in tensors])
    with reached(team):
        distributed.all_reduce(message)
    message /= team.size
    pieces = message.split([tensor.numel() for tensor in tensors])
    averaged = [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)]
    kept = len(tensors) - len(losses)
    torch._foreach_copy_(tensors[:kept], averaged[:kept])
    return dict(zip(losses, averaged[kept:], strict=True))


def _statistics(model: nn.Module) -> list[Tensor]:
    """Running means and variances that the last step has changed."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    return [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var) if tensor is not None]


def gathered(answers: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
    """Rows of all processes, which have equally many, dealt in turn: the first of each, the second of each, and so on."""
    team = current()
    if team.size == 1:
        return answers
    found = [torch.empty_like(answers) for _ in range(team.size)]
    with reached(team):
        distributed.all_gather(found, answers.contiguous())
    return torch.stack(found, 1).flatten(0, 1)
