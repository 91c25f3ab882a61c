"""A network's answers to a split."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyas.data.batches import InOrder
from eyas.data.workers import threads_beside
from eyas.learn.device import Device
from eyas.learn.team import gathered
from eyas.nn.build import Network
from eyas.nn.fold import folded
from eyas.tasks.task import Task
from eyas.team import current


@torch.inference_mode()
def answers(model: nn.Module, task: Task, batches: InOrder, device: Device) -> Float[Tensor, "n k"]:
    """The task's answers to all images, in order, on the processor; in float32 and folded, as they will be exported.

    The processes of a team answer to a share each, and all have all answers.
    """
    model.eval()
    asked = folded(model).to(device.name) if isinstance(model, Network) else model
    shown = batches.share(current()).run(threads_beside(device.name))
    found = [task.decode(task.forward(asked, batch.to(device.name))).cpu() for batch in shown]
    return gathered(torch.cat(found))[: len(batches.examples)]
