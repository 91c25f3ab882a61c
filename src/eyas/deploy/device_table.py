"""From the times of probes to a latency table: what each layer takes within a network, and how surely."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from eyas.arch.latency import OWN, REACH, SPREAD, Measured, Step, Table, group_of, modelled, place_of, work_of
from eyas.deploy.kit import version
from eyas.deploy.probes import Probe, probes
from eyas.errors import UserError

NOISE = 0.08  # standard deviation of a timing's logarithm, after the reference has taken out the machine's swings
LOUD = 0.15  # error from which on a probe counts less in the linear fit
FOLDS = 5  # of the whole networks, each left out once for the table's own error
ROUNDS = 4  # of the linear fit

Models = dict[str, dict[str, float]]


def table(timings: dict[str, Any]) -> Table:
    """The table that the timings of a kit make (`time_models.py` writes them).

    Raises:
        UserError: they are of another kit than this version of Eyas writes, or not all is timed yet.
    """
    every = probes()
    if timings["kit"] != version(every):
        raise UserError("the timings are of a kit that another version of Eyas wrote; write it again with --kit")
    missing = [probe.name for probe in every if probe.name not in timings["models"]]
    if missing:
        raise UserError(f"{len(missing)} of {len(every)} models are not timed yet; give the same command on the device again")
    took = {probe.name: timings["models"][probe.name]["ratio"] * timings["reference_ms"] for probe in every}
    fold = {probe.name: index % FOLDS for index, probe in enumerate(probe for probe in every if probe.resolution)}
    errors: list[float] = []
    for out in range(FOLDS):
        run_ms, models, measured = fit([probe for probe in every if fold.get(probe.name) != out], took)
        left = _table(timings, len(every), 0.0, run_ms, models, measured)
        errors += [abs(_sum(left, probe) / took[probe.name] - 1) for probe in every if fold.get(probe.name) == out]
    return _table(timings, len(every), float(np.median(errors)), *fit(every, took))


def fit(every: list[Probe], took: Mapping[str, float]) -> tuple[float, Models, tuple[Measured, ...]]:
    """Milliseconds of a run, the linear models, and the measured steps, from what each probe took in milliseconds."""
    times = np.array([took[probe.name] for probe in every])
    run_ms, models = _linear(every, times)
    return run_ms, models, _corrected(every, times, run_ms, models)


def _table(timings: dict[str, Any], count: int, error: float, run_ms: float, models: Models, of: tuple[Measured, ...]) -> Table:
    facts = {name: timings[name] for name in ("device", "runtime", "target", "threads", "date")}
    return Table(**facts, probes=count, error=error, run_ms=run_ms, models=models, measured=of)


def _sum(made: Table, probe: Probe) -> float:
    return made.run_ms + sum(made.step(step) for step in probe.steps)


def _linear(every: list[Probe], times: Float[np.ndarray, "p"]) -> tuple[float, Models]:
    """What a run takes, and what each unit of work takes in each group: no coefficient below 0, relative errors least."""
    units: dict[tuple[str, str], int] = {}
    work = np.zeros((len(every), 200))
    for row, probe in zip(work, every, strict=True):
        row[0] = 1.0
        for step in probe.steps:
            for what, amount in work_of(step).items():
                row[units.setdefault((group_of(step), what), len(units) + 1)] += amount
    work = work[:, : len(units) + 1]
    sure = np.ones(len(every))
    for _ in range(ROUNDS):  # probes that were disturbed should not bend the rest (Huber's weights)
        found = _not_negative(work * (sure / times)[:, None], sure)
        sure = np.sqrt(np.minimum(1.0, LOUD / np.maximum(np.abs(work @ found / times - 1), 1e-9)))
    models: Models = {}
    for (group, what), index in units.items():
        models.setdefault(group, {})[what] = float(found[index])
    return float(found[0]), models


def _not_negative(work: Float[np.ndarray, "p u"], wanted: Float[np.ndarray, "p"]) -> Float[np.ndarray, "u"]:
    """Least squares with no unknown below 0 (Lawson and Hanson 1974, chapter 23, on the normal equations)."""
    size = np.maximum(np.sqrt((work**2).sum(0)), 1e-12)
    squares, products = (work / size).T @ (work / size), (work / size).T @ wanted
    found, free = np.zeros(len(size)), np.zeros(len(size), bool)
    for _ in range(3 * len(size)):
        slope = np.where(free, 0.0, products - squares @ found)
        if slope.max() < 1e-9:
            break
        free[slope.argmax()] = True
        while (trial := _solved(squares, products, free))[free].min() <= 0:
            low = free & (trial <= 0)
            found += (found[low] / (found[low] - trial[low])).min() * (trial - found)
            free &= found > 1e-12
            if not free.any():
                break
        found = np.maximum(trial, 0.0)
    return found / size


def _solved(squares: Float[np.ndarray, "u u"], products: Float[np.ndarray, "u"], free: Bool[np.ndarray, "u"]) -> np.ndarray:
    """The unknowns that are free; the others are 0."""
    solved = np.zeros(len(products))
    solved[free] = np.linalg.lstsq(squares[np.ix_(free, free)], products[free])[0]
    return solved


def _corrected(every: list[Probe], times: Float[np.ndarray, "p"], run_ms: float, models: Models) -> tuple[Measured, ...]:
    """The Gaussian process over the logarithms of corrections, given only sums over the steps of each probe.

    A probe's time is a sum of exponentials of the unknowns; it is made linear around the last estimate, a few times.
    """
    places: dict[Step, int] = {}
    for probe in every:
        for step in probe.steps:
            places.setdefault(step, len(places))
    counts = np.zeros((len(every), len(places)))
    for row, probe in zip(counts, every, strict=True):
        for step in probe.steps:
            row[places[step]] += 1
    alone = np.array([modelled(models, step) for step in places])
    covariances = _covariances(list(places))
    wanted = np.log(np.maximum(times - run_ms, times / 5))
    logs, pulls = np.zeros(len(places)), np.zeros(len(places))
    for _ in range(3):
        shares = counts * (alone * np.exp(logs))
        sums = shares.sum(1)
        shares /= sums[:, None]
        between = NOISE**2 * np.eye(len(every))
        for of, covariance in covariances:
            between += shares[:, of] @ covariance @ shares[:, of].T
        pulls = shares.T @ np.linalg.solve(between, wanted - np.log(sums) + shares @ logs)
        for of, covariance in covariances:
            logs[of] = covariance @ pulls[of]
    spent = alone * np.exp(logs)
    return tuple(Measured(step, float(spent[index]), float(pulls[index])) for step, index in places.items())


def _covariances(steps: list[Step]) -> list[tuple[Int[np.ndarray, "g"], Float[np.ndarray, "g g"]]]:
    """Of the corrections' logarithms, for each group: its steps, and the matrix. Groups know nothing of each other."""
    groups: dict[str, list[int]] = {}
    for index, step in enumerate(steps):
        groups.setdefault(group_of(step), []).append(index)
    found = []
    for of in groups.values():
        place = np.array([place_of(steps[index]) for index in of])
        squares = (place**2).sum(1)
        apart = squares[:, None] + squares - 2 * place @ place.T
        near = (1 - OWN) * np.exp(-apart / (2 * REACH**2))
        found.append((np.array(of), SPREAD**2 * (near + OWN * np.eye(len(of)))))
    return found
