"""A block whose activations are computed twice instead of kept (Chen et al. 2016)."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """`block(x)`, of which only `x` is kept for the backward pass; stochastic depth draws the same again."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), buffers_kept(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def buffers_kept(module: nn.Module) -> Generator[None]:
    """Inside, the buffers are copies: running statistics do not count a batch twice when it is computed twice."""
    kept = [(part, name, buffer) for part in module.modules() for name, buffer in part.named_buffers(recurse=False)]
    for part, name, buffer in kept:
        setattr(part, name, buffer.clone())
    try:
        yield
    finally:
        for part, name, buffer in kept:
            setattr(part, name, buffer)
