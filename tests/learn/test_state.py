import pytest
import torch
from safetensors.torch import save_file

from eyas.errors import UserError
from eyas.learn.state import State
from eyas.recipe import Training
from tests.fakes import shaken, tiny


def state_of(training: Training | None = None, seed: int = 0) -> State:
    chosen = training or Training()
    return State.new(tiny(chosen, seed), chosen, seed)


class TestAverage:
    def test_the_formula_with_its_quick_beginning(self):
        """After step n the average keeps min(decay, (1 + n) / (10 + n)) of itself (TensorFlow's ExponentialMovingAverage)."""
        state = state_of(Training(ema=0.5))
        generator = torch.Generator().manual_seed(0)
        expected = {name: tensor.double().clone() for name, tensor in state.model.state_dict().items()}
        for step in range(1, 13):
            for tensor in state.model.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator))
                else:
                    tensor.fill_(step)
            state.step = step
            state.average()
            keep = min(0.5, (1 + step) / (10 + step))
            assert keep == (0.5 if step >= 8 else (1 + step) / (10 + step))
            for name, tensor in state.model.state_dict().items():
                expected[name] = keep * expected[name] + (1 - keep) * tensor.double()
        for name, tensor in state.ema.state_dict().items():
            if tensor.is_floating_point():  # running statistics too
                torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
            else:
                assert tensor.item() == 12

    def test_of_weights_that_stay_it_is_the_weights(self):
        state = state_of()
        state.step = 1000
        state.average()
        assert all(
            torch.equal(a, b) for a, b in zip(state.ema.state_dict().values(), state.model.state_dict().values(), strict=True)
        )

    def test_it_is_another_network_that_is_not_trained(self):
        state = state_of()
        assert not any(parameter.requires_grad for parameter in state.ema.parameters())
        assert not state.ema.training
        state.model.head.weight.data.add_(1)
        assert not torch.equal(state.ema.head.weight, state.model.head.weight)


class TestFile:
    def test_a_state_before_its_first_step_comes_back(self, tmp_path):
        state = state_of(seed=5)
        shaken(state.ema)
        (tmp_path / "c").write_bytes(state.content())
        other = state_of(seed=6)
        other.restore(tmp_path / "c")
        for ours, theirs in ((state.model, other.model), (state.ema, other.ema)):
            assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
        assert not other.optimizer.state_dict()["state"]
        assert other.seed == 5

    def test_facts_come_back_to_the_last_digit(self, tmp_path):
        state = state_of(Training(ema=0.9731))
        state.step, state.best, state.best_step, state.scores = 17, 1 / 3, 13, [0.1, 1 / 3]
        (tmp_path / "c").write_bytes(state.content())
        other = state_of()
        other.restore(tmp_path / "c")
        assert (other.step, other.best, other.best_step, other.scores) == (17, 1 / 3, 13, [0.1, 1 / 3])
        assert other.decay == 0.9731

    def test_weights_stay_channels_last(self, tmp_path):
        state = state_of()
        (tmp_path / "c").write_bytes(state.content())
        state.restore(tmp_path / "c")
        assert state.model.blocks[0].layers[0].conv.weight.is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize("damage", ["missing", "empty", "cut short", "overwritten", "foreign", "no facts", "other facts"])
    def test_damaged(self, tmp_path, damage):
        path = tmp_path / "checkpoint.safetensors"
        whole = state_of().content()
        match damage:
            case "missing":
                pass
            case "empty":
                path.write_bytes(b"")
            case "cut short":
                path.write_bytes(whole[: len(whole) // 2])
            case "overwritten":
                path.write_bytes(b"\xff" * 64 + whole[64:])
            case "foreign":
                save_file({"a": torch.zeros(2)}, path)
            case "no facts":
                save_file({"a": torch.zeros(2)}, path, {"format": "pt"})
            case "other facts":
                save_file({"a": torch.zeros(2)}, path, {"facts": "{"})
        with pytest.raises(UserError) as caught:
            state_of().restore(path)
        assert str(caught.value) and "\n" not in str(caught.value)
