"""`eyas reproduce`: what a paper found, held against your data, a cell of a table at a time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np

from eyas.data.manifest import Split
from eyas.errors import UserError
from eyas.learn.device import choose as choose_device
from eyas.progress import work
from eyas.recipe import SelfTraining, Splits, Training
from eyas.report.drawing import packages
from eyas.run import Done, Run, write_json
from eyas.studies.batch_size import settled
from eyas.studies.learning import Start
from eyas.studies.noisy_student import has_pile
from eyas.studies.prepare import Data, cache_of, prepare
from eyas.studies.proof import Accuracy, Answers, Comparison, accuracy, accuracy_seeds, compare, compare_seeds
from eyas.studies.report_reproduce import write_reproduction
from eyas.studies.reproduce_bench import Bench, bench_of, student_start
from eyas.studies.reproduce_cells import BASELINE, Cell, cells, picked
from eyas.studies.reproduce_paper import FIGURES, judged
from eyas.studies.reproduce_rows import Reproduced, Row
from eyas.studies.reproduce_train import SKIPPED, right, train_cell
from eyas.studies.train import choose_start
from eyas.studies.workers import computing, each
from eyas.team import current


@dataclass(frozen=True)
class Study:
    """A paper's studies as cells that do not depend on each other.

    Attributes:
        cells: all of them, for what is taken from the pile.
        train: trains one.
    """

    cells: Callable[[SelfTraining], tuple[Cell, ...]]
    train: Callable[[tuple[Bench, Cell]], None]


STUDIES = {"noisy-student": Study(cells, train_cell)}


def reproduce(
    study: str,
    data: str,
    out: str | Path,
    unlabeled: str | Path | None = None,
    labels: int = 0,
    arch: str = "auto",
    weights: str = "auto",
    training: Training = Training(),
    self_training: SelfTraining = SelfTraining(),
    splits: Splits = Splits(),
    seed: int = 0,
    seeds: int = 1,
    cells: list[str] | None = None,
    workers: int = 1,
    threads: int = 1,
    cache_dir: str = "auto",
) -> Reproduced:
    """Train a paper's ablations on your data, each a change of one thing, and say which of its findings hold there.

    Args:
        study: noisy-student.
        data: labelled images: a folder of class folders, a CSV (path,label[,split,group]), or elpv or fashion-mnist.
        out: directory of the run; the same command goes on with it, and with more seeds or cells trains those alone.
        unlabeled: a folder of images, or anything that data can be: labels there are not read.
        labels: keep so many labels, outside the test split; the other images join the pile without theirs. 0 keeps all.
        arch: architecture of teacher and students; auto takes what the weights are of, else one that suits the images.
        weights: what to begin with: auto (those of an installed package), none, a file, hf:OWNER/NAME or torchvision:NAME.
        training: how every network is trained.
        self_training: what the baseline student takes from the pile.
        splits: shares held out where the data does not say.
        seed: what all randomness follows from.
        seeds: everything is repeated with so many seeds from that one on.
        cells: names of cells or of whole studies, with spaces or commas between; all unless given.
        workers: cells that are trained at a time, each in a process of its own.
        threads: processor threads that a cell computes with; results depend on it in their last bits, on workers in none.
        cache_dir: where prepared images are kept between runs; auto is the user's cache folder, none keeps none.

    Raises:
        UserError: the study, a cell, the data or the directory cannot be used.
    """
    known = study_named(study)
    _check(self_training, seeds=seeds, workers=workers, threads=threads)
    there = known.cells(self_training)
    chosen = picked(there, [name for words in cells or () for name in words.split(",")])
    packages()  # what would fail at the end fails at the start
    begin, pool = choose_start(arch, weights, data), str(unlabeled) if unlabeled else None
    asked = {"study": "reproduce", "paper": study, "data": data, "unlabeled": pool, "labels": labels, "arch": str(begin.arch)}
    asked |= {"weights": weights, "seed": seed, "seeds": seeds}
    choices = {"self_training": self_training, "training": training, "splits": splits}
    with Run.open(out) as run, computing(threads):
        side, cache, view = begin.arch.resolution, cache_of(cache_dir), training.test_crop
        ready = prepare(run, data, pool, labels, splits, side, seed, cache=cache, view=view)
        if not has_pile(ready):
            raise UserError("there are no unlabelled images to learn from: give --unlabeled, or hide some labels with --labels")
        write_json(run.path / "recipe.json", asked | choices)
        training = alike(_batch(run, begin, ready, training, there))
        make = partial(bench_of, run, ready, begin, training, self_training, cells=chosen)
        benches = [make(seed=seed + number) for number in range(seeds)]
        _train([(bench, cell) for bench in benches for cell in chosen], known.train, workers, threads)
        found = Reproduced(run.path, study, tuple(_rows(chosen, benches)), run.path / "report.html")
        write_json(run.path / "reproduce.json", asked | choices | {"cells": [asdict(row) for row in found.rows]})
        write_reproduction(found, ready, seeds)
    return found


def study_named(name: str) -> Study:
    """The study.

    Raises:
        UserError: there is none of that name.
    """
    if name not in STUDIES:
        near = get_close_matches(name, STUDIES, n=3, cutoff=0.0)
        raise UserError(f"no study is named {name!r}; did you mean {' or '.join(near)}?")
    return STUDIES[name]


def alike(training: Training) -> Training:
    """The training with everything settled that would otherwise be measured anew in each: all cells compute in one way."""
    precision = "bfloat16" if choose_device().bfloat16 else "float32"
    return replace(
        training,
        precision=precision if training.precision == "auto" else training.precision,
        compile="off" if training.compile == "auto" else training.compile,
    )


def _check(choice: SelfTraining, **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"--{name} is {count}; it must be 1 or above")
    if choice.rounds != SelfTraining().rounds:
        raise UserError(
            "self_training.rounds is given, and eyas reproduce trains one round, as the paper's studies do; leave it out"
        )
    if not choice.ratio:
        raise UserError("self_training.ratio is 0, so that there is no student to ablate; give 1 or above")
    if current().size > 1:
        raise UserError("the cells do not depend on each other: start eyas reproduce without torchrun, and give it --workers")


def _batch(run: Run, begin: Start, data: Data, training: Training, there: Sequence[Cell]) -> Training:
    """The training with a batch that the largest of all cells has room for, chosen or not: one more must not change it."""
    widest = max((cell.change for cell in there), key=lambda change: change.width)
    return settled(run, "batch", student_start(begin, widest), data, training, max(cell.change.ratio for cell in there))


def _train(jobs: list[tuple[Bench, Cell]], train: Callable[[tuple[Bench, Cell]], None], workers: int, threads: int) -> None:
    """Train the cells that are not there."""
    todo = [(bench, cell) for bench, cell in jobs if bench.done(cell) is None]
    with work("cells", len(jobs)) as progress:
        done = len(jobs) - len(todo)
        progress.at(done, "done before")
        for bench, cell in each(todo, train, workers, threads):
            done += 1
            progress.at(done, bench.stage(cell))


def _rows(chosen: Sequence[Cell], benches: Sequence[Bench]) -> Iterable[Row]:
    """What was found of every cell."""
    trained = {(cell.name, bench.seed): _trained(bench, cell) for cell in chosen for bench in benches}
    for cell in chosen:
        yield _row(cell, trained, [bench.seed for bench in benches])


def _trained(bench: Bench, cell: Cell) -> Done:
    done = bench.done(cell)
    assert done is not None, f"{bench.stage(cell)} was not trained"
    return done


def _row(cell: Cell, trained: dict[tuple[str, int], Done], seeds: Sequence[int]) -> Row:
    whys = {seed: why for seed in seeds if (why := trained[cell.name, seed].result.get(SKIPPED))}
    used = [seed for seed in seeds if not {SKIPPED} & {*trained[cell.name, seed].result, *trained[cell.against, seed].result}]

    def answered(name: str, split: Split) -> Answers:
        return np.stack([right(trained[name, seed], split) for seed in used])

    plain = Row(cell.name, cell.study, cell.does, cell.against, cell.side, FIGURES.get(cell.name, ()), len(used))
    skipped = "; ".join(f"seed {seed}: {why}" if len(seeds) > 1 else why for seed, why in whys.items())
    if not used:
        return replace(plain, skipped=skipped)
    own = {split: answered(cell.name, split) for split in ("validation", "test")}
    plain = replace(plain, skipped=skipped, validation=scored(own["validation"]), test=scored(own["test"]))
    if cell.name == BASELINE:
        return plain
    gains = {split: compared(own[split], answered(cell.against, split)) for split in ("validation", "test")}
    held = judged(cell.side, gains["test"])
    return replace(plain, difference_validation=gains["validation"], difference=gains["test"], held=held)


def scored(rows: Answers) -> Accuracy:
    """The mean accuracy over seeds; of one seed the interval is over images alone."""
    return accuracy(rows[0]) if len(rows) == 1 else accuracy_seeds(rows)


def compared(first: Answers, second: Answers) -> Comparison:
    """The difference over seeds; of one seed the interval is over images alone."""
    return compare(first[0], second[0]) if len(first) == 1 else compare_seeds(first, second)
