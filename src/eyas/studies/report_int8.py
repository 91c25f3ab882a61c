"""The report's ladders: what each way to eight bits gave, and why the next one was tried or not."""

from typing import Any

from eyas.deploy.ladder import LADDER
from eyas.report.items import Cell, Section, Table, Text
from eyas.run import read_json
from eyas.studies.evidence import amount, percent
from eyas.studies.finished import Finished
from eyas.studies.report_shared import measure_of

HOW = (
    "An int8 file is made in the plainest way first; a further one is tried only where the file loses more of the {measure} on "
    "the validation images than it may, or breaks its contract. Each is the best one so far, changed in one respect. Of "
    "several that were tried the best was chosen on these images, so that its figures flatter a little; the test split saw "
    "only the file that was taken."
)


def ladders(found: Finished) -> tuple[Section, ...]:
    """A section with a table for each int8 file; none where there is none."""
    places = {target: found.run / "artifacts" / target / LADDER for target in found.artifacts}
    told = {target: read_json(place) for target, place in places.items() if place.is_file()}
    if not told:
        return ()
    measure = measure_of(found)
    tables = tuple(_table(target, facts, measure) for target, facts in told.items())
    return (Section("The way to int8", (Text(HOW.format(measure=measure)), *tables)),)


def _table(target: str, facts: dict[str, Any], measure: str) -> Table:
    columns = ("way", "size", measure, "same answer", "layers in float", "outcome")
    rows = tuple(_row(step, number == facts["taken"]) for number, step in enumerate(facts["steps"]))
    may = f"It may lose {100 * facts['max_drop']:g} points."
    note = may if facts["enough"] else f"{may} No way keeps to that; the best was taken."
    return Table(f"Ways to {target}", columns, rows, note)


def _row(step: dict[str, Any], taken: bool) -> tuple[Cell, ...]:
    name = f"{step['rung']}: {step['what']}"
    if not step["tried"]:
        return (name, None, None, None, None, f"not tried: {step['why']}")
    parity = step["parity"]
    accuracy = None if parity["artifact"] is None else percent(parity["artifact"])
    same, floats = percent(parity["agreement"]), ", ".join(step["floats"]) or "none"
    return (name, amount("size", step["bytes"]), accuracy, same, floats, f"{step['why']}{' (taken)' if taken else ''}")
