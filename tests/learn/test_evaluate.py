import pytest
import torch

from eyas.data.batches import in_order
from eyas.learn.device import Device
from eyas.learn.evaluate import answers
from eyas.tasks.classify import Classify
from eyas.tasks.distill import Distill
from tests.fakes import COLOURS, colours, shaken, tiny

CPU = Device("cpu", False)
TASK = Classify(COLOURS)


def test_all_answers_in_order_whatever_the_size_of_the_batches():
    network, examples = shaken(tiny()), colours(11)
    together = answers(network, TASK, in_order(examples, 16, size=64), CPU)
    assert together.shape == (11, 3)
    torch.testing.assert_close(together.sum(1), torch.ones(11))
    torch.testing.assert_close(answers(network, TASK, in_order(examples, 16, size=4), CPU), together)
    one = next(iter(in_order(examples, 16, size=1)))
    torch.testing.assert_close(together[:1], network(one.images).softmax(1).detach())


def test_a_network_in_training_is_judged_without_noise_and_left_unchanged():
    network, examples = shaken(tiny()).train(), colours(8)
    network.dropout.p = 0.5
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (answers(network, TASK, in_order(examples, 16), CPU) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("bfloat16", [True, False])
def test_in_float32_as_it_will_be_exported(bfloat16):
    network, examples = shaken(tiny()), colours(8)
    expected = answers(network, TASK, in_order(examples, 16), CPU)
    found = answers(network, TASK, in_order(examples, 16), Device("cpu", bfloat16))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_a_wrapped_task_answers_with_the_student():
    student, examples = shaken(tiny(seed=1)), colours(8)
    wrapped = answers(student, Distill(TASK, shaken(tiny(seed=2))), in_order(examples, 16), CPU)
    assert torch.equal(wrapped, answers(student, TASK, in_order(examples, 16), CPU))
