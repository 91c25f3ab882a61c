import numpy as np
import pytest
import torch

from eyas.arch.parse import parse
from eyas.data.batches import Batch
from eyas.data.boxes import pack, unpack
from eyas.nn.detectors import build_detector
from eyas.tasks.detect import Detect
from eyas.tasks.task import Task

TASK = Detect(("bar", "square"))


@pytest.fixture(scope="module")
def detector():
    return build_detector(parse("mobilenet_v1x0.25@32"), "ssd", 2)


def batch_of(*rows):
    images = torch.randint(0, 256, (len(rows), 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = [np.array(of, np.float32).reshape(-1, 6) for of in rows]
    return Batch(images, torch.from_numpy(pack(boxes)), torch.ones(len(rows), dtype=torch.bool))


BOX, CROWD = [0.2, 0.2, 0.7, 0.6, 1, 0], [0.0, 0.0, 0.5, 0.5, 0, 1]


def test_it_is_a_task():
    assert isinstance(TASK, Task)


def test_padding_and_crowds_are_not_learned_from(detector):
    detector.eval()
    plain, padded = batch_of([BOX]), batch_of([BOX, CROWD])
    first, second = (TASK.loss(TASK.forward(detector, batch), batch) for batch in (plain, padded))
    assert {name: value.item() for name, value in first.items()} == {name: value.item() for name, value in second.items()}


def test_answers_of_batches_can_stand_in_one_table(detector):
    detector.eval()
    with torch.no_grad():
        some, one = (TASK.decode(TASK.forward(detector, batch)) for batch in (batch_of([BOX], [], [BOX]), batch_of([])))
    assert torch.cat([some, one]).shape == (4, 600)
    assert 0 < len(unpack(one.numpy()[0])) <= 100


def test_the_truth_as_an_answer_is_perfect():
    truth = batch_of([BOX], [CROWD, BOX], []).targets
    answers = truth.clone().view(3, -1, 6)
    answers[..., 5] = torch.where(answers[..., 5] == 1, 0.1, 0.9)
    found = TASK.metrics(answers.view(3, -1), truth)
    assert next(iter(found)) == "map"  # what chooses between checkpoints
    assert found == pytest.approx({"map": 1.0, "map_50": 1.0, "map_75": 1.0})
