"""`eyas report`: a run told in one page."""

from pathlib import Path

from eyas.report.items import Section, Verdict
from eyas.report.page import Report
from eyas.run import read_json


def write_report(run: Path) -> Path:
    """Write `report.html` of a run from what its stages left; the page's path."""
    result = read_json(run / "result.json")
    return Report("Eyas", str(run), (Section("x", (Verdict(result["verdict"]),)),)).save(run)
