"""`eyas fit`, the main job: labelled images, a pile and a budget in; a checked model that fits out."""

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eyas.arch.budget import Budget
from eyas.arch.parse import like, parse
from eyas.data.batches import Part
from eyas.deploy.target import DEVICE_TARGETS
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.nn.inherit import inherit
from eyas.nn.weights import load_network
from eyas.recipe import SelfTraining, Splits, Training
from eyas.run import Done, Run, write_json
from eyas.studies.learning import LOG, MODEL, Lesson, Start, learn, start, supervised, test_of
from eyas.studies.noisy_student import Round, noisy_round
from eyas.studies.plan import plan
from eyas.studies.prepare import Data, cache_of, prepare
from eyas.studies.proof import Accuracy
from eyas.studies.report import write_report
from eyas.studies.ship import ship, shipped, sound
from eyas.studies.train import choose_start
from eyas.tasks.classify import Classify
from eyas.tasks.distill import Distill

# The face-attribute experiment of MobileNets (section 4.5) distils without further regularisation.
DISTILLATION = Training(epochs=6.0, label_smoothing=0.0, weight_decay=0.0, dropout=0.0, drop_path=0.0)


@dataclass(frozen=True)
class Fitted:
    """What `eyas fit` leaves.

    Attributes:
        run: its directory.
        verdict: in one sentence, whether the pile helped.
        test: accuracy of every model on the test split.
        artifact: the folder that ships.
        size: bytes of its model file.
        latency_ms: median of one image.
        report: the page.
    """

    run: Path
    verdict: str
    test: dict[str, Accuracy]
    artifact: Path
    size: int
    latency_ms: float
    report: Path


def fit(
    data: str | Path,
    out: str | Path,
    unlabeled: str | Path | None = None,
    budget: str | None = None,
    labels: int = 0,
    arch: str = "auto",
    weights: str = "auto",
    training: Training = Training(),
    self_training: SelfTraining = SelfTraining(),
    distillation: Training = DISTILLATION,
    splits: Splits = Splits(),
    threads: int = 1,
    seed: int = 0,
    cache_dir: str = "auto",
) -> Fitted:
    """Make the most accurate model that fits the budget, and prove it in one report.

    Args:
        data: labelled images: a folder of class folders, a CSV (path,label[,split,group]), or elpv or fashion-mnist.
        out: directory of the run; the same command goes on with it.
        unlabeled: a folder of images, or anything that data can be: labels there are not read.
        budget: what the model file must keep, for example "size<=2MB,latency<=10ms".
        labels: keep so many labels, outside the test split; the other images join the pile without theirs. 0 keeps all.
        arch: architecture of the teacher; auto takes what the weights are of, else the strongest with some installed.
        weights: what to begin with: auto (those of an installed package), none, a file, hf:OWNER/NAME or torchvision:NAME.
        training: how teacher, student and control are trained.
        self_training: what is taken from the pile.
        distillation: how the model that fits is taught by the best one.
        splits: shares held out where the data does not say.
        threads: processor threads that latency is measured with; 0 lets the runtime choose.
        seed: what all randomness follows from.
        cache_dir: where prepared images are kept between runs; auto is the user's cache folder, none keeps none.

    Raises:
        UserError: the input cannot be used, or nothing fits the budget.
        ContractError: the exported files do not keep what was promised; the report says why.
    """
    asked = {"study": "fit", **{name: value for name, value in locals().items() if name != "cache_dir"}}
    sound(threads)
    need("onnxruntime", "onnxscript", "altair", "vl_convert")
    limits = Budget.parse(budget) if budget else Budget()
    begin = choose_start(arch, weights, str(data))
    strong = begin.arch
    with Run.open(out) as run:
        pool = str(unlabeled) if unlabeled else None
        ready = prepare(run, str(data), pool, labels, splits, strong.resolution, seed, cache=cache_of(cache_dir))
        planned = run.stage(
            "plan",
            lambda folder: plan(folder, limits, strong, ready.classes, threads),
            budget=str(limits),
            teacher=str(strong),
            classes=ready.classes,
            threads=threads,
        ).result["chosen"]
        write_json(run.path / "recipe.json", asked | {"arch": str(strong)})  # what cannot be done is not the run's recipe
        teacher = run.stage(
            "teacher",
            lambda folder: supervised(folder, "teacher", begin, ready, training, seed),
            start=begin.facts,
            data=ready.digest,
            training=training,
            seed=seed,
        )
        round_1 = None
        if ready.pile is not None and len(ready.pile) and self_training.ratio:
            round_1 = noisy_round(run, "round-1", teacher, begin, ready, training, self_training, seed)
        best = best_of(teacher, round_1)
        small = like(parse(planned["arch"]), strong)
        fresh = begin if small == strong else start(small, "none" if weights == "none" else "auto")
        fitted = run.stage(
            "student",
            lambda folder: keep(folder, best) if small == strong else distil(folder, best, fresh, ready, distillation, seed),
            best=best.digest,
            start=fresh.facts,
            data=ready.digest,
            distillation=distillation,
            seed=seed,
        )
        made = ship(run, fitted, ready, limits, threads, list(DEVICE_TARGETS))
        models = {"teacher": teacher} | ({"control": round_1.control, "student": round_1.student} if round_1 else {})
        test = run.stage(
            "test",
            lambda _: test_of({name: done.folder for name, done in (models | {"fitted": fitted}).items()}, ready),
            data=ready.digest,
            fitted=fitted.digest,
            **{name: done.digest for name, done in models.items()},
        ).result
        told = verdict(ready, round_1, self_training)
        write_json(run.path / "result.json", {"verdict": told})
        report = write_report(run.path)
    target = shipped(made, planned["target"])
    file = made[target].result
    found = {name: Accuracy(**scored["accuracy"]) for name, scored in test.items()}
    found[target] = Accuracy(**file["test"]["accuracy"])
    return Fitted(Path(out), told, found, made[target].folder, file["bytes"], file["latency"]["median_ms"], report)


def need(*packages: str) -> None:
    """Refuse at the start what would fail at the end.

    Raises:
        UserError: a package of the extras is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UserError(f"eyas fit exports and reports, and needs {', '.join(missing)}: pip install 'eyas[export,report]'")


def best_of(teacher: Done, round_1: Round | None) -> Done:
    """The student where the pile is proven to have helped; else the better supervised model on the validation split."""
    if round_1 is None:
        return teacher
    if round_1.helped:
        return round_1.student
    return max(teacher, round_1.control, key=lambda done: done.result["validation"])


def keep(folder: Path, best: Done) -> dict[str, Any]:
    """The best model is small enough itself."""
    for name in (MODEL, LOG):
        shutil.copyfile(best.folder / name, folder / name)
    return best.result


def distil(folder: Path, best: Done, begin: Start, data: Data, training: Training, seed: int) -> dict[str, Any]:
    """Teach a small network to answer as the best one does, on labelled and unlabelled images alike."""
    teacher, _ = load_network(best.folder / MODEL)
    network, small = begin.network(data.classes, training, seed), begin.arch
    if (small.name, small.depth) == (teacher.arch.name, teacher.arch.depth) and small.width <= teacher.arch.width:
        inherit(network, teacher)
    labelled = data.examples("train")
    pile = data.unlabelled() if data.pile is not None and len(data.pile) else None
    images = len(labelled) + (len(pile) if pile else 0)
    # Labels are not looked at, so both kinds are drawn as they come: in proportion.
    share = min(training.batch, max(1, round(training.batch * len(labelled) / images)))
    sources = (Part(labelled, share),)
    if pile and share < training.batch:
        sources = (*sources, Part(pile, training.batch - share))
    task = Distill(Classify(data.classes), teacher.to(choose().name))
    lesson = Lesson("fitted student", task, sources, training.steps(images), training, seed)
    return learn(folder, network, lesson, data)


def verdict(data: Data, round_1: Round | None, choice: SelfTraining) -> str:
    """Whether the pile helped, in one sentence."""
    if data.pile is None:
        return "There was no pile to learn from; the model is the best that the labels alone give."
    if not len(data.pile):
        return "No image of the pile could be used; the model is the best that the labels alone give."
    if not choice.ratio:
        return "Nothing was learned from the pile until the last distillation, as asked (self_training.ratio 0)."
    if round_1 is None:
        return "Nothing in the pile was confident enough to learn from; the labels alone were used until the last distillation."
    return round_1.verdict["sentence"]
