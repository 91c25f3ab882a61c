"""Boxes move as the pixels under them do, and what cannot be learned from is counted."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from eyas.data.batches import Examples, Part, Stream
from eyas.data.boxes import classes_of, fitted, moved, pack, read_boxes, unpack
from eyas.data.manifest import Manifest
from eyas.data.noise import PAPER, draw
from eyas.data.readers import read_labels
from eyas.data.store import SCHEMA, Store
from eyas.errors import UserError
from eyas.recipe import Augment
from eyas.team import Team
from tests.boxed import write_boxed
from tests.fakes import store_of

CLASSES = ("blue", "red")


def scene(seed, side=48):
    """A dark picture with a red and a blue rectangle that do not overlap, and their boxes."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side + 12, 3), 20, np.uint8)
    rows = []
    for number, (channel, left) in enumerate(((2, 0), (0, side // 2))):
        x, y = left + rng.integers(2, 10), rng.integers(2, side // 2)
        width, height = rng.integers(8, 16, 2)
        image[y : y + height, x : x + width, channel] = 250
        rows.append([x / (side + 12), y / side, (x + width) / (side + 12), (y + height) / side, number, 0])
    return image, np.array(rows, np.float32)


def scenes(count):
    made = [scene(seed) for seed in range(count)]
    store = store_of([image for image, _ in made])
    return Examples(store, np.arange(count), pack([rows for _, rows in made]), labelled=True, boxes=True)


def stream(examples, seed=0, team=Team(), count=4, **changes):
    choice = Augment(**{"operations": 0, "crop": 0.3, **changes})
    return Stream((Part(examples, count),), choice, "both", 64, seed, team)


def bounds(image, channel):
    """Where an image [h, w, 3] shows a colour: left, top, right, bottom as shares; None where it does not."""
    y, x = np.nonzero(image[..., channel] > 135)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) / 64 if len(x) else None


def test_boxes_lie_around_what_they_were_around():
    examples = scenes(12)
    checked = 0
    for step in range(30):
        batch = stream(examples).at(step)
        for image, row in zip(batch.images.numpy(), batch.targets.numpy(), strict=True):
            for box in unpack(row):
                seen = bounds(image, 2 if box[4] == 0 else 0)
                assert np.abs(seen - box[:4]).max() < 1.5 / 64 * 2  # crops are enlarged, and their edges blurred
                checked += 1
    assert checked > 150


def test_crops_show_something_of_every_picture_that_has_something():
    examples = scenes(12)
    rows = np.concatenate([stream(examples).at(step).targets.numpy() for step in range(20)])
    assert all(len(unpack(row)) for row in rows)
    assert any(len(unpack(row)) < 2 for row in rows)  # and some leave a thing out


def test_a_batch_follows_from_its_step_alone():
    first, again, other = stream(scenes(12)), stream(scenes(12)), stream(scenes(12), seed=1)
    ahead = list(again.run(3, 6))
    for step, batch in zip(range(3, 6), ahead, strict=True):
        assert torch.equal(first.at(step).images, batch.images)
        assert torch.equal(first.at(step).targets, batch.targets)
    assert not torch.equal(first.at(3).targets, other.at(3).targets)


def test_two_processes_make_the_batch_that_one_makes():
    examples = scenes(12)
    whole = stream(examples).at(5)
    halves = [stream(examples, team=Team(rank, 2)).at(5) for rank in range(2)]
    assert torch.equal(whole.images, torch.cat([half.images for half in halves]))
    assert torch.equal(whole.targets, torch.cat([half.targets for half in halves]))


def test_without_crops_and_mirrors_boxes_stay():
    examples = scenes(4)
    batch = Stream((Part(examples, 4),), Augment(operations=0, crop=1.0), "none", 64, 0).at(0)
    wanted = {tuple(row) for row in examples.targets.round(5).tolist()}
    assert {tuple(row) for row in batch.targets.numpy().round(5).tolist()} == wanted


def test_operations_change_colours_and_move_nothing():
    noise = draw(Augment(operations=3), "none", 50, np.random.default_rng(0))
    drawn = fitted(noise, pack([np.zeros((0, 6), np.float32)] * 50), 1.0, "paper", [(i,) for i in range(50)], [(9, 9)] * 50)
    names = {PAPER[number] for number in drawn.operations.flatten()}
    assert len(names) > 6
    assert not {name for name in names if name.startswith(("rotate", "shear", "translate"))}


def test_mirroring_twice_is_nothing():
    rows = pack([scene(1)[1]])
    noise = draw(Augment(operations=0, crop=1.0), "both", 1, np.random.default_rng(0))
    for mirrored in ((True, False), (False, True), (True, True)):
        noise.mirrored[:] = mirrored
        once = moved(rows, noise)
        assert not np.allclose(once, rows)
        np.testing.assert_allclose(moved(once, noise), rows, atol=1e-6)


def test_rows_are_padded_and_unpadded():
    rows = [scene(0)[1], np.zeros((0, 6), np.float32), scene(1)[1][:1]]
    packed = pack(rows)
    assert packed.shape == (3, 12)
    for row, wanted in zip(packed, rows, strict=True):
        np.testing.assert_array_equal(unpack(row), wanted)


def manifest(*boxes, extra=True):
    columns = {"id": [str(number) for number in range(len(boxes))], "source": ["x.png"] * len(boxes)}
    kind = pa.list_(
        pa.struct(
            [(name, pa.float64()) for name in ("x", "y", "width", "height")] + [("label", pa.string()), ("crowd", pa.bool_())]
        )
    )
    made = Manifest.of(columns)
    return Manifest(made.table.append_column("boxes", pa.array(boxes, kind))) if extra else made


def box(x, y, width, height, label="red", crowd=False):
    return {"x": x, "y": y, "width": width, "height": height, "label": label, "crowd": crowd}


def kept(count, width=200, height=100):
    rows = [
        {
            "id": str(number),
            "offset": 0,
            "height": 10,
            "width": 20,
            "channels": 3,
            "original_height": height,
            "original_width": width,
        }
        for number in range(count)
    ]
    return Store(pa.Table.from_pylist(rows, SCHEMA), np.zeros(0, np.uint8))


def test_boxes_become_shares_of_the_picture_as_it_was():
    read = read_boxes(manifest([box(20, 10, 100, 50)], []), kept(2), CLASSES)
    np.testing.assert_allclose(unpack(read.targets[0]), [[0.1, 0.1, 0.6, 0.6, 1, 0]])
    assert len(unpack(read.targets[1])) == 0
    assert read.said == ""


def test_what_cannot_be_learned_from_is_said():
    rows = [box(0, 0, 0, 50), box(10, 10, 20, 0.4), box(250, 10, 20, 20), box(150, 50, 100, 100), box(5, 5, 50, 50, crowd=True)]
    read = read_boxes(manifest(rows), kept(1), CLASSES)
    assert (read.boxes, read.crowds, read.clipped, read.empty) == (1, 1, 1, 3)
    np.testing.assert_allclose(unpack(read.targets[0]), [[0.75, 0.5, 1, 1, 1, 0], [0.025, 0.05, 0.275, 0.55, 1, 1]])
    assert read.said == (
        "of 5 boxes 3 had no area within their picture and are left out, 1 reached out of their picture and are cut at its "
        "edge, 1 are around crowds: nothing is learned from them"
    )


def test_mistakes_are_named():
    with pytest.raises(UserError, match="no boxes; a detector learns from COCO"):
        classes_of(manifest([], extra=False))
    with pytest.raises(UserError, match="no image has a box"):
        classes_of(manifest([], []))
    with pytest.raises(UserError, match="0 has a box of 'green'"):
        read_boxes(manifest([box(0, 0, 5, 5, "green")]), kept(1), CLASSES)
    with pytest.raises(UserError, match="not finite"):
        read_boxes(manifest([box(0, float("nan"), 5, 5)]), kept(1), CLASSES)


def test_classes_are_sorted_names():
    assert classes_of(manifest([box(0, 0, 5, 5)], [box(0, 0, 5, 5, "blue"), box(1, 1, 5, 5)])) == CLASSES


def test_images_of_coco_may_say_their_split_and_group(tmp_path):
    path = write_boxed(tmp_path, 8)
    known = json.loads(path.read_text())
    known["images"][0] |= {"split": "restval", "group": "film 3"}  # the former is what others call theirs
    path.write_text(json.dumps(known))
    read = read_labels(str(path))
    assert read.column("split") == [None, "train", "validation", "test", "train", "train", "validation", "test"]
    assert read.column("group") == ["film 3", *[None] * 7]
