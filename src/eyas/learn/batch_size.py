"""The largest batch whose training step fits into memory, found without running out of it where that would be fatal."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch

from eyas.data.batches import Batch
from eyas.errors import UserError
from eyas.learn.device import Device
from eyas.learn.memory import Peak, available
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.nn.build import Network
from eyas.progress import say
from eyas.recipe import Training
from eyas.tasks.task import Task

LEAST = 2  # batch norm needs two values a channel
SHARE = 0.8  # of the free memory that is used: batches are made ahead, and kernels take some for themselves


def largest(network: Network, task: Task, sample: Batch, recipe: Training, device: Device, most: int) -> int:
    """The largest batch of labelled images, up to `most`, for which a training step fits into the free memory.

    On an accelerator steps are tried until one does not fit. On a processor a step that does not fit would end with the
    process killed, so the memory of two small steps is counted and the rest follows, as it grows by as much for each image.
    Sizes are powers of two and up to three halvings between two of them, such as 96, 112 and 120.

    Args:
        network: on the device; it stays as it is.
        task: what it learns.
        sample: the images of a step for one labelled image: itself, and what is mixed in for it.
        recipe: how it is trained; its `batch` is not looked at.
        device: where.
        most: for example all labelled images.

    Raises:
        UserError: not even two images fit.
    """
    if device.name == "cpu":
        free = available()
        fits = _counted(network, task, sample, recipe, device, SHARE * free)
    else:
        free = torch.cuda.mem_get_info()[0]
        fits = _tried(lambda batch: _step(network, task, sample, replace(recipe, batch=batch), device))
    try:
        found = search(fits, max(most, LEAST))
    except ValueError:
        raise UserError(
            f"a training step of {network.arch} needs more than the {free / 1e9:.1f} GB of memory that are free, even with "
            f"{LEAST} images; take a smaller resolution or network, or set training.checkpoint_activations"
        ) from None
    say(f"batch: {found} labelled images a step, the largest that fits into the {free / 1e9:.1f} GB of memory that are free")
    return found


def search(fits: Callable[[int], bool], most: int) -> int:
    """The largest batch that fits: doubled while it does, then halves, quarters and eighths of it added.

    Raises:
        ValueError: not even `LEAST` fits.
    """
    if not fits(LEAST):
        raise ValueError(f"not even {LEAST} fit")
    found = LEAST
    while 2 * found <= most and fits(2 * found):
        found *= 2
    for more in (found // 2, found // 4, found // 8):
        if more and found + more <= most and fits(found + more):
            found += more
    return found


def _counted(
    network: Network, task: Task, sample: Batch, recipe: Training, device: Device, limit: float
) -> Callable[[int], bool]:
    """Whether the memory of a step, a line through two that are counted, stays below `limit` bytes."""
    small, large = 4 * recipe.accumulate, 8 * recipe.accumulate
    below, above = (_bytes(network, task, sample, replace(recipe, batch=batch), device) for batch in (small, large))
    each = (above - below) / (large - small)
    return lambda batch: below + each * (batch - small) <= limit


def _bytes(network: Network, task: Task, sample: Batch, recipe: Training, device: Device) -> int:
    """The most that a training of `recipe.batch` takes beside the network itself: the average, gradients and activations."""
    state = State.new(copy.deepcopy(network), recipe, 0)
    held = [*state.model.state_dict().values(), *state.ema.state_dict().values()]
    batch = _repeated(sample, recipe.batch)
    with Peak(iter(held)) as peak:
        # Two: the optimizer's memory is there from the end of the first step on.
        for _ in train(state, task, [batch, batch], recipe, 2, device):
            pass
    return peak.bytes + sum(tensor.nbytes for tensor in state.ema.state_dict().values())


def _step(network: Network, task: Task, sample: Batch, recipe: Training, device: Device) -> None:
    state = State.new(copy.deepcopy(network), recipe, 0)
    batch = _repeated(sample, recipe.batch)
    for _ in train(state, task, [batch, batch], recipe, 2, device):
        pass
    torch.cuda.synchronize()


def _tried(step: Callable[[int], None]) -> Callable[[int], bool]:
    """Whether a step of so many images runs on the accelerator with some of its memory kept back."""

    def fits(batch: int) -> bool:
        torch.cuda.set_per_process_memory_fraction(SHARE)
        try:
            step(batch)
            enough = True
        except torch.cuda.OutOfMemoryError:
            enough = False
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()  # here, where the error no longer holds on to the step's tensors
        return enough

    return fits


def _repeated(sample: Batch, times: int) -> Batch:
    images, targets = sample.images.repeat(times, 1, 1, 1), sample.targets.repeat(times, 1)
    return Batch(images, targets, sample.labelled.repeat(times))
