"""`eyas audit`: the data check alone, as the first stage of `eyas fit` makes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyas.data.cache import clear_cache as clear
from eyas.data.labels import EXTRA, can_check
from eyas.errors import UserError
from eyas.recipe import Splits, Training
from eyas.run import Run, write_json
from eyas.studies.learning import Start
from eyas.studies.prepare import cache_of, choose_resolution, prepare
from eyas.studies.report import write_audit_report
from eyas.studies.suspects import check_all
from eyas.studies.train import choose_start


@dataclass(frozen=True)
class Audited:
    """What `eyas audit` found.

    Attributes:
        findings: counts and examples, as in `data/audit.json`; `None` where only the cache was cleared.
        quarantined: files that cannot be read, listed with their reasons in `data/quarantine.csv`.
        report: the page.
        freed: bytes of the cache that were given back.
        labels: what the check of the labels found, where one was asked for; the list is `label-issues/label-issues.csv`.
    """

    findings: dict[str, Any] | None
    quarantined: int
    report: Path | None
    freed: int | None
    labels: dict[str, Any] | None = None


def audit(
    data: str | Path | None = None,
    out: str | Path | None = None,
    unlabeled: str | Path | None = None,
    splits: Splits = Splits(),
    seed: int = 0,
    cache_dir: str = "auto",
    clear_cache: bool = False,
    folds: int = 0,
    arch: str = "auto",
    weights: str = "auto",
    training: Training = Training(),
) -> Audited:
    """Check a data set before anything is learned from it: what can be read, copies, leaks, balance, odd pictures.

    Nothing of the data is changed. What is decoded here is kept for eyas fit and eyas train.

    Args:
        data: labelled images, as for eyas fit.
        out: directory for data/audit.json, quarantine.csv, the splits, and report.html.
        unlabeled: images without labels; copies of what is held out are looked for among them.
        splits: shares held out where the data does not say.
        seed: what the splits are drawn by.
        cache_dir: where prepared images are kept between runs; auto is the user's cache folder, none keeps none.
        clear_cache: first remove what the cache keeps; DATA may be left out then.
        folds: check every label too, with so many models, each of which answers the part that it was not trained on.
        arch: what these models are, as for eyas train.
        weights: what they begin with, as for eyas train.
        training: how they are trained.

    Raises:
        UserError: the data cannot be used, or the cache cannot be cleared.
    """
    cache = cache_of(cache_dir)
    freed = clear(cache) if clear_cache and cache else None
    if data is None:
        if not clear_cache:
            raise UserError("DATA must be given, or --clear-cache; see eyas audit --help")
        return Audited(None, 0, None, freed)
    if out is None:
        raise UserError("--out must be given: the directory for what is found; see eyas audit --help")
    source, pile = str(data), str(unlabeled) if unlabeled else None
    begin = _models(folds, arch, weights, source) if folds else None
    resolution = begin.arch.resolution if begin else choose_resolution(source, accelerated=False)
    view = training.test_crop
    with Run.open(out) as run:
        ready = prepare(run, source, pile, 0, splits, resolution, seed, cache=cache, to_train=False, view=view)
        recipe: dict[str, Any] = {
            "study": "audit",
            "data": source,
            "unlabeled": pile,
            "labels": 0,
            "splits": splits,
            "seed": seed,
        }
        if begin:
            recipe |= {"folds": folds, "arch": str(begin.arch), "weights": weights, "training": training}
        write_json(run.path / "recipe.json", recipe)
        checked = check_all(run, begin, ready, training, splits, folds, seed).result if begin else None
        report = write_audit_report(run.path)
    found = ready.findings
    unreadable = found["unreadable"] + (found["pile"]["unreadable"] if found["pile"] else 0)
    return Audited(found, unreadable, report, freed, checked)


def _models(folds: int, arch: str, weights: str, data: str) -> Start:
    """What the models of the folds begin as.

    Raises:
        UserError: there cannot be so many folds, cleanlab is not installed, or the architecture or weights are not known.
    """
    if folds < 2:
        raise UserError(f"folds is {folds}; it must be 2 or above, or 0 to leave the labels unchecked")
    if not can_check():
        raise UserError(f"--folds needs cleanlab; {EXTRA}")
    return choose_start(arch, weights, data)
