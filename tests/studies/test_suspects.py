"""Labels that look wrong: planted ones are found by models that had not seen them, and shown; nothing of the user's moves."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eyas
from eyas.cli import main
from eyas.errors import UserError
from eyas.recipe import Augment, Training
from eyas.run import read_json
from eyas.studies import suspects
from eyas.studies.report import write_report
from tests.fakes import COLOURS
from tests.images import encoded, image, put
from tests.studies.conftest import contents

pytestmark = pytest.mark.xdist_group("suspects")

QUICK = Training(
    epochs=1,
    min_steps=60,  # with 30 what is found depends on the last digits of a processor's sums
    batch=12,
    rate=0.01,
    dropout=0,
    drop_path=0,
    norm_momentum=0.3,
    ema=0.9,
    augment=Augment(operations=0, crop=1.0),
)
ARCH = "mobilenet_v1x0.35@16/8"


def coloured(folder: Path, count: int) -> Path:
    """`count` pictures of noise for each of three colours, in folders that are called after them."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(COLOURS):
        for number in range(count):
            pixels = rng.integers(0, 160, (16, 16, 3), np.uint8)
            pixels[..., channel] += 95
            put(folder / name / f"{name}-{number:02d}.png", encoded(Image.fromarray(pixels), "PNG"))
    return folder


def planted(folder: Path, count: int = 30) -> tuple[Path, set[str]]:
    """Pictures of three colours, a tenth of each in the next one's folder; and which."""
    data = coloured(folder / "data", count)
    moved = [
        Path(shutil.move(file, data / COLOURS[(index + 1) % 3] / file.name))
        for index, name in enumerate(COLOURS)
        for file in sorted((data / name).glob(f"{name}-*5.png"))
    ]
    return data, {str(file.relative_to(data)) for file in moved}


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """All labels of planted data checked by cross-validation; what was wrong, and the data's files before."""
    folder = tmp_path_factory.mktemp("suspects")
    data, wrong = planted(folder)
    before = contents(data)
    found = eyas.audit(data, folder / "run", cache_dir="none", folds=3, arch=ARCH, weights="none", training=QUICK)
    return folder / "run", data, wrong, before, found


def listed(run: Path) -> list[dict[str, str]]:
    with (run / "label-issues" / "label-issues.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def seconds_of(run: Path) -> dict[str, float]:
    return {str(file): file.stat().st_mtime_ns for file in sorted((run / "folds").rglob("*")) if file.is_file()}


class TestAudit:
    def test_most_planted_labels_are_found_and_few_others_accused(self, audited):
        run, _, wrong, _, found = audited
        named = {row["id"] for row in listed(run)}
        assert len(wrong) == 9
        assert len(named & wrong) >= 7
        assert len(named - wrong) <= 4
        assert (found.labels["suspects"], found.labels["answered"]) == (len(named), 90)

    def test_the_list_says_what_they_are_and_what_they_look_like(self, audited):
        run, data, wrong, *_ = audited
        for row in listed(run):
            assert row["label"] == row["id"].split("/")[0]
            assert Path(row["source"]) == data / row["id"]
            if row["id"] in wrong:
                assert row["suggested"] != row["label"]
                assert float(row["probability_of_suggested"]) > float(row["probability_of_label"])

    def test_the_page_shows_them(self, audited):
        run, *_ = audited
        page = (run / "report.html").read_text()
        section = page[page.index("Labels in doubt") :]
        assert section.count("<img") >= len(listed(run))
        assert all(id in section for id in {row["id"] for row in listed(run)})
        assert "looks like" in section
        assert "correct it in your own data" in section
        assert read_json(run / "report.json")["facts"]["labels_checked"]["folds"] == 3

    def test_nothing_of_the_data_is_changed(self, audited):
        _, data, _, before, _ = audited
        assert contents(data) == before

    def test_again_nothing_is_trained(self, audited):
        run, data, _, _, found = audited
        before = seconds_of(run)
        again = eyas.audit(data, run, cache_dir="none", folds=3, arch=ARCH, weights="none", training=QUICK)
        assert again.labels == found.labels
        assert seconds_of(run) == before

    def test_models_are_not_kept(self, audited):
        assert not list((audited[0] / "folds").rglob("*.safetensors"))

    def test_a_run_that_was_stopped_goes_on_with_the_fold_it_was_at(self, audited, tmp_path, monkeypatch):
        run, data, *_ = audited
        asked, original = [], suspects.supervised

        def stopped(folder, label, *rest):
            asked.append(label)
            if len(asked) == 2:
                raise KeyboardInterrupt
            return original(folder, label, *rest)

        def check():
            return eyas.audit(data, tmp_path / "run", cache_dir="none", folds=3, arch=ARCH, weights="none", training=QUICK)

        monkeypatch.setattr(suspects, "supervised", stopped)
        with pytest.raises(KeyboardInterrupt):
            check()
        check()
        assert asked == ["fold 1 of 3", "fold 2 of 3", "fold 2 of 3", "fold 3 of 3"]
        assert listed(tmp_path / "run") == listed(run)


@pytest.fixture
def without_cleanlab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyas.data.labels.find_spec", lambda _: None)


@pytest.mark.parametrize(("folds", "sentence"), [("1", "folds is 1; it must be 2 or above"), ("-3", "folds is -3")])
def test_folds_that_cannot_be(folds, sentence, tmp_path, capsys):
    assert main(["audit", str(coloured(tmp_path / "data", 4)), "--out", str(tmp_path / "run"), "--folds", folds]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.usefixtures("without_cleanlab")
def test_folds_without_cleanlab_name_the_extra(tmp_path, capsys):
    data = coloured(tmp_path / "data", 4)
    assert main(["audit", str(data), "--out", str(tmp_path / "run"), "--folds", "3"]) == 2
    assert "--folds needs cleanlab; pip install 'eyas[audit]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_class_too_rare_to_be_learned_without_its_image_gets_no_answer(tmp_path):
    data = coloured(tmp_path / "data", 6)
    put(data / "rare" / "one.png", encoded(image(5, 16, 16), "PNG"))
    brief = Training(epochs=0.1, min_steps=2, batch=8)
    found = eyas.audit(data, tmp_path / "run", cache_dir="none", folds=2, arch=ARCH, weights="none", training=brief)
    assert (found.labels["answered"], found.labels["unanswered"]) == (18, 1)
    assert "Images without an answer, as their class is too rare to be learned without them: 1." in page(tmp_path / "run")


def test_one_class_that_can_be_read_is_refused(tmp_path):
    for number in range(4):
        put(tmp_path / "data" / "only" / f"{number}.png", encoded(image(number, 16, 16), "PNG"))
    put(tmp_path / "data" / "other" / "broken.png", b"no picture")
    with pytest.raises(UserError, match="folds needs two classes"):
        eyas.audit(tmp_path / "data", tmp_path / "run", cache_dir="none", folds=2, arch=ARCH, weights="none")


class TestHeldOut:
    def test_training_checks_what_it_held_out_at_no_cost(self, tmp_path):
        data, wrong = planted(tmp_path)
        eyas.train(data, tmp_path / "run", arch=ARCH, weights="none", training=QUICK, cache_dir="none")
        write_report(tmp_path / "run")
        rows = listed(tmp_path / "run")
        assert {row["split"] for row in rows} <= {"validation", "test"}
        held = read_json(tmp_path / "run" / "data" / "audit.json")["splits"]
        facts = read_json(tmp_path / "run" / "report.json")["facts"]["labels_checked"]
        assert facts["answered"] == held["validation"] + held["test"]
        assert {row["id"] for row in rows} & wrong
        assert re.search("answered the validation and test images, which it was not trained on", page(tmp_path / "run"))

    @pytest.mark.usefixtures("without_cleanlab")
    def test_without_cleanlab_it_goes_on_and_the_page_says_how_to_get_it(self, tmp_path):
        data = coloured(tmp_path / "data", 8)
        brief = Training(epochs=0.1, min_steps=2, batch=8)
        eyas.train(data, tmp_path / "run", arch=ARCH, weights="none", training=brief, cache_dir="none")
        write_report(tmp_path / "run")
        assert "The labels were not checked: that needs cleanlab, pip install" in page(tmp_path / "run")


def page(run: Path) -> str:
    return (run / "report.html").read_text()
