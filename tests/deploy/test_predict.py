"""The page that goes with an exported file: the same pictures as Eyas sees, the same answers, and nothing else needed."""

import ast
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eyas.data import decode, sources
from eyas.data.augment import prepare
from eyas.data.batches import three_channels
from eyas.data.readers.places import Place
from eyas.data.resize import shrink
from eyas.deploy import predict as page
from eyas.deploy.target import TARGETS, Artifact, export
from eyas.errors import UserError
from eyas.studies.prepare import side_of
from tests.corpus import corpus
from tests.images import encoded, grey_16_bits, image, picture, put

SEEN = ({"resolution": 16, "crop": 1.0}, {"resolution": 20, "crop": 0.75}, {"resolution": 224, "crop": 0.875})


def eyas_pixels(source, resolution, crop):
    """What training and evaluation see of a file."""
    stored = shrink(decode.decode(str(source)), side_of(resolution, crop))
    return three_channels(prepare(stored, resolution, crop))


def told(function, *given):
    """What it returns, or why it refuses."""
    try:
        return function(*given)
    except (sources.Refusal, page.Unreadable) as error:
        return str(error)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    return folder, corpus(folder)


@pytest.fixture
def copied(float32, tmp_path):
    """An artifact that a test may spoil."""
    return shutil.copytree(float32.folder, tmp_path / "artifact")


@pytest.fixture
def photos(tmp_path):
    """Four pictures, of which one lies deeper, and a file that is none."""
    for number, name in enumerate(("a.png", "b.jpg", "deep/er/c.png", "deep/d.webp")):
        suffix = Path(name).suffix[1:].upper().replace("JPG", "JPEG")
        put(tmp_path / "photos" / name, encoded(image(number, 40, 30), suffix))
    put(tmp_path / "photos" / "bad.png", b"no picture")
    put(tmp_path / "photos" / "notes.txt", b"no picture, and not said to be one")
    put(tmp_path / "photos" / ".hidden.png", b"")
    put(tmp_path / "photos" / ".hidden" / "e.png", b"")
    return tmp_path / "photos"


class TestPixels:
    @pytest.mark.parametrize("facts", SEEN, ids=str)
    def test_of_odd_files_are_those_that_eyas_sees_and_refusals_have_the_same_words(self, odd, facts):
        folder, reasons = odd
        assert len(reasons) > 100
        for name in reasons:
            ours = told(eyas_pixels, folder / name, facts["resolution"], facts["crop"])
            theirs = told(page.pixels, folder / name, {**facts, "frame": None})
            assert type(ours) is type(theirs), name
            assert np.array_equal(ours, theirs), name

    @pytest.mark.parametrize("options", [{"subsampling": each} for each in range(3)] + [{"progressive": True}], ids=str)
    def test_of_jpegs_are_those_that_eyas_sees(self, tmp_path, options):
        for seed, (height, width) in enumerate(((97, 131), (200, 33), (8, 8))):
            file = put(tmp_path / f"{seed}.jpg", encoded(image(seed, height, width), "JPEG", quality=70, **options))
            assert np.array_equal(page.decode(file), decode.decode(str(file)))

    @given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 3]), st.integers(1, 100), st.integers(0, 3))
    def test_are_reduced_to_the_level_as_the_prepared_ones_are(self, height, width, channels, side, seed):
        pixels = picture(seed, height, width, channels)
        if seed == 3:  # nothing but black and white: the rounding is clipped
            pixels = (pixels > 127).astype(np.uint8) * 255
        assert np.array_equal(page._shrunk(pixels, side), shrink(pixels, side))

    def test_of_a_large_picture_too(self):
        pixels = np.random.default_rng(0).integers(0, 256, (1201, 1603, 3), dtype=np.uint8)
        assert np.array_equal(page._shrunk(pixels, 36), shrink(pixels, 36))

    def test_come_from_a_path_from_bytes_and_from_an_open_file(self, tmp_path):
        file = put(tmp_path / "a.png", encoded(image(1), "PNG"))
        facts = {**SEEN[0], "frame": None}
        expected = page.pixels(file, facts)
        for source in (str(file), file.read_bytes(), io.BytesIO(file.read_bytes())):
            assert np.array_equal(page.pixels(source, facts), expected)

    def test_for_a_frame_are_the_picture_at_its_size(self):
        pixels = picture(1, 30, 40)
        facts = {"resolution": 16, "crop": 0.5, "frame": [30, 40]}
        assert np.array_equal(page.shown(pixels, facts), pixels)  # the model itself cuts the middle out
        assert page.shown(pixels[..., :1], {**facts, "frame": [50, 20]}).shape == (50, 20, 3)

    def test_limits_and_formats_are_those_of_eyas(self):
        assert (page.FORMATS, page.SUFFIXES, page.MEGAPIXELS) == (decode.FORMATS, decode.SUFFIXES, decode.MEGAPIXELS)

    def test_nothing_is_warned_about(self, tmp_path, recwarn):
        put(tmp_path / "a.tif", encoded(Image.fromarray(grey_16_bits()), "TIFF"))
        page.decode(tmp_path / "a.tif")
        assert not recwarn.list


class TestFiles:
    def test_of_a_folder_are_those_that_eyas_finds_in_its_order(self, photos):
        (photos / "deep" / "link").symlink_to(photos)  # without an end, if it were followed each time
        found = [name for name, reason in page.files([str(photos)]) if not reason]
        assert found == [str(photos / name) for name in Place.of(str(photos)).images()]
        assert [Path(name).name for name in found] == ["a.png", "b.jpg", "bad.png", "d.webp", "c.png"]

    def test_given_by_name_are_taken_whatever_their_suffix(self, photos):
        assert list(page.files([str(photos / "notes.txt"), "nowhere"])) == [
            (str(photos / "notes.txt"), None),
            ("nowhere", None),
        ]

    def test_without_images_are_named(self, tmp_path):
        assert list(page.files([str(tmp_path)])) == [(str(tmp_path), "a folder without images")]

    def test_come_from_standard_input_a_line_each(self, photos, monkeypatch):
        lines = f"{photos / 'a.png'}\n\n{photos / 'deep'}\r\nodd name.jpg\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        names = [str(photos / name) for name in ("a.png", "deep/d.webp", "deep/er/c.png")]
        assert [name for name, _ in page.files(["-"])] == [*names, "odd name.jpg"]

    def test_are_found_as_they_are_asked_for(self, photos):
        endless = (str(photos) for _ in iter(int, 1))
        assert next(page.files(endless)) == (str(photos / "a.png"), None)


FACTS = {"classes": ["dark", "light"], "threshold": 0.7, "resolution": 2, "crop": 1.0, "frame": None}
FACTS |= {"task": "classify", "boxes": None}


class TestAnswers:
    def look(self, name):
        if name == "bad":
            raise page.Unreadable("not an image")
        return np.full((2, 2, 3), int(name), np.uint8)

    def ask(self, images):
        light = images[:, 0, 0, 0] / np.float32(100)
        return np.stack([1 - light, light], 1)

    def answers(self, names, top=1, **options):
        return list(
            page.answers(((name, None) for name in names), self.look, self.ask, FACTS, page.teller(FACTS, top), **options)
        )

    def test_tell_label_confidence_and_whether_it_is_sure(self):
        first, second = self.answers(["20", "65"])
        assert first == {
            "image": "20",
            "label": "dark",
            "confidence": 0.8,
            "sure": True,
            "top": [{"label": "dark", "confidence": 0.8}],
            "error": None,
        }
        assert (second["label"], second["confidence"], second["sure"]) == ("light", 0.65, False)

    def test_tell_the_likeliest_classes(self):
        (answer,) = self.answers(["65"], top=5)
        assert answer["top"] == [{"label": "light", "confidence": 0.65}, {"label": "dark", "confidence": 0.35}]

    def test_are_in_order_and_the_same_in_batches(self):
        names = ["1", "bad", "3", "bad", "bad", "90", "99"]
        found = self.answers(names)
        assert [line["image"] for line in found] == names
        assert [line["error"] for line in found] == ["not an image" if name == "bad" else None for name in names]
        assert all(self.answers(names, batch=batch) == found for batch in (2, 3, 10))

    def test_come_as_soon_as_a_batch_is_looked_at(self):
        def names():
            yield "1", None
            yield "2", None
            raise AssertionError("asked for a third picture before the first was answered")

        assert next(page.answers(names(), self.look, self.ask, FACTS, page.teller(FACTS), batch=2))["image"] == "1"

    def test_to_a_name_that_is_no_picture_are_the_reason(self):
        (line,) = page.answers([("folder", "a folder without images")], self.look, self.ask, FACTS, page.teller(FACTS))
        assert line["error"] == "a folder without images"


class TestModel:
    def test_answers_as_the_artifact_does(self, float32, int8, validation):
        for artifact in (float32, int8):
            ask = page.open_model(artifact.folder, threads=1)
            assert np.array_equal(ask(validation[0][:20]), artifact.predictor(1)(validation[0][:20]))

    def test_of_every_format_but_timm_s_has_a_runtime_here(self):
        assert [name for name in TARGETS if page.family(name) is None] == ["timm"]

    @pytest.mark.slow
    @pytest.mark.parametrize("target", [name for name in TARGETS if name != "timm"])
    def test_of_any_format_answers_as_the_artifact_does(self, shipment, validation, tmp_path, target):
        pytest.importorskip(page.RUNTIMES[page.family(target)][1])
        artifact = export(shipment, tmp_path, target)
        given = page.open_model(tmp_path, threads=1)(validation[0][:20])
        assert np.array_equal(given, artifact.predictor(1)(validation[0][:20]))

    @pytest.mark.parametrize(
        ("spoil", "sentence"),
        [
            (lambda model: model.write_bytes(model.read_bytes()[:-50]), "was changed or cut short after its export"),
            (lambda model: model.write_bytes(b"\0" + model.read_bytes()[1:]), "was changed or cut short after its export"),
            (Path.unlink, r"model\.onnx cannot be read \(No such file"),
            (lambda model: (model.parent / "artifact.json").write_text('{"target"'), "artifact.json is damaged, or of another"),
            (lambda model: (model.parent / "artifact.json").write_text("[]"), "artifact.json is damaged, or of another"),
            (lambda model: (model.parent / "artifact.json").unlink(), r"is not an artifact: it has no artifact\.json"),
        ],
        ids=["cut short", "changed", "gone", "facts cut short", "foreign facts", "no facts"],
    )
    def test_that_is_spoilt_is_refused_in_a_sentence(self, copied, spoil, sentence):
        spoil(copied / "model.onnx")
        with pytest.raises(page.Unusable, match=sentence):
            page.open_model(copied)

    def with_facts(self, folder, **facts):
        file = folder / "artifact.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))
        return folder

    def test_of_another_program_is_refused_in_a_sentence(self, copied):
        content = b"PK\x03\x04 a zip, or something else"
        (copied / "model.onnx").write_bytes(content)
        self.with_facts(copied, files={"model.onnx": hashlib.sha256(content).hexdigest()})
        with pytest.raises(page.Unusable, match=r"^onnxruntime cannot open .*model\.onnx \("):
            page.open_model(copied)

    @pytest.mark.parametrize(
        "facts",
        [
            *({"target": value} for value in (None, 3, ["onnx"])),
            *({"classes": value} for value in (None, "abc", {}, [], [1, 2, 3])),
            *({"files": value} for value in ({}, None, [], {"other.onnx": "0"}, {"model.onnx": 1})),
            *({"frame": value} for value in (3, "16", [16], [16, "16"], [0, 16])),
            *({"resolution": 0}, {"resolution": True}, {"resolution": "16"}, {"crop": None}, {"crop": 0}, {"threshold": "0.5"}),
            *({"task": None}, {"task": "paint"}, {"task": "detect"}, {"boxes": {}}, {"boxes": []}),
            *({"file": None}, {"arch": 1}, {"bytes": "many"}, {"status": []}, {"precision": None}),
        ],
        ids=repr,
    )
    def test_whose_facts_were_tampered_with_is_refused_in_a_sentence(self, copied, facts):
        self.with_facts(copied, **facts)
        for opened in (page.about, page.open_model):
            with pytest.raises(page.Unusable, match=r"artifact\.json is damaged, or of another version of Eyas"):
                opened(copied)
        with pytest.raises(UserError, match=r"artifact\.json is damaged, or of another version of Eyas"):
            Artifact.load(copied)

    def test_needs_each_fact(self, copied):
        file = copied / "artifact.json"
        whole = json.loads(file.read_text())
        for name in page.NEEDED:
            file.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
            with pytest.raises(page.Unusable, match="is damaged"):
                page.about(copied)

    def test_that_takes_other_images_than_its_facts_say_is_refused(self, copied):
        ask = page.open_model(self.with_facts(copied, resolution=20))
        with pytest.raises(page.Unusable, match="does not take the images that artifact"):
            ask(np.zeros((1, 20, 20, 3), np.uint8))

    def test_that_answers_other_classes_than_its_facts_say_is_refused(self, copied):
        ask = page.open_model(self.with_facts(copied, classes=["a", "b"]))
        with pytest.raises(page.Unusable, match=r"answers \[1, 3\] where artifact.json tells of 2 numbers"):
            ask(np.zeros((1, 16, 16, 3), np.uint8))

    @pytest.mark.parametrize(
        ("shape", "kind"), [((1, 20, 20, 3), np.uint8), ((1, 16, 16, 3), np.float32), ((16, 16, 3), np.uint8)]
    )
    def test_is_asked_with_images_of_its_size_and_type(self, float32, shape, kind):
        with pytest.raises(page.Unusable, match=r"takes images uint8 \[n, 16, 16, 3\], not "):
            page.open_model(float32.folder)(np.zeros(shape, kind))

    def test_whose_runtime_is_not_installed_says_what_to_install(self, float32, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(page.Unusable, match=r"needs onnxruntime, which is not installed .*: pip install onnxruntime"):
            page.open_model(float32.folder)


class TestPage:
    def test_lies_beside_the_model_and_is_no_part_of_its_size(self, float32):
        assert (float32.folder / "predict.py").read_bytes() == Path(page.__file__).read_bytes()
        assert float32.bytes == float32.path.stat().st_size

    def test_imports_only_what_a_device_has(self):
        tree = ast.parse(Path(page.__file__).read_text(), feature_version=(3, 9))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"numpy", "PIL"}

    def run(self, folder, *words, **options):
        """The page in a Python that finds numpy, Pillow and onnxruntime, and no other package."""
        packages = folder / "packages"
        if not packages.exists():
            site = Path(np.__file__).parents[1]
            packages.mkdir()
            for name in ("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime"):
                if (site / name).exists():
                    (packages / name).symlink_to(site / name)
        start = (
            f"import sys, importlib.util, runpy; sys.path.insert(0, {str(packages)!r}); sys.argv = sys.argv[1:]\n"
            "assert not [each for each in ('eyas', 'torch', 'simplejpeg', 'pyarrow') if importlib.util.find_spec(each)]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        command = [sys.executable, "-S", "-I", "-c", start, str(folder / "predict.py"), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)

    def test_answers_with_nothing_else_installed(self, copied, photos):
        done = self.run(copied, photos, "--top", 3)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        facts, ask = page.about(copied), page.open_model(copied)
        expected = page.answers(page.files([str(photos)]), page.decode, ask, facts, page.teller(facts, 3))
        assert found == list(expected)
        assert [line["error"] for line in found] == [None, None, "not an image", None, None]
        assert (done.returncode, done.stderr) == (2, "predict.py: could not read 1 of the images; their lines say why\n")

    def test_reads_names_from_standard_input(self, copied, photos):
        done = self.run(copied, "-", input=f"{photos / 'a.png'}\n{photos / 'deep'}\n")
        assert [Path(json.loads(line)["image"]).name for line in done.stdout.splitlines()] == ["a.png", "d.webp", "c.png"]
        assert (done.returncode, done.stderr) == (0, "")

    def test_says_in_a_sentence_that_the_model_was_changed(self, copied, photos):
        (copied / "model.onnx").write_bytes(b"something else")
        done = self.run(copied, photos / "a.png")
        assert (done.returncode, done.stdout) == (2, "")
        (sentence,) = done.stderr.splitlines()
        assert sentence.startswith(f"predict.py: {copied / 'model.onnx'} was changed or cut short after its export")

    def test_answers_from_a_rejected_model_and_says_so(self, float32, copied, photos):
        replace(float32, folder=copied, status="rejected").save()
        done = self.run(copied, photos / "a.png")
        assert done.returncode == 0
        assert json.loads(done.stdout)["label"] in float32.classes
        assert done.stderr == "predict.py: this model was rejected when it was checked, and answers all the same\n"

    def test_says_where_the_runtime_chooses_its_threads(self, copied, photos):
        file = copied / "artifact.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"target": "executorch"}))
        done = self.run(copied, photos / "a.png", "--threads", 2)
        assert done.stderr.startswith("predict.py: the runtime of this model chooses its threads by itself")
        assert "chooses its threads" not in self.run(copied, photos / "a.png").stderr

    def test_refuses_numbers_out_of_range(self, copied, photos):
        done = self.run(copied, photos, "--top", 0)
        assert done.returncode == 2
        assert "--top and --batch must be 1 or above" in done.stderr

    @pytest.mark.slow
    def test_answers_in_a_new_environment(self, copied, photos, tmp_path):
        venv.create(tmp_path / "new", with_pip=True)
        python = tmp_path / "new" / "bin" / "python"
        names = ("numpy", "pillow", "onnxruntime")
        installed = subprocess.run(
            [python, "-m", "pip", "install", "-q", *names], capture_output=True, timeout=300, check=False
        )
        if installed.returncode:
            pytest.skip("packages cannot be installed here")
        done = subprocess.run(
            [python, copied / "predict.py", photos, "--top", "3"],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"]},
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert done.stdout == self.run(copied, photos, "--top", 3).stdout
