"""Which weights learn, how fast each of them, and by which optimizer."""

from typing import Any

from torch import nn, optim
from torch.nn import Parameter

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
