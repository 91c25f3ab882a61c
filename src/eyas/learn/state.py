"""All that changes in training, saved and restored exactly."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, optim

from eyas.errors import UserError
from eyas.learn.optim import optimizer
from eyas.nn.build import Network
from eyas.recipe import Training
from eyas.run import write_atomic


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
    decay: float = field(default=0.99)

    @classmethod
    def new(cls, model: Network, recipe: Training, seed: int) -> "State":
        """The state before the first step."""
        ema = copy.deepcopy(model).eval().requires_grad_(False)
        return cls(model, ema, optimizer(model, recipe), seed, decay=recipe.ema)

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights towards the current ones; early on faster, so that they do not keep the first weights."""
        weight = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        for averaged, current in zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True):
            if averaged.is_floating_point():
                averaged.lerp_(current, weight)
            else:
                averaged.copy_(current)

    def save(self, path: Path) -> None:
        """Write everything as one safetensors file, whole or not at all."""
        memory = self.optimizer.state_dict()
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.state_dict().items()}
        tensors |= {f"optimizer.{index}.{name}": value for index, of in memory["state"].items() for name, value in of.items()}
        facts = {name: getattr(self, name) for name in ("seed", "step", "best", "best_step", "decay")}
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_atomic(path, save(plain, {"facts": json.dumps(facts)}))

    def restore(self, path: Path) -> None:
        """Become the state that was saved from a state of the same model and recipe.

        Raises:
            UserError: the file is damaged.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise UserError(f"checkpoint {path} is damaged ({error}); delete it to begin this stage again") from None
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
