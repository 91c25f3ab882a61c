"""Lists of images: JSON lines, Parquet, tables of attributes, COCO, pairs; and the columns that they share."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyas.data.decode import decode
from eyas.data.manifest import COLUMNS, Manifest
from eyas.data.readers import read, read_classes, read_labels, read_pairs, read_pile
from eyas.errors import UserError
from eyas.progress import listening
from tests.heard import Heard
from tests.images import encoded, image, put

PNG = encoded(image(0, 8, 8), "PNG")


def refused(source, reader=read):
    with pytest.raises(UserError) as caught:
        reader(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "deep/a.png", "собака.png"):
        put(tmp_path / name, PNG)
    return tmp_path


def listed(folder, name, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    return str(put(folder / name, text.encode()))


def parquet(folder, columns, **options):
    pq.write_table(pa.table(columns), folder / "list.parquet", **options)
    return str(folder / "list.parquet")


# The same four images, in every kind of list

IDS = ["a.png", "b.png", "deep/a.png", "собака.png"]
LABELS = ["cat", "dog", "cat", "dog"]


def as_csv(folder):
    return listed(folder, "list.csv", "path,label,split,weight", "a.png,cat,train,0.5", "b.png,dog,val,2",
                  "deep/a.png,cat,,1", "собака.png,dog,test,0")  # fmt: skip


def rows():
    splits, weights = ["train", "val", None, "test"], [0.5, 2, 1, 0]
    images = zip(IDS, LABELS, splits, weights, strict=True)
    return [{"path": id, "label": label, "split": split, "weight": weight} for id, label, split, weight in images]


def as_jsonl(folder):
    return listed(folder, "list.jsonl", *rows())


def as_json_lines_called_json(folder):
    return listed(folder, "list.json", *rows())


def as_parquet(folder):
    return parquet(folder, {name: [row[name] for row in rows()] for name in rows()[0]})


@pytest.mark.parametrize("kind", [as_csv, as_jsonl, as_json_lines_called_json, as_parquet])
def test_every_kind_of_list_says_the_same(folder, kind, tmp_path):
    manifest = read(kind(folder))
    assert (manifest.column("id"), manifest.column("label")) == (IDS, LABELS)
    assert manifest.column("split") == ["train", "validation", None, "test"]
    assert manifest.column("weight") == [0.5, 2.0, 1.0, 0.0]
    assert [decode(source).shape for source in manifest.column("source")] == [(8, 8, 3)] * 4
    pile = read_pile(kind(folder))
    assert pile.column("id") == IDS
    assert pile.table.column_names == list(COLUMNS)
    manifest.save(tmp_path / "kept.parquet")
    assert Manifest.load(tmp_path / "kept.parquet").table == manifest.table


def test_labels_may_be_numbers_and_columns_of_any_type_are_kept(folder):
    rows = [
        {"path": "a.png", "label": 3, "box": [1.5, 2.0], "id": "x"},
        {"file_name": "b.png", "label": True, "group": 7},
    ]
    manifest = read(listed(folder, "list.jsonl", *rows))
    assert manifest.column("label") == ["3", "true"]
    assert manifest.column("group") == [None, "7"]
    assert manifest.column("box") == [[1.5, 2.0], None]
    assert manifest.column("jsonl.id") == ["x", None]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"path": "a.png", "label": ', "line 2: no JSON"),
        ('["a.png"]', "is no object"),
        ('{"label": "cat"}', "no path among label"),
        ('{"path": "gone.png", "label": "cat"}', "no file 'gone.png'"),
        ('{"path": 5, "label": "cat"}', "no file 5"),
        ('{"path": "a.png"}', "the label of 'a.png' is empty"),
        ('{"path": "a.png", "label": 0.5}', "the label 0.5 is neither text nor a whole number"),
        ('{"path": "a.png", "label": "cat", "weight": -1}', "the weight -1 is not a number from 0 up"),
        ('{"path": "a.png", "label": "cat", "weight": "much"}', "the weight 'much'"),
        ('{"path": "a.png", "label": "cat", "split": "dev"}', "no split is called 'dev'"),
        ('{"path": "a.png", "labels": {"cat": 1}}', "are no list of names"),
        ('{"path": "a.png", "label": "cat", "labels": ["cat"]}', "'a.png' has a label and labels; keep one"),
        ('{"path": "./b.png", "label": "cat"}', "'./b.png' is on line 1 already"),
    ],
)
def test_mistakes_name_the_file_and_the_line(folder, line, words):
    message = refused(listed(folder, "list.jsonl", {"path": "b.png", "label": "dog"}, line))
    assert f"{folder}/list.jsonl, line 2" in message
    assert words in message


# Several labels

MANY = {
    "list.csv": ["path,labels", "a.png,cat|old", "b.png,dog", "deep/a.png,"],
    "list.jsonl": [
        {"path": "a.png", "labels": ["cat", "old"]},
        {"path": "b.png", "labels": ["dog"]},
        {"path": "deep/a.png", "labels": []},
    ],
    "attributes.csv": ["image_id,cat,dog,old", "a.png,1,-1,1", "b.png,-1,1,-1", "deep/a.png,-1,-1,-1"],
    "zeros.csv": ["path,cat,dog,old", "a.png,1,0,1", "b.png,0,1,0", "deep/a.png,0,0,0"],
    "list_attr_celeba.txt": ["3", "cat dog old", "a.png  1 -1  1", "b.png -1  1 -1", "deep/a.png -1 -1 -1"],
}


@pytest.mark.parametrize("name", MANY)
def test_several_labels_are_a_list_and_one_is_a_label(folder, name):
    source = listed(folder, name, *MANY[name])
    manifest = read_labels(source)
    assert manifest.column("id") == ["a.png", "b.png", "deep/a.png"]
    assert manifest.column("labels") == [["cat", "old"], ["dog"], []]
    assert manifest.column("label") == [None, "dog", None]
    message = refused(source)
    assert "multi-label: 1 of 3 images have several labels, a.png for one (cat, old)" in message
    assert read_pile(source).table.column_names == list(COLUMNS)


def test_rows_with_a_label_and_rows_with_labels_may_be_in_one_list(folder):
    rows = ({"path": "a.png", "label": "cat"}, {"path": "b.png", "labels": ["cat", "dog"]})
    assert read_labels(listed(folder, "list.jsonl", *rows)).column("labels") == [["cat"], ["cat", "dog"]]


def test_a_label_beside_empty_labels_counts_and_a_label_counts_once(folder):
    rows = ({"path": "a.png", "label": "cat", "labels": None}, {"path": "b.png", "label": None, "labels": ["dog", "dog"]})
    assert read(listed(folder, "list.jsonl", *rows)).column("label") == ["cat", "dog"]


def test_one_label_each_is_a_list_of_one_too(folder):
    assert read_labels(as_csv(folder)).column("labels") == [["cat"], ["dog"], ["cat"], ["dog"]]


def test_attributes_are_found_beside_their_table_as_celeba_has_them(folder):
    put(folder / "img_align_celeba" / "img_align_celeba" / "1.png", PNG)
    put(folder / "img_align_celeba" / "img_align_celeba" / "2.png", PNG)
    lines = ("image_id,split,young,male", "1.png,train,1,-1", "2.png,test,1,1")
    manifest = read_labels(listed(folder, "list_attr_celeba.csv", *lines))
    assert manifest.column("id") == ["1.png", "2.png"]
    assert manifest.column("split") == ["train", "test"]
    assert [decode(source).shape for source in manifest.column("source")] == [(8, 8, 3)] * 2
    put(folder / "other" / "1.png", PNG)
    put(folder / "other" / "2.png", PNG)
    assert "'1.png' is in" in refused(folder / "list_attr_celeba.csv", read_labels)


@pytest.mark.parametrize(
    ("name", "lines", "words"),
    [
        ("x.csv", ["image_id,young,male", "a.png,1,-1", "b.png,0,1"], "line 3: young is '0'; an attribute is -1 or 1"),
        ("x.csv", ["image_id,young,male", "a.png,1,0", "b.png,yes,1"], "line 3: young is 'yes'; an attribute is 0 or 1"),
        ("x.csv", ["image_id,young,young", "a.png,1,0"], "a column is named twice"),
        ("x.csv", ["image_id,young,male", "gone.png,1,0"], "line 2: no file 'gone.png'"),
        ("x.csv", ["image_id,age", "a.png,31"], "no column 'path' among image_id, age"),
        ("x.txt", ["1", "young male", "a.png 1"], "line 3: 1 values where line 2 names 2"),
        ("x.txt", ["notes"], "is text of another kind"),
    ],
)
def test_mistakes_in_tables_of_attributes(folder, name, lines, words):
    assert words in refused(listed(folder, name, *lines), read_labels)


# CelebA as published

CELEBA = ["4", "Male Young", "000001.jpg -1  1", "000002.jpg  1  1", "000003.jpg  1 -1", "000004.jpg -1 -1"]
PARTS = ["000001.jpg 0", "000002.jpg 2", "000003.jpg 1", "000004.jpg 0"]
SPLITS = ["train", "test", "validation", "train"]
JPEG = encoded(image(0, 8, 8), "JPEG")


def celeba(folder, images="img_align_celeba"):
    for number in range(1, 5):
        put(folder / images / f"00000{number}.jpg", JPEG)
    return folder


def as_kaggle(lines):
    return [line.replace(" ", ",") for line in lines]


def test_celebas_partition_beside_its_table_is_the_split(tmp_path):
    source = listed(celeba(tmp_path), "list_attr_celeba.txt", *CELEBA)
    assert read_labels(source).column("split") == [None] * 4
    listed(tmp_path, "list_eval_partition.txt", *PARTS)
    manifest = read_labels(source)
    assert manifest.column("id") == [line.split()[0] for line in PARTS]
    assert manifest.column("split") == SPLITS
    assert manifest.column("labels") == [["Young"], ["Male", "Young"], ["Male"], []]
    assert manifest.extra == ("labels",)
    assert decode(manifest.column("source")[0]).shape == (8, 8, 3)
    assert read_pile(source).column("split") == [None] * 4


def test_celebas_folders_as_they_are_published(tmp_path):
    celeba(tmp_path, "Img/img_align_celeba")
    listed(tmp_path, "Eval/list_eval_partition.txt", *PARTS)
    assert read_labels(listed(tmp_path, "Anno/list_attr_celeba.txt", *CELEBA)).column("split") == SPLITS


def test_celeba_as_kaggle_has_it(tmp_path):
    celeba(tmp_path, "img_align_celeba/img_align_celeba")
    lines = ["image_id,Male,Young", "000001.jpg,-1,1", "000002.jpg,1,1", "000003.jpg,1,-1", "000004.jpg,-1,-1"]
    source = listed(tmp_path, "list_attr_celeba.csv", *lines)
    listed(tmp_path, "list_eval_partition.csv", "image_id,partition", *as_kaggle(PARTS))
    assert read_labels(source).column("split") == SPLITS
    listed(tmp_path, "list_eval_partition.txt", "000001.jpg 7")  # of the other layout: not looked at
    assert read_labels(source).column("split") == SPLITS
    with_split = [f"{line},{split}" for line, split in zip(lines, ["split", *["train"] * 4], strict=True)]
    assert read_labels(listed(tmp_path, "list_attr_celeba.csv", *with_split)).column("split") == ["train"] * 4


def test_a_part_of_celeba_has_the_published_split_too(tmp_path):
    source = listed(celeba(tmp_path), "list_attr_celeba.txt", "2", *CELEBA[1:4])
    listed(tmp_path, "list_eval_partition.txt", *PARTS)
    heard = Heard()
    with listening(heard):
        assert read_labels(source).column("split") == SPLITS[:2]
    (sentence,) = heard.said
    assert "list_eval_partition.txt names 2 images that are not in list_attr_celeba.txt, '000003.jpg' for one" in sentence


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["000001.jpg"], "list_eval_partition.txt, line 1: '000001.jpg' is not an image and its part; a line has a name and 0"),
        ([PARTS[0], "", "000002.jpg 3"], "list_eval_partition.txt, line 3: '000002.jpg 3' is not an image and its part"),
        ([PARTS[0], PARTS[1], "000001.jpg 1"], "list_eval_partition.txt, line 3: '000001.jpg' is there already"),
        (PARTS[:3], "list_attr_celeba.txt, line 6: '000004.jpg' is not in"),
        ([""], "list_eval_partition.txt names no images"),
        (["000001.jpg,0"], "line 1: '000001.jpg,0' is not an image and its part"),
    ],
)
def test_mistakes_in_celebas_partition(tmp_path, lines, words):
    listed(tmp_path, "list_eval_partition.txt", *lines)
    assert words in refused(listed(celeba(tmp_path), "list_attr_celeba.txt", *CELEBA), read_labels)


# Data for classifiers alone


def test_a_table_of_attributes_and_boxes_are_not_for_classifiers_though_no_image_has_two(folder):
    source = listed(folder, "one.csv", "path,cat,dog", "a.png,1,0", "b.png,0,1")
    assert read(source).classes == ("cat", "dog")
    assert "eyas train --task attributes" in refused(source, read_classes)
    message = refused(coco(folder, annotations=[{"image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4]}]), read_classes)
    assert "eyas train --task detect" in message
    assert "eyas train --task attributes" in refused(listed(folder, "list.csv", *MANY["list.csv"]), read_classes)
    assert read_classes(as_csv(folder)).column("label") == LABELS


# Parquet with the images inside

BYTES = [encoded(image(seed, 8, 8), "PNG") for seed in (1, 2, 3)]
CLASSES = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}


@pytest.mark.parametrize("column", [BYTES, [{"bytes": data, "path": "same.png"} for data in BYTES]])
def test_images_inside_a_parquet_file(folder, column):
    columns = {"image": column, "label": ["cat", "dog", "cat"], "age": [1, 2, None], "path": ["long", "gone", "files"]}
    manifest = read(parquet(folder, columns))
    assert manifest.column("id") == [f"list.parquet/00000{row}" for row in range(3)]
    assert manifest.column("age") == [1, 2, None]
    assert "image" not in manifest.table.column_names
    for source, data in zip(manifest.column("source"), BYTES, strict=True):
        assert (decode(source) == decode(str(put(folder / "one.png", data)))).all()


def test_numbers_with_names_become_them_and_hidden_labels_are_no_class(folder):
    table = pa.table({"image": BYTES, "label": [1, 0, 1]}).replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    pq.write_table(table, folder / "list.parquet")
    assert read(str(folder / "list.parquet")).column("label") == ["dog", "cat", "dog"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": ["cat"]}, "has no column path and none with image files among label"),
        ({"path": ["a.png"]}, "has no column label or labels among path"),
        ({"path": ["a.png", None], "label": ["cat", "dog"]}, "row 1: no file ''; every row needs the path"),
        ({"path": ["a.png", "b.png"], "label": ["cat", None]}, "row 1: the label of 'b.png' is empty"),
        ({"path": ["a.png"], "label": ["cat"], "labels": [["cat"]]}, "has labels in label, labels"),
        ({"left": [PNG], "right": [PNG], "label": ["cat"]}, "has images in left, right"),
        ({"path": pa.array([], pa.string()), "label": pa.array([], pa.string())}, "lists no images"),
    ],
)
def test_mistakes_in_parquet_files(folder, columns, words):
    assert words in refused(parquet(folder, columns))


def test_a_file_that_only_ends_like_parquet(folder):
    assert "cannot be read as Parquet" in refused(put(folder / "list.parquet", b"no table at all"))


# COCO


def coco(folder, **changes):
    whole = {
        "images": [{"id": 7, "file_name": "1.png"}, {"id": 8, "file_name": "2.png"}, {"id": 9, "file_name": "3.png"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [
            {"image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4]},
            {"image_id": 7, "category_id": 5, "bbox": [0, 0, 8, 8.5], "iscrowd": 1},
            {"image_id": 8, "category_id": 1, "bbox": [1, 1, 2, 2]},
            {"image_id": 8, "category_id": 5, "bbox": [1, 1, 2, 2]},
        ],
    }
    for name in ("1.png", "2.png", "3.png"):
        put(folder / "val2017" / name, PNG)
    return listed(folder, "annotations/instances_val2017.json", whole | changes)


def test_coco_keeps_labels_and_boxes(folder):
    manifest = read_labels(coco(folder))
    assert manifest.column("id") == ["1.png", "2.png", "3.png"]
    assert manifest.column("label") == ["dog", None, None]
    assert manifest.column("labels") == [["dog"], ["cat", "dog"], []]
    first, second = manifest.column("boxes")[0]
    assert first == {"x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0, "label": "dog", "crowd": False}
    assert (second["height"], second["crowd"]) == (8.5, True)
    assert manifest.column("boxes")[2] == []
    assert decode(manifest.column("source")[0]).shape == (8, 8, 3)
    assert "multi-label: 1 of 3 images have several labels, 2.png for one (cat, dog)" in refused(coco(folder))
    assert read_pile(coco(folder)).column("id") == ["1.png", "2.png", "3.png"]


def test_coco_with_one_category_an_image_is_for_classifiers(folder):
    annotations = [
        {"image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4]},
        {"image_id": 8, "category_id": 1, "bbox": [1, 1, 2, 2]},
    ]
    assert read(coco(folder, annotations=annotations)).column("label") == ["dog", "cat"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": [{"id": 7}]}, "images[0]: no 'file_name'"),
        ({"images": [{"id": 7, "file_name": "gone.png"}], "annotations": []}, "images[0]: no file 'gone.png'"),
        ({"annotations": [{"image_id": 70, "category_id": 5, "bbox": [1, 2, 3, 4]}]}, "annotations[0]: there is no image 70"),
        ({"annotations": [{"image_id": 7, "category_id": 6, "bbox": [1, 2, 3, 4]}]}, "there is no category 6"),
        ({"annotations": [{"image_id": 7, "category_id": 5, "bbox": [1, 2, 3]}]}, "the bbox [1, 2, 3] is not"),
        ({"annotations": [{"image_id": 7, "category_id": 5}]}, "annotations[0]: no 'bbox'"),
        ({"annotations": {}}, "is JSON of another kind"),
    ],
)
def test_mistakes_in_coco_files(folder, changes, words):
    assert words in refused(coco(folder, **changes), read_labels)


# Pairs, as LFW has them


def faces(folder, *lines):
    for name in ("Ann/Ann_0001", "Ann/Ann_0002", "Bob/Bob_0001", "Bob/Bob_0003"):
        put(folder / "lfw" / f"{name}.jpg", PNG)
    return listed(folder, "pairs.txt", *lines)


def test_pairs_of_the_same_and_of_different_people(folder):
    lines = ("2\t1", "Ann\t1\t2", "Ann\t1\tBob\t3", "Bob\t1\t3", "Bob\t1\tAnn\t2")
    found = read_pairs(faces(folder, *lines))
    assert [(pair.first, pair.second, pair.same, pair.fold) for pair in found.pairs] == [
        ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", True, 0),
        ("Ann/Ann_0001.jpg", "Bob/Bob_0003.jpg", False, 0),
        ("Bob/Bob_0001.jpg", "Bob/Bob_0003.jpg", True, 1),
        ("Bob/Bob_0001.jpg", "Ann/Ann_0002.jpg", False, 1),
    ]
    assert found.images.column("label") == ["Ann", "Ann", "Bob", "Bob"]
    assert {id for pair in found.pairs for id in (pair.first, pair.second)} <= set(found.images.column("id"))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["people"], "line 1: 'people' where the number of pairs is expected"),
        (["1", "Ann 1 2"], "has 1 pairs where line 1 promises 2 (1 folds, 1 of each kind)"),
        (["1", "Ann 1 2", "Ann 1 Bob 9"], "line 3: no picture 'Bob/Bob_0009.jpg'"),
        (["1", "Ann 1 2", "Ann Bob"], "line 3: 'Ann Bob' is no pair"),
        ([], "line 1: 'nothing' where"),
    ],
)
def test_mistakes_in_lists_of_pairs(folder, lines, words):
    assert words in refused(faces(folder, *lines), read_pairs)
