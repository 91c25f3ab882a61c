"""Soft labels of a pile: what a user finds in the folder, after a kill, after the pile has grown, and after a mistake."""

import csv
import json
import os
import shutil
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import eyas
from eyas.arch.parse import parse
from eyas.cli import main
from eyas.data.decode import decode
from eyas.data.prepared import pixel_hash
from eyas.errors import UserError
from eyas.nn.build import build
from eyas.nn.weights import load_network, save_network
from eyas.recipe import Splits
from eyas.run import Run
from eyas.studies import label as study
from eyas.studies import labelling
from eyas.studies.labelling import label_pile
from eyas.studies.prepare import prepare
from eyas.studies.soft_labels import open_labels
from tests.scenes import write_scenes
from tests.studies.conftest import contents

ARCH = "mobilenet_v1x0.25@32/16"
CLASSES = ("bar", "dot", "ring")


def teacher(folder: Path, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Path:
    """A model file of drawn weights, whose answers differ from image to image."""
    folder.mkdir(parents=True, exist_ok=True)
    arch = parse(ARCH)
    network = build(arch, nn.Linear(arch.features, len(classes)), seed=seed).eval()
    scenes = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    scenes[:, :, :8] //= torch.arange(1, 65)[:, None, None, None].to(torch.uint8)
    with torch.no_grad():
        logits = network(scenes)
        network.head.weight *= 3 / logits.std(0)[:, None]
        network.head.bias -= logits.mean(0) * 3 / logits.std(0)
    save_network(network, folder / "model.safetensors", classes)
    return folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Eight images a shard, in batches of three."""
    monkeypatch.setattr(labelling, "SHARD", 8)
    monkeypatch.setattr(labelling, "BATCH", 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return teacher(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """Prepared data of two classes, with a pile."""
    folder = tmp_path_factory.mktemp("data")
    labelled = str(write_scenes(folder / "labelled", 12))
    pile = str(write_scenes(folder / "pile", 10, seed=1, labelled=False))
    with Run.open(folder / "run") as run:
        return prepare(run, labelled, pile, 0, Splits(), 32, 0)


@pytest.fixture
def pile(tmp_path):
    """Twenty images, named 0-b000.png to 0-d009.png."""
    return write_scenes(tmp_path / "pile", 10, labelled=False)


def table_of(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("*.parquet"))])


def shards(out: Path) -> dict[str, tuple[int, bytes]]:
    return {name: content for name, content in contents(out).items() if name.endswith(".parquet")}


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence of a refusal."""
    assert main(["label", *map(str, words)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()[-1].removeprefix("eyas label: ")


class TestShards:
    def test_hold_every_image_in_the_order_of_the_pile(self, model, pile, tmp_path):
        found = eyas.label(model, pile, tmp_path / "labels")
        assert [pq.read_metadata(path).num_rows for path in sorted(found.out.glob("*.parquet"))] == [8, 8, 4]
        table = table_of(found.out)
        assert table["id"].to_pylist() == sorted(file.name for file in pile.iterdir())
        assert table["source"].to_pylist() == [str(pile / id) for id in table["id"].to_pylist()]
        assert (found.images, found.answered, found.new, found.unreadable, found.shards) == (20, 20, 20, 0, 3)
        assert sum(found.classes.values()) == 20

    def test_types(self, model, pile, tmp_path):
        schema = table_of(eyas.label(model, pile, tmp_path / "labels").out).schema
        kinds = {name: str(schema.field(name).type) for name in schema.names}
        assert kinds == {
            **dict.fromkeys(("id", "source", "image"), "string"),
            "mark": "fixed_size_binary[16]",
            "probabilities": "fixed_size_list<element: halffloat>[3]",
            "top": "int32",
            **dict.fromkeys(("confidence", "entropy", "energy"), "float"),
            "teacher": "dictionary<values=string, indices=int32, ordered=0>",
        }

    def test_answers_are_those_of_predict(self, model, pile, tmp_path):
        table = table_of(eyas.label(model, pile, tmp_path / "labels").out)
        said = list(eyas.predict(model, table["source"].to_pylist(), top=len(CLASSES)))
        given = [{guess.label: guess.confidence for guess in answer.top} for answer in said]
        expected = np.array([[each[name] for name in CLASSES] for each in given])
        np.testing.assert_allclose(np.array(table["probabilities"].to_pylist()), expected, atol=2e-3)
        np.testing.assert_allclose(table["confidence"].to_numpy(), expected.max(1), rtol=1e-4)
        assert [CLASSES[index] for index in table["top"].to_pylist()] == [answer.label for answer in said]
        assert len(set(table["top"].to_pylist())) > 1

    def test_entropy_energy_and_digests(self, model, pile, tmp_path):
        table = table_of(eyas.label(model, pile, tmp_path / "labels").out)
        network, _ = load_network(model / "model.safetensors")
        pixels = [decode(source) for source in table["source"].to_pylist()]
        with torch.inference_mode():
            logits = network(torch.from_numpy(np.stack(pixels))).numpy().astype(np.float64)
        powers = np.exp(logits)
        given = powers / powers.sum(1, keepdims=True)
        np.testing.assert_allclose(table["energy"].to_numpy(), -np.log(powers.sum(1)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(table["entropy"].to_numpy(), -(given * np.log(given)).sum(1), rtol=1e-3, atol=1e-4)
        assert table["image"].to_pylist() == [pixel_hash(each) for each in pixels]

    def test_say_whose_they_are(self, model, pile, tmp_path):
        found = eyas.label(model, pile, tmp_path / "labels")
        labels = open_labels(found.out)
        assert (labels.teacher, labels.classes) == (found.teacher, CLASSES)
        assert set(table_of(found.out)["teacher"].to_pylist()) == {found.teacher}
        notes = json.loads(pq.read_schema(labels.shards[0]).metadata[b"eyas"])
        assert (notes["teacher"], notes["classes"]) == (found.teacher, list(CLASSES))

    def test_of_many_classes_hold_the_likeliest(self, pile, tmp_path):
        run = teacher(tmp_path / "run", tuple(f"c{number:03d}" for number in range(250)))
        labels = open_labels(eyas.label(run, pile, tmp_path / "labels").out)
        assert labels.form.top == 32
        (given, rows), *_ = labels.batches(["top", "confidence"])
        assert given.shape[1] == 250
        assert given.argmax(1).tolist() == rows.column("top").to_pylist()
        np.testing.assert_allclose(given.max(1), rows.column("confidence").to_numpy(), rtol=2e-3)

    def test_no_file_of_the_user_is_touched(self, model, pile, tmp_path):
        before = contents(pile)
        eyas.label(model, pile, tmp_path / "labels")
        assert contents(pile) == before


class TestAgain:
    def killed_after(self, count: int, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
        """Stop the labelling when it is about to write shard number `count`."""
        write, written = labelling.write_shard, []

        def stopped(*given: object) -> None:
            if len(written) == count:
                raise KeyboardInterrupt
            written.append(write(*given))

        with monkeypatch.context() as patch:
            patch.setattr(labelling, "write_shard", stopped)
            assert main(["label", *map(str, words)]) == 130

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_a_kill_repeats_no_shard_and_changes_no_byte(self, count, model, pile, tmp_path, monkeypatch):
        whole = shards(eyas.label(model, pile, tmp_path / "whole").out)
        words = (model, pile, "--out", tmp_path / "labels")
        self.killed_after(count, monkeypatch, *words)
        kept = shards(tmp_path / "labels")
        assert len(kept) == count
        assert main(["label", *map(str, words)]) == 0
        found = shards(tmp_path / "labels")
        assert {name: found[name] for name in kept} == kept  # bytes and times
        assert {name: content for name, (_, content) in found.items()} == {
            name: content for name, (_, content) in whole.items()
        }
        assert not [path for path in (tmp_path / "labels").iterdir() if path.name.endswith(".partial")]

    def test_a_second_time_nothing_is_answered_or_written(self, model, pile, tmp_path, monkeypatch):
        first = eyas.label(model, pile, tmp_path / "labels")
        before = contents(first.out)
        monkeypatch.setattr(study, "decode", None)  # nothing may be looked at
        found = eyas.label(model, pile, tmp_path / "labels")
        assert contents(first.out) == before
        assert (found.new, found.answered, found.classes) == (0, 20, first.classes)

    def test_a_shard_that_was_deleted_is_made_again(self, model, pile, tmp_path):
        out = eyas.label(model, pile, tmp_path / "labels").out
        before = shards(out)
        (out / "00001.parquet").unlink()
        assert eyas.label(model, pile, out).new == 8
        assert {name: content for name, (_, content) in shards(out).items()} == {
            name: content for name, (_, content) in before.items()
        }

    def test_a_damaged_shard_is_named(self, model, pile, tmp_path, capsys):
        out = eyas.label(model, pile, tmp_path / "labels").out
        (out / "00001.parquet").write_bytes(b"PAR1 no more")
        assert "00001.parquet is damaged or no shard of soft labels" in told(capsys, model, pile, "--out", out)

    def test_two_at_once_are_refused(self, model, pile, tmp_path, capsys):
        with Run.open(tmp_path / "labels"):
            assert "another process is working in" in told(capsys, model, pile, "--out", tmp_path / "labels")


class TestAPileThatChanges:
    @pytest.fixture
    def looked_at(self, monkeypatch):
        """Names of the files that are decoded from now on."""
        names: list[str] = []
        plain = study.decode

        def decode(source: str) -> np.ndarray:
            names.append(Path(source).name)
            return plain(source)

        monkeypatch.setattr(study, "decode", decode)
        return names

    def test_is_labelled_only_where_it_is_new(self, model, pile, tmp_path, looked_at):
        out = eyas.label(model, pile, tmp_path / "labels").out
        before = shards(out)
        looked_at.clear()
        shutil.copy2(pile / "0-b003.png", pile / "0-a.png")  # the first of all by its name
        shutil.copy2(pile / "0-d003.png", pile / "0-c.png")
        found = eyas.label(model, pile, out)
        assert sorted(looked_at) == ["0-a.png", "0-c.png"]
        assert (found.images, found.new, found.answered, found.shards) == (22, 2, 22, 4)
        assert {name: shards(out)[name] for name in before} == before

    def test_may_be_moved(self, model, pile, tmp_path, looked_at):
        out = eyas.label(model, pile, tmp_path / "labels").out
        looked_at.clear()
        assert eyas.label(model, pile.rename(tmp_path / "moved"), out).new == 0
        assert looked_at == []

    def test_an_image_that_changed_is_answered_again_and_once(self, model, pile, tmp_path):
        out = eyas.label(model, pile, tmp_path / "labels").out
        untouched = shards(out)["00001.parquet"]
        shutil.copyfile(pile / "0-d009.png", pile / "0-b002.png")
        os.utime(pile / "0-b002.png", ns=(1, 1))
        found = eyas.label(model, pile, out)
        assert (found.new, found.changed, found.answered) == (1, 1, 20)
        table = table_of(out)
        assert sorted(table["id"].to_pylist()) == sorted(file.name for file in pile.iterdir())
        digests = dict(zip(table["id"].to_pylist(), table["image"].to_pylist(), strict=True))
        assert digests["0-b002.png"] == digests["0-d009.png"]
        assert shards(out)["00001.parquet"] == untouched

    def test_answers_to_what_is_gone_are_kept_and_counted(self, model, pile, tmp_path):
        out = eyas.label(model, pile, tmp_path / "labels").out
        before = shards(out)
        (pile / "0-b000.png").unlink()
        found = eyas.label(model, pile, out)
        assert (found.images, found.answered, found.gone, found.new) == (19, 19, 1, 0)
        assert shards(out) == before

    def test_grows_by_a_shard(self, model, pile, tmp_path):
        def packed(name: str, files: list[Path]) -> None:
            with tarfile.open(tmp_path / name, "w") as tar:
                for file in files:
                    tar.add(file, file.name)

        files = sorted(pile.iterdir())
        packed("a-0.tar", files[:10])
        packed("a-1.tar", files[10:15])
        first = eyas.label(model, tmp_path / "a-*.tar", tmp_path / "labels")
        packed("a-2.tar", files[15:])
        found = eyas.label(model, tmp_path / "a-*.tar", first.out)
        assert (first.new, found.new, found.images, found.changed, found.gone) == (15, 5, 20, 0, 0)
        plain = table_of(eyas.label(model, pile, tmp_path / "plain").out)
        assert table_of(found.out)["confidence"].to_numpy() == pytest.approx(plain["confidence"].to_numpy(), rel=1e-4)


class TestUnreadable:
    def test_images_are_listed_and_cost_no_other(self, model, pile, tmp_path):
        (pile / "0-b004.png").write_bytes((pile / "0-b004.png").read_bytes()[:300])
        (pile / "zero.png").write_bytes(b"")
        found = eyas.label(model, pile, tmp_path / "labels")
        assert (found.images, found.answered, found.unreadable) == (21, 19, 2)
        with (found.out / "unreadable.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == ["0-b004.png", "zero.png"]
        assert rows[0]["reason"].startswith("truncated")
        assert rows[1] == {"id": "zero.png", "source": str(pile / "zero.png"), "reason": "empty file"}
        assert not {"0-b004.png", "zero.png"} & set(table_of(found.out)["id"].to_pylist())

    def test_they_are_not_tried_again_until_they_are_mended(self, model, pile, tmp_path):
        sound = (pile / "0-b004.png").read_bytes()
        (pile / "0-b004.png").write_bytes(sound[:300])
        out = eyas.label(model, pile, tmp_path / "labels").out
        before = contents(out)
        eyas.label(model, pile, out)
        assert contents(out) == before
        (pile / "0-b004.png").write_bytes(sound)
        found = eyas.label(model, pile, out)
        assert (found.new, found.unreadable, found.answered) == (1, 0, 20)
        assert (out / "unreadable.csv").read_text() == "id,source,reason\n"

    def test_those_behind_addresses_are_tried_again(self, model, pile, tmp_path):
        system = fsspec.filesystem("memory")
        listing = tmp_path / "pile.csv"
        listing.write_text("path\nmemory://here/a.png\nmemory://here/b.png\n")
        system.pipe("/here/a.png", (pile / "0-b000.png").read_bytes())
        out = eyas.label(model, listing, tmp_path / "labels").out
        before = shards(out)
        assert eyas.label(model, listing, out).unreadable == 1
        assert {name: content for name, (_, content) in shards(out).items()}["00000.parquet"] != before["00000.parquet"][1]
        again = {name: content for name, (_, content) in shards(out).items()}
        assert len(again) == 2
        eyas.label(model, listing, out)
        assert {name: content for name, (_, content) in shards(out).items()} == again
        system.pipe("/here/b.png", (pile / "0-b001.png").read_bytes())
        found = eyas.label(model, listing, out)
        assert (found.new, found.answered, found.unreadable, found.shards) == (1, 2, 0, 2)

    def test_a_whole_shard_of_them(self, model, pile, tmp_path):
        for number in range(9):
            (pile / f"!{number}.png").write_text("no picture")
        found = eyas.label(model, pile, tmp_path / "labels")
        assert [pq.read_metadata(path).num_rows for path in sorted(found.out.glob("*.parquet"))] == [0, 7, 8, 5]
        assert (found.unreadable, found.answered) == (9, 20)
        assert eyas.label(model, pile, found.out).new == 0

    def test_all_of_them(self, model, tmp_path, capsys):
        (tmp_path / "pile").mkdir()
        (tmp_path / "pile" / "note.png").write_text("no picture")
        sentence = told(capsys, model, tmp_path / "pile", "--out", tmp_path / "labels")
        assert sentence == (
            f"none of 1 images in {tmp_path / 'pile'} can be read (note.png: not an image); the reasons are in "
            f"{tmp_path / 'labels' / 'unreadable.csv'}"
        )

    def test_an_empty_pile(self, model, tmp_path, capsys):
        (tmp_path / "pile").mkdir()
        assert "holds no images" in told(capsys, model, tmp_path / "pile", "--out", tmp_path / "labels")
        assert not (tmp_path / "labels").exists()


class TestRefused:
    @pytest.fixture
    def out(self, model, pile, tmp_path):
        return eyas.label(model, pile, tmp_path / "labels").out

    def test_another_teacher(self, pile, out, tmp_path, capsys):
        os.utime(pile / "0-b002.png", ns=(1, 1))  # that it would be answered again must not cost the earlier answer
        before = contents(out)
        sentence = told(capsys, teacher(tmp_path / "other", seed=1), pile, "--out", out)
        assert sentence.startswith(f"{out} holds the answers of another network, {ARCH} (checksum ")
        assert sentence.endswith("; give --out a new folder")
        assert contents(out) == before

    def test_another_list_of_classes(self, pile, out, tmp_path, capsys):
        sentence = told(capsys, teacher(tmp_path / "other", ("cat", "dog")), pile, "--out", out)
        assert "; its classes are bar, dot, ring, and this one's cat, dog); give --out a new folder" in sentence

    def test_another_form(self, model, pile, out, capsys):
        sentence = told(capsys, model, pile, "--out", out, "--top", 2)
        assert "holds the probabilities of all classes, and the 2 likeliest classes are asked for" in sentence

    def test_a_folder_of_a_version_with_other_checksums(self, model, pile, out, capsys):
        """Equal pictures would have unequal ones, the earlier ones and the later."""
        facts = json.loads((out / "labels.json").read_text())
        del facts["hashed"]
        (out / "labels.json").write_text(json.dumps(facts))
        assert "is of an earlier version, with other checksums of images" in told(capsys, model, pile, "--out", out)

    def test_a_negative_number_of_classes(self, model, pile, tmp_path, capsys):
        assert told(capsys, model, pile, "--out", tmp_path / "new", "--top", "-1") == "top is -1; it must be 0 or above"

    def test_no_run(self, pile, tmp_path, capsys):
        assert told(capsys, tmp_path / "run", pile, "--out", tmp_path / "new").startswith(f"no run at {tmp_path / 'run'}")

    def test_no_pile(self, model, tmp_path, capsys):
        assert told(capsys, model, tmp_path / "pille", "--out", tmp_path / "new").startswith("no data at")

    def test_a_folder_of_something_else(self, model, pile, tmp_path, capsys):
        (tmp_path / "thesis.txt").write_text("mine")
        assert "is not empty and not a run of Eyas" in told(capsys, model, pile, "--out", tmp_path)


class TestCommand:
    def test_tells_what_it_did(self, model, pile, tmp_path, capsys):
        assert main(["label", str(model), str(pile), "--out", str(tmp_path / "labels")]) == 0
        shown = capsys.readouterr().out
        assert "20 of 20 images have soft labels, 20 of them given now" in shown
        assert "3 parquet files" in shown

    def test_json(self, model, pile, tmp_path, capsys):
        assert main(["label", str(model), str(pile), "--out", str(tmp_path / "labels"), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["images"], found["answered"], found["arch"]) == (20, 20, ARCH)
        assert list(found["classes"]) == list(CLASSES)


class TestStage:
    def test_writes_what_the_command_writes(self, ready, tmp_path):
        run = teacher(tmp_path / "run", ("bar", "dot"))
        (tmp_path / "stage").mkdir()
        found = label_pile(tmp_path / "stage", run / "model.safetensors", ready)
        assert found == {"images": len(ready.pile), "arch": ARCH}
        folder = Path(ready.pile.table["source"][0].as_py()).parent
        staged, told = table_of(tmp_path / "stage"), table_of(eyas.label(run, folder, tmp_path / "told").out)
        assert staged["id"].to_pylist() == ready.pile.column("id")
        told = told.filter(pc.is_in(told["id"], staged["id"]))  # the stage has no copies
        assert staged.schema == told.schema
        for name in ("id", "source", "image", "teacher", "top"):
            assert staged[name].to_pylist() == told[name].to_pylist()
        for name in ("confidence", "entropy", "energy"):
            np.testing.assert_allclose(staged[name].to_numpy(), told[name].to_numpy(), rtol=1e-4)

    def test_refuses_a_network_of_other_classes(self, ready, tmp_path):
        run = teacher(tmp_path / "run", ("dot", "bar"))
        with pytest.raises(UserError, match="answers in the 2 classes dot, bar, and the data has the 2 classes bar, dot; give"):
            label_pile(tmp_path / "stage", run / "model.safetensors", ready)
