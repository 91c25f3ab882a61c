"""Triplets and retrieval against loops over all triplets and all images."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from eyas.data.batches import Batch
from eyas.errors import UserError
from eyas.tasks.distill import Distill, Distilled
from eyas.tasks.embed import Embed
from eyas.tasks.retrieval import retrieval
from eyas.tasks.task import Task

TASK = Embed(width=4)


def batch_of(identities: list[int]) -> Batch:
    rows = len(identities)
    targets = torch.tensor(identities, dtype=torch.float32)[:, None]
    return Batch(torch.zeros(rows, 2, 2, 3, dtype=torch.uint8), targets, torch.ones(rows, dtype=torch.bool))


def vectors(count: int, seed: int = 0, width: int = 4) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_is_a_task():
    assert isinstance(TASK, Task)
    assert TASK.head(8).weight.shape == (4, 8)


@pytest.mark.parametrize("margin", [0.2, 0.7])
def test_mean_over_the_semi_hard_triplets(margin):
    out, identities = vectors(12), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4]
    unit = (out / out.norm(dim=1, keepdim=True)).double().numpy()
    square = ((unit[:, None] - unit[None]) ** 2).sum(-1)
    losses = []
    for a in range(12):
        for p in range(12):
            for n in range(12):
                if a != p and identities[a] == identities[p] != identities[n]:
                    gap = square[a, n] - square[a, p]
                    if 0 < gap < margin:
                        losses.append(margin - gap)
    assert len(losses) > 5
    found = Embed(4, margin).loss(out, batch_of(identities))["triplet"]
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_batch_without_such_triplets_costs_nothing_and_has_a_gradient():
    out = torch.eye(4).repeat_interleave(2, 0).requires_grad_(True)  # the same for one identity, far from the others
    loss = TASK.loss(out, batch_of([0, 0, 1, 1, 2, 2, 3, 3]))["triplet"]
    loss.backward()
    assert loss == 0 and (out.grad == 0).all()


def test_equal_images_of_one_identity_have_a_finite_gradient():
    out = torch.cat([vectors(3), vectors(3)]).requires_grad_(True)
    TASK.loss(out, batch_of([0, 1, 2, 0, 1, 2]))["triplet"].backward()
    assert out.grad.isfinite().all()


def test_answers_have_length_1_and_zero_stays_zero():
    found = TASK.decode(torch.cat([vectors(3), torch.zeros(1, 4)]))
    assert found.norm(dim=1).tolist() == pytest.approx([1, 1, 1, 0])


def test_distilled_by_the_squared_distance_of_unit_vectors():
    student, teacher = vectors(5), vectors(5, seed=1)
    found = Distill(TASK, nn.Identity()).loss(Distilled(student, 7 * teacher), batch_of([0] * 5))["distilled"]
    cosine = torch.cosine_similarity(student, teacher)
    torch.testing.assert_close(found, (2 - 2 * cosine).mean())  # |a - b|^2 of unit vectors


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="width 1 with"):
        Embed(width=1)
    with pytest.raises(UserError, match="margin 4"):
        Embed(margin=4.0)


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.distances", None)
    with pytest.raises(UserError, match=r"pip install 'eyas\[embed\]'"):
        TASK.loss(vectors(4), batch_of([0, 0, 1, 1]))


@pytest.mark.parametrize("chunk", [512, 7])
def test_retrieval_counted_image_by_image(chunk, monkeypatch):
    monkeypatch.setattr("eyas.tasks.retrieval.CHUNK", chunk)
    identities = np.array([0, 1, 0, 2, 1, 3, 0, 4, 4, 1, 2, 5, 0] * 2)
    identities[[5, 11]] = (30, 31)  # alone: 3 and 5 are left with one image each, these with one too
    unit = TASK.decode(vectors(26)).numpy()
    found = retrieval(unit, identities)
    expected = {"recall@1": [], "recall@5": [], "recall@10": [], "average_precision": []}
    for query in range(26):
        others = [row for row in range(26) if row != query]
        right = [identities[row] == identities[query] for row in sorted(others, key=lambda row: -(unit[row] @ unit[query]))]
        if not any(right):
            continue
        for k in (1, 5, 10):
            expected[f"recall@{k}"].append(float(any(right[:k])))
        hits = [rank for rank, hit in enumerate(right, 1) if hit]
        expected["average_precision"].append(np.mean([number / rank for number, rank in enumerate(hits, 1)]))
    assert found.alone == 4
    assert len(found.identities) == 22
    for name, figures in expected.items():
        np.testing.assert_allclose(found.figures[name], figures)
    metrics = TASK.metrics(torch.from_numpy(unit), torch.from_numpy(identities).float()[:, None])
    assert metrics == {"map": found.mean("average_precision"), "recall@1": found.mean("recall@1")}


def test_retrieval_among_images_that_are_all_alone():
    found = retrieval(np.eye(3, dtype=np.float32), np.arange(3))
    assert (found.alone, found.mean("recall@1"), found.mean("average_precision")) == (3, 0, 0)
