"""Which weights learn, how fast each of them, and by which optimizer."""

from typing import Any, cast

import torch
from torch import Tensor, nn, optim
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_

from eyas.errors import UserError
from eyas.learn.rmsprop import RMSProp
from eyas.nn.blocks import BlockModule
from eyas.nn.build import Network
from eyas.recipe import Training


def optimizer(model: nn.Module, recipe: Training) -> optim.Optimizer:
    """The recipe's optimizer of the weights that are not frozen, in groups that differ in weight decay and in rate.

    A group's `scale` is what the rate of a step is multiplied with for it: `group["lr"] = now * group["scale"]`.

    Raises:
        UserError: the recipe freezes more stages than the network has.
    """
    groups = _groups(model, recipe)
    match recipe.optimizer:
        case "adamw":
            return optim.AdamW(groups, recipe.rate, fused=True)
        case "sgd":
            return optim.SGD(groups, recipe.rate, momentum=0.9, nesterov=True, fused=True)
        case "rmsprop":
            return RMSProp(groups, recipe.rate)


def total_norm(gradients: list[Tensor]) -> Tensor:
    """Of all gradients together. Those of norms and biases are many and small, and are taken as one."""
    small = [each for each in gradients if each.ndim == 1]
    large = [each for each in gradients if each.ndim != 1]
    norms = torch._foreach_norm([*large, torch.cat(small)] if small else large)  # `get_total_norm` also asks where they are
    return torch.linalg.vector_norm(torch.stack(norms))


def clip(optimizer: optim.Optimizer, parameters: list[Parameter], norm: Tensor, most: float) -> None:
    """Have the next step take the gradients, whose norm is given, as if it were at most `most`.

    The fused optimizers divide each gradient by a scale as they read it; for any other they are multiplied here.
    """
    within = norm.is_cpu and norm.item() <= most  # to ask an accelerator would be to wait for it
    if optimizer.defaults.get("fused"):
        cast(Any, optimizer).grad_scale = None if within else (norm / most).clamp(min=1)
    elif not within:
        clip_grads_with_norm_(parameters, most, norm)


def training_mode(model: Network, recipe: Training) -> None:
    """As `model.train()`, but frozen stages keep their statistics, drop nothing and get no gradient.

    It says again what `model.train()` would undo, so it stands wherever that would; a network wrapped for many devices must
    have been here before, as the wrapper asks which weights have gradients.
    """
    model.train()
    model.checkpoint_activations = recipe.checkpoint_activations
    for block in frozen(model, recipe):
        block.eval().requires_grad_(False)


def frozen(model: nn.Module, recipe: Training) -> list[BlockModule]:
    """The blocks of the recipe's frozen stages.

    Raises:
        UserError: it freezes more stages than the network has.
    """
    if not recipe.freeze or not isinstance(model, Network):
        return []
    blocks = model.block_modules()
    stages = blocks[-1].stage + 1
    if recipe.freeze > stages:
        raise UserError(f"training.freeze is {recipe.freeze}, but {model.arch.name} has {stages} stages to freeze")
    return [block for block in blocks if block.stage < recipe.freeze]


def _groups(model: nn.Module, recipe: Training) -> list[dict[str, Any]]:
    """Weights from the head to the stem: of each distance first kernels that decay, then the rest.

    The rest are norms, biases and depthwise filters (MobileNets, section 3).
    """
    still = {id(parameter) for block in frozen(model, recipe) for parameter in block.parameters()}
    distance = _distances(model) if recipe.layer_decay != 1 else {}
    groups: dict[tuple[int, bool], list[Parameter]] = {}
    for parameter in model.parameters():
        depthwise = parameter.ndim == 4 and parameter.shape[1] == 1
        free = parameter.ndim == 1 or depthwise
        if id(parameter) not in still:
            groups.setdefault((distance.get(id(parameter), 0), free), []).append(parameter)
    return [
        {"params": groups[key], "weight_decay": 0.0 if key[1] else recipe.weight_decay, "scale": recipe.layer_decay ** key[0]}
        for key in sorted(groups)
    ]


def _distances(model: nn.Module) -> dict[int, int]:
    """Stages from the head to each weight of a block, by the weight's id: 1 for those that the head stands on."""
    if not isinstance(model, Network):
        return {}
    blocks = model.block_modules()
    last = blocks[-1].stage
    return {id(parameter): last - block.stage + 1 for block in blocks for parameter in block.parameters()}
