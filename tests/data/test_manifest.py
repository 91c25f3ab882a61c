import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyas.data.manifest import COLUMNS, Manifest
from eyas.errors import UserError


def cats_and_dogs():
    return Manifest.of(
        {
            "id": ["a", "b", "c"],
            "source": ["/x/a.png", "/x/b.png", "/x/c.png"],
            "label": ["dog", None, "cat"],
            "split": ["train", None, "test"],
            "group": ["g", "g", None],
            "age": [1, 2, 3],
        },
        flips="both",
    )


def test_what_is_left_out_is_null():
    manifest = Manifest.of({"id": ["a"], "source": ["/a.png"]})
    assert manifest.table.column_names == list(COLUMNS)
    assert manifest.column("label") == manifest.column("split") == manifest.column("group") == [None]
    assert manifest.flips == "horizontal"


def test_classes_are_sorted_and_known_ones_only():
    assert cats_and_dogs().classes == ("cat", "dog")


def test_rows_by_mask_and_by_split():
    manifest = cats_and_dogs()
    assert manifest.where([True, False, True]).column("id") == ["a", "c"]
    assert manifest.where(split="test").column("id") == ["c"]
    assert manifest.where([True, True, False], split="train").column("id") == ["a"]
    assert len(manifest.where([False] * 3)) == 0


def test_a_pile_cannot_give_its_labels_away():
    pile = cats_and_dogs().without_labels()
    assert pile.table.column_names == list(COLUMNS)
    assert pile.column("group") == ["g", "g", None]
    cells = {cell for name in COLUMNS for cell in pile.column(name)}
    assert not cells & {"dog", "cat", "train", "test", 1, 2, 3}


def test_saved_and_loaded_is_the_same(tmp_path):
    manifest = cats_and_dogs()
    manifest.save(tmp_path / "m.parquet")
    assert Manifest.load(tmp_path / "m.parquet") == manifest
    first = (tmp_path / "m.parquet").read_bytes()
    manifest.save(tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").read_bytes() == first


def test_joined_ids_stay_unique_and_the_first_keep_theirs():
    one = Manifest.of({"id": ["a", "b"], "source": ["/1", "/2"]})
    both = cats_and_dogs().concat(one)
    assert both.column("id") == ["a", "b", "c", "a#2", "b#2"]
    assert both.column("age") == [1, 2, 3, None, None]
    assert both.concat(one).column("id")[-2:] == ["a#3", "b#3"]
    assert both.flips == "both"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "a"], "source": ["/1", "/2"]}, "the id 'a' 2 times"),
        ({"id": ["a", "b"], "source": ["/1", None]}, "rows without source"),
        ({"id": ["a"], "source": ["/1"], "split": ["dev"]}, "the split 'dev'"),
        ({"id": ["a"], "source": ["/1"], "label": [3]}, "column 'label'"),
        ({"id": ["a"], "source": ["/1"], "label": [""]}, "empty labels"),
        ({"id": ["a"], "source": ["/1"], "label": ["x", "y"]}, "2 values for 1 ids"),
        ({"id": ["a", "b"], "source": ["/1", "/2"], "age": [1, "old"]}, "column 'age'"),
    ],
)
def test_wrong_columns_are_named(columns, message):
    with pytest.raises(UserError, match=message):
        Manifest.of(columns)


def test_a_file_that_is_no_manifest_is_named(tmp_path):
    path = tmp_path / "m.parquet"
    with pytest.raises(UserError, match="is not there"):
        Manifest.load(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="cannot be read"):
        Manifest.load(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(UserError, match="not a manifest"):
        Manifest.load(path)
