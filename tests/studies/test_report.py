"""What the readers of a report see, for runs that went well, went badly, or are not finished."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyas.data.manifest import Manifest
from eyas.deploy import predict
from eyas.errors import UserError
from eyas.recipe import SelfTraining, Splits, Training
from eyas.run import Run, digest, read_json, write_json
from eyas.studies.evidence import gather
from eyas.studies.fit import DISTILLATION
from eyas.studies.prepare import prepare
from eyas.studies.proof import Comparison, accuracy, judged
from eyas.studies.report import write_report
from eyas.studies.select import CHOSEN, Limits, scores, select, write_chosen
from eyas.studies.ship import TIMING
from eyas.studies.soft_labels import FACTS, Form, open_labels, write_shard
from tests.images import encoded, put
from tests.scenes import write_scenes

STRONG, SMALL = "mobilenet_v1x0.35@32/8", "mobilenet_v1x0.25@32/8"
CLASSES = ("bar", "dot")
BROKEN = "broken photo.png"


@dataclass(frozen=True)
class Story:
    """How a run went: what the fake run directory is to hold."""

    pile: bool = True
    confident: bool = True
    share_better: float = 0.99
    validation: dict[str, float] = field(default_factory=lambda: {"teacher": 0.9, "control": 0.8})
    small: str = SMALL
    reasons: dict[str, list[str]] = field(default_factory=lambda: {"onnx": ["size 855.1KB is over 350KB"], "onnx-int8": []})
    budget: str | None = "size<=350KB"
    ratio: int = 1


def scored(right: int, arch: str) -> dict[str, Any]:
    """A model that is right on `right` of each class's 8 test images."""
    answers = np.arange(16) % 8 < right
    found = accuracy(answers)
    share = {"value": found.value, "low": found.low, "high": found.high, "images": 16}
    return {"arch": arch, "accuracy": share, "confusion": [[right, 8 - right], [8 - right, right]]}


def taught(folder: Path, arch: str, validation: float = 0.8, of: str = "labelled") -> dict[str, Any]:
    """A network's log and result; the report needs no weights."""
    lines = [{"step": step, "rate": 0.1, of: 1 / step} for step in range(1, 9)]
    lines[3]["validation"] = lines[7]["validation"] = {"accuracy": validation, "nll": 0.5}
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"arch": arch, "steps": 8, "best_step": 8, "validation": validation, "weights": None}


def candidate(arch: str, target: str, size: int, refusals: tuple[str, ...] = (), measured: bool = False) -> dict[str, Any]:
    cost = {"madds": 10_205_696, "params": 213_586, "latency": 0.2 if measured else None}
    shown = {"arch": arch, "target": target, "size": size, "family": True, "measured": measured}
    return shown | cost | {"refusals": list(refusals)}


def planned(story: Story) -> dict[str, Any]:
    chosen = candidate(story.small, "onnx-int8", 274_606, measured=True)
    refused = [
        candidate("mobilenet_v1@32/8", "onnx", 12_000_000, ("size 12MB is over 350KB",)),
        candidate(STRONG, "onnx-int8", 529_500, ("size 529.5KB is over 350KB",)),
    ]
    every = [*(refused if story.budget else []), chosen]
    return {"budget": story.budget or "", "threads": 1, "chosen": chosen, "candidates": every}


def file(folder: Path, target: str, arch: str, reasons: list[str]) -> dict[str, Any]:
    """The result of an exported file."""
    timed = {"repeats": 50, "threads": 1, "batch": 1, "runtime": "onnxruntime 1.31.1", "processor": "Test CPU", "cores": 2}
    latency = {"median_ms": 0.282, "p90_ms": 0.322, **timed}
    write_json(folder / "latency.json", latency | {"machine": {"processor": "Test CPU", "memory_gb": 8.0, "onnx": None}})
    parity = {"images": 16, "agreement": 0.9375, "largest_gap": 0.08, "mean_gap": 0.02, "lost": 1, "won": 0}
    test = scored(6, arch)
    return {
        "arch": arch,
        "target": target,
        "precision": "int8" if target == "onnx-int8" else "float32",
        "bytes": 274_604 if target == "onnx-int8" else 855_100,
        "reasons": reasons,
        "parity": parity | {"reference": 0.8, "artifact": 0.75},
        "latency": latency,
        "madds": 10_205_696,
        "params": 213_586,
        "test": {"accuracy": test["accuracy"], "confusion": test["confusion"]},
    }


def answers(ids: list[str], confident: bool) -> np.ndarray:
    """What the teacher says of the pile: from unsure to sure, `bar` four times of five."""
    top = np.linspace(0.52, 0.99 if confident else 0.55, len(ids))
    bar = np.arange(len(ids)) % 5 > 0
    return np.stack([np.where(bar, top, 1 - top), np.where(bar, 1 - top, top)], 1).astype(np.float32)


def labelled(folder: Path, ids: list[str], given: np.ndarray) -> dict[str, Any]:
    write_json(folder / FACTS, {"teacher": "f" * 32, "arch": STRONG, "classes": CLASSES, "top": 0})
    columns = {"id": ids, **Form(2).columns(given), "energy": np.zeros(len(ids), np.float32)}
    write_shard(folder / "00000.parquet", columns, {"refused": []})
    return {"images": len(ids)}


def selected(folder: Path, labels: Path) -> dict[str, Any]:
    given, choice = open_labels(labels), SelfTraining()
    chosen = select(scores(given, 1.3), CLASSES, choice, Limits(0.6))
    write_chosen(folder / CHOSEN, given, chosen, choice, 1.3)
    return {"temperature": 1.3, "threshold": 0.6, **chosen.findings}


def told(run: Run, story: Story, ids: list[str]) -> dict[str, Any]:
    """The round: what became of the pile. The stages of its networks, none where nothing was confident."""
    given = answers(ids, story.confident)
    labels = run.stage("round-1/labels", lambda folder: labelled(folder, ids, given))
    findings = run.stage("round-1/selection", lambda folder: selected(folder, labels.folder)).result
    if not findings["rows"]:
        return {}
    made = {
        name: run.stage(f"round-1/{name}", lambda folder, name=name: taught(folder, STRONG, story.validation.get(name, 0.85)))
        for name in ("control", "student")
    }
    control, teacher = Comparison(2.5, -1.0, 6.0, story.share_better, 16), Comparison(1.25, -2.0, 4.0, 0.8, 16)
    run.stage("round-1/verdict", lambda _: judged(control, teacher))
    return made


def fitted_run(root: Path, story: Story) -> Path:
    """A finished run of eyas fit, with real data and made-up networks."""
    write_scenes(root / "photos", 40)
    put(root / "photos" / "bar" / BROKEN, b"not a picture")
    pile = str(write_scenes(root / "pile", 20, seed=1, labelled=False)) if story.pile else None
    asked = {"study": "fit", "data": str(root / "photos"), "out": str(root / "run"), "unlabeled": pile, "labels": 0, "seed": 0}
    choices = {
        "training": Training(min_steps=8),
        "self_training": SelfTraining(ratio=story.ratio),
        "distillation": DISTILLATION,
        "splits": Splits(),
    }
    with Run.open(root / "run") as run:
        write_json(run.path / "recipe.json", asked | choices | {"budget": story.budget, "arch": STRONG, "threads": 1})
        ready = prepare(run, asked["data"], pile, 0, Splits(), 32, 0)
        run.stage("plan", lambda _: planned(story))
        teacher = run.stage("teacher", lambda folder: taught(folder, STRONG, story.validation["teacher"]))
        made = told(run, story, ready.pile.column("id")) if ready.pile is not None and story.ratio else {}
        networks = {"teacher": teacher} | made
        best = "student" if made and story.share_better >= 0.95 else max(story.validation, key=story.validation.__getitem__)
        chosen = networks.get(best, teacher)
        fitted = run.stage("student", lambda folder: taught(folder, story.small, of="distilled"), best=chosen.digest)
        for target, reasons in story.reasons.items():
            run.stage(
                f"artifacts/{target}",
                lambda folder, target=target, reasons=reasons: file(folder, target, story.small, reasons),
                student=fitted.digest,
                budget=story.budget or "",
            )
        tested = {name: scored(7, STRONG) for name in networks} | {"fitted": scored(6, story.small)}
        digests = {name: done.digest for name, done in (networks | {"fitted": fitted}).items()}
        run.stage("test", lambda _: tested, **digests)
        verdict = read_json(run.path / "round-1/verdict/stage.json")["result"]["sentence"] if made else "The labels alone."
        write_json(run.path / "result.json", {"verdict": verdict, "models": {}})
    return root / "run"


def trained_run(root: Path, labels: int = 0) -> Path:
    """A finished run of eyas train."""
    data = str(write_scenes(root / "photos", 40))
    with Run.open(root / "run") as run:
        prepare(run, data, None, labels, Splits(), 32, 0)
        asked = {"study": "train", "data": data, "arch": SMALL, "labels": labels, "seed": 3}
        write_json(run.path / "recipe.json", asked | {"training": Training(), "splits": Splits()})
        done = run.stage("model", lambda folder: taught(folder, SMALL))
        run.stage("test", lambda _: {"model": scored(7, SMALL)}, model=done.digest)
    return root / "run"


def brightness_model() -> bytes:
    """A model file that takes pixels as real ones do, and answers with the mean of red against the mean of blue."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "red_and_blue"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants = {"sides": np.array([1, 2]), "red_and_blue": np.array([[1, 0], [0, 0], [0, 1]], np.float32)}
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 32, 32, 3])
    given = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "brightness", [images], [given], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def words(page: Path) -> str:
    """What a reader of the page sees, without the charts and the tags."""
    text = re.sub(r"<svg.*?</svg>|<style.*?</style>", " ", page.read_text(), flags=re.DOTALL)
    shown = re.sub(r"<[^>]+>", " ", text).replace("&lt;", "<").replace("&gt;", ">").replace("&#x27;", "'").replace("&amp;", "&")
    return " ".join(shown.split())


def galleries(page: Path) -> dict[str, str]:
    """What is in each grid of pictures, by its title."""
    return dict(
        re.findall(r'<figure class="gallery"><figcaption>(.*?)</figcaption>(.*?)</figure>', page.read_text(), re.DOTALL)
    )


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose pile helped."""
    return write_report(fitted_run(tmp_path_factory.mktemp("helped"), Story()))


class TestTheReportOfARun:
    def test_says_the_verdict_first(self, helped):
        verdict = "The pile helped; student less equal-compute control: +2.5 points (95 % interval -1.0 to +6.0) on 16"
        assert words(helped).index(verdict) < words(helped).index("Contents")
        assert 'class="verdict good"' in helped.read_text()

    def test_shows_what_ships_with_its_interval_size_and_latency(self, helped):
        lead = words(helped).partition("Contents")[0]
        assert "Test accuracy of onnx-int8 75.0 %" in lead
        assert "95 % interval 50.5 to 89.8 %, 16 images" in lead
        assert "274.6 KB ✓ limit 350 KB" in lead
        assert "282 µs median, 1 thread, Test CPU" in lead
        assert "Labels used 64" in lead
        assert re.search(r"Pile 40 unlabelled images; \d+ were taken", lead)

    def test_has_a_section_for_everything(self, helped):
        titles = re.findall(r'<li><a href="#section-\d+">(.*?)</a>', helped.read_text())
        assert titles == [
            "Accuracy",
            "What ships",
            "What the pile gave",
            "What was kept from the pile",
            "The data",
            "Labels that look wrong",
            "The plan",
            "How the networks learnt",
            "What was asked",
            "Machine and versions",
        ]

    def test_names_every_model_with_its_accuracy(self, helped):
        for name in ("teacher", "supervised control", "noised student"):
            assert f"{name} {STRONG} 87.5 % (64.0 to 96.5)" in words(helped)
        for name in ("fitted student", "onnx (rejected)", "onnx-int8 (ships)"):
            assert f"{name} {SMALL} 75.0 % (50.5 to 89.8)" in words(helped)

    def test_says_which_model_was_taken_and_that_the_test_was_used_once(self, helped):
        assert "noised student was taken as the best network: it is ahead of the control in 99.0 %" in words(helped)
        assert "The test split was used once" in words(helped)
        assert "Always answering bar, the most frequent class, would be right on 50.0 %" in words(helped)

    def test_lists_what_cannot_be_read_and_why(self, helped):
        assert "Files that cannot be read: 1, listed below." in words(helped)
        assert f"bar/{BROKEN} not an image" in words(helped)

    def test_says_why_a_file_was_rejected(self, helped):
        assert "onnx: size 855.1KB is over 350KB" in words(helped)

    def test_lists_the_nearest_that_the_budget_refused(self, helped):
        assert re.search(
            rf"{re.escape(STRONG)} onnx-int8 .* size 529.5KB is over 350KB {re.escape(SMALL)} .* chosen", words(helped)
        )

    def test_shows_pictures_of_kept_and_dropped_images_with_class_and_confidence(self, helped):
        galleries = re.findall(
            r'<figure class="gallery"><figcaption>(.*?)</figcaption>(.*?)</figure>', helped.read_text(), re.DOTALL
        )
        shown = {title: re.findall(r"<span>(bar|dot), ([\d.]+) %</span>", body) for title, body in galleries}
        kept, dropped = shown["Kept: the last to be accepted"], shown["Dropped: the nearest to acceptance"]
        assert {name for name, _ in kept} == {name for name, _ in dropped} == set(CLASSES)
        least = {name: min(float(share) for each, share in kept if each == name) for name in CLASSES}
        most = {name: max(float(share) for each, share in dropped if each == name) for name in CLASSES}
        assert most["dot"] < 60 <= least["dot"]  # the scarce class is cut at the threshold
        assert 60 < most["bar"] <= least["bar"]  # and the other above it, so that both give as many
        first, last = (
            float(share) for _, share in (shown["Kept: the surest"][0], shown["Dropped: the farthest from acceptance"][0])
        )
        assert first > max(least.values())
        assert last < min(most.values())

    def test_the_command_is_the_one_that_was_given(self, helped):
        command = re.search(r"<code>(eyas fit .*?)</code>", helped.read_text()).group(1)
        assert "--training.min_steps 8" in command
        assert "size&lt;=350KB" in command
        assert "epochs" not in command
        assert "--seed" not in command

    def test_loads_nothing(self, helped):
        for address in re.findall(r'(?:src|href|xlink:href)="([^"]*)"', helped.read_text()):
            assert address.startswith(("data:", "#"))
        assert "<script" not in helped.read_text()

    def test_gives_programs_the_numbers(self, helped):
        facts = json.loads(helped.with_suffix(".json").read_text())["facts"]
        assert (facts["ships"], facts["best"], facts["labels"], facts["pile"]) == ("onnx-int8", "student", 64, 40)
        assert facts["test"]["fitted"]["accuracy"]["value"] == 0.75

    def test_is_the_same_when_it_is_written_again(self, helped):
        before = helped.read_bytes()
        assert write_report(helped.parent).read_bytes() == before


class TestTheModelCard:
    def test_has_the_usual_headings_and_the_facts(self, helped):
        card = (helped.parent / "MODEL_CARD.md").read_text()
        headings = re.findall(r"^## (.*)$", card, re.MULTILINE)
        assert headings == ["Model details", "Intended use", "Training data", "Evaluation", "Limits", "How to use it"]
        assert "| file onnx-int8 | 75.0 % (50.5 to 89.8) |" in card
        assert "file onnx |" not in card
        assert "40 images without labels" in card

    def test_its_code_answers_for_a_photo(self, helped, tmp_path):
        folder, model = tmp_path / "artifacts" / "onnx-int8", brightness_model()
        facts = {"target": "onnx-int8", "precision": "int8", "arch": "brightness", "classes": CLASSES, "resolution": 32}
        facts |= {
            "task": "classify",
            "boxes": None,
            "crop": 1.0,
            "frame": None,
            "threshold": None,
            "status": "accepted",
            "bytes": len(model),
        }
        facts |= {"file": "model.onnx", "files": {"model.onnx": sha256(model).hexdigest()}}
        put(folder / "model.onnx", model)
        put(folder / "artifact.json", json.dumps(facts).encode())
        put(folder / "predict.py", Path(predict.__file__).read_bytes())
        photo = next((helped.parents[1] / "photos" / "dot").glob("*.png"))
        put(tmp_path / "photo.jpg", photo.read_bytes())
        python, *words = re.search(r"```\n(.*?)\n```", (helped.parent / "MODEL_CARD.md").read_text()).group(1).split()
        assert python == "python"
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        pixels = np.asarray(Image.open(photo).convert("RGB"), dtype=float)
        bar = 1 / (1 + np.exp(pixels[..., 2].mean() - pixels[..., 0].mean()))
        assert answer["label"] == CLASSES[int(bar < 0.5)]
        assert answer["confidence"] == pytest.approx(max(bar, 1 - bar), abs=1e-4)


class TestHowARunWent:
    @pytest.mark.parametrize(
        ("share", "tone", "begins"), [(0.8, "neutral", "It is not proven"), (0.02, "bad", "The pile did harm")]
    )
    def test_a_pile_that_did_not_help(self, tmp_path, share, tone, begins):
        page = write_report(fitted_run(tmp_path, Story(share_better=share)))
        assert f'class="verdict {tone}"' in page.read_text()
        assert words(page).index(begins) < words(page).index("Contents")
        assert f"The teacher was taken as the best network. The noised student is ahead of the control in {share:.1%}".replace(
            "%", " %"
        ) in words(page)
        assert "The verdict then dropped the student" in words(page)

    def test_nothing_in_the_pile_was_confident(self, tmp_path):
        page = write_report(fitted_run(tmp_path, Story(confident=False)))
        assert "None was confident enough, so no student was trained" in words(page)
        assert "Dropped: the farthest from acceptance" in words(page)
        assert "Kept:" not in words(page)
        assert "supervised control" not in words(page)

    def test_without_a_pile(self, tmp_path):
        page = write_report(fitted_run(tmp_path, Story(pile=False)))
        assert "pile" not in words(page).partition("Contents")[0]
        assert "What was kept from the pile" not in words(page)
        assert "there was no other" in words(page)

    def test_pseudo_labels_were_not_asked_for(self, tmp_path):
        page = write_report(fitted_run(tmp_path, Story(ratio=0)))
        assert "No pseudo-labels were asked for" in words(page)

    def test_the_best_network_fits_as_it_is(self, tmp_path):
        page = write_report(fitted_run(tmp_path, Story(pile=False, small=STRONG, budget=None)))
        assert "It fits the budget as it is: the fitted student is that network, unchanged" in words(page)
        assert "learns from" in words(page)
        assert "answers of the teacher" not in words(page)
        assert "There was no budget" in words(page)

    def test_every_file_was_rejected(self, tmp_path):
        reasons = {"onnx": ["size 855.1KB is over 350KB"], "onnx-int8": ["it agrees on half of the images"]}
        page = write_report(fitted_run(tmp_path, Story(reasons=reasons)))
        first = words(page).partition("Contents")[0]
        assert first.index("Nothing ships") < first.index("The pile helped")
        assert "onnx-int8: it agrees on half of the images" in first
        assert 'class="verdict bad"' in page.read_text()
        assert "Test accuracy of the fitted student 75.0 %" in first
        card = (page.parent / "MODEL_CARD.md").read_text()
        assert "Every exported file was rejected" in card
        assert "```" not in card

    def test_what_the_run_says_ships_is_what_ships(self, tmp_path):
        run = fitted_run(tmp_path, Story(pile=False, reasons={"onnx": [], "onnx-int8": []}))
        assert gather(run).ships == "onnx-int8"  # as planned, while the run says nothing
        write_json(run / "result.json", read_json(run / "result.json") | {"ships": "onnx"})
        assert gather(run).ships == "onnx"
        assert "artifacts/onnx ships" in words(write_report(run))

    def test_a_file_over_the_budget_when_it_was_timed_again(self, tmp_path):
        run = fitted_run(tmp_path, Story(pile=False, reasons={"onnx": [], "onnx-int8": []}))
        late = {
            "ratio": {"median": 1.0},
            "differs": False,
            "reasons": ["timed again beside the other files, latency 6ms is over 5ms"],
        }
        made = Run(run).done("artifacts/onnx-int8")
        Run(run).stage(TIMING, lambda _: {"onnx-int8": late}, **{"onnx-int8": made.digest})
        shown = words(write_report(run))
        assert "artifacts/onnx ships" in shown
        assert "onnx-int8: timed again beside the other files, latency 6ms is over 5ms" in shown

    def test_a_file_that_takes_frames_is_shown_beside_the_one_that_ships(self, tmp_path):
        run = fitted_run(tmp_path, Story(pile=False, reasons={"onnx-int8": []}))
        Run(run).stage(
            "artifacts/onnx-int8-480x640",
            lambda folder: file(folder, "onnx-int8", SMALL, []),
            student=Run(run).done("student").digest,
            budget="",
        )
        shown = words(write_report(run))
        assert "artifacts/onnx-int8 ships" in shown
        assert "onnx-int8-480x640" in shown

    def test_the_test_split_was_seen_before(self, tmp_path):
        run = fitted_run(tmp_path, Story(pile=False))
        put(run / "superseded" / "1-test" / "stage.json", b"{}")
        assert "the test split has been seen 2 times" in words(write_report(run))

    def test_copies_and_contradictions_are_named(self, tmp_path):
        photos = tmp_path / "photos"
        same = write_scenes(tmp_path / "other", 2, seed=9)
        put(photos / "bar" / "copy-a.png", next((same / "bar").glob("*.png")).read_bytes())
        put(photos / "bar" / "copy-b.png", next((same / "bar").glob("*.png")).read_bytes())
        for name in CLASSES:
            put(photos / name / "unsure.png", next((same / "dot").glob("*.png")).read_bytes())
        page = words(write_report(fitted_run(tmp_path, Story(pile=False))))
        assert "equal: bar/copy-a.png , bar/copy-b.png" in page
        assert "bar/unsure.png is bar, dot/unsure.png is dot" in page

    def test_near_copies_are_shown_side_by_side(self, tmp_path):
        tested = Manifest.load(fitted_run(tmp_path / "before", Story()) / "data" / "manifest.parquet").where(split="test")
        id, source = next(row for row in zip(*map(tested.column, ("id", "source")), strict=True) if row[0].startswith("dot/"))
        with Image.open(source) as photo:
            turned, mirrored = (photo.transpose(how) for how in (Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT))
        put(tmp_path / "pile" / "leak.png", encoded(turned, "PNG"))
        put(tmp_path / "photos" / "bar" / "twin.png", encoded(mirrored, "PNG"))
        page = write_report(fitted_run(tmp_path, Story()))
        shown = galleries(page)
        leaks = shown["Dropped from the pile: near copies of held-out images (1)"]
        assert re.search(rf"leak\.png \| test: ({id}|bar/twin\.png)", leaks)
        assert leaks.count("<img") == 1  # both pictures in one
        doubts = shown["Near copies with different labels (1)"]
        assert "bar/twin.png (bar)" in doubts
        assert f"{id} (dot)" in doubts
        assert "near copy of a test image 1" in words(page)

    def test_odd_pictures_are_shown_with_what_makes_them_odd(self, tmp_path):
        put(tmp_path / "photos" / "bar" / "night.png", encoded(Image.new("RGB", (48, 48), (1, 1, 1)), "PNG"))
        page = write_report(fitted_run(tmp_path, Story(pile=False)))
        assert "bar/night.png: 1<" in galleries(page)["The darkest: mean grey level"]
        assert re.search(r"Images below [\d.]+: 1\. They were kept\.", words(page))

    def test_data_without_anything_odd_says_so(self, helped):
        assert "No two labelled images are near copies" in words(helped)


class TestTheReportOfASupervisedRun:
    def test_tells_the_accuracy_and_the_cost(self, tmp_path):
        page = write_report(trained_run(tmp_path))
        lead = words(page).partition("Contents")[0]
        assert f"{SMALL} answers 87.5 % of 16 test images rightly (95 % interval 64.0 to 96.5 %)" in lead
        assert "MAdds of one image 10.21 M" in lead
        assert "The plan" not in words(page)
        assert "`eyas export`" in (page.parent / "MODEL_CARD.md").read_text()

    def test_images_whose_labels_were_not_kept_are_no_pile(self, tmp_path):
        page = write_report(trained_run(tmp_path, labels=20))
        assert "Labels used 20" in words(page)
        assert "The pile holds" not in words(page)
        assert "images whose labels were not kept were left out" in words(page)

    def test_an_export_of_an_earlier_network_is_not_shown(self, tmp_path):
        run = trained_run(tmp_path)
        model = Run(run).done("model")
        old = {"student": digest("earlier"), "budget": ""}
        Run(run).stage("artifacts/onnx", lambda folder: file(folder, "onnx", SMALL, []), **old)
        assert "What ships" not in words(write_report(run))
        Run(run).stage("artifacts/onnx", lambda folder: file(folder, "onnx", SMALL, []), **old | {"student": model.digest})
        assert "artifacts/onnx ships" in words(write_report(run))

    def test_a_file_that_takes_frames_may_be_the_only_one(self, tmp_path):
        run = trained_run(tmp_path)
        asked = {"student": Run(run).done("model").digest, "budget": ""}
        Run(run).stage("artifacts/onnx-480x640", lambda folder: file(folder, "onnx", SMALL, []), **asked)
        page = write_report(run)
        assert "artifacts/onnx-480x640 ships" in words(page)
        assert "python artifacts/onnx-480x640/predict.py photo.jpg" in (page.parent / "MODEL_CARD.md").read_text()


class TestARunThatIsNotFinished:
    def test_no_run(self, tmp_path):
        with pytest.raises(UserError, match=r"is not a run of Eyas: it has no recipe\.json"):
            write_report(tmp_path)

    def test_another_study(self, tmp_path):
        write_json(tmp_path / "recipe.json", {"study": "robust"})
        with pytest.raises(UserError, match="of the study 'robust'"):
            write_report(tmp_path)

    @pytest.mark.parametrize("missing", ["result.json", "student/stage.json", "test/stage.json"])
    def test_a_stage_is_missing(self, tmp_path, missing):
        run = fitted_run(tmp_path, Story(pile=False))
        (run / missing).unlink()
        with pytest.raises(UserError, match=f"is not finished: {missing} is not there; give its eyas fit command again"):
            write_report(run)
        assert not (run / "report.html").exists()

    def test_a_network_is_newer_than_the_test(self, tmp_path):
        run = fitted_run(tmp_path, Story(pile=False))
        Run(run).stage("teacher", lambda folder: taught(folder, STRONG, 0.5), again=True)
        with pytest.raises(UserError, match="teacher is newer than its test"):
            write_report(run)
