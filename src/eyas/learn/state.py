"""All that changes in training, saved and restored exactly."""

import copy
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, optim

from eyas.errors import UserError, first_line
from eyas.learn.optim import optimizer
from eyas.nn.build import Network
from eyas.recipe import Training

Pairs = tuple[list[Tensor], list[Tensor]]


@dataclass
class State:
    """Weights, their average, the optimizer's memory, the step, and the best so far.

    The random state is (seed, step): each step draws its noise from a generator seeded with both, so nothing that
    happens between two steps, an evaluation or a restart, can shift it.
    """

    model: Network
    ema: Network
    optimizer: optim.Optimizer
    seed: int
    step: int = 0
    best: float = -1.0
    best_step: int = 0
    decay: float = 0.99
    scores: list[float] = field(default_factory=list)  # of all evaluations so far, on the validation split

    @classmethod
    def new(cls, model: Network, recipe: Training, seed: int) -> "State":
        """The state before the first step."""
        ema = copy.deepcopy(model).eval().requires_grad_(False)
        return cls(model, ema, optimizer(model, recipe), seed, decay=recipe.ema)

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights towards the current ones; early on faster, so that they do not keep the first weights."""
        weight = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        floats, counts = self._averaged
        torch._foreach_lerp_(floats[0], floats[1], weight)  # one call: a network of 300 tensors would wait for 300
        if counts[0]:
            torch._foreach_copy_(*counts)

    @cached_property
    def _averaged(self) -> tuple[Pairs, Pairs]:
        """Tensors of the averaged network and of the current one: those that can be averaged, and those that only count."""
        pairs = zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True)
        floats: Pairs = ([], [])
        counts: Pairs = ([], [])
        for averaged, current in pairs:
            kind = floats if averaged.is_floating_point() else counts
            kind[0].append(averaged)
            kind[1].append(current)
        return floats, counts

    def content(self) -> bytes:
        """Everything as one safetensors file."""
        memory = self.optimizer.state_dict()
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.state_dict().items()}
        tensors |= {f"optimizer.{index}.{name}": value for index, of in memory["state"].items() for name, value in of.items()}
        facts = {name: getattr(self, name) for name in ("seed", "step", "best", "best_step", "decay", "scores")}
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return save(plain, {"facts": json.dumps(facts)})

    def restore(self, path: Path) -> None:
        """Become the state whose `content` the file holds, of the same model and recipe.

        Raises:
            UserError: what is wrong with the file.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise UserError(first_line(error)) from None
        for name, value in facts.items():
            setattr(self, name, value)
        self.model.load_state_dict(_under("model.", tensors))
        self.ema.load_state_dict(_under("ema.", tensors))
        self._restore_optimizer(_under("optimizer.", tensors))

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        memory: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            index, name = key.split(".")
            like = parameters[int(index)]
            # In the memory format of its parameter, as the optimizer made it.
            kept = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            memory.setdefault(int(index), {})[name] = kept
        self.optimizer.load_state_dict({"state": memory, "param_groups": self.optimizer.state_dict()["param_groups"]})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
