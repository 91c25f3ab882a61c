"""A network's answers to a split."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyas.data.batches import InOrder
from eyas.data.workers import threads_beside
from eyas.learn.device import Device
from eyas.learn.team import gathered
from eyas.tasks.task import Task
from eyas.team import current


@torch.inference_mode()
def answers(model: nn.Module, task: Task, batches: InOrder, device: Device) -> Float[Tensor, "n k"]:
    """The task's answers to all images, in order, on the processor; in float32, as they will be exported.

    The processes of a team answer to a share each, and all have all answers.
    """
    model.eval()
    shown = batches.share(current()).run(threads_beside(device.name))
    found = [task.decode(task.forward(model, batch.to(device.name))).cpu() for batch in shown]
    return gathered(torch.cat(found))[: len(batches.examples)]
