"""How a teacher's answers are kept: what is read is what was written, within the precision that is promised."""

import numpy as np
import pyarrow as pa
import pytest

from eyas.errors import UserError
from eyas.run import write_json
from eyas.studies import soft_labels
from eyas.studies.soft_labels import FACTS, Form, open_labels, shard_notes, shard_table, within, write_shard, written_in_parts


def drawn(images: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([0.1] * classes, images).astype(np.float32)


def read(form: Form, given: np.ndarray) -> np.ndarray:
    return form.read(pa.table(form.columns(given)).to_batches()[0])


class TestForm:
    @pytest.mark.parametrize(("classes", "asked", "kept"), [(10, 0, 0), (200, 0, 0), (201, 0, 32), (1000, 5, 5), (10, 5, 5)])
    def test_many_classes_are_kept_sparsely_unless_it_is_said(self, classes, asked, kept):
        assert Form.asked(classes, asked) == Form(classes, kept)

    @pytest.mark.parametrize("asked", [10, 11, 500])
    def test_all_classes_are_all_classes(self, asked):
        assert Form.asked(10, asked) == Form(10)

    def test_a_negative_number(self):
        with pytest.raises(UserError, match="top is -1; it must be 0 or above"):
            Form.asked(10, -1)


class TestDense:
    def test_is_read_as_it_was_written(self):
        given = drawn(500, 10)
        np.testing.assert_allclose(read(Form(10), given), given, rtol=1e-3, atol=1e-6)

    def test_is_a_fixed_size_list_of_float16(self):
        (column,) = Form(10).columns(drawn(4, 10)).values()
        assert column.type == pa.list_(pa.float16(), 10)

    def test_sums_to_one_and_keeps_the_likeliest(self):
        given = drawn(500, 7)
        found = read(Form(7), given)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
        np.testing.assert_array_equal(found.argmax(1), given.argmax(1))


class TestSparse:
    given = drawn(300, 50)

    @pytest.mark.parametrize("top", [1, 5, 49])
    def test_the_likeliest_are_read_as_they_were_written(self, top):
        found = read(Form(50, top), self.given)
        order = np.argsort(-self.given, 1)[:, :top]
        kept = np.take_along_axis(self.given, order, 1)
        np.testing.assert_allclose(np.take_along_axis(found, order, 1), kept, rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)

    def test_the_rest_is_spread_evenly(self):
        found = read(Form(50, 5), self.given)
        rest = np.sort(found, 1)[:, :45]
        np.testing.assert_allclose(rest, np.repeat(rest.mean(1, keepdims=True), 45, 1), atol=1e-6)

    def test_columns_hold_the_likeliest_first(self):
        columns = Form(50, 5).columns(self.given)
        assert columns["indices"].type == pa.list_(pa.int16(), 5)
        assert columns["probabilities"].type == pa.list_(pa.float16(), 5)
        assert columns["indices"][7].as_py() == np.argsort(-self.given[7])[:5].tolist()

    def test_more_classes_than_int16_can_count(self):
        given = np.full((2, 40_000), 1e-6, np.float32)
        given[:, 39_999] = 0.96
        form = Form(40_000, 3)
        assert form.columns(given)["indices"].type == pa.list_(pa.int32(), 3)
        assert read(form, given).argmax(1).tolist() == [39_999, 39_999]

    def test_no_images(self):
        form = Form(50, 5)
        table = pa.table(form.columns(self.given[:0]))
        assert table.num_rows == 0


@pytest.fixture
def folder(tmp_path):
    """Two shards of three classes, of four and three images."""
    given = drawn(7, 3)
    write_json(tmp_path / FACTS, {"teacher": "t", "arch": "a", "classes": ["a", "b", "c"], "top": 0})
    for number, rows in enumerate((slice(0, 4), slice(4, 7))):
        ids = [f"{row}.png" for row in range(7)[rows]]
        write_shard(tmp_path / f"{number:05d}.parquet", {"id": ids, **Form(3).columns(given[rows])}, {"refused": []})
    return tmp_path


class TestSoftLabels:
    def test_are_read_in_order_and_in_pieces(self, folder, monkeypatch):
        monkeypatch.setattr(soft_labels, "ELEMENTS", 6)  # two images
        labels = open_labels(folder)
        pieces = list(labels.batches(["id"]))
        assert len(labels) == 7
        assert [len(rows) for _, rows in pieces] == [2, 2, 2, 1]
        assert [id for _, rows in pieces for id in rows.column("id").to_pylist()] == labels.column("id").to_pylist()
        np.testing.assert_allclose(np.concatenate([given for given, _ in pieces]), drawn(7, 3), rtol=1e-3, atol=1e-6)

    def test_none(self, tmp_path):
        with pytest.raises(UserError, match="holds no soft labels of this version of Eyas; give the"):
            open_labels(tmp_path)

    def test_of_a_pile_of_nothing(self, tmp_path):
        write_json(tmp_path / FACTS, {"teacher": "t", "arch": "a", "classes": ["a", "b"], "top": 0})
        labels = open_labels(tmp_path)
        assert (len(labels), labels.column("id").to_pylist(), list(labels.batches())) == (0, [], [])

    def test_a_damaged_list_of_facts(self, tmp_path):
        write_json(tmp_path / FACTS, {"classes": ["a", "b"]})
        with pytest.raises(UserError, match=r"labels\.json is damaged"):
            open_labels(tmp_path)

    def test_a_damaged_shard_is_named(self, folder):
        path = folder / "00001.parquet"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(UserError, match=r"00001\.parquet is damaged .*; delete it and label again: its images alone"):
            list(open_labels(folder).batches())
        with pytest.raises(UserError, match=r"00001\.parquet is damaged or no shard"):
            shard_notes(path)


def test_a_large_file_is_there_as_a_whole_or_not_at_all(tmp_path):
    path, schema = tmp_path / "large.parquet", pa.schema([("id", pa.int64())])
    with pytest.raises(KeyboardInterrupt), written_in_parts(path, schema) as writer:
        writer.write_table(pa.table({"id": [1]}))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with written_in_parts(path, schema) as writer:
        writer.write_table(pa.table({"id": [1]}))
        writer.write_table(pa.table({"id": [2]}))
    assert [file.name for file in tmp_path.iterdir()] == ["large.parquet"]
    assert shard_table(path, ["id"])["id"].to_pylist() == [1, 2]


def test_within():
    some, others = (pa.chunked_array([values], pa.string()) for values in (["a", "b", "c"], ["c", "a", "x"]))
    assert within(some, others).tolist() == [True, False, True]
