"""`eyas fit`, the main job: labelled images, a pile and a budget in; a checked model that fits out."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from eyas.arch.budget import Budget
from eyas.arch.cost import cost
from eyas.arch.parse import like, parse
from eyas.data.readers import read_classes
from eyas.deploy.ladder import share
from eyas.errors import UserError
from eyas.recipe import SelfTraining, Splits, Training
from eyas.run import Done, Run, write_json
from eyas.studies.answering import test_of
from eyas.studies.batch_size import settled
from eyas.studies.fixmatch import fixmatch
from eyas.studies.learning import start
from eyas.studies.noisy_student import Course, School, planned, self_train
from eyas.studies.plan_explore import check_count
from eyas.studies.plan_stage import plan_student
from eyas.studies.prepare import Data, cache_of, prepare
from eyas.studies.proof import Accuracy
from eyas.studies.report import write_report
from eyas.studies.seeds import over_seeds, test_over_seeds
from eyas.studies.ship import MAX_DROP, defaults, ship, shipped, sound, timed
from eyas.studies.small import fitted_student
from eyas.studies.suspects import check_held_out
from eyas.studies.train import choose_start
from eyas.team import current

Method = Literal["noisy-student", "fixmatch", "both"]

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
    max_drop: str = MAX_DROP,
    explore: int = 0,
    seed: int = 0,
    seeds: int = 1,
    method: Method = "noisy-student",
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
        max_drop: accuracy on the validation images that an int8 file may lose, in points.
        explore: train so many candidates briefly before one is chosen, drop the worse half, and again; 0: none.
        seed: what all randomness follows from.
        seeds: teacher and rounds are repeated with so many seeds from that one on, and the pile is judged by all of them.
        method: how the pile is learned from: by noisy-student, by fixmatch, or by both, compared.
        cache_dir: where prepared images are kept between runs; auto is the user's cache folder, none keeps none.

    Raises:
        UserError: the input cannot be used, is for another task (attributes, boxes), or nothing fits the budget.
        ContractError: the exported files do not keep what was promised; the report says why.
    """
    asked = {"study": "fit", **{name: value for name, value in locals().items() if name != "cache_dir"}}
    sound(threads)
    share(max_drop)
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be 1 or above")
    check_count(explore)
    distillation = seen_alike(distillation, training)
    need("onnxruntime", "onnxscript", "altair", "vl_convert")
    limits = Budget.parse(budget) if budget else Budget()
    begin = choose_start(arch, weights, str(data))
    strong = begin.arch
    rounds = planned(self_training, begin, weights)
    side = max(each.arch.resolution for each in (begin, *(student for _, student in rounds)))
    with Run.open(out) as run:
        pool = str(unlabeled) if unlabeled else None
        cache, view = cache_of(cache_dir), training.test_crop
        ready = prepare(run, str(data), pool, labels, splits, side, seed, cache=cache, view=view, reader=read_classes)
        chosen = plan_student(run, begin, ready, limits, threads, explore, training, weights, seed)["chosen"]
        write_json(run.path / "recipe.json", asked | {"arch": str(strong)})  # what cannot be done is not the run's recipe
        largest = max((begin, *(student for _, student in rounds)), key=lambda each: cost(each.arch).madds)
        training = settled(run, "batch", largest, ready, training, max((each.ratio for each, _ in rounds), default=0))
        distillation = settled(run, "batch-student", begin, ready, distillation)
        school = School(run, "", begin, rounds, ready, training, self_training, seed)
        others = [replace(school, prefix=f"seeds/{seed + n}/", seed=seed + n) for n in range(1, seeds)]
        courses = [taught(each, method) for each in (school, *others)]
        course = over_seeds(run, courses, ready)
        best = best_of(course)
        small = like(parse(chosen["arch"]), strong)
        fresh = begin if small == strong else start(small, "none" if weights == "none" else "auto")
        fitted = fitted_student(run, best, fresh, ready, distillation, seed)
        made = ship(run, fitted, ready, limits, threads, defaults(chosen["target"]), max_drop)
        models = course.networks | {"fitted": fitted}
        test = run.joint_stage(
            "test",
            lambda _: test_of({name: done.folder for name, done in models.items()}, ready),
            data=ready.digest,
            **{name: done.digest for name, done in models.items()},
        ).result
        check_held_out(run, course.teacher, ready)  # last, so that nothing is chosen by what it says of the test split
        if others:
            test_over_seeds(run, courses, ready)
        told = verdict(ready, course, self_training)
        write_json(run.path / "result.json", {"verdict": told})
        timing = timed(run, made, threads, limits)
        report = current().agree(lambda: write_report(run.path))
        target = shipped(made, chosen["target"], timing)
        write_json(run.path / "result.json", {"verdict": told, "ships": target})
    file = made[target].result
    found = {name: Accuracy(**scored["accuracy"]) for name, scored in test.items()}
    found[target] = Accuracy(**file["test"]["accuracy"])
    return Fitted(Path(out), told, found, made[target].folder, file["bytes"], file["latency"]["median_ms"], report)


def seen_alike(distillation: Training, training: Training) -> Training:
    """The distillation with the test crop of the training: every network of a run is shown the same of an image.

    Raises:
        UserError: another one is asked for.
    """
    if distillation.test_crop not in (1.0, training.test_crop):
        raise UserError(
            f"distillation.test_crop is {distillation.test_crop:g} and training.test_crop {training.test_crop:g}; "
            "give training.test_crop alone, it holds for every network of the run"
        )
    return replace(distillation, test_crop=training.test_crop)


def need(*packages: str) -> None:
    """Refuse at the start what would fail at the end.

    Raises:
        UserError: a package of the extras is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UserError(f"eyas fit exports and reports, and needs {', '.join(missing)}: pip install 'eyas[export,report]'")


def taught(school: School, method: Method) -> Course:
    """A teacher, and what the pile made of it by the method that is asked for."""
    course = self_train(school if method != "fixmatch" else replace(school, plan=()))
    return course if method == "noisy-student" else fixmatch(school, course)


def best_of(course: Course) -> Done:
    """The last network of which it is proven that the pile helped; else the best supervised one on the validation split."""
    if course.proven and (best := course.proven[-1].student):
        return best
    supervised = [done for name, done in course.networks.items() if name == "teacher" or "control" in name]
    return max(supervised, key=lambda done: done.result["validation"])


def verdict(data: Data, course: Course, choice: SelfTraining) -> str:
    """Whether the pile helped, in one sentence."""
    if data.pile is None:
        return "There was no pile to learn from; the model is the best that the labels alone give."
    if not len(data.pile):
        return "No image of the pile could be used; the model is the best that the labels alone give."
    if not choice.plan() and not course.second:
        return "Nothing was learned from the pile until the last distillation, as asked (self_training.ratio or rounds 0)."
    return course.decisive.verdict["sentence"]
