import csv
import json
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.data.audit import audit, check_classes, limit_labels, save
from eyas.data.manifest import COLUMNS, Manifest
from eyas.data.readers import read, read_pile
from eyas.data.splits import draw_test
from eyas.data.store import SCHEMA, Built, Refused, Store, build
from eyas.errors import UserError
from eyas.recipe import Splits
from tests.images import class_folders, encoded, image, put


def rows(text):
    """`id label split group pixels` a line, `-` for none: a manifest, and what decoding it found; pixels `!` are refused."""
    cells = [[None if cell == "-" else cell for cell in line.split()] for line in text.strip().splitlines()]
    ids, labels, splits, groups, pixels = ([row[i] for row in cells] for i in range(5))
    manifest = Manifest.of({"id": ids, "source": [f"/{id}" for id in ids], "label": labels, "split": splits, "group": groups})
    return manifest, built(zip(ids, pixels, strict=True))


def built(pairs):
    found = [(id, pixels) for id, pixels in pairs]
    index = pa.Table.from_pylist([{"id": id, "hash": pixels, **shown(pixels)} for id, pixels in found if pixels != "!"], SCHEMA)
    return Built(
        Store(index, np.zeros(0, np.uint8)), tuple(Refused(id, f"/{id}", "empty file") for id, pixels in found if pixels == "!")
    )


def shown(pixels):
    """What a store keeps of a picture. `7'` is a near copy of `7`: mirrored, and a little darker; others are unlike."""
    thumbnail = np.asarray(image(zlib.crc32(pixels.rstrip("'").encode()), 32, 32, 1))
    if pixels.endswith("'"):
        thumbnail = (0.95 * thumbnail[:, ::-1]).round().astype(np.uint8)
    size = dict.fromkeys(("offset", "height", "width", "channels", "original_height", "original_width"), 1)
    light = dict.fromkeys(("brightness", "contrast", "dark", "light", "sharpness"), 0.5)
    return size | light | {"thumbnail": thumbnail.tobytes()}


def splits_of(manifest):
    return dict(zip(manifest.column("id"), manifest.column("split"), strict=True))


def test_of_equal_pictures_in_training_one_stays():
    manifest, found = rows("a x - - 1\nb x - - 1\nc x train - 1\nd y - - 2")
    done = audit(manifest, None, found, None, Splits(), 0)
    assert done.manifest.column("id") == ["a", "d"]
    assert done.findings["duplicates"]["dropped"] == 2
    assert done.findings["duplicates"]["copies"] == [["a", "b", "c"]]


def test_a_copy_of_a_held_out_picture_leaves_training():
    manifest, found = rows("a x train - 1\nb x test - 1\nc x validation - 1\nd y train - 2\ne y validation - 2\nf y - - 3")
    done = audit(manifest, None, found, None, Splits(), 0)
    assert splits_of(done.manifest) == {"b": "test", "e": "validation", "f": "train"}
    assert done.findings["duplicates"]["of_which_across_splits"] == done.findings["duplicates"]["dropped"] == 3


def test_copies_within_a_fixed_test_split_stay():
    manifest, found = rows("a x test - 1\nb x test - 1\nc x train - 2\nd y train - 3")
    done = audit(manifest, None, found, None, Splits(), 0)
    assert len(done.manifest) == 4
    assert done.findings["duplicates"]["kept_in_held_out"] == 1


def test_one_picture_with_two_labels_is_in_nothing():
    manifest, found = rows("a x test - 1\nb y train - 1\nc x train - 2\nd y train - 3")
    done = audit(manifest, None, found, None, Splits(), 0)
    assert done.manifest.column("id") == ["c", "d"]
    assert done.findings["duplicates"]["conflicting_labels"] == 2
    assert done.findings["duplicates"]["conflicts"] == [[{"id": "a", "label": "x"}, {"id": "b", "label": "y"}]]


def test_the_leak_firewall():
    manifest, found = rows("a x test - 1\nb x validation g 2\nc x train t 3\nd y train - 4")
    pile, pile_found = rows("p - - - 1\nq - - - 2\nr - - - 3\ns - - g 5\nt - - t 6\nu - - - 6\nv - - - 7\nw - - - !")
    done = audit(manifest, pile, found, pile_found, Splits(), 0)
    assert done.pile.column("id") == ["t", "v"]
    assert done.findings["pile"] == {
        "read": 8,
        "unreadable": 1,
        "images": 2,
        "equal_to_train": 1,
        "equal_to_validation": 1,
        "equal_to_test": 1,
        "equal_to_pile": 1,
        "group_in_validation": 1,
        "group_in_test": 0,
        "near_train": 0,
        "near_validation": 0,
        "near_test": 0,
        "near": [],
    }
    assert done.quarantine == (Refused("w", "/w", "empty file"),)


def test_a_near_copy_of_a_held_out_picture_leaves_training():
    manifest, found = rows("a x train - 1'\nb x test - 1\nc y validation - 2\nd y - - 2'\ne y train - 3\nf x train - 4")
    done = audit(manifest, None, found, None, Splits(), 0)
    assert splits_of(done.manifest) == {"b": "test", "c": "validation", "e": "train", "f": "train"}
    near = done.findings["near"]
    assert (near["dropped"], near["leaks"]["pairs"]) == (2, 2)
    assert {(row["id"], row["near"], row["split"]) for row in near["leaks"]["examples"]} == {
        ("a", "b", "test"),
        ("d", "c", "validation"),
    }
    assert done.findings["images"] == 4


def test_near_copies_within_a_split_stay_and_are_listed():
    manifest, found = rows("a x train - 1\nb x train - 1'\nc y test - 2\nd y test - 2'\ne y train - 3\nf y validation - 4")
    done = audit(manifest, None, found, None, Splits(), 0)
    near = done.findings["near"]
    assert len(done.manifest) == 6
    assert near["dropped"] == 0
    assert [(row["id"], row["near"]) for row in near["in_training"]["examples"]] == [("a", "b")]
    assert [(row["id"], row["near"]) for row in near["in_held_out"]["examples"]] == [("c", "d")]
    assert near["suspicious"]["pairs"] == 0
    assert near["in_training"]["examples"][0]["likeness"] > 0.99


def test_near_copies_with_different_labels_are_suspicious():
    manifest, found = rows("a x train - 1\nb y train - 1'\nc x validation - 2\nd x test - 3\ne y train - 3'")
    done = audit(manifest, None, found, None, Splits(), 0)
    listed = {(row["id"], row["near"]): row["labels"] for row in done.findings["near"]["suspicious"]["examples"]}
    assert listed == {("a", "b"): ["x", "y"], ("e", "d"): ["y", "x"]}
    assert done.manifest.column("id") == ["a", "b", "c", "d"]  # those in training stay: nobody knows which label is wrong


@pytest.mark.parametrize("seed", range(5))
def test_near_copies_are_drawn_into_one_split(seed):
    lines = [f"{label}{i}{mark} {label} - - {label}{i}{mark}" for label in "xy" for i in range(12) for mark in ("", "'")]
    manifest, found = rows("\n".join(lines))
    done = audit(manifest, None, found, None, Splits(test=0.25, validation=0.25), seed)
    where = splits_of(done.manifest)
    assert len(where) == 48
    assert set(where.values()) == {"train", "validation", "test"}
    assert all(where[id] == where[f"{id}'"] for id in where if f"{id}'" in where)
    assert set(done.manifest.column("group")) == {None}  # the data's own groups are what they were


def test_groups_and_near_copies_go_together():
    manifest, found = rows(
        "a x - g 1\nb x - g 2\nc x - h 2'\nd x - h 3\ne x - - 3'\nf x train - 4\ng x test k 5\nh x - k 6\ni x - - 6'"
    )
    done = audit(manifest, None, found, None, Splits(validation=0.5), 0)
    where = splits_of(done.manifest)
    assert len({where[id] for id in "abcde"}) == 1
    assert where["h"] == "test"
    assert where.get("i") not in ("train", "test")  # near a picture whose group the data holds out
    assert done.manifest.column("group")[:8] == ["g", "g", "h", "h", None, None, "k", "k"]


def test_near_copies_of_held_out_pictures_leave_the_pile():
    manifest, found = rows("a x test - 1\nb x validation - 2\nc x train - 3\nd y train - 4")
    pile, pile_found = rows("p - - - 1'\nq - - - 2'\nr - - - 3'\ns - - - 9\nt - - - 1")
    done = audit(manifest, pile, found, pile_found, Splits(), 0)
    assert done.pile.column("id") == ["r", "s"]  # a near copy of a training image does no harm
    counts = done.findings["pile"]
    assert [counts[f"near_{split}"] for split in ("train", "validation", "test")] == [1, 1, 1]
    assert (counts["equal_to_test"], counts["images"]) == (1, 2)
    assert [(row["id"], row["near"], row["split"]) for row in counts["near"]] == [("p", "a", "test"), ("q", "b", "validation")]


def test_odd_pictures_are_listed_and_kept():
    manifest, found = rows("\n".join(f"i{row} x train - {row}" for row in range(12)))
    index = found.store.index
    place = index.column_names.index("brightness")
    dim = index.set_column(place, "brightness", pa.array([2.0] + [100.0] * 11, pa.float32()))
    done = audit(manifest, None, Built(Store(dim, found.store.pixels), ()), None, Splits(), 0)
    assert done.findings["odd"]["dark"]["examples"] == [{"id": "i0", "value": 2.0}]
    assert len(done.manifest) == 12


@st.composite
def crowded(draw):
    """Labelled rows and a pile over few different pictures, so that copies are everywhere."""
    pixels = st.sampled_from([*"123456789!", "1'", "2'", "3'"])
    line = st.tuples(st.sampled_from("xy"), st.sampled_from(["-", "-", "train", "validation", "test"]), pixels)
    labelled = draw(st.lists(line, min_size=1, max_size=25))
    pile = draw(st.lists(pixels, min_size=1, max_size=25))
    return labelled, pile


@settings(max_examples=40)
@given(crowded(), st.integers(0, 99))
def test_no_picture_is_ever_on_two_sides(data, seed):
    manifest, found = rows("\n".join(f"l{i} {label} {split} - {pixels}" for i, (label, split, pixels) in enumerate(data[0])))
    pile, pile_found = rows("\n".join(f"p{i} - - - {pixels}" for i, pixels in enumerate(data[1])))
    done = audit(manifest, pile, found, pile_found, Splits(), seed)
    hashes = dict(zip(found.store.ids, found.store.hashes, strict=True))
    sides = {
        split: {hashes[id] for id, own in splits_of(done.manifest).items() if own == split}
        for split in ("train", "validation", "test")
    }
    pile_hashes = dict(zip(pile_found.store.ids, pile_found.store.hashes, strict=True))
    sides["pile"] = {pile_hashes[id] for id in done.pile.column("id")}
    names = list(sides)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not sides[one] & sides[other], (one, other)
    for held_out in ("validation", "test"):
        for other in ("train", "pile"):
            assert not {pixels.rstrip("'") for pixels in sides[held_out]} & {pixels.rstrip("'") for pixels in sides[other]}
    assert len(sides["train"]) == done.findings["splits"]["train"]  # each picture once
    assert len(sides["pile"]) == len(done.pile)
    read_ids = {*done.manifest.column("id"), *(row.id for row in done.quarantine)}
    lost = done.findings["duplicates"]["dropped"] + done.findings["duplicates"]["conflicting_labels"]
    lost += done.findings["near"]["dropped"]
    assert len(read_ids & set(manifest.column("id"))) + lost == len(manifest)  # every row is accounted for
    json.dumps(done.findings, allow_nan=False)


def test_classes_are_those_of_training_sorted():
    manifest, found = rows("a y train - 1\nb x train - 2\nc z test - 3")
    assert audit(manifest, None, found, None, Splits(), 0).classes == ("x", "y")


def test_findings_count_what_is_kept():
    manifest, found = rows(
        "a x train - 1\nb x train - 2\nc x train - 3\nd y train - 4\ne y test - 5\nf y test - !\ng x validation - 6"
    )
    findings = audit(manifest, None, found, None, Splits(), 0).findings
    assert (findings["read"], findings["unreadable"], findings["images"]) == (7, 1, 6)
    assert findings["splits"] == {"train": 4, "validation": 1, "test": 1}
    assert findings["classes"]["y"] == {"train": 1, "validation": 0, "test": 1}
    assert findings["imbalance"] == 3
    assert findings["pile"] is None


def test_nothing_readable_is_still_an_audit():
    manifest, found = rows("a x - - !")
    done = audit(manifest, None, found, None, Splits(), 0)
    assert len(done.manifest) == 0
    assert done.findings["sizes"] == {"height": None, "width": None, "grey": 0}
    with pytest.raises(UserError, match="no image can be used"):
        check_classes(done.manifest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a x train - 1\nb x train - 2", "images of 'x' only can be used"),
        ("a x train - 1\nb x train - 2\nc y train - 3", "the class 'y' has one usable image"),
        (
            "a x train - 1\nb x train - 2\nc y test - 3\nd y test - 4",
            "the class 'y' has images to test or choose with but none to train",
        ),
    ],
)
def test_classes_that_cannot_be_learned_are_named(text, message):
    with pytest.raises(UserError, match=message):
        check_classes(rows(text)[0])


def test_two_classes_of_two_images_can_be_learned():
    check_classes(rows("a x train - 1\nb x test - 2\nc y - - 3\nd y - - 4")[0])


# Hidden labels


def labelled(counts, splits=("-",)):
    lines = [
        f"{label}{i} {label} {splits[i % len(splits)]} - {label}{i}" for label, count in counts.items() for i in range(count)
    ]
    return rows("\n".join(lines))[0]


def test_labels_are_limited_in_proportion_and_the_test_split_is_left_alone():
    manifest = labelled({"many": 400, "few": 100}, splits=("test", "train", "train", "train"))
    kept, pile = limit_labels(manifest, 50, 0)
    assert kept.where(split="test") == manifest.where(split="test")
    assert Counter(kept.where(split="train").column("label")) == {"many": 40, "few": 10}
    assert sorted(kept.column("id") + pile.column("id")) == sorted(manifest.column("id"))


def test_a_validation_split_that_the_data_fixes_is_limited_in_proportion():
    manifest = labelled({"a": 100, "b": 100}, splits=("validation", "train", "train", "train"))
    kept, _ = limit_labels(manifest, 40, 0)
    assert Counter(zip(kept.column("label"), kept.column("split"), strict=True)) == {
        ("a", "train"): 15,
        ("a", "validation"): 5,
        ("b", "train"): 15,
        ("b", "validation"): 5,
    }


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(2, 30), min_size=1), st.integers(0, 99), st.data())
def test_exactly_so_many_labels_two_a_class_and_none_in_the_pile(counts, seed, data):
    manifest = labelled(counts)
    labels = data.draw(st.integers(2 * len(counts), sum(counts.values())))
    kept, pile = limit_labels(manifest, labels, seed)
    assert len(kept) == labels
    assert len(pile) == len(manifest) - labels
    assert min(Counter(kept.column("label")).values()) >= 2
    assert set(pile.column("label")) <= {None}
    assert pile.table.column_names == list(COLUMNS)
    assert limit_labels(manifest, labels, seed)[0] == kept


def test_another_seed_keeps_other_labels():
    manifest = labelled({"a": 50, "b": 50})
    first, second, same = (set(limit_labels(manifest, 20, seed)[0].column("id")) for seed in (1, 2, 1))
    assert first == same != second


def test_too_many_or_too_few_labels():
    manifest = labelled({"a": 5, "b": 5})
    with pytest.raises(UserError, match="11 labels asked for, 10 are there"):
        limit_labels(manifest, 11, 0)
    with pytest.raises(UserError, match="3 labels are too few for 2 classes; ask for 4"):
        limit_labels(manifest, 3, 0)


# From files to a folder


def test_from_files_to_the_files_of_a_run(tmp_path):
    class_folders(tmp_path / "photos", {"cat": 12, "dog": 12})
    put(tmp_path / "photos" / "dog" / "broken.png", b"")
    put(tmp_path / "photos" / "dog" / "copy.png", (tmp_path / "photos" / "dog" / "0.png").read_bytes())
    manifest, unseen = limit_labels(draw_test(read(str(tmp_path / "photos")), Splits(), 0), 12, 0)
    leaked = manifest.where(split="test").column("source")[0]
    put(tmp_path / "pile" / "leak.png", Path(leaked).read_bytes())
    put(tmp_path / "pile" / "new.png", encoded(image(99, 12, 12), "PNG"))
    pile = unseen.concat(read_pile(str(tmp_path / "pile")))
    built_rows, built_pile = build(manifest, tmp_path / "s", 8), build(pile, tmp_path / "p", 8)
    done = audit(manifest, pile, built_rows, built_pile, Splits(), 0)
    check_classes(done.manifest)
    save(done, tmp_path / "data")
    assert Manifest.load(tmp_path / "data" / "manifest.parquet") == done.manifest
    saved_pile = Manifest.load(tmp_path / "data" / "pile.parquet")
    assert "new.png" in saved_pile.column("id")
    assert "leak.png" not in saved_pile.column("id")
    cells = {cell for name in saved_pile.table.column_names for cell in saved_pile.column(name)}
    assert not cells & {"cat", "dog"}
    assert json.loads((tmp_path / "data" / "classes.json").read_text()) == ["cat", "dog"]
    assert json.loads((tmp_path / "data" / "audit.json").read_text()) == done.findings
    quarantine = list(csv.DictReader((tmp_path / "data" / "quarantine.csv").read_text().splitlines()))
    assert [(row["id"], row["reason"]) for row in quarantine] == [("dog/broken.png", "empty file")]
