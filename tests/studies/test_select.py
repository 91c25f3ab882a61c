"""What is taken from a pile: the limits, the balance between classes, and the file that a student reads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.nn.build import build
from eyas.nn.weights import save_network
from eyas.recipe import SelfTraining, Splits
from eyas.run import Run, read_json
from eyas.studies import soft_labels
from eyas.studies.calibrate import calibrate
from eyas.studies.labelling import label_pile
from eyas.studies.prepare import prepare
from eyas.studies.select import (
    CHOSEN,
    Limits,
    Selection,
    choose,
    examined,
    read_chosen,
    scores,
    select,
    taken_rows,
    write_chosen,
)
from tests.scenes import write_scenes
from tests.studies.piles import CLASSES, answers, labels_in, scores_of

PLAIN = SelfTraining(balance=False)


def chosen(given: np.ndarray, choice: SelfTraining = SelfTraining(), threshold: float = 0.6) -> Selection:
    return select(scores_of(given), CLASSES, choice, Limits(threshold))


def times(found: Selection) -> dict[int, int]:
    return dict(zip(found.rows.tolist(), found.repeats.tolist(), strict=True))


def yields(found: Selection, what: str) -> dict[str, int]:
    return {name: each[what] for name, each in found.findings["classes"].items()}


class TestLimits:
    given = answers((0, 0.9), (1, 0.5), (2, 0.7), (0, 0.61), (1, 0.6))

    @pytest.mark.parametrize(("threshold", "kept"), [(0.65, [0, 2]), (0.6, [0, 2, 3, 4]), (0.95, []), (0.0, [0, 1, 2, 3, 4])])
    def test_keeps_what_is_as_confident(self, threshold, kept):
        found = chosen(self.given, PLAIN, threshold)
        assert times(found) == dict.fromkeys(kept, 1)

    def test_rejects_what_is_far_from_what_is_known(self):
        pile = scores_of(self.given, np.array([-3, -9, -1, -5, 2]))
        found = select(pile, CLASSES, PLAIN, Limits(0.0, energy=-2.0))
        assert found.rows.tolist() == [0, 1, 3]
        assert found.findings["far"] == 2

    def test_nothing_confident(self):
        found = chosen(self.given, threshold=1.0)
        assert (found.rows.shape, found.repeats.shape) == ((0,), (0,))
        assert (found.findings["rows"], found.findings["confident"], found.findings["distinct"]) == (0, 0, 0)
        assert sum(found.findings["dropped"]) == 5

    def test_an_empty_pile(self):
        found = chosen(np.zeros((0, 3), np.float32))
        assert (len(found.rows), found.findings["images"], found.findings["rows"]) == (0, 0, 0)


class TestBalance:
    # Confident: 6 of class a, 3 of b, 1 of c: the median is 3.
    given = answers(*[(0, 0.9 + number / 100) for number in range(6)], (1, 0.8), (1, 0.9), (1, 0.7), (2, 0.99), (2, 0.35))

    def test_every_class_has_as_many_as_the_median_class(self):
        found = chosen(self.given)
        assert times(found) == {3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 3}
        assert yields(found, "rows") == {"a": 3, "b": 3, "c": 3}
        assert yields(found, "confident") == {"a": 6, "b": 3, "c": 1}
        assert yields(found, "kept") == {"a": 3, "b": 3, "c": 1}
        assert yields(found, "answered") == {"a": 6, "b": 3, "c": 2}

    def test_repeats_the_most_confident_first(self):
        found = chosen(answers((0, 0.7), (0, 0.9), *[(1, 0.8)] * 4))  # the median of 2 and 4 is 3
        assert times(found) == {1: 2, 0: 1, 2: 1, 3: 1, 4: 1}

    def test_to_a_number(self):
        """Noisy Student, section 3.1: the 130,000 most confident of each class, scarce classes duplicated."""
        found = chosen(self.given, SelfTraining(per_class=4))
        assert times(found) == {2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 2, 8: 1, 9: 4}
        assert yields(found, "rows") == {"a": 4, "b": 4, "c": 4}

    def test_at_most_a_number_without_it(self):
        found = chosen(self.given, SelfTraining(balance=False, per_class=2))
        assert times(found) == {4: 1, 5: 1, 6: 1, 7: 1, 9: 1}

    def test_a_class_that_nothing_was_taken_for_stays_empty_and_counts_for_nothing(self):
        found = chosen(answers(*[(0, 0.9)] * 4, *[(1, 0.9)] * 2))
        assert yields(found, "rows") == {"a": 3, "b": 3, "c": 0}

    def test_unasked_every_confident_row_is_there_once(self):
        assert times(chosen(self.given, PLAIN)) == dict.fromkeys(range(10), 1)

    def test_does_not_depend_on_the_order_of_the_pile(self):
        rng = np.random.default_rng(0)
        given = rng.dirichlet([0.3] * 3, 200).astype(np.float32)
        order = rng.permutation(200)
        straight, shuffled = chosen(given), chosen(given[order])
        assert dict(zip(order[shuffled.rows].tolist(), shuffled.repeats.tolist(), strict=True)) == times(straight)

    def test_of_thousands_of_classes_takes_no_time_for_each(self):
        """A pass over the pile for every class would take minutes here."""
        rng = np.random.default_rng(0)
        pile = scores_of(np.zeros((0, 3), np.float32))
        pile = type(pile)(
            rng.random(300_000).astype(np.float32),
            rng.integers(0, 20_000, 300_000).astype(np.int32),
            np.zeros(300_000, np.float32),
        )
        names = tuple(str(number) for number in range(20_000))
        found = select(pile, names, SelfTraining(per_class=10), Limits(0.5))
        counts = np.bincount(pile.top[found.rows], found.repeats, 20_000)
        assert set(counts.tolist()) <= {0, 10}


class TestFindings:
    def test_the_histogram_holds_every_image_once(self):
        given = np.random.default_rng(0).dirichlet([0.3] * 3, 500).astype(np.float32)
        given[0] = [1, 0, 0]
        facts = chosen(given).findings
        assert len(facts["edges"]) == len(facts["kept"]) + 1 == len(facts["dropped"]) + 1
        assert sum(facts["kept"]) == facts["distinct"]
        assert sum(facts["kept"]) + sum(facts["dropped"]) == facts["images"] == 500
        assert facts["rows"] == sum(each["rows"] for each in facts["classes"].values())

    def test_are_plain_json(self):
        facts = chosen(answers((0, 0.9), (1, 0.7))).findings
        assert json.loads(json.dumps(facts)) == facts


class TestFiles:
    given = np.random.default_rng(0).dirichlet([0.3] * 3, 250).astype(np.float32)

    def test_the_first_pass_is_the_same_however_the_pile_is_cut(self, tmp_path, monkeypatch):
        whole = scores(labels_in(tmp_path / "whole", self.given, 1000), 1.7)
        monkeypatch.setattr(soft_labels, "ELEMENTS", 21)
        cut = scores(labels_in(tmp_path / "cut", self.given, 40), 1.7)
        np.testing.assert_array_equal(cut.confidence, whole.confidence)
        np.testing.assert_array_equal(cut.top, whole.top)
        np.testing.assert_allclose(whole.confidence, calibrate(self.given, 1.7).max(1), rtol=2e-3)

    @pytest.mark.parametrize("shard", [7, 40, 1000])
    def test_what_is_chosen_is_read_as_it_was_chosen(self, shard, tmp_path):
        labels = labels_in(tmp_path / "labels", self.given, shard)
        choice = SelfTraining()
        found = select(scores(labels, 1.7), CLASSES, choice, Limits(0.5))
        assert found.repeats.max() > 1
        write_chosen(tmp_path / CHOSEN, labels, found, choice, 1.7)
        ids, targets = read_chosen(tmp_path)
        rows = np.repeat(found.rows, found.repeats)
        assert ids == [str(row) for row in rows]
        np.testing.assert_allclose(targets, calibrate(self.given, 1.7)[rows], rtol=4e-3, atol=1e-4)
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
        np.testing.assert_array_equal(taken_rows(tmp_path), found.rows)

    def test_hard_labels_are_the_likeliest_class(self, tmp_path):
        labels, choice = labels_in(tmp_path / "labels", answers((0, 0.9), (2, 0.8))), SelfTraining(labels="hard")
        write_chosen(tmp_path / CHOSEN, labels, select(scores(labels, 1.0), CLASSES, choice, Limits(0.6)), choice, 1.0)
        ids, targets = read_chosen(tmp_path)
        assert (ids, targets.tolist(), targets.dtype) == (["0", "1"], [[1, 0, 0], [0, 0, 1]], np.float32)

    @pytest.mark.parametrize("kind", ["soft", "hard"])
    def test_of_many_classes_stay_sparse(self, kind, tmp_path):
        given = np.random.default_rng(0).dirichlet([0.02] * 60, 80).astype(np.float32)
        labels, choice = labels_in(tmp_path / "labels", given, top=6), SelfTraining(labels=kind, balance=False)
        found = select(scores(labels, 1.0), labels.classes, choice, Limits(0.3))
        write_chosen(tmp_path / CHOSEN, labels, found, choice, 1.0)
        _, targets = read_chosen(tmp_path)
        assert targets.shape == (len(found.rows), 60)
        expected = given[found.rows]
        np.testing.assert_array_equal(targets.argmax(1), expected.argmax(1))
        np.testing.assert_allclose(targets.max(1), 1 if kind == "hard" else expected.max(1), rtol=5e-3)

    def test_nothing_chosen(self, tmp_path):
        labels = labels_in(tmp_path / "labels", self.given)
        write_chosen(tmp_path / CHOSEN, labels, select(scores(labels, 1.0), CLASSES, PLAIN, Limits(1.1)), PLAIN, 1.0)
        ids, targets = read_chosen(tmp_path)
        assert (ids, targets.shape) == ([], (0, 3))


@pytest.fixture(scope="module")
def school(tmp_path_factory) -> tuple[Path, Path, object]:
    """A network that finds bars by the column that is brighter, its answers to a pile, and the data."""
    folder = tmp_path_factory.mktemp("school")
    labelled = str(write_scenes(folder / "labelled", 60))
    pile = str(write_scenes(folder / "pile", 25, seed=1, labelled=False))
    with Run.open(folder / "run") as run:
        data = prepare(run, labelled, pile, 0, Splits(), 32, 0)
    arch = parse("mobilenet_v1x0.25@32/16")
    network = build(arch, nn.Linear(arch.features, 2)).eval()
    examples = data.examples("train")
    images = torch.from_numpy(np.stack([examples.store[int(row)] for row in examples.positions]))
    learn_head(network, images, torch.from_numpy(examples.targets))
    save_network(network, folder / "model.safetensors", data.classes)
    (folder / "labels").mkdir()
    label_pile(folder / "labels", folder / "model.safetensors", data)
    return folder / "model.safetensors", folder / "labels", data


def learn_head(network: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> None:
    """The best linear answer from the features of a network that was never trained."""
    head, network.head = network.head, nn.Identity()
    with torch.no_grad():
        features = network(images).double()
        middle, scale = features.mean(0), features.std()
        inputs = torch.cat([(features - middle) / scale, torch.ones(len(features), 1)], 1)
        kernel = inputs.T @ inputs + 0.1 * torch.eye(inputs.shape[1])
        solved = torch.linalg.solve(kernel, inputs.T @ (2 * targets.double() - 1)) * 2
        head.weight.copy_(solved[:-1].T / scale)
        head.bias.copy_(solved[-1] - middle @ solved[:-1] / scale)
    network.head = head


class TestStage:
    def test_writes_what_and_why(self, school, tmp_path):
        model, labels, data = school
        found = choose(tmp_path, model, labels, data, SelfTraining())
        assert read_json(tmp_path / "selection.json") == found
        assert found["rows"] > 0
        assert found["images"] == 50
        assert set(found["calibration"]) == {"before", "after"}
        ids, targets = read_chosen(tmp_path)
        assert len(ids) == len(targets) == found["rows"]
        assert set(ids) <= set(data.pile.column("id"))

    def test_a_second_time_the_same_bytes(self, school, tmp_path):
        model, labels, data = school
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            choose(tmp_path / name, model, labels, data, SelfTraining())
        for name in (CHOSEN, "selection.json"):
            assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()

    @pytest.mark.parametrize(("threshold", "used"), [(0.3, 0.6), (0.6, 0.6), (0.8, 0.8)])
    def test_the_threshold_is_above_chance(self, threshold, used, school):
        """The paper's 0.3 would keep every answer of two classes, the greatest of which is never below 0.5."""
        model, _, data = school
        assert examined(model, data, SelfTraining(threshold=threshold))["threshold"] == pytest.approx(used)

    def test_the_threshold_can_follow_from_the_validation_split(self, school):
        model, _, data = school
        low, high = (examined(model, data, SelfTraining(accuracy=share))["threshold"] for share in (0.5, 0.95))
        assert 0.5 <= low < high

    def test_where_no_threshold_promises_enough_nothing_is_taken(self, school, tmp_path, monkeypatch):
        model, labels, data = school
        monkeypatch.setattr("eyas.studies.select.threshold_for", lambda *_: None)
        assert choose(tmp_path, model, labels, data, SelfTraining(accuracy=0.9))["rows"] == 0

    def test_outliers_are_those_beyond_nearly_all_validation_images(self, school, tmp_path):
        model, labels, data = school
        given = open_energy(labels)
        found = choose(tmp_path, model, labels, data, SelfTraining(outliers=0.3))
        assert found["far"] == (given > np.float32(found["farthest"])).sum() > 0
        assert examined(model, data, SelfTraining())["farthest"] is None

    def test_alarms_are_kept(self, school, tmp_path):
        model, labels, data = school
        first = choose(tmp_path, model, labels, data, SelfTraining(threshold=0.6))
        assert not any("round before" in sentence for sentence in first["alarms"])
        known = scores(soft_labels.open_labels(labels), first["temperature"])
        half = SelfTraining(threshold=float(np.quantile(known.confidence, 0.6)))
        found = choose(tmp_path, model, labels, data, half, first | {"confident": first["images"]})
        share = found["confident"] / found["images"]
        assert f"{share:.1%} of the pile is usable and 100.0% was in the round before" in " ".join(found["alarms"])

    def test_labels_of_other_classes_are_refused(self, school, tmp_path):
        model, _, data = school
        labels = labels_in(tmp_path / "labels", answers((0, 0.9)))
        with pytest.raises(UserError, match="answers in the 3 classes a, b, c, and the data has the 2 classes bar, dot"):
            choose(tmp_path, model, labels.folder, data, SelfTraining())


def open_energy(labels: Path) -> np.ndarray:
    return soft_labels.open_labels(labels).column("energy").to_numpy()
