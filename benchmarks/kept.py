"""Results that lie in files: a row is written as soon as it is there, as what follows may take an hour."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from eyas.deploy.measure import machine
from eyas.run import read_json, write_json

Row = dict[str, object]


def keep_row(file: Path, row: Row, cases: Sequence[str]) -> None:
    """Put `row` in place of the one of the same case; rows of other `cases` stay, in the order of these."""
    file.parent.mkdir(parents=True, exist_ok=True)
    others = [other for other in read_json(file)["rows"] if other["case"] != row["case"]] if file.exists() else []
    rows = sorted([*others, row], key=lambda each: cases.index(each["case"]))
    write_json(file, {"date": str(date.today()), "machine": machine(), "rows": rows})
