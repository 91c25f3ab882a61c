"""Activations computed twice instead of kept: the same network, the same gradients, less memory."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from eyas.nn.build import Network
from eyas.nn.recompute import checkpointed
from eyas.recipe import Training
from tests.fakes import pictures, tiny

NOISY = Training(dropout=0.4, drop_path=0.6)
IMAGES = pictures(6, 16)


def step(network: Network, checkpoint: bool) -> dict[str, torch.Tensor]:
    """The answer, the gradients and all that a step leaves in the network."""
    network.train()
    network.checkpoint_activations = checkpoint
    torch.manual_seed(3)
    out = network(IMAGES)
    out.square().sum().backward()
    after = torch.rand(1)  # whatever is drawn next is the same too
    found = {"answer": out.detach(), "after": after}
    found |= {f"gradient {name}": parameter.grad for name, parameter in network.named_parameters()}
    return found | {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_all_that_a_step_does_is_the_same_to_the_bit() -> None:
    plain, checkpointing = step(tiny(NOISY), False), step(tiny(NOISY), True)
    assert plain.keys() == checkpointing.keys()
    assert [name for name in plain if not torch.equal(plain[name], checkpointing[name])] == []


def test_running_statistics_see_each_batch_once() -> None:
    network = tiny(NOISY)
    step(network, True)
    counts = {norm.num_batches_tracked.item() for norm in network.modules() if isinstance(norm, nn.BatchNorm2d)}
    assert counts == {1}


def kept_bytes(network: Network, checkpoint: bool) -> int:
    """What a forward pass keeps for the backward one, beside the weights."""
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network.train()
    network.checkpoint_activations = checkpoint
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        out = network(IMAGES)
    assert out.requires_grad
    return sum(kept.values())


def test_less_is_kept() -> None:
    assert kept_bytes(tiny(), True) < kept_bytes(tiny(), False) / 3


@pytest.mark.parametrize("checkpoint", [False, True])
def test_maps_of_stages_have_gradients_too(checkpoint: bool) -> None:
    network = tiny().train()
    network.checkpoint_activations = checkpoint
    last = network.features(network.normalize(IMAGES))["stage3"]
    last.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.blocks.parameters())


def test_in_evaluation_nothing_is_computed_twice() -> None:
    network = tiny().eval()
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    network.blocks[0].register_forward_hook(count)
    network.checkpoint_activations = True
    network(IMAGES).sum().backward()
    assert calls == 1


def test_what_fails_in_the_backward_pass_leaves_the_norms_as_they_were() -> None:
    block = nn.Sequential(nn.BatchNorm2d(2), Once())
    buffers = dict(block.named_buffers())
    out = checkpointed(block, torch.randn(3, 2, 4, 4, requires_grad=True))
    after = {name: buffer.clone() for name, buffer in buffers.items()}
    with pytest.raises(RuntimeError, match="second time"):
        out.sum().backward()
    assert all(buffer is buffers[name] for name, buffer in block.named_buffers())
    assert all(torch.equal(buffer, after[name]) for name, buffer in buffers.items())


class Once(nn.Module):
    """Cannot be computed again."""

    def __init__(self) -> None:
        super().__init__()
        self.done = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.done:
            raise RuntimeError("a second time")
        self.done = True
        return x.square()
