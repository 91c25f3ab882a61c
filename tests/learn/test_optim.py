import pytest
import torch
from torch import nn

from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.learn.optim import optimizer, training_mode
from eyas.learn.state import State
from eyas.nn.blocks import ConvNorm
from eyas.nn.build import build
from eyas.recipe import Training
from tests.fakes import pictures, tiny

OPTIMIZERS = ("adamw", "sgd", "rmsprop")


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
    assert (group["alpha"], group["momentum"], group["eps"]) == (0.9, 0.9, 1e-3)  # EfficientNet, section 5.2, and its code


class TestLayerDecay:
    def test_each_stage_further_from_the_head_has_its_rate_lowered_once_more(self):
        network = tiny()
        groups = optimizer(network, Training(layer_decay=0.5)).param_groups
        scale = {id(parameter): group["scale"] for group in groups for parameter in group["params"]}
        found = {block.stage: {scale[id(parameter)] for parameter in block.parameters()} for block in network.block_modules()}
        assert found == {0: {0.5**4}, 1: {0.5**3}, 2: {0.5**2}, 3: {0.5}}
        assert {scale[id(parameter)] for parameter in network.head.parameters()} == {1.0}

    def test_decay_is_still_told_apart_within_a_stage(self):
        network = tiny()
        plain = optimizer(network, Training(weight_decay=0.03)).param_groups
        scaled = optimizer(network, Training(weight_decay=0.03, layer_decay=0.5)).param_groups

        def decayed(groups):
            return {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}

        assert decayed(scaled) == decayed(plain)

    def test_without_it_every_rate_is_the_steps_own(self):
        assert [group["scale"] for group in optimizer(tiny(), Training()).param_groups] == [1.0, 1.0]


class TestFreeze:
    @pytest.mark.parametrize("stages", [1, 3])
    def test_frozen_stages_are_not_the_optimizers(self, stages):
        network = tiny()
        groups = optimizer(network, Training(freeze=stages)).param_groups
        held = {id(parameter) for group in groups for parameter in group["params"]}
        for block in network.block_modules():
            assert {id(parameter) in held for parameter in block.parameters()} == {block.stage >= stages}
        assert all(id(parameter) in held for parameter in network.head.parameters())

    @pytest.mark.parametrize("choice", OPTIMIZERS)
    def test_steps_move_the_rest_and_nothing_that_is_frozen(self, choice):
        """Weights, running statistics and their counts; with stochastic depth and dropout on."""
        recipe = Training(optimizer=choice, freeze=2, dropout=0.3, drop_path=0.5, rate=0.01)
        network = tiny(recipe)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        descent = optimizer(network, recipe)
        for _ in range(2):
            training_mode(network, recipe)
            network(pictures(8, 16)).square().sum().backward()
            descent.step()
            descent.zero_grad()
        moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
        kept = {f"blocks.{index}" for index, block in enumerate(network.block_modules()) if block.stage < 2}
        for name in before:
            fixed = ".".join(name.split(".")[:2]) in kept or name in ("mean", "std")
            assert (name in moved) != fixed, name

    def test_frozen_stages_answer_the_same_to_the_same_whatever_is_drawn(self):
        recipe = Training(freeze=4, dropout=0.0, drop_path=0.9)
        network = tiny(recipe)
        training_mode(network, recipe)
        images = pictures(8, 16)
        assert torch.equal(network(images), network(images))

    def test_all_stages_frozen_leaves_the_head(self):
        network = tiny()
        groups = optimizer(network, Training(freeze=4)).param_groups
        held = [parameter for group in groups for parameter in group["params"]]
        assert {id(parameter) for parameter in held} == {id(parameter) for parameter in network.head.parameters()}

    @pytest.mark.parametrize("use", [optimizer, training_mode])
    def test_more_stages_than_there_are(self, use):
        with pytest.raises(UserError, match=r"^training\.freeze is 5, but tiny has 4 stages to freeze$"):
            use(tiny(), Training(freeze=5))

    def test_a_frozen_state_comes_back_from_its_file(self, tmp_path):
        """The optimizer's numbering of weights leaves the frozen ones out, the same way in every process."""
        recipe = Training(freeze=2, layer_decay=0.5)
        first, second = (State.new(tiny(recipe, seed), recipe, seed) for seed in (0, 1))
        for parameter in first.model.parameters():
            parameter.grad = torch.full_like(parameter, 0.1)
        first.optimizer.step()
        (tmp_path / "kept").write_bytes(first.content())
        second.restore(tmp_path / "kept")
        ours, theirs = (state.optimizer.state_dict()["state"] for state in (first, second))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[index][name], theirs[index][name]) for index in ours for name in ours[index])


def test_training_mode_chooses_how_activations_are_kept():
    network = tiny()
    training_mode(network, Training(checkpoint_activations=True))
    assert network.training
    assert network.checkpoint_activations
    training_mode(network, Training())
    assert not network.checkpoint_activations
