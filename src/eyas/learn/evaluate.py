"""A network's answers to a split."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyas.data.batches import Batch
from eyas.learn.device import Device
from eyas.tasks.task import Task


@torch.inference_mode()
def answers(model: nn.Module, task: Task, batches: Iterable[Batch], device: Device) -> Float[Tensor, "n k"]:
    """The task's answers to all batches, in order, on the processor; in float32, as they will be exported."""
    model.eval()
    found = [task.decode(task.forward(model, batch.to(device.name))).cpu() for batch in batches]
    return torch.cat(found)
