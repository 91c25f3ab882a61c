"""The report of embeddings: how pairs are told apart, what is found among all images, and how many identities there are."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low
from typing import Any, ClassVar

from eyas.data.batches import Examples
from eyas.data.manifest import SPLITS
from eyas.report import charts
from eyas.report.charts import Axis
from eyas.report.items import Cell, Gallery, Item, Number, Section, Table, Text
from eyas.studies.card import EXPORT, ROBUST, About
from eyas.studies.evidence import percent
from eyas.studies.evidence_tasks import TaskRun
from eyas.studies.report_augment import Shown
from eyas.studies.report_data import spread, summed
from eyas.studies.report_words import between, by_teacher, ranged, taught
from eyas.studies.train_embed import identified

STRICT = 1e-3  # of the false pairs that may be accepted, at which the headline tells the true ones
IDENTITIES, EACH = 4, 8  # of the pictures
INTERVALS = "Intervals are of 200 bootstrap resamples of the identities, with all images of each."


@dataclass(frozen=True)
class EmbedWords:
    """A run that learned vectors (`Words`)."""

    found: TaskRun
    measure: ClassVar[str] = "Mean average precision of retrieval"
    figure: ClassVar[str] = "map"
    tested: ClassVar[Axis] = Axis("Area under the ROC curve")
    heading: ClassVar[str] = "Verification and retrieval"

    def subject(self) -> str:
        """What was learned."""
        return f"vectors of {len(self.found.outputs):,} numbers"

    def sentence(self) -> str:
        """What the trained network does on the test split."""
        images, tested = self.found.data.findings["splits"]["test"], self.found.tested
        return (
            f"{self.found.arch} tells the pairs of {images:,} test images apart with an area under the ROC curve of "
            f"{_area(tested)}; {_strict(tested)}; {_nearest(tested)}."
        )

    def numbers(self, whose: str) -> tuple[Number, ...]:
        """AUC, the share of true pairs at few false ones, and how often the nearest is right."""
        tested = self.found.scored
        pairs, auc, strict = tested["verification"], tested["verification"]["auc"], _at(tested)
        nearest = tested["retrieval"]["figures"].get("recall@1")
        area = f"95 % interval {auc['low']:.4f} to {auc['high']:.4f}, {pairs['same'] + pairs['different']:,} pairs"
        few = f"too few pairs of two identities: {pairs['different']:,}, and {strict['needed']:,} are needed"
        none = "no test image has another of its identity"
        return (
            Number(f"Test AUC of {whose}", f"{auc['value']:.4f}", area),
            Number(
                f"TAR at FAR {STRICT:g}",
                percent(strict["rate"]["value"]) if strict["rate"] else "–",
                between(strict["rate"]) if strict["rate"] else few,
            ),
            Number("Recall@1", percent(nearest["value"]) if nearest else "–", between(nearest) if nearest else none),
        )

    def score(self, tested: Mapping[str, Any]) -> Mapping[str, float]:
        """Area under the ROC curve."""
        return tested["verification"]["auc"]

    def results(self, whose: str) -> tuple[Item, ...]:
        """Accepted shares at few false ones, and what is found among all images."""
        tested = self.found.scored
        accepted, figures = tested["verification"]["accepted"], tested["retrieval"]["figures"]
        told = [(f"TAR at FAR {each['false_share']:g}", each["rate"], "verification") for each in accepted if each["rate"]]
        told += [(_named(name), share, "retrieval") for name, share in figures.items()]
        dots = [(name, share["value"], share["low"], share["high"], kind) for name, share, kind in told]
        chart = charts.intervals(f"Verification and retrieval: {whose}", dots, Axis("Share", "%"), "Lines are 95 % intervals.")
        return (chart, _verified(tested, whose), _accepted(tested), *([_retrieved(tested)] if figures else []))

    def data(self) -> tuple[Item, ...]:
        """A summary, pictures of some identities, and how many there are by split."""
        summary = summed(self.found, f"of {len({*self.found.data.manifest.column('label')}):,} identities")
        return (Text(summary), self._samples(), self._counts())

    def pictured(self) -> tuple[Examples, Shown]:
        """The training images, captioned with their identities."""
        examples = identified(self.found.data, "train")
        names = sorted({*self.found.data.rows("train").column("label")})
        return examples, Shown(lambda target: names[int(target[0])])

    def learned_from(self) -> dict[str, str]:
        """Which images show the same, or a teacher's vectors."""
        return {"model": by_teacher(self.found)}

    def lesson(self) -> str:
        """Who taught the network, where somebody did."""
        return taught(self.found, "vectors")

    def pile(self) -> tuple[Section, ...]:
        """Nothing: a teacher's vectors are not kept."""
        return ()

    def about(self) -> About:
        """What the model card says."""
        tested = self.found.scored
        pairs, figures = tested["verification"], tested["retrieval"]["figures"]
        rows = [("area under the ROC curve", _ends(pairs["auc"]))]
        rows += [(f"TAR at FAR {one['false_share']:g}", ranged(one["rate"])) for one in pairs["accepted"] if one["rate"]]
        rows += [(_named(name), ranged(share)) for name, share in figures.items()]
        return About(
            task="embedding: images of one identity lie close together",
            knows=f"Answer: a vector of {len(self.found.outputs):,} numbers, of length 1",
            use=(
                f"To tell whether two images like those of `{self.found.recipe['data']}` show the same, and to find like ones. "
                "It gives a vector to any image, also to one of another kind."
            ),
            pile=self.lesson(),
            evaluation=Table(
                "Verification and retrieval on the test split",
                ("figure", "value (95 % interval)"),
                tuple(rows),
                f"{pairs['same']:,} pairs of one identity and {pairs['different']:,} of two, no choice was made on them. "
                f"{INTERVALS}",
            ),
            limits=(
                "Measured on test images of the same source as the training images; other images were not measured.",
                f"{_strict(tested)[0].upper()}{_strict(tested)[1:]}.",
                ROBUST,
                "The cosine from which on two images are called the same is not chosen here; report.html has some.",
            ),
            answer="a vector of length 1",
            none=EXPORT,
        )

    def _samples(self) -> Gallery:
        rows, store = self.found.data.rows("train"), self.found.data.store
        places: dict[str, list[str]] = {}
        for id, label in zip(rows.column("id"), rows.column("label"), strict=True):
            places.setdefault(label, []).append(id)
        names = spread(sorted(places), IDENTITIES)
        shown = [(store[store.position(id)], name) for name in names for id in spread(places[name], EACH)]
        return Gallery("Labelled images", tuple(shown), "Some identities of the training split, up to eight pictures of each.")

    def _counts(self) -> Table:
        manifest = self.found.data.manifest
        rows: list[tuple[Cell, ...]] = []
        for split in SPLITS:
            counts = Counter(manifest.where(split=split).column("label"))
            images = sorted(counts.values())
            few = (images[0], median_low(images), images[-1], images.count(1)) if images else (None,) * 4
            rows.append((split, len(images), sum(images), *few))
        columns = ("split", "identities", "images", "fewest of one", "median", "most of one", "identities with one")
        note = "An identity is in one split, unless the data says otherwise. What has one image has nothing that is like it."
        return Table("Identities by split", columns, tuple(rows), note)


def _named(figure: str) -> str:
    return {"average_precision": "mean average precision"}.get(figure, figure)


def _at(tested: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(each for each in tested["verification"]["accepted"] if each["false_share"] == STRICT)


def _ends(share: Mapping[str, float]) -> str:
    return f"{share['value']:.4f} ({share['low']:.4f} to {share['high']:.4f})"


def _area(tested: Mapping[str, Any]) -> str:
    auc = tested["verification"]["auc"]
    return f"{auc['value']:.4f} (95 % interval {auc['low']:.4f} to {auc['high']:.4f})"


def _strict(tested: Mapping[str, Any]) -> str:
    found = _at(tested)
    if found["rate"] is None:
        return (
            f"what it accepts at a false accept rate of {STRICT:g} cannot be told from "
            f"{tested['verification']['different']:,} pairs of two identities, as {found['needed']:,} are needed"
        )
    rate = f"{percent(found['rate']['value'])} of the pairs of one identity ({between(found['rate'])})"
    few = f", from {found['allowed']:,} false pairs, which says little" if found["allowed"] < 10 else ""
    return f"at a false accept rate of {STRICT:g} it accepts {rate}{few}"


def _nearest(tested: Mapping[str, Any]) -> str:
    figures = tested["retrieval"]["figures"]
    if not figures:
        return "no image has another of its identity to be found"
    share = figures["recall@1"]
    queries = tested["retrieval"]["queries"]
    return f"the nearest other image is of the same identity for {percent(share['value'])} of {queries:,} ({between(share)})"


def _verified(tested: Mapping[str, Any], whose: str) -> Table:
    pairs = tested["verification"]
    rows: tuple[tuple[Cell, ...], ...] = (
        ("pairs of one identity", f"{pairs['same']:,}"),
        ("pairs of two", f"{pairs['different']:,}"),
        ("area under the ROC curve (95 % interval)", _ends(pairs["auc"])),
        (f"told rightly, mean of {pairs['folds']} folds", percent(pairs["accuracy"])),
        ("standard error of that mean", f"{100 * pairs['deviation']:.1f} points"),
    )
    note = f"In each fold by the threshold that is best on the others. {INTERVALS}"
    return Table(f"Verification: {whose}", ("", "value"), rows, note)


def _accepted(tested: Mapping[str, Any]) -> Table:
    pairs = tested["verification"]
    rows: list[tuple[Cell, ...]] = [
        (
            f"{each['false_share']:g}",
            ranged(each["rate"]) if each["rate"] else None,
            each["allowed"],
            None if each["threshold"] is None else f"{each['threshold']:.3f}",
        )
        for each in pairs["accepted"]
    ]
    note = (
        f"FAR: share of the {pairs['different']:,} pairs of two identities that is accepted at most; TAR: share of the "
        f"{pairs['same']:,} pairs of one that is accepted then. Where not one false pair may be let through there is no "
        "figure, and below ten it says little."
    )
    columns = ("FAR", "TAR (95 % interval)", "false pairs that are let through", "cosine from")
    return Table("Accepted at few false ones", columns, tuple(rows), note)


def _retrieved(tested: Mapping[str, Any]) -> Table:
    found = tested["retrieval"]
    rows = tuple((_named(name), ranged(share)) for name, share in found["figures"].items())
    alone = f" {found['alone']:,} images have no other of their identity: they ask nothing." if found["alone"] else ""
    note = f"Each of {found['queries']:,} images asks for its like among all others.{alone} {INTERVALS}"
    return Table("Retrieval", ("figure", "value (95 % interval)"), rows, note)
