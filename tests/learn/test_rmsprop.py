import numpy as np
import pytest
import torch
from timm.optim import RMSpropTF
from torch import nn

from eyas.learn.rmsprop import RMSProp
from eyas.learn.state import State
from eyas.recipe import Training
from tests.fakes import tiny

RATES = (0.2, 0.2, 0.05, 0.4, 0.01)  # a new rate must not act on past gradients


def gradients(shape: tuple[int, ...], steps: int, seed: int = 0) -> list[np.ndarray]:
    """Of very different sizes, from far below eps to far above."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 2, shape)).astype(np.float32) for _ in range(steps)]


def run(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], given: list[list[np.ndarray]]) -> None:
    for rate, each in zip(RATES, given, strict=True):
        for weight, gradient in zip(weights, each, strict=True):
            weight.grad = torch.from_numpy(gradient.copy())
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()


@pytest.mark.parametrize("decay", [0.0, 0.03])
def test_the_update_rule_of_tensorflow_step_by_step(decay: float) -> None:
    """ms = rho ms + (1 - rho) g^2; mom = momentum mom + lr g / sqrt(ms + epsilon); var -= mom (ApplyRMSProp)."""
    weight = nn.Parameter(torch.linspace(-1, 1, 12))
    given = gradients((12,), len(RATES))
    expected, square, momentum = weight.detach().numpy().astype(np.float64), np.ones(12), np.zeros(12)
    optimizer = RMSProp([{"params": [weight]}], 1.0, alpha=0.9, momentum=0.8, eps=1e-3, weight_decay=decay)
    run(optimizer, [weight], [[each] for each in given])
    for rate, gradient in zip(RATES, given, strict=True):
        full = gradient.astype(np.float64) + decay * expected
        square = 0.9 * square + 0.1 * full**2
        momentum = 0.8 * momentum + rate * full / np.sqrt(square + 1e-3)
        expected = expected - momentum
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.03])
def test_it_is_timms(decay: float) -> None:
    shapes = ((3, 4), (5,), (2, 3, 1, 1))
    given = [[gradients(shape, 1, 7 * step + index)[0] for index, shape in enumerate(shapes)] for step in range(len(RATES))]
    ours, theirs = ([nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    run(RMSProp([{"params": ours}], 1.0, weight_decay=decay), ours, given)
    run(RMSpropTF(theirs, 1.0, alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=decay), theirs, given)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_it_is_not_pytorchs() -> None:
    given = [[each] for each in gradients((12,), len(RATES))]
    ours, theirs = (nn.Parameter(torch.ones(12)) for _ in range(2))
    run(RMSProp([{"params": [ours]}], 1.0), [ours], given)
    run(torch.optim.RMSprop([theirs], 1.0, alpha=0.9, eps=1e-3, momentum=0.9), [theirs], given)
    assert not torch.allclose(ours, theirs, rtol=0.1)


def test_weights_without_a_gradient_stay_and_remember_nothing() -> None:
    moved, still = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = RMSProp([{"params": [moved, still]}], 0.1, weight_decay=0.1)
    moved.grad = torch.ones(2)
    optimizer.step()
    assert not torch.equal(moved, torch.ones(2))
    assert torch.equal(still, torch.ones(2))
    assert optimizer.state_dict()["state"].keys() == {0}


def test_a_closure_gives_the_loss_and_the_gradients() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = RMSProp([{"params": [weight]}], 0.1)

    def closure() -> float:
        loss = (weight**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert weight.item() < 2.0


def test_its_memory_comes_back_from_a_file_and_goes_on_to_the_bit(tmp_path) -> None:
    recipe = Training(optimizer="rmsprop", rate=0.01)
    states = [State.new(tiny(recipe, seed), recipe, seed) for seed in (0, 5)]

    def move(state: State, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for weight in state.model.parameters():
            weight.grad = torch.empty_like(weight).copy_(torch.randn(weight.shape, generator=generator))
        state.optimizer.step()

    move(states[0], 1)
    (tmp_path / "kept").write_bytes(states[0].content())
    states[1].restore(tmp_path / "kept")
    for state in states:
        move(state, 2)
    for one, other in zip(states[0].model.parameters(), states[1].model.parameters(), strict=True):
        assert torch.equal(one, other)
    kept = states[1].optimizer.state_dict()["state"]
    assert all(of.keys() == {"square", "momentum"} for of in kept.values())
    assert len(kept) == len(list(states[1].model.parameters()))
