"""Which candidate a budget admits: the preferred ones measured until one fits, and what its limits keep out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import combinations
from typing import Any

from eyas.arch.budget import Budget, show
from eyas.errors import UserError
from eyas.progress import work
from eyas.studies.plan_candidates import STEP, Candidate, better, gain, tier_of
from eyas.studies.plan_known import Known, Measure

TRIALS = 6  # candidates that are exported and measured until one must have been found
LEAST = {"size": "smallest", "madds": "cheapest", "params": "leanest", "latency": "fastest"}


@dataclass(frozen=True, slots=True)
class Bind:
    """What one limit keeps out while all others hold.

    Attributes:
        limit: its name.
        value: what it is.
        needed: the least at which something better fits; None where the limit keeps nothing better out.
        better: that candidate.
        ahead: points of published top-1 that it is ahead; None where they are not known.
        sure: whether what it needs was measured or follows from its value, and is no estimate.
    """

    limit: str
    value: float
    needed: float | None = None
    better: Candidate | None = None
    ahead: float | None = None
    sure: bool = False

    @property
    def sentence(self) -> str:
        """`size<=2MB binds: at 2.4MB efficientnet_lite0x0.75@128 as onnx-int8 fits (+1.1 points of top-1, estimated)`."""
        text = f"{self.limit}<={show(self.limit, self.value)}"
        if self.better is None or self.needed is None:
            return f"{text} does not bind: without it the same network is chosen"
        about = "" if self.sure else "about "
        what = f"at {about}{show(self.limit, self.needed)} {self.better.name} fits"
        return f"{text} binds: {what}{worth(self.better, self.ahead)}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, with all candidates as they are known in the end, and what the limits keep out."""

    chosen: Candidate
    known: Known
    candidates: tuple[Candidate, ...]
    binds: tuple[Bind, ...]
    together: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """The choice and what binds, as JSON."""
        binds = [asdict(bind) | {"sentence": bind.sentence} for bind in self.binds]
        return {"chosen": asdict(self.chosen), "binds": binds, "together": list(self.together)}


def worth(one: Candidate, ahead: float | None) -> str:
    """What it is ahead by, in brackets."""
    if ahead is None or ahead <= 0:  # it is preferred for another reason
        return ""
    return f" ({ahead:+.1f} points of top-1, {one.how})"


def choose(
    ranked: Sequence[Candidate], limits: Budget, measure: Measure, known: Known, trials: int = TRIALS, relax: int = 0
) -> Choice:
    """Measure the preferred candidates that may fit until one does, and no better one may.

    Args:
        ranked: the preferred first.
        limits: the budget.
        measure: gives bytes and milliseconds of a candidate.
        known: what is known before; what is measured is added.
        trials: candidates that are measured to find one that fits.
        relax: candidates that are measured beyond, to be sure of what a higher limit would buy.

    Raises:
        UserError: nothing fits; what comes nearest is named.
    """
    search = _Search(list(ranked), limits, measure, known)
    with work("planning", trials) as progress:
        while len(search.known.measured) < trials and (one := search.next(trials)) is not None:
            search.take(one)
            progress.at(len(search.known.measured), one.name)
        if search.chosen is None and (why := search.impossible()) and search.chosen is None:  # the least is measured for it
            raise UserError(why)
        before, binds = search.chosen, _binds(search, relax)
        if search.chosen is not before:  # what seemed to need a higher limit fits, now that it is measured
            binds = _binds(search, 0)
    assert search.chosen is not None
    found = tuple(search.known.judged(one, limits) for one in search.found)
    return Choice(search.chosen, search.known, found, binds, search.together(binds))


class _Search:
    """Candidates of which more and more are measured."""

    def __init__(self, found: list[Candidate], limits: Budget, measure: Measure, known: Known) -> None:
        self.found = found
        self.limits = limits
        self.measure = measure
        self.known = known
        self.chosen: Candidate | None = None

    def take(self, one: Candidate) -> Candidate:
        """Measure a candidate; it is chosen where it fits and is preferred to what was chosen before."""
        size, latency = self.measure(one)
        place = self.found.index(one)
        made = self.known.judged(replace(one, size=size, latency=latency, measured=True), self.limits)
        self.found[place] = made
        self.known = replace(self.known, measured=(*self.known.measured, made))
        if not made.refusals and (self.chosen is None or place < self.found.index(self.chosen)):
            self.chosen = made
        return made

    def next(self, trials: int) -> Candidate | None:
        """Which to measure: the preferred that may fit; for want of one, and at last, the fastest that may."""
        last = len(self.known.measured) == trials - 1 and self.chosen is None
        for one in () if last else self.found:
            if one is self.chosen:
                return None
            if not one.measured and self.known.hopeful(one, self.limits) and (not self.chosen or better(one, self.chosen)):
                return one
        return None if self.chosen else self._fastest()

    def _fastest(self) -> Candidate | None:
        """The fastest of the first tier in which one may fit, else of all, if it was not measured."""
        if self.known.elsewhere:
            return None
        rest, fastest = replace(self.limits, latency=None), dict[tuple[float, ...], Candidate]()
        for one in self.found:
            if not one.measured and self.known.hopeful(one, rest):
                quicker = fastest.setdefault(tier_of(one), one)
                fastest[tier_of(one)] = min(quicker, one, key=self.known.latency)
        may = [one for one in fastest.values() if self.known.hopeful(one, self.limits)]
        return next(iter(may), min(fastest.values(), key=self.known.latency, default=None))

    def together(self, binds: Sequence[Bind]) -> tuple[str, ...]:
        """The limits that keep something better out only together; none where one does so alone."""
        chosen = self.chosen
        if chosen is None or any(bind.better for bind in binds):
            return ()
        for count in range(2, len(binds) + 1):
            for names in combinations([bind.limit for bind in binds], count):
                rest = replace(self.limits, **dict.fromkeys(names))
                if any(self.known.hopeful(one, rest) and better(one, chosen) for one in self.found):
                    return names
        return ()

    def impossible(self) -> str:
        """What there is, in one sentence: the least of each limit that nothing keeps, else the limits that clash."""
        names = _given(self.limits)
        alone = [name for name in names if not self._any(Budget(**{name: getattr(self.limits, name)}))]
        for count in range(2, len(names) + 1) if not alone else ():
            for clash in combinations(names, count):
                if not self._any(_only(self.limits, clash)):
                    return f"nothing fits the budget {self.limits}: {self._clash(clash)}; raise one of them"
        of = f"of {len(self.found)} candidates"
        if alone:
            least = "; ".join(f"the {LEAST[name]} {of} is {self._numbers(self._least(name))}" for name in alone)
            return f"nothing fits the budget {self.limits}: {least}; raise the limit{'s' if len(alone) > 1 else ''}"
        tried = self.known.measured
        nearest = min(tried, key=lambda one: (len(one.refusals), self.known.latency(one)))
        told = f"none of the {len(tried)} that were measured, {of}, fits the budget {self.limits}"
        return f"{told}: the nearest is {self._numbers(nearest)}; raise the limit"

    def _any(self, limits: Budget) -> bool:
        return any(self.known.hopeful(one, limits) for one in self.found)

    def _least(self, name: str, within: Budget = Budget()) -> Candidate:
        """The least of a quantity among those within limits; measured where it can be."""
        fits = [one for one in self.found if self.known.hopeful(one, within)]
        least = min(fits, key=lambda one: (self.known.all(one)[name], self.known.latency(one)))
        return least if least.measured else self.take(least)

    def _clash(self, names: Sequence[str]) -> str:
        """Limits of which each can be kept, and not all together."""
        said = []
        for name in names:
            rest = [each for each in names if each != name]
            kept = " and ".join(f"{each}<={show(each, getattr(self.limits, each))}" for each in rest)
            said.append(f"within {kept} the {LEAST[name]} is {self._numbers(self._least(name, _only(self.limits, rest)))}")
        return f"{' and '.join(names)} cannot be kept together ({'; '.join(said)})"

    def _numbers(self, one: Candidate) -> str:
        timed = self.known.latency(one)
        numbers = f"{show('size', one.size)}, {show('madds', one.madds)} MAdds, {show('params', one.params)} parameters"
        why = f" ({'; '.join(one.refusals)})" if one.refusals else ""
        return f"{one.name} with {numbers}, {show('latency', timed)}{why}"


def _binds(search: _Search, relax: int) -> tuple[Bind, ...]:
    """What each limit alone keeps out; where that is not known without, at most `relax` of the answers are measured."""
    names = _given(search.limits)
    unsure = [name for name in names if name in ("size", "latency")][:relax]
    return tuple(_bind(search, name, measured=name in unsure) for name in names)


def _bind(search: _Search, name: str, measured: bool) -> Bind:
    """The candidate that the least relaxing of a limit lets in."""
    assert search.chosen is not None
    value, rest = getattr(search.limits, name), replace(search.limits, **{name: None})
    for attempt in range(2):  # one that is measured may turn out to break another limit
        chosen, known = search.chosen, search.known
        keeps = [one for one in search.found if _worthwhile(one, chosen) and known.hopeful(one, rest)]
        kept = [one for one in keeps if known.all(one)[name] > value]
        if not kept:
            return Bind(name, value)
        one = min(kept, key=lambda each: known.all(each)[name])
        if one.measured or not measured or attempt:
            break
        search.take(one)
    sure = one.measured or name in ("madds", "params")
    return Bind(name, value, search.known.all(one)[name], search.known.judged(one, search.limits), gain(one, chosen), sure)


def _worthwhile(one: Candidate, chosen: Candidate) -> bool:
    """Whether a limit may be relaxed for it: it is preferred, and where accuracy decides the figures themselves say so."""
    ahead = gain(one, chosen)
    return better(one, chosen) and (ahead is None or ahead >= STEP or tier_of(one) != tier_of(chosen))


def _given(limits: Budget) -> list[str]:
    return [field.name for field in fields(limits) if getattr(limits, field.name) is not None]


def _only(limits: Budget, names: Sequence[str]) -> Budget:
    return Budget(**{name: getattr(limits, name) for name in names})
