"""The page of `eyas reproduce`: a section for each of the paper's studies."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from eyas import __version__
from eyas.report.charts import intervals
from eyas.report.drawing import Axis
from eyas.report.items import Item, Number, Numbers, Section, Table, Text
from eyas.report.page import Report
from eyas.studies.prepare import Data
from eyas.studies.proof import Accuracy
from eyas.studies.reproduce_cells import BASELINE
from eyas.studies.reproduce_paper import FINDINGS, RULE, Held
from eyas.studies.reproduce_rows import Reproduced, Row, points

VERDICTS: tuple[Held, ...] = ("held", "not held", "not decided")
TEST = (
    "Both splits are shown. Every network is the best of its own training on the validation split; the test split chose "
    "nothing, neither a network nor a cell, so that it may be shown for all of them."
)


def write_reproduction(found: Reproduced, data: Data, seeds: int) -> Path:
    """Write report.html and report.json; returns the page's path."""
    images = f"{len(data.examples('train')):,} labelled and {len(data.unlabelled()):,} unlabelled images"
    over = f"{seeds} seeds" if seeds > 1 else "one seed"
    subtitle = f"The findings of {found.study} on {images} in {len(data.classes)} classes, {over}"
    sections = (*(_section(name, found.rows, seeds) for name in _studies(found.rows)), _rule(seeds))
    facts = {"eyas": __version__, "study": found.study, "seeds": seeds, "cells": [asdict(row) for row in found.rows]}
    return Report(f"Eyas reproduce: {found.study}", subtitle, sections, _lead(found), facts).save(found.run)


def _studies(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.study for row in rows))


def _lead(found: Reproduced) -> tuple[Item, ...]:
    (baseline,) = (row for row in found.rows if row.cell == BASELINE)
    numbers = [Number(f"Findings {held}", str(found.count(held))) for held in VERDICTS]
    if score := baseline.test:
        note = f"95 % interval {100 * score.low:.1f} to {100 * score.high:.1f} %, {score.images:,} images"
        numbers.insert(0, Number("Test accuracy of the baseline student", f"{100 * score.value:.1f} %", note))
    return (Numbers(tuple(numbers)),)


def _section(study: str, rows: Sequence[Row], seeds: int) -> Section:
    finding = FINDINGS[study]
    own = [row for row in rows if row.study == study]
    there = [row for row in own if row.test]
    items: list[Item] = [Text(f"{finding.sentence} ({finding.source}.)")]
    items += [_told(there), _table(finding.title, there, seeds)] if there else []
    drawn = [
        (row.cell, row.difference.difference, row.difference.low, row.difference.high, row.held)
        for row in there
        if row.difference
    ]
    if drawn:
        note = "95 % interval on the test split; right of 0 the cell is better than what it is compared with"
        items.append(intervals("Difference in accuracy", drawn, Axis("Difference", "points"), note))
    items += [Text("\n".join(f"- {row.cell} is missing: {row.skipped}" for row in own if row.skipped))]
    return Section(finding.title, tuple(item for item in items if item != Text("")))


def _told(rows: Sequence[Row]) -> Text:
    """What is different in each cell, and the paper's figures."""
    lines = []
    for row in rows:
        figures = "; ".join(map(str, row.paper))
        lines.append(f"- `{row.cell}`: {row.does}{f'. In the paper {figures}' if figures else ''}")
    return Text("\n".join(lines))


def _table(title: str, rows: Sequence[Row], seeds: int) -> Table:
    columns = ("cell", "test", "validation", "difference on test", "in the paper", "here")
    found = tuple(
        (
            row.cell if row.seeds == seeds else f"{row.cell} ({row.seeds} of {seeds} seeds)",
            _share(row.test),
            _share(row.validation),
            points(row.difference) or None,
            ", ".join(f"{each.difference:+.1f}" for each in row.paper) or None,
            row.held if row.difference else None,
        )
        for row in rows
    )
    note = "Accuracy with its 95 % interval; differences in points, the paper's in those of top-1 accuracy on ImageNet"
    others = [f"{row.cell} with {row.against}" for row in rows if row.against != BASELINE]
    compared = f". Each is compared with the baseline, but {', '.join(others)}" if others else ""
    return Table(title, columns, found, note + compared)


def _share(score: Accuracy | None) -> str | None:
    return str(score) if score else None


def _rule(seeds: int) -> Section:
    over = "seeds and images" if seeds > 1 else "images alone, as there is one seed: another training may differ by more"
    return Section("How it was judged", (Text(f"{RULE} Intervals are over {over}.\n\n{TEST}"),))
