"""Optimizers and the schedule."""

import math

from torch import nn, optim
from torch.nn import Parameter

from eyas.recipe import Training


def rate(step: int, steps: int, recipe: Training) -> float:
    """Learning rate of `step` (from 0): linear warm-up to the peak, then half a cosine towards 0."""
    warm = max(1, round(steps * recipe.warmup))
    if step < warm:
        return recipe.rate * (step + 1) / warm
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def optimizer(model: nn.Module, recipe: Training) -> optim.Optimizer:
    """The recipe's optimizer; what must not decay is in a group of its own."""
    decayed, free = _groups(model)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    match recipe.optimizer:
        case "adamw":
            return optim.AdamW(groups, recipe.rate, fused=True)
        case "sgd":
            return optim.SGD(groups, recipe.rate, momentum=0.9, nesterov=True)
        case "rmsprop":
            return optim.RMSprop(groups, recipe.rate, alpha=0.9, momentum=0.9, eps=1e-3)


def _groups(model: nn.Module) -> tuple[list[Parameter], list[Parameter]]:
    """Kernels that decay, and the rest: norms, biases, and depthwise filters (MobileNets, section 3)."""
    decayed: list[Parameter] = []
    free: list[Parameter] = []
    for parameter in model.parameters():
        depthwise = parameter.ndim == 4 and parameter.shape[1] == 1
        (free if parameter.ndim == 1 or depthwise else decayed).append(parameter)
    return decayed, free
