"""RMSProp as TensorFlow computes it, which the papers' learning rates are for."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, optim


class RMSProp(optim.Optimizer):
    """RMSProp of TensorFlow's `tf.train.RMSPropOptimizer` (its kernel ApplyRMSProp).

    With the gradient g, and for each weight w a mean square m, 1 at first, and a momentum v, 0 at first:

        m = alpha m + (1 - alpha) g^2
        v = momentum v + rate g / sqrt(m + eps)
        w = w - v

    PyTorch's differs in three ways that matter for the papers' rates: it takes eps out of the root, begins with m = 0, so
    that first steps are about three times as long, and multiplies by the rate after the momentum, so that a new rate acts
    on past gradients too.

    Weight decay is L2, g = g + decay w, as in the code of the MobileNets and the EfficientNets.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        alpha: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "momentum": momentum, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every weight that has a gradient; a closure, where there is one, computes gradients and loss first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            pairs = [(weight, weight.grad) for weight in group["params"] if weight.grad is not None]
            if pairs:
                self._move([weight for weight, _ in pairs], [gradient for _, gradient in pairs], group)
        return loss

    def _move(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """All weights at once: on an accelerator a few kernels, not a few for each weight."""
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] |= {"square": torch.ones_like(weight), "momentum": torch.zeros_like(weight)}
        squares = [self.state[weight]["square"] for weight in weights]
        momenta = [self.state[weight]["momentum"] for weight in weights]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["alpha"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["alpha"])
        scales = list(torch._foreach_add(squares, group["eps"]))
        torch._foreach_rsqrt_(scales)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_addcmul_(momenta, gradients, scales, group["lr"])
        torch._foreach_sub_(weights, momenta)
