import pytest
import torch
from torch import nn

from eyas.arch.parse import parse
from eyas.learn.optim import optimizer, rate
from eyas.nn.blocks import ConvNorm
from eyas.nn.build import build
from eyas.recipe import Training
from tests.fakes import tiny

OPTIMIZERS = ("adamw", "sgd", "rmsprop")


class TestSchedule:
    training = Training(rate=0.4, warmup=0.2)

    def test_warms_up_linearly_to_the_peak(self):
        assert [rate(step, 50, self.training) for step in range(10)] == pytest.approx([0.04 * n for n in range(1, 11)])

    def test_then_falls_by_half_a_cosine_to_nearly_nothing(self):
        after = [rate(step, 50, self.training) for step in range(10, 50)]
        assert after[0] == 0.4
        assert after[20] == pytest.approx(0.2)
        assert after[10] == pytest.approx(0.2 * (1 + 2**-0.5))
        assert after == sorted(after, reverse=True)
        assert 0 < after[-1] < 0.001
        assert rate(50, 50, self.training) == 0

    @pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
    @pytest.mark.parametrize("steps", [1, 2, 7, 100])
    def test_whatever_the_lengths_it_reaches_the_peak_and_stays_above_zero(self, warmup, steps):
        training = Training(rate=0.4, warmup=warmup)
        rates = [rate(step, steps, training) for step in range(steps)]
        assert max(rates) == pytest.approx(0.4)
        assert min(rates) > 0

    def test_without_warm_up_it_starts_at_the_peak(self):
        assert rate(0, 100, Training(rate=0.4, warmup=0)) == 0.4


class TestDecay:
    @pytest.mark.parametrize("name", ["mobilenet_v1x0.25", "efficientnet_b0x0.25"])
    @pytest.mark.parametrize("choice", OPTIMIZERS)
    def test_kernels_decay_and_norms_biases_and_depthwise_filters_do_not(self, name, choice):
        """MobileNets, section 3.2: little or no weight decay on the depthwise filters."""
        arch = parse(name)
        network = build(arch, nn.Linear(arch.features, 3))
        decayed, free = optimizer(network, Training(optimizer=choice, weight_decay=0.03)).param_groups
        assert (decayed["weight_decay"], free["weight_decay"]) == (0.03, 0.0)
        expected = {id(network.head.weight)}
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.groups == 1:
                expected.add(id(module.weight))
        assert {id(parameter) for parameter in decayed["params"]} == expected
        every = [id(parameter) for parameter in network.parameters()]
        assert sorted(every) == sorted(id(parameter) for parameter in decayed["params"] + free["params"])

    @pytest.mark.parametrize("choice", OPTIMIZERS)
    def test_a_step_without_gradient_shrinks_what_decays_and_nothing_else(self, choice):
        network = tiny()
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer(network, Training(optimizer=choice, weight_decay=0.1, rate=0.01)).step()
        depthwise = [
            module.conv.weight for module in network.modules() if isinstance(module, ConvNorm) and module.conv.groups > 1
        ]
        for name, parameter in network.named_parameters():
            shrinks = parameter.ndim > 1 and not any(parameter is kernel for kernel in depthwise)
            assert torch.equal(parameter, before[name]) != shrinks
            assert (parameter.abs() <= before[name].abs()).all() or choice == "rmsprop"


@pytest.mark.parametrize("choice", OPTIMIZERS)
def test_every_optimizer_descends(choice):
    model = nn.Linear(4, 1)
    nn.init.ones_(model.weight)
    descent = optimizer(model, Training(optimizer=choice, rate=0.01, weight_decay=0))
    losses = []
    for _ in range(60):
        loss = (model(torch.eye(4)) ** 2).sum()
        loss.backward()
        descent.step()
        descent.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_sgd_is_nesterov_momentum():
    """Two steps by hand: v = 0.9 v + g, w -= rate (g + 0.9 v)."""
    weight = nn.Parameter(torch.tensor([1.0]))
    descent = optimizer(nn.ParameterList([weight]), Training(optimizer="sgd", rate=0.1))
    expected, speed = 1.0, 0.0
    for gradient in (1.0, 2.0):
        weight.grad = torch.tensor([gradient])
        descent.step()
        speed = 0.9 * speed + gradient
        expected -= 0.1 * (gradient + 0.9 * speed)
        assert weight.item() == pytest.approx(expected)


def test_rmsprop_has_the_papers_memories():
    group = optimizer(tiny(), Training(optimizer="rmsprop")).param_groups[0]
    assert (group["alpha"], group["momentum"]) == (0.9, 0.9)  # EfficientNet, section 5.2
